"""Explanations at each epoch of Lightning's Trainer, of `lightning` or `pytorch_lightning`.

`ExplanationsCallback(pictures, methods, ...)` takes what `EpochExplanations` takes.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from operator import attrgetter
from typing import Any

from seewhy.errors import MethodError
from seewhy.integrations.board import Board
from seewhy.integrations.counting import Count
from seewhy.integrations.epochs import EpochExplanations
from seewhy.integrations.needed import needed, only_callback


@cache
def _callback() -> Any:
    base: Any = needed(_package(), "lightning").Callback

    class ExplanationsCallback(base):  # type: ignore[misc]
        """Explain pictures at the end of each training epoch of a LightningModule.

        Arguments as for `EpochExplanations`, which `explanations` is. network: the name of the
        attribute that is the classifier, as "net", where the module itself is none. Without
        `tensorboard=` a TensorBoardLogger of the trainer is written to. Epochs count those that are
        done: 1 is after the first, and a second trainer with the same callback goes on counting.
        With several processes only the first explains; weights that are spread over processes
        (FSDP) are not gathered, and that is a warning.

        Raises MethodError, when a fit begins, for a network that the module does not have.
        """

        def __init__(self, *args: Any, network: str | None = None, **options: Any) -> None:
            super().__init__()
            self.explanations = EpochExplanations(*args, **options)
            self._network, self._count = network, Count()
            self._board_of_trainer = self.explanations.tensorboard is None

        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's
            """Look for the network; the trainer calls this."""
            _within(pl_module, self._network)

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's
            """Begin a fit; the trainer calls this."""
            self._count.begin(trainer.current_epoch)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Explain the pictures; the trainer calls this."""
            if trainer.sanity_checking or not trainer.is_global_zero:
                return
            if self._board_of_trainer:
                self.explanations.tensorboard = _board(trainer)
            step = self._count.step(trainer.current_epoch + 1)
            self.explanations.log(_within(pl_module, self._network), step)

        def on_fit_end(self, trainer: Any, pl_module: Any) -> None:  # noqa: ARG002 - Lightning's
            """Close event files; the trainer calls this."""
            self.explanations.close()
            if self._board_of_trainer:
                self.explanations.tensorboard = None  # the next trainer has another

    ExplanationsCallback.__qualname__ = "ExplanationsCallback"  # where pickle finds it
    return ExplanationsCallback


def _package() -> str:
    """Of the two packages the one that is in use, else the one that is installed."""
    for there in (sys.modules.__contains__, find_spec):
        for name, module in (("lightning", "lightning.pytorch"), ("pytorch_lightning",) * 2):
            if there(name):
                return module
    return "lightning"


def _within(module: Any, network: str | None) -> Any:
    """The classifier of a LightningModule: itself, or what it has by that name."""
    try:
        return module if network is None else attrgetter(network)(module)
    except AttributeError as error:
        known = ", ".join(name for name, _ in module.named_children()) or "no parts"
        raise MethodError(
            f"{type(module).__name__} has no {network!r}: give network= one of its own: {known}"
        ) from error


def _board(trainer: Any) -> Board | None:
    """What the trainer's own TensorBoardLogger writes to, if it has one."""
    for each in trainer.loggers:
        if any(kind.__name__ == "TensorBoardLogger" for kind in type(each).__mro__):
            return Board(each.experiment)
    return None


def __getattr__(name: str) -> Any:
    only_callback(name, __name__)
    return _callback()
