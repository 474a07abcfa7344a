"""Gradients gathered along straight paths from a baseline to the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import warn
from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.baselines import Baseline, baselines_of, check_baseline, noise, parts_of
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.ask import ask
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.model.tape.trees import full
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

MOST_STEPS = 1024
STREAM = 4_000_000  # and one for each draw: where on which path a sample lies

Points = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(rows (m,), steps (m,)) -> pictures (m, C, *space), and what their gradients are multiplied by:
numbers (m,), or ways as large as the gradients."""


@method(
    "integrated-gradients",
    paper="Sundararajan et al. 2017, eq. 1",
    cost="steps + 2 forwards, steps backwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class IntegratedGradients(Method):
    """The gradient averaged on the straight path from a baseline, times the way from it.

    steps: points on the path (Gauss-Legendre). baseline: the empty input: a number in the model's
    units (0 is the mean colour after the usual normalisation), "black", "white", "mean", "noise",
    "blur:0.1" (share of the shorter side), the path of a picture, or several joined by "+", over
    which the maps are averaged. gap: double a picture's steps until its completeness gap is below
    this share, at most to 1024; checks["steps"] is how many it took.
    The map has the input's shape, (N, C, *space); it sums to score(picture) - score(baseline), and
    checks["completeness gap"] is how far it is from that, as a share of the difference. As many
    steps run at once as `run.memory` allows.
    """

    steps: int = 50
    baseline: Baseline = 0.0
    gap: float | None = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "integrated-gradients: steps")
        check_baseline(self.baseline, "integrated-gradients: baseline")
        if self.gap is not None:
            positive(self.gap, "integrated-gradients: gap")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 1, by quadrature."""
        score.bind(model, prepared)
        starts = baselines_of(model, prepared, self.baseline, run)
        promised = differences(model, prepared, score, run, starts)

        relevance = on_straight_paths(model, prepared, score, run, starts, self.steps)
        steps = torch.full((len(prepared),), self.steps)
        gaps = gap_of(relevance, promised)
        while self.gap is not None:
            rows = ((gaps > self.gap) & (steps < MOST_STEPS)).nonzero().flatten()
            if not len(rows):
                break
            steps[rows] = (2 * steps[rows]).clamp(max=MOST_STEPS)
            more = int(steps[rows[0]])  # they began alike
            again = on_straight_paths(model, prepared, score, run, starts, more, rows)
            relevance[rows.to(relevance.device)] = again[rows.to(relevance.device)]
            gaps = gap_of(relevance, promised)
        checks = {"completeness gap": gaps}
        if self.gap is not None:
            checks["steps"] = steps
            _warn_of_gaps(gaps, self.gap, steps)
        return Attribution(relevance, checks, (INPUT,))


@method(
    "expected-gradients",
    paper="Erion et al. 2021",
    cost="samples forwards and backwards, samples forwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class ExpectedGradients(Method):
    """The expectation of integrated gradients over baselines: one random point of each path.

    baseline: "noise" is another draw for each sample; of several joined by "+" each sample takes
    one at random. As for integrated-gradients else. samples: of each picture.
    The map has the input's shape, (N, C, *space); in the mean it sums to score(picture) - the mean
    score of the baselines, and checks["completeness gap"] is how far it is from that, as a share
    of the difference: it falls like 1 / sqrt(samples). What is drawn follows from the seed and the
    picture. It is also known as GradientSHAP.
    """

    baseline: Baseline = "noise"
    samples: int = 100

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.samples, "expected-gradients: samples")
        check_baseline(self.baseline, "expected-gradients: baseline")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The expectation over baselines and points on the path, by sampling."""
        score.bind(model, prepared)
        inputs, parts = prepared.tensor, parts_of(self.baseline)
        given = baselines_of(model, prepared, self.baseline, run)
        chosen, shares = _samples(prepared, run, self.samples, len(parts))

        def starts(rows: Tensor, samples: Tensor) -> Tensor:
            which = chosen[rows, samples]
            found = given[which.to(inputs.device), rows.to(inputs.device)].clone()
            for i in range(len(rows)):
                if parts[which[i]] == "noise":
                    found[i] = noise(prepared, rows[i : i + 1], samples[i : i + 1], run)[0]
            return found

        def points(rows: Tensor, samples: Tensor) -> tuple[Tensor, Tensor]:
            start = starts(rows, samples)
            way = full(inputs[rows.to(inputs.device)]) - full(start)
            share = _column(shares[rows, samples], way)
            return full(start) + share * way, way / self.samples

        relevance = gather(model, prepared, score, run, self.samples, points)
        promised = differences(model, prepared, score, run, starts, self.samples)
        return Attribution(relevance, {"completeness gap": gap_of(relevance, promised)}, (INPUT,))


# ---------------------------------------------------------------------- the mechanism


