"""Gradients of the score with respect to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "gradient",
    paper="Simonyan et al. 2014, sec. 3",
    cost="1 forward, 1 backward",
    needs=("gradient",),
)
@dataclass(frozen=True)
class Gradient(Method):
    """The gradient of the score: how much each pixel could change it.

    power: "signed" as it is, "absolute" (the paper's saliency), or "squared" (sensitivity).
    The map has the input's shape, (N, C, *space); its magnitude is what is drawn.
    """

    power: Literal["signed", "absolute", "squared"] = "signed"

    display: ClassVar[Display] = "absolute"
    one_pass: ClassVar[bool] = True

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One backward to the input."""
        gradient = input_gradients(model, prepared, score, run)
        if self.power == "absolute":
            gradient = gradient.abs()
        elif self.power == "squared":
            gradient = gradient.square()
        return Attribution(gradient, layers=(INPUT,))


@method(
    "gradient-x-input",
    paper="Shrikumar et al. 2016, sec. 3",
    cost="1 forward, 1 backward",
    needs=("gradient",),
)
@dataclass(frozen=True)
class GradientXInput(Method):
    """The gradient times the input as the model sees it, after its preprocessing.

    The map has the input's shape, (N, C, *space).
    """

    one_pass: ClassVar[bool] = True

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One backward to the input."""
        gradient = input_gradients(model, prepared, score, run)
        return Attribution(gradient * prepared.tensor, layers=(INPUT,))


def input_gradients(model: Model, prepared: Prepared, score: Score, run: Run) -> Tensor:
    """Return the gradient of each score with respect to its picture, (N, C, *space).

    As many pictures at once as `run.memory` allows; half precision is returned as float32.
    """
    at_once = model.rows_at_once(prepared, run)
    if at_once >= len(prepared):
        return record(model, prepared, score, [INPUT]).gradients[INPUT]
    score.bind(model, prepared)

    def slope(start: int, stop: int) -> Tensor:
        rows = torch.arange(start, stop)
        return record(model, prepared.rows(rows), score.of(rows), [INPUT]).gradients[INPUT]

    found = []
    for _, done, gradients in in_parts(len(prepared), at_once, slope):
        found.append(gradients)
        run.report(done, len(prepared), "pictures")
    return torch.cat(found)
