"""Gradients gathered along other paths than straight ones: of less blur, of least gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.linalg import vecdot

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.baselines import (
    Baseline,
    baselines_of,
    check_baseline,
    need_space,
    smoothed,
)
from seewhy.methods.path import differences, gap_of, gather
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.record import record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

REACHED = 1e-9  # of the whole distance


@method(
    "blur-ig",
    paper="Xu et al. 2020",
    cost="steps + 2 forwards, steps backwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class BlurIG(Method):
    """Gradients gathered on the path from the blurred picture to the picture, as blur vanishes.

    It needs no baseline that the network has never seen. sigma: the blur at the beginning, its
    standard deviation as a share of the picture's shorter side. steps: on the path; the deviation
    falls quadratically, so that the path is even where the picture changes fastest. Gradients are
    those of each step's middle, times the step's whole change.
    The map has the input's shape, (N, C, *space); it sums to score(picture) - score(blurred), and
    checks["completeness gap"] is how far it is from that, as a share of the difference.
    """

    steps: int = 100
    sigma: float = 0.2

    family: ClassVar[str] = "path"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "blur-ig: steps")
        positive(self.sigma, "blur-ig: sigma")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The integral over scales of the gradient times the picture's change with the scale."""
        need_space(prepared, self.name)
        score.bind(model, prepared)
        inputs = prepared.tensor
        most = self.sigma * min(inputs.shape[2:])

        def blurred(rows: Tensor, steps: Tensor) -> Tensor:
            """The pictures so many steps away from themselves."""
            deviations = most * (steps / self.steps).square()
            parts = [
                smoothed(inputs[row : row + 1], deviation)
                for row, deviation in zip(rows.tolist(), deviations.tolist(), strict=True)
            ]
            return torch.cat(parts)

        def points(rows: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
            way = blurred(rows, steps.double()) - blurred(rows, steps + 1.0)
            return blurred(rows, steps + 0.5), way

        relevance = gather(model, prepared, score, run, self.steps, points)
        start = smoothed(inputs, most).to(inputs)[None]
        promised = differences(model, prepared, score, run, start)
        return Attribution(relevance, {"completeness gap": gap_of(relevance, promised)}, (INPUT,))


@method(
    "guided-ig",
    paper="Kapishnikov et al. 2021",
    cost="steps + 2 forwards, steps + 1 backwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class GuidedIG(Method):
    """Gradients gathered on a path that changes first what has the smallest gradient.

    steps: in each, the distance to the picture (L1) falls by the same amount. fraction: of the
    values that may move, the share that does, those with the smallest absolute gradients. distance:
    how far a value may be, as a share of its own way, from where it is on the straight path: 0 is
    integrated gradients, 1 lets it move freely. baseline: as for integrated-gradients.
    The gradient of a step is the mean of those at its ends (the published code takes the first),
    so that the path's own completeness is better kept. The map has the input's shape,
    (N, C, *space); it sums to score(picture) - score(baseline), and checks["completeness gap"] is
    how far it is from that, as a share of the difference.
    """

    steps: int = 200
    fraction: float = 0.25
    distance: float = 0.02
    baseline: Baseline = 0.0

    family: ClassVar[str] = "path"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "guided-ig: steps")
        if not 0 < self.fraction <= 1:
            raise MethodError(f"guided-ig: fraction is {self.fraction!r}: give a share, 0..1")
        if not 0 <= self.distance <= 1:
            raise MethodError(f"guided-ig: distance is {self.distance!r}: give a share, 0..1")
        check_baseline(self.baseline, "guided-ig: baseline")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Every picture goes its own way; as many at once as `run.memory` allows."""
        score.bind(model, prepared)
        starts = baselines_of(model, prepared, self.baseline, run)
        at_once = model.rows_at_once(prepared, run)
        parts = torch.arange(len(prepared)).split(at_once)
        total = len(starts) * len(parts) * (self.steps + 1)
        done, maps = 0, []
        for rows in parts:
            place = rows.to(prepared.tensor.device)
            summed = torch.zeros_like(prepared.tensor[place], dtype=torch.float64)
            for start in starts:
                path = _GuidedPath(self, prepared.tensor[place], start[place])
                for _ in range(self.steps + 1):
                    changed = prepared.changed(path.pictures.to(prepared.tensor), rows)
                    recording = record(model, changed, score.of(rows), [INPUT])
                    path.go_on(recording.gradients[INPUT])
                    done += 1
                    run.report(done, total, "steps")
                summed += path.relevance / len(starts)
            maps.append(summed)
        relevance = torch.cat(maps).to(torch.promote_types(prepared.tensor.dtype, torch.float32))
        promised = differences(model, prepared, score, run, starts)
        return Attribution(relevance, {"completeness gap": gap_of(relevance, promised)}, (INPUT,))


class _GuidedPath:
    """Where some pictures are on their ways: each value has come a share of its own, `at`."""

    def __init__(self, how: GuidedIG, inputs: Tensor, start: Tensor) -> None:
        self._how, self._step = how, 0
        self._start = start.double()
        self._way = inputs.double() - self._start
        self._length = self._way.abs().flatten(1)
        self._whole, self._moves = self._length.sum(1, keepdim=True), self._length > 0
        self._at = torch.zeros_like(self._length)
        self._moved = torch.zeros_like(self._length)
        self._before: Tensor | None = None
        self.relevance = torch.zeros_like(self._way)

    @property
    def pictures(self) -> Tensor:
        """The pictures as they are now.

        At first half a step on the straight way: an empty picture is where pooling meets ties, and
        what its gradient is hangs on rounding.
        """
        at = self._at if self._step else self._at + 0.5 / self._how.steps
        return self._start + at.view_as(self._way) * self._way

    def go_on(self, gradients: Tensor) -> None:
        """Credit the last step with the gradients at both its ends, and take the next."""
        if self._before is not None:
            change = self._moved.view_as(self._way) * self._way
            self.relevance.addcmul_(change, (self._before + gradients).double(), value=0.5)
        self._before = gradients
        if self._step < self._how.steps:
            self._step += 1
            before = self._at
            self._at = self._stepped(gradients.abs().nan_to_num_().flatten(1))
            self._moved = self._at - before

    def _stepped(self, gradients: Tensor) -> Tensor:
        """The shares after this step: smallest gradients first, within the band around it."""
        share, band = self._step / self._how.steps, self._how.distance
        low, high = max(share - band, 0.0), min(share + band, 1.0)
        at, ranked = self._at.clamp(min=low), gradients
        order = max(1, int(self._how.fraction * (at.shape[1] - 1)) + 1)
        while True:
            missing = share * self._whole - vecdot(self._length, at)[:, None]
            free = (at < high) & self._moves & (missing > REACHED * self._whole)
            if not bool(free.any()):
                return at
            ranked = ranked.masked_fill(~free, torch.inf)  # what has arrived stays there
            threshold = ranked.kthvalue(order, dim=1, keepdim=True).values
            chosen = (free & (ranked <= threshold)).to(at)
            room = vecdot(self._length * chosen, high - at)[:, None]
            part = (missing / torch.where(room > 0, room, torch.inf)).clamp(max=1)
            at = torch.lerp(at, at.new_tensor(high), chosen * part)
