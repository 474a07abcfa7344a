"""A classifier cut before its head, with the classifier itself left as it is."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

from torch import Tensor, nn

from seewhy.errors import ModelError
from seewhy.model.tape.trees import float_tensors


class Embedding(NamedTuple):
    """What a network without its head gives: by its name it is told from class scores."""

    image_embeds: Tensor


class Headless(nn.Module):
    """Runs a module and gives what its head receives, an Embedding (N, D).

    Layers keep their names, and the weights are the module's own. The head runs too: it is small,
    and what it gives is left unused.
    """

    def __init__(self, whole: nn.Module, head: str) -> None:
        super().__init__()
        self.__dict__["whole"] = (whole, head)  # no submodule: the names stay those of the whole
        self._modules, self._parameters = whole._modules, whole._parameters
        self._buffers = whole._buffers
        self.__dict__["behind"] = (whole,)  # what the guard has to hold too
        self.training = whole.training

    def forward(self, *args: Any, **kwargs: Any) -> Embedding:
        """Return the head's input, averaged over space where it has space."""
        whole, head = self.__dict__["whole"]
        me, seen = threading.get_ident(), []

        def note(_: nn.Module, given: tuple[Any, ...]) -> None:
            if threading.get_ident() == me:
                seen.extend(float_tensors(given)[:1])

        handle = whole.get_submodule(head).register_forward_pre_hook(note)
        try:
            whole(*args, **kwargs)
        finally:
            handle.remove()
        if not seen:
            raise ModelError(f"the head {head!r} was not reached")
        return Embedding(seen[-1].flatten(2).mean(2) if seen[-1].ndim > 2 else seen[-1])
