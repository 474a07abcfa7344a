"""The network that is trained, as seewhy sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from seewhy.errors import ModelError
from seewhy.integrations.untouched import same_variables
from seewhy.model.load import load
from seewhy.model.model import Model

PARALLEL: tuple[Any, ...] = (nn.parallel.DistributedDataParallel, nn.DataParallel)
"""Networks around the network: running them waits for the other processes."""


class Trained:
    """Makes Models of what is trained: of a network once, so that what it found out is kept.

    preprocess, labels: as for `seewhy.load`. A Model of a reference lasts until `begin` is called:
    files change.
    """

    def __init__(self, preprocess: Any, labels: Any) -> None:
        self._preprocess, self._labels = preprocess, labels
        self._known: tuple[Any, Model] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return it without the network: that is the training's, and may not be picklable."""
        return self.__dict__ | {"_known": None}

    def begin(self) -> None:
        """Begin an epoch: what stands behind a reference may be another now."""
        if self._known is not None and isinstance(self._known[0], str | Path):
            self._known = None

    def model(self, given: Any) -> Model:
        """Return the Model of what is trained.

        Raises ModelError for a module without a forward, and for weights that are spread over
        processes.
        """
        core = given.module if isinstance(given, PARALLEL) else given
        if self._known is None or self._known[0] is not core:
            _check_forward(core)
            with same_variables(core):
                known = load(core, preprocess=self._preprocess, labels=self._labels)
            self._known = (core, known)
        found = self._known[1]
        if any(map(_spread, found.module.parameters())):
            raise ModelError(
                "its weights are spread over several processes: explain a checkpoint instead"
            )
        return found


def first_process() -> bool:
    """Tell whether this is the only process of the training, or the first."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not spread or torch.distributed.get_rank() == 0


def _spread(weight: nn.Parameter) -> bool:
    """Whether a weight is in parts, of which other processes have some."""
    return hasattr(weight, "device_mesh") or type(weight).__name__ == "FlatParameter"


def _check_forward(core: Any) -> None:
    """Refuse a module that only holds what is trained."""
    forward = getattr(type(core), "forward", None)
    if getattr(forward, "__qualname__", "") in (
        "_forward_unimplemented",
        "LightningModule.forward",
    ):
        part = next((name for name, _ in core.named_children()), "net")
        raise ModelError(
            f"{type(core).__name__} has no forward: explain the classifier within it, such as "
            f".{part}, or give network={part!r} to the callback for Lightning"
        )
