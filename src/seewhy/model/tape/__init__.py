"""The only place that hooks, patches or switches the modes of the user's network."""
