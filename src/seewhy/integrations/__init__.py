"""Explanations while a network is trained: a core, and a callback for each framework.

`seewhy.integrations.lightning`, `.huggingface` and `.keras` have the callbacks; each imports its
framework, and nothing here does.
"""

from seewhy.integrations.epochs import EpochExplanations

__all__ = ["EpochExplanations"]
