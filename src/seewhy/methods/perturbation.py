"""Perturbation: what the score loses where parts of the picture are removed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Display, positive
from seewhy.methods.changes import (
    Removing,
    Segmented,
    Switches,
    as_map,
    check_sampling,
    check_space,
    draws_of,
    faded,
    filled,
    laid,
    own_scores,
    scores_of,
    space_of,
)
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

RISE_MASKS = 400  # tells this use of a picture's random numbers from others
AT_ONCE = 64  # masks that are weighed together


@method(
    "occlusion",
    paper="Zeiler & Fergus 2014",
    cost="1 forward a patch: 729 at 224 pixels a side",
)
@dataclass(frozen=True)
class Occlusion(Removing):
    """What the score loses when a patch is removed, averaged over the patches that cover a place.

    patch: its side in places of the model's input, along every axis of space. stride: from one
    patch to the next, at most `patch`; None is half a patch. The last patches end where the picture
    does. The map is (N, 1, *space), in units of the score; (N, D) for inputs without space.
    """

    patch: int = 16
    stride: int | None = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.patch, "occlusion: patch")
        if self.stride is not None and not 1 <= self.stride <= self.patch:
            raise MethodError(
                f"occlusion: stride is {self.stride} and patch is {self.patch}: give a stride from "
                "1 to the patch, or places between patches are never removed"
            )

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One forward a patch."""
        space = space_of(prepared)
        if self.patch >= max(space):
            raise MethodError(
                f"a patch of {self.patch} covers inputs of {' x '.join(map(str, space))} whole: "
                "make it smaller than the longest side"
            )
        inside = [_patches(side, self.patch, self.stride) for side in space]
        grid = tuple(each.shape[1] for each in inside)
        remove = filled(self.fill, prepared, run)

        def occluded(rows: Tensor, changes: Tensor) -> Tensor:
            gone = torch.ones(len(rows), *(1,) * len(space), dtype=torch.bool)
            for axis, place in enumerate(torch.unravel_index(changes, grid)):
                shape = [1] * axis + [-1] + [1] * (len(space) - axis - 1)
                gone = gone & inside[axis].T[place].reshape(len(rows), *shape)
            return remove(rows, ~gone)

        whole = own_scores(model, prepared, score, run)
        scores = scores_of(model, prepared, score, run, math.prod(grid), occluded, what="patches")
        lost = (whole[:, None] - scores).reshape(-1, *grid)
        cover = [each.double() for each in inside]
        mean = laid(lost, cover) / laid(torch.ones(1, *grid, dtype=torch.float64), cover)
        return Attribution(as_map(mean, prepared), layers=(INPUT,))


@method(
    "feature-ablation",
    paper="Zeiler & Fergus 2014, on segments",
    cost="1 forward a segment, about 50",
)
@dataclass(frozen=True)
class FeatureAblation(Segmented):
    """What the score loses when a segment is removed; each place has the number of its segment.

    The map is (N, 1, *space), in units of the score; (N, D) for inputs without space.
    """

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One forward a segment."""
        switches = Switches(self, prepared, run)
        places = torch.arange(max(switches.counts))

        def ablated(rows: Tensor, changes: Tensor) -> Tensor:
            return switches(rows, places != changes[:, None])

        whole = own_scores(model, prepared, score, run)
        scores = scores_of(model, prepared, score, run, switches.counts, ablated, what="segments")
        return Attribution(switches.spread(whole[:, None] - scores), layers=(INPUT,))


@method("rise", paper="Petsiuk et al. 2018, eq. 6", cost="samples forwards: 4000")
@dataclass(frozen=True)
class RISE(Removing):
    """How much higher the score is than on average when a place is seen, under random soft masks.

    samples: masks. grid: cells of a mask along each axis, enlarged linearly and moved by up to a
    cell. p: probability that a cell is seen. seconds: no more masks are begun after that. The
    paper's mean of the scores weighted by the masks, over the mean of the masks used, less the mean
    score: 0 where nothing depends on it. checks["samples"]: masks used.
    The map is (N, 1, *space), in units of the score.
    """

    samples: int = 4000
    grid: int = 7
    p: float = 0.5
    seconds: float | None = None

    display: ClassVar[Display] = "positive"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_sampling(self.name, self.samples, self.seconds)
        positive(self.grid, "rise: grid")
        if not 0 < self.p < 1:
            raise MethodError(f"rise: p is {self.p!r}: give a probability between 0 and 1")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 6."""
        check_space(prepared, self.name)
        masks = SmoothMasks(self, prepared, run)
        fade = faded(self.fill, prepared, run)
        score.bind(model, prepared)
        scores = scores_of(
            model,
            prepared,
            score,
            run,
            self.samples,
            lambda rows, changes: fade(rows, masks(rows, changes)),
            seconds=self.seconds,
            least=2,
            what="masks",
        )
        known = ~scores.isnan()
        used = known.sum(1)
        mean = scores.nansum(1) / used
        above = torch.where(known, scores - mean[:, None], 0)
        seen = masks.weighed(torch.stack([above, known.double()], 1))
        relevance = seen[:, 0] / seen[:, 1].clamp(min=1e-9)
        return Attribution(as_map(relevance, prepared), {"samples": used.double()}, (INPUT,))


