"""What a target is: a question, bound once to the pictures, that becomes a number a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seewhy.errors import TargetError
from seewhy.model.labels import Labels
from seewhy.model.layers import Layer
from seewhy.model.tape.record import Outcome

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

Read = Callable[[Outcome, Tensor], Tensor]
"""(outcome of M rows, which bound picture each row belongs to) -> (M,)."""


@dataclass(frozen=True)
class Bound:
    """A target bound to pictures: how to read a number a row, and what it is for each picture."""

    read: Read
    names: tuple[str, ...]


class Target:
    """What is explained.

    `bind` is called once, with the outcome of the unchanged pictures: there `None` becomes what is
    predicted and names become numbers, so that changed pictures are asked the same question.
    """

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers whose activations it reads."""
        return ()

    def located(self, model: Model, like: Prepared) -> Target:  # noqa: ARG002
        """Return the target with its layers found in the model."""
        return self

    def of_picture(self, index: int, count: int, prepared: Prepared) -> Target:  # noqa: ARG002
        """Return the target of one of `count` pictures, where they have something of their own."""
        return self

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        """Bind to the pictures of the outcome; TargetError where the output does not have it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Custom(Target):
    """Whatever a function reads: function(outputs) -> (N,), from whatever the network returns."""

    function: Callable[[Any], Tensor]

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        count = len(self._read(outcome, None))
        return Bound(self._read, (name,) * count)

    def _read(self, outcome: Outcome, rows: Tensor | None) -> Tensor:
        found = self.function(outcome.outputs)
        wanted = len(rows) if rows is not None else len(outcome.main)
        if not isinstance(found, Tensor) or found.shape != (wanted,):
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise TargetError(
                f"the target function gave {what}: it must give one number for each picture, "
                f"a tensor of the shape ({wanted},)"
            )
        return found
