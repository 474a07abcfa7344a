"""The user's network: loading, preparing pictures, layers, and the tape that runs it."""
