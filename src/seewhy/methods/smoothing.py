"""Wrappers that smooth any method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Display, Method, positive
from seewhy.methods.gradient import Gradient
from seewhy.methods.registry import method
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "smoothgrad",
    paper="Smilkov et al. 2017, eq. 1",
    cost="samples x the method, 1 forward",
    needs=("gradient",),
)
@dataclass(frozen=True)
class SmoothGrad(Method):
    """The mean of a method's maps over noisy copies of the picture.

    method: any method, the gradient by default. samples: copies of each picture. noise: standard
    deviation, as a share of the picture's range (max - min) as the model sees it.
    The map has the shape of the method's own. The noise of a picture follows from the seed and the
    picture alone. checks: the means of the method's own.
    """

    method: Method = field(default_factory=Gradient)
    samples: int = 25
    noise: float = 0.15

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.samples, "smoothgrad: samples")
        positive(self.noise, "smoothgrad: noise")
        if not isinstance(self.method, Method):
            raise MethodError(f"smoothgrad smooths a method, and {self.method!r} is none")

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it smooths."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 1."""
        score.bind(model, prepared)
        inputs = prepared.tensor
        flat = inputs.flatten(1)
        spread = (flat.amax(1) - flat.amin(1)) * self.noise
        spread = spread.reshape(-1, *(1,) * (inputs.ndim - 1))
        draws = [generator(run.seed, key) for key in prepared.keys]
        found = []
        for sample in range(self.samples):
            noise = torch.stack([_normal(inputs[0], draw) for draw in draws])
            noisy = prepared.changed(inputs + spread * noise.to(inputs))
            found.append(self.method.attribute(model, noisy, score, run))
            found[0] = _sum(found[0], found.pop()) if sample else found[0]
            run.report(sample + 1, self.samples, "samples")
        checks = {name: value / self.samples for name, value in found[0].checks.items()}
        return Attribution(found[0].relevance / self.samples, checks, found[0].layers)


def _normal(like: Tensor, draw: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=draw, dtype=torch.float32)


def _sum(one: Attribution, two: Attribution) -> Attribution:
    checks = {name: value + two.checks[name] for name, value in one.checks.items()}
    return Attribution(one.relevance + two.relevance, checks, one.layers)