class SmoothMasks:
    """Random soft masks of pictures: a grid of what is seen, enlarged linearly, moved at random.

    They follow from the seed and the picture alone, and are made when they are asked for.
    """

    def __init__(self, how: RISE, prepared: Prepared, run: Run) -> None:
        space, grids, moves = space_of(prepared), [], []
        device = prepared.tensor.device
        self._enlarge = [_enlarged(side, how.grid).to(device) for side in space]
        draws = draws_of(prepared, run, RISE_MASKS)
        for draw in draws.values():
            shape = (how.samples, *(how.grid,) * len(space))
            grids.append(torch.rand(shape, generator=draw) < how.p)
            furthest = [len(each) for each in self._enlarge]
            move = [torch.randint(each, (how.samples,), generator=draw) for each in furthest]
            moves.append(torch.stack(move, 1))
        number = {key: place for place, key in enumerate(draws)}
        self._own = torch.tensor([number[key] for key in prepared.keys])
        self._grids, self._moves = torch.stack(grids).to(device), torch.stack(moves).to(device)

    def __call__(self, rows: Tensor, changes: Tensor) -> Tensor:
        """Return the masks of these pictures, float32 (m, *space) in 0..1."""
        own = self._own[rows].to(self._grids.device), changes.to(self._grids.device)
        moves = self._moves[own]
        factors = [each[moves[:, axis]] for axis, each in enumerate(self._enlarge)]
        return laid(self._grids[own].float(), factors)

    def weighed(self, weights: Tensor) -> Tensor:
        """Return the sum of each picture's masks by weights (N, k, samples), (N, k, *space)."""
        found: list[Tensor] = [torch.empty(0)] * len(weights)
        for own in self._own.unique():
            rows = (self._own == own).nonzero().flatten()
            total: Tensor | float = 0.0
            for part in torch.arange(weights.shape[2]).split(AT_ONCE):
                masks = self(rows[:1].expand(len(part)), part)
                share = weights[rows][..., part].to(masks)
                total = total + torch.tensordot(share, masks, 1).double()
            for row, each in zip(rows.tolist(), torch.as_tensor(total), strict=True):
                found[row] = each
        return torch.stack(found)


def _patches(side: int, patch: int, stride: int | None) -> Tensor:
    """Which places of an axis each patch covers, bool (side, patches)."""
    step = stride or max(1, patch // 2)
    count = 1 + math.ceil(max(0, side - patch) / step)
    places, starts = torch.arange(side)[:, None], torch.arange(count) * step
    return (places >= starts) & (places < starts + patch)


def _enlarged(side: int, grid: int) -> Tensor:
    """What each place of an axis has of each cell, after each move: (cell + 1, side, grid).

    The grid is enlarged linearly to one cell more than the side has, so that it can be moved.
    """
    cell = math.ceil(side / grid)
    places = torch.arange((grid + 1) * cell, dtype=torch.float64)
    centres = ((places + 0.5) * grid / len(places) - 0.5).clamp(0, grid - 1)
    weights = (1 - (centres[:, None] - torch.arange(grid)).abs()).clamp(min=0).float()
    return torch.stack([weights[move : move + side] for move in range(cell + 1)])