def gather(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    steps: int,
    points: Points,
    *,
    layer: Layer = INPUT,
    rows: Tensor | None = None,
) -> Tensor:
    """Return for each picture the sum over steps of the gradient at a point times its way.

    points: says both for rows and steps. layer: where the gradient is taken. rows: of these
    pictures only, and zeros for the others; the score is bound. As many points at once as
    `run.memory` allows. Returns (N, C', *space'), float32 at least.
    """
    rows = torch.arange(len(prepared)) if rows is None else rows
    total, at_once = len(rows) * steps, model.rows_at_once(prepared, run)

    def flow(start: int, stop: int) -> tuple[Tensor, Tensor]:
        work = torch.arange(start, stop)
        own, step = rows[work // steps], work % steps
        pictures, ways = points(own, step)
        changed = prepared.changed(pictures.to(prepared.tensor), own)
        gradients = record(model, changed, score.of(own), [layer]).gradients[layer]
        ways = _column(ways, gradients) if ways.ndim == 1 else ways.to(gradients)
        return own.to(gradients.device), gradients * ways

    relevance = torch.empty(0)
    for _, done, (own, flows) in in_parts(total, at_once, flow):
        if not relevance.numel():
            relevance = flows.new_zeros(len(prepared), *flows.shape[1:])
        relevance.index_add_(0, own, flows)
        run.report(done, total, "steps")
    return relevance


def straight(prepared: Prepared, starts: Tensor, steps: int) -> tuple[Points, int]:
    """Return the points of straight paths from each of K baselines, and how many they are.

    starts: (K, N, C, *space). The ways are mean weights (m,), which sum to 1.
    """
    points, weights = gauss_legendre(steps)
    inputs = full(prepared.tensor)

    def at(rows: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        place, point = rows.to(inputs.device), step % steps
        start = full(starts[(step // steps).to(inputs.device), place])
        share = _column(points[point], inputs)
        return start + share * (inputs[place] - start), weights[point] / len(starts)

    return at, steps * len(starts)


def on_straight_paths(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    starts: Tensor,
    steps: int,
    rows: Tensor | None = None,
) -> Tensor:
    """Return integrated gradients, averaged over K baselines (K, N, C, *space).

    rows: of these pictures only, and zeros for the others.
    """
    at, count = straight(prepared, starts, steps)
    inputs = full(prepared.tensor)

    def points(rows: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        pictures, weights = at(rows, step)
        place, which = rows.to(inputs.device), (step // steps).to(inputs.device)
        way = inputs[place] - full(starts[which, place])
        return pictures, _column(weights, way) * way

    return gather(model, prepared, score, run, count, points, rows=rows)


@cache
def gauss_legendre(steps: int) -> tuple[Tensor, Tensor]:
    """Return the points in (0, 1) and the weights (sum 1) of Gauss-Legendre quadrature."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    return torch.from_numpy((points + 1) / 2), torch.from_numpy(weights / 2)


# ---------------------------------------------------------------------- completeness


def differences(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    starts: Tensor | Callable[[Tensor, Tensor], Tensor],
    count: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return score(picture) - the mean score of its baselines, and score(picture): float64 (N,).

    starts: the baselines (K, N, C, *space), or what gives number so-and-so of a picture's `count`.
    """
    inputs = prepared.tensor
    count = len(starts) if isinstance(starts, Tensor) else count

    def changed(rows: Tensor, changes: Tensor) -> Tensor:
        place = rows.to(inputs.device)
        found = inputs[place]
        empty = changes < count
        if not bool(empty.any()):
            return found
        if isinstance(starts, Tensor):
            begin = starts[changes[empty].to(inputs.device), place[empty.to(inputs.device)]]
        else:
            begin = starts(rows[empty], changes[empty])
        found[empty.to(inputs.device)] = begin.to(found)
        return found

    full = torch.zeros(len(prepared), dtype=torch.float64)
    if prepared.clean:
        full += score.answered[1].double().cpu()
    empty = torch.zeros_like(full)
    changes = count if prepared.clean else count + 1  # the picture itself as the last
    for part in ask(model, prepared, score, run, changes, changed, what="baselines"):
        own = part.changes == count
        full.index_add_(0, part.rows[own], part.scores[own])
        empty.index_add_(0, part.rows[~own], part.scores[~own] / count)
    return full - empty, full


def gap_of(relevance: Tensor, promised: tuple[Tensor, Tensor]) -> Tensor:
    """Return how far maps are from summing to what is promised, as a share of it; float64 (N,).

    promised: the difference of the scores and the picture's score, which says what is rounding.
    """
    difference, full = promised
    found = relevance.flatten(1).sum(1, dtype=torch.float64).cpu()
    scale = torch.maximum(difference.abs(), 1e-6 * full.abs()).clamp(min=1e-12)
    return (found - difference).abs() / scale


def _warn_of_gaps(gaps: Tensor, wanted: float, steps: Tensor) -> None:
    count = int((gaps > wanted).sum())
    if count:
        warn(
            f"integrated-gradients: the completeness gap of {count} of {len(gaps)} pictures is "
            f"still above {wanted:g} with {int(steps.max())} steps (the largest is "
            f"{float(gaps.max()):.3g}): accept a larger gap, or choose another baseline"
        )


# ---------------------------------------------------------------------- helpers


def _samples(prepared: Prepared, run: Run, samples: int, parts: int) -> tuple[Tensor, Tensor]:
    """Which baseline each sample of each picture takes, and how far on the way it lies: (N, S)."""
    draws = [generator(run.seed, key, STREAM) for key in prepared.keys]
    chosen = [torch.randint(parts, (samples,), generator=draw) for draw in draws]
    shares = [torch.rand(samples, generator=draw, dtype=torch.float64) for draw in draws]
    return torch.stack(chosen), torch.stack(shares)


def _column(values: Tensor, like: Tensor) -> Tensor:
    """Return (M,) as (M, 1, ..., 1) beside a tensor (M, ...)."""
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))
