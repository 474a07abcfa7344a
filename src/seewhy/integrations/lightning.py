"""Explanations at each epoch of Lightning's Trainer, of `lightning` or `pytorch_lightning`.

`ExplanationsCallback(pictures, methods, ...)` takes what `EpochExplanations` takes.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

from seewhy.integrations.board import Board
from seewhy.integrations.epochs import EpochExplanations
from seewhy.integrations.needed import needed, only_callback


@cache
def _callback() -> Any:
    base: Any = needed(_package(), "lightning").Callback

    class ExplanationsCallback(base):  # type: ignore[misc]
        """Explain pictures at the end of each training epoch of a LightningModule.

        Arguments as for `EpochExplanations`, which `explanations` is. Without `tensorboard=` a
        TensorBoardLogger of the trainer is written to. Epochs count those that are done: 1 is after
        the first. With several processes only the first explains; weights that are spread over
        processes (FSDP) are not gathered, and that is a warning.
        """

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__()
            self.explanations = EpochExplanations(*args, **options)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Explain the pictures; the trainer calls this."""
            if trainer.sanity_checking or not trainer.is_global_zero:
                return
            if self.explanations.tensorboard is None:
                self.explanations.tensorboard = _board(trainer)
            self.explanations.log(pl_module, trainer.current_epoch + 1)

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's
            """Close event files; the trainer calls this."""
            self.explanations.close()

    ExplanationsCallback.__qualname__ = "ExplanationsCallback"  # where pickle finds it
    return ExplanationsCallback


def _package() -> str:
    """Of the two packages the one that is in use, else the one that is installed."""
    for there in (sys.modules.__contains__, find_spec):
        for name, module in (("lightning", "lightning.pytorch"), ("pytorch_lightning",) * 2):
            if there(name):
                return module
    return "lightning"


def _board(trainer: Any) -> Board | None:
    """What the trainer's own TensorBoardLogger writes to, if it has one."""
    for each in trainer.loggers:
        if any(kind.__name__ == "TensorBoardLogger" for kind in type(each).__mro__):
            return Board(each.experiment)
    return None


def __getattr__(name: str) -> Any:
    only_callback(name, __name__)
    return _callback()
