"""Gradients gathered along a path from a baseline to the picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.record import record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "integrated-gradients",
    paper="Sundararajan et al. 2017, eq. 1",
    cost="steps + 2 forwards, steps backwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The gradient averaged on the straight path from a baseline, times the way from it.

    steps: points on the path (Gauss-Legendre). baseline: the value of the empty input in the
    model's units; 0 is the mean colour after the usual normalisation.
    The map has the input's shape, (N, C, *space); it sums to score(picture) - score(baseline), and
    checks["completeness gap"] is how far it is from that, as a share of the difference. As many
    steps run at once as `run.memory` allows.
    """

    steps: int = 50
    baseline: float = 0.0

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "integrated-gradients: steps")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 1, by quadrature."""
        inputs = prepared.tensor
        baseline = torch.full_like(inputs, self.baseline)
        score.bind(model, prepared)
        points, weights = gauss_legendre(self.steps)
        work = [(row, step) for row in range(len(inputs)) for step in range(self.steps)]
        at_once = model.rows_at_once(prepared, run)

        relevance = torch.zeros_like(inputs, dtype=torch.promote_types(inputs.dtype, torch.float32))
        for start in range(0, len(work), at_once):
            rows, steps = torch.tensor(work[start : start + at_once]).T
            share = _column(points[steps], inputs)
            place = rows.to(inputs.device)
            between = baseline[place] + share * (inputs[place] - baseline[place])
            step = record(
                model, prepared.changed(between, rows), score.of(rows), [INPUT]
            ).gradients[INPUT]
            relevance.index_add_(0, place, (step * _column(weights[steps], step)).to(relevance))
            run.report(min(start + at_once, len(work)), len(work), "steps")
        relevance *= inputs - baseline
        return Attribution(
            relevance,
            checks={"completeness gap": _gap(model, prepared, score, baseline, relevance)},
            layers=(INPUT,),
        )


@cache
def gauss_legendre(steps: int) -> tuple[Tensor, Tensor]:
    """Return the points in (0, 1) and the weights (sum 1) of Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((points + 1) / 2), torch.from_numpy(weights / 2)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Return (M,) as (M, 1, ..., 1) beside a tensor (M, ...)."""
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))


def _gap(
    model: Model, prepared: Prepared, score: Score, baseline: Tensor, relevance: Tensor
) -> Tensor:
    """How far the relevance is from summing to the difference of the scores, as a share of it."""
    rows = torch.arange(len(prepared))

    def scores(pictures: Tensor) -> Tensor:
        return record(model, prepared.changed(pictures), score.of(rows)).scores.double()

    full = score.answered[1].double() if prepared.clean else scores(prepared.tensor)
    difference = full - scores(baseline)
    found = relevance.flatten(1).sum(1, dtype=torch.float64)
    scale = torch.maximum(difference.abs(), 1e-6 * full.abs()).clamp(min=1e-12)
    return (found - difference).abs() / scale
