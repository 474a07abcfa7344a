"""Networks of other frameworks, as torch modules."""
