"""Wrappers that smooth any method with noise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Display, Method, positive
from seewhy.methods.copies import in_copies, noisy, one_by_one
from seewhy.methods.gradient import Gradient
from seewhy.methods.registry import method
from seewhy.model.layers import Layer
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@dataclass(frozen=True)
class _Noisy(Method):
    """A method's maps over noisy copies of the picture.

    method: any method, the gradient by default. samples: copies of each picture. noise: standard
    deviation, as a share of the picture's range (max - min) as the model sees it.
    The map has the shape of the method's own. The noise of a picture follows from the seed and the
    picture alone.
    """

    method: Method = field(default_factory=Gradient)
    samples: int = 25
    noise: float = 0.15

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.samples, f"{self.name}: samples")
        positive(self.noise, f"{self.name}: noise")
        check_wrapped(self, self.method)

    def explained(
        self, model: Model, prepared: Prepared, score: Score, run: Run
    ) -> Iterator[Attribution]:
        """Yield what the method finds in each noisy copy."""
        score.bind(model, prepared)
        change = noisy(prepared, self.noise, run)

        def explain(copies: Prepared, rows: Tensor, _: Tensor) -> Attribution:
            return self.method.attribute(model, copies, score.of(rows), run)

        for _, found in in_copies(model, prepared, run, self.samples, change, explain):
            yield from one_by_one(found, len(prepared))


@method(
    "smoothgrad",
    paper="Smilkov et al. 2017, eq. 1",
    cost="samples x the method, 1 forward",
)
@dataclass(frozen=True)
class SmoothGrad(_Noisy):
    """The mean of a method's maps over noisy copies of the picture.

    checks: the means of the method's own.
    """

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it smooths."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 1."""
        return mean(self.explained(model, prepared, score, run))


@method(
    "smoothgrad-squared",
    paper="Hooker et al. 2019",
    cost="samples x the method, 1 forward",
)
@dataclass(frozen=True)
class SmoothGradSquared(_Noisy):
    """The mean of the squares of a method's maps over noisy copies: how much, without a sign."""

    display: ClassVar[Display] = "positive"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The second moment of the maps."""
        centre, spread, layers = _moments(self.explained(model, prepared, score, run))
        return Attribution(spread + centre.square(), layers=layers)


@method(
    "vargrad",
    paper="Adebayo et al. 2018",
    cost="samples x the method, 1 forward",
)
@dataclass(frozen=True)
class VarGrad(_Noisy):
    """The variance of a method's maps over noisy copies: where the map itself is unsure.

    The variance is that of the samples, divided by their number.
    """

    display: ClassVar[Display] = "positive"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The central second moment of the maps."""
        _, spread, layers = _moments(self.explained(model, prepared, score, run))
        return Attribution(spread, layers=layers)


def mean(found: Iterable[Attribution]) -> Attribution:
    """Return the mean of several attributions of the same pictures, and of their checks."""
    summed, count = Attribution(torch.zeros(())), 0
    for each in found:
        summed = _sum(summed, each) if count else each
        count += 1
    checks = {name: value / count for name, value in summed.checks.items()}
    return Attribution(summed.relevance / count, checks, summed.layers)


def check_wrapped(how: Method, method: object) -> None:
    """Raise MethodError unless what is wrapped is a method."""
    if not isinstance(method, Method):
        raise MethodError(
            f"{how.name}: method is {method!r}, which is none: give a method, such as GradCAM()"
        )


def _moments(found: Iterator[Attribution]) -> tuple[Tensor, Tensor, tuple[Layer, ...]]:
    """The mean and the variance of maps, one after another (Welford), and where they are from."""
    first = next(found)
    centre, squares, count = first.relevance, torch.zeros_like(first.relevance), 1
    for each in found:
        count += 1
        before = each.relevance - centre
        centre = centre + before / count
        squares += before * (each.relevance - centre)
    return centre, squares / count, first.layers


def _sum(one: Attribution, two: Attribution) -> Attribution:
    checks = {name: value + two.checks[name] for name, value in one.checks.items()}
    return Attribution(one.relevance + two.relevance, checks, one.layers)
