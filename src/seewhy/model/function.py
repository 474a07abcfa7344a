"""A plain function as a torch module: of such a model only the scores are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.model.tape.trees import map_leaves


class Function(nn.Module):
    """Calls a function with the batch (N, C, *space); arrays that come back become tensors.

    The function gets a tensor without a graph, on the CPU in float32.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, pictures: Tensor, **others: Any) -> Any:
        """Return what the function gives."""
        return map_leaves(_as_tensor, self.function(pictures.detach(), **others))


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | np.generic):
        found = torch.as_tensor(np.asarray(leaf))
        return found.float() if found.dtype == torch.float64 else found
    return leaf
