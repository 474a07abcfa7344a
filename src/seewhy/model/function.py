"""A plain function as a torch module: of such a model only the scores are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.errors import ModelError
from seewhy.model.tape.trees import map_leaves


class Function(nn.Module):
    """Calls a function with the batch (N, C, *space); arrays that come back become tensors.

    The function gets a tensor without a graph, on the CPU in float32.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, pictures: Tensor, **others: Any) -> Any:
        """Return what the function gives.

        Raises ModelError where it takes arrays of NumPy or of JAX; its own errors as they are.
        """
        try:
            found = self.function(pictures.detach(), **others)
        except (AttributeError, TypeError) as error:
            if not _wants_an_array(error):
                raise
            name = getattr(self.function, "__name__", type(self.function).__name__)
            raise ModelError(
                f"{name} cannot work with what it gets ({str(error).splitlines()[0]}). It gets a "
                "torch tensor (N, C, H, W): begin with x.numpy(), or wrap a function of JAX, "
                "sw.load(jax.jit(f)), which then gets arrays with their channels last"
            ) from error
        return map_leaves(_as_tensor, found)


def _wants_an_array(error: AttributeError | TypeError) -> bool:
    """Whether an error comes from a torch tensor where an array of NumPy or JAX was expected."""
    said = str(error)
    if isinstance(error, AttributeError):
        return isinstance(error.obj, Tensor) and error.name in dir(np.ndarray)
    mixed = "'Tensor'" in said and ("numpy" in said or "jax" in said)
    return mixed or "torch.Tensor" in said or said.startswith("transpose()")


def _as_tensor(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | np.generic):
        found = torch.as_tensor(np.asarray(leaf))
        return found.float() if found.dtype == torch.float64 else found
    return leaf
