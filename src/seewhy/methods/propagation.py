"""Backpropagation with other rules at ReLUs, and what all methods of rules share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeVar

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoSpaceError, warn
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.cam import GradCAM, enlarged
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.intercept import Flow, Rules, propagate
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import Scoring
from seewhy.model.tape.rules.rectified import Rectified
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

R = TypeVar("R", bound=Rules)
T = TypeVar("T")


class _AtReLUs(Method):
    """A gradient that rectifiers let through by another rule; other activations have none."""

    guided: ClassVar[bool] = False
    display: ClassVar[Display] = "absolute"
    family: ClassVar[str] = "propagation"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One backward to the input, with the rule at every rectifier."""
        found = flows(model, prepared, score, run, lambda: Rectified(guided=self.guided))
        others = sum((flow.unruled for flow, _ in found), Counter[str]())
        if others and not found[0][1].met:
            raise MethodError(
                f"{self.name} has a rule for rectifiers alone (ReLU, ReLU6), and {model.name} has "
                f"{listed(others)} instead: use 'lrp', 'attn-lrp' or 'gradient-x-input'"
            )
        if others:
            warn(
                f"{self.name} has a rule for rectifiers alone (ReLU, ReLU6): what flows through "
                f"{listed(others)} of {model.name} is the plain gradient; compare it with 'lrp'"
            )
        return Attribution(together(found), layers=(INPUT,))


@method(
    "guided-backprop",
    paper="Springenberg et al. 2015",
    cost="1 forward, 1 backward",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class GuidedBackprop(_AtReLUs):
    """The gradient, of which a ReLU lets through what is positive where its input is positive.

    A rectifier that is clipped above as well (ReLU6, hardtanh from 0) lets nothing through where it
    is clipped. The map has the input's shape, (N, C, *space). Rectifiers alone have the rule: a
    warning names other activations, and where there are only others there is a MethodError.
    """

    guided: ClassVar[bool] = True


@method(
    "deconvolution",
    paper="Zeiler & Fergus 2014",
    cost="1 forward, 1 backward",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class Deconvolution(_AtReLUs):
    """The gradient, of which a ReLU lets through what is positive, whatever its input was.

    A rectifier that is clipped above as well (ReLU6) does the same. The map has the input's shape,
    (N, C, *space). Rectifiers alone have the rule: a warning names other activations, and where
    there are only others there is a MethodError.
    """


@method(
    "guided-grad-cam",
    paper="Selvaraju et al. 2017",
    cost="1 forward, 1 backward, and the method",
    needs=("gradient", "layers", "operations"),
)
@dataclass(frozen=True)
class GuidedGradCAM(Method):
    """Guided backpropagation times the positive part of a class activation map.

    method: the map, Grad-CAM by default, brought to the input's size by linear interpolation.
    The product has the input's shape, (N, C, *space).
    """

    method: Method = field(default_factory=GradCAM)

    display: ClassVar[Display] = "absolute"
    family: ClassVar[str] = "propagation"

    def check(self) -> None:
        """Raise MethodError where the method is none."""
        if not isinstance(self.method, Method):
            raise MethodError(
                f"guided-grad-cam multiplies a method's map, and {self.method!r} is none: give one "
                "such as 'grad-cam' or 'layer-cam'"
            )

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The product of both, place by place."""
        coarse = self.method.attribute(model, prepared, score, run)
        fine = GuidedBackprop().attribute(model, prepared, score, run)
        size = tuple(prepared.tensor.shape[2:])
        if coarse.relevance.ndim != len(size) + 2 or not size:
            raise NoSpaceError(
                f"the map of {self.method.name} has the shape {tuple(coarse.relevance.shape)} and "
                f"the pictures {tuple(prepared.tensor.shape)}: it cannot be laid over them; use "
                "'guided-backprop' itself"
            )
        weights = coarse.relevance.sum(1, keepdim=True).clamp(min=0)
        return Attribution(fine.relevance * enlarged(weights, size), coarse.checks, coarse.layers)


# ---------------------------------------------------------------------- what is shared


def flows(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    rules: Callable[[], R],
    layers: Sequence[Layer] = (INPUT,),
) -> list[tuple[Flow, R]]:
    """Return what flows back to the layers under rules, as many pictures at once as memory allows.

    Fresh rules for each part, which come with what flowed under them.
    """

    def part(some: Prepared, own: Scoring, _: Tensor) -> tuple[Flow, R]:
        each = rules()
        return propagate(model, some, own, each, layers), each

    found = []
    for _, done, flow in parts(model, prepared, score, run, rules().kept, part):
        found.append(flow)
        run.report(done, len(prepared), "pictures")
    return found


def parts(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    kept: float,
    work: Callable[[Prepared, Scoring, Tensor], T],
) -> Iterator[tuple[int, int, T]]:
    """Yield (start, stop, work(pictures, score, rows)), of as many pictures as memory allows.

    kept: what the work holds, as a multiple of what a plain gradient does.
    """
    at_once = model.rows_at_once(prepared, run, times=kept)
    if at_once < len(prepared):
        score.bind(model, prepared)

    def part(start: int, stop: int) -> T:
        rows = torch.arange(start, stop)
        if len(rows) == len(prepared):
            return work(prepared, score, rows)  # which binds itself
        score.bind(model, prepared)
        return work(prepared.rows(rows), score.of(rows), rows)

    return in_parts(len(prepared), at_once, part)


def together(found: Sequence[tuple[Flow, Rules]], layer: Layer = INPUT) -> Tensor:
    """Return the multipliers of all parts at a layer."""
    return torch.cat([flow.multipliers[layer] for flow, _ in found])


def listed(counts: Counter[str]) -> str:
    """Return names with how often each came: "2 Gelu, 1 Tanh"."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())
