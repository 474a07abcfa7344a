"""Checking maps on their own pictures: does what they point at count more than other places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoAnswerError, warn
from seewhy.explanation import Explanation
from seewhy.fill import Blur, Fill, NoisyLinear
from seewhy.model.model import Model
from seewhy.model.prepare import Prepared
from seewhy.run import Run
from seewhy.targets import Target
from seewhy.trial import Trial
from seewhy.trust.metrics import DRAWS, Case, Maps
from seewhy.trust.removal import scores_of_kept

FILLS: tuple[Fill, ...] = (Blur(), NoisyLinear())
GRID = 16  # cells along the shorter side
TRIED = 8  # times as many moves are drawn as are used: those that overlap least


@dataclass(frozen=True)
class RemovalCheck:
    """Remove what a map points at, and regions of the same form elsewhere.

    The picture is cut into cells, sixteen along its shorter side. A map points at those that speak
    most for the target, at most `share` of them, ties drawn at random. Elsewhere is the same region
    moved, mirrored or turned, in `draws` ways drawn at random among those that overlap it least. Of
    a class the probability is measured. Both fills of SRG are tried: an answer that depends on the
    fill is none. What a map points at counts more where its removal costs more than that of every
    other place: of maps drawn at random, about one in twenty does.
    """

    share: float = 0.1
    draws: int = 19
    fills: tuple[Fill, ...] = FILLS

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5 or self.draws < 2:
            raise MethodError(
                f"the check removes a share of {self.share} in {self.draws} draws: give a share "
                "in 0..0.5 and at least 2 draws"
            )

    def measure(self, case: Case, maps: Maps) -> list[tuple[Trial, ...]]:
        """Return for each picture one trial a fill; none for a map that points at nothing."""
        height, width = (int(side) for side in case.prepared.tensor.shape[2:])
        cells, grid = _cells(height, width)
        relevance = _means(maps.on_input((height, width)), cells)
        most = max(1, round(self.share * relevance.shape[1]))
        gone = torch.zeros(len(case), self.draws + 1, relevance.shape[1], dtype=torch.bool)
        for row, own in enumerate(relevance):
            draw = case.draw(row, DRAWS)
            count = min(most, int((own > 0).sum()))
            if count:
                shuffled = torch.randperm(len(own), generator=draw)
                order = shuffled[own[shuffled].argsort(descending=True, stable=True)]
                region = torch.zeros(grid, dtype=torch.bool)
                region.view(-1)[order[:count]] = True
                moved = moves(region, self.draws, draw)
                gone[row] = torch.stack([region, *moved]).flatten(1)
        pointing = gone[:, 0].any(1)
        counts = (pointing * (self.draws + 1)).tolist()
        trials: list[list[Trial]] = [[] for _ in range(len(case))]
        for fill in self.fills if any(counts) else ():
            scores = scores_of_kept(
                case, fill, cells, counts, lambda rows, draws: ~gone[rows, draws]
            )
            for row in pointing.nonzero().flatten().tolist():
                share = float(gone[row, 0][cells].double().mean())
                trials[row].append(_trial(case, row, fill, share, scores[row]))
        return [tuple(each) for each in trials]


def checked(
    model: Model,
    prepared: Prepared,
    targets: Sequence[Target],
    answers: Sequence[Explanation],
    run: Run,
) -> list[Explanation]:
    """Return the explanations of a batch with their trials; see `RemovalCheck`.

    Where a score is gone once something is removed, an explanation stays as it is, with a warning.
    Raises MethodError for inputs that are no pictures.
    """
    if prepared.tensor.ndim != 4:
        raise MethodError(
            "the check removes parts of pictures (N, C, H, W), and an input of the shape "
            f"{tuple(prepared.tensor.shape)} came: leave check=True out"
        )
    case = Case.measuring(model, prepared, targets, run=run)
    relevance = torch.stack([each.relevance for each in answers])
    try:
        found = RemovalCheck().measure(case, Maps(relevance, answers[0].display))
    except NoAnswerError as error:
        if len(answers) > 1:
            return [
                one
                for row, each in enumerate(answers)
                for one in checked(model, prepared.rows([row]), [targets[row]], [each], run)
            ]
        warn(f"the map of {answers[0].source} could not be checked: {error}")
        return list(answers)
    for each, own in zip(answers, found, strict=True):
        if not own:
            warn(
                f"the map of {each.source} by {each.method} points at nothing that speaks for "
                f"{each.target}: there is nothing to check"
            )
    return [replace(each, trials=own) for each, own in zip(answers, found, strict=True)]


def moves(region: Tensor, count: int, draw: torch.Generator) -> list[Tensor]:
    """Return a region, bool (h, w), in other places: moved around, mirrored and turned.

    `count` ways drawn at random among the ones that overlap the region least.
    """
    height, width = region.shape
    tried = []
    for _ in range(TRIED * count):
        down, across, way = (
            int(torch.randint(limit, (), generator=draw)) for limit in (height, width, 8)
        )
        moved = region.T if way >= 4 and height == width else region
        moved = moved.flip([axis for axis in (0, 1) if way >> axis & 1])
        tried.append(moved.roll((down, across), (0, 1)))
    return sorted(tried, key=lambda each: int((each & region).sum()))[:count]


def _cells(height: int, width: int) -> tuple[Tensor, tuple[int, int]]:
    """The number of each pixel's cell, (H, W), and how many there are; nearly equal in size."""
    side = max(1.0, min(height, width) / GRID)
    down, across = max(1, round(height / side)), max(1, round(width / side))
    rows, columns = torch.arange(height) * down // height, torch.arange(width) * across // width
    return rows[:, None] * across + columns, (down, across)


def _means(values: Tensor, cells: Tensor) -> Tensor:
    """The mean of maps (N, H, W) over each cell, (N, P)."""
    sums = values.new_zeros(len(values), int(cells.max()) + 1)
    sums.index_add_(1, cells.flatten(), values.flatten(1))
    return sums / cells.flatten().bincount()


def _trial(case: Case, row: int, fill: Fill, share: float, scores: Tensor) -> Trial:
    """scores: without what the map points at, and without as much in each other place."""
    pointed, elsewhere = scores[0], scores[1:]
    low, high = torch.stack([*(elsewhere - pointed).aminmax()]).tolist()
    return Trial(
        fill=str(fill),
        share=share,
        measured=case.score.names[row],
        whole=float(case.whole[row]),
        pointed=float(pointed),
        elsewhere=float(elsewhere.mean()),
        low=low,
        high=high,
    )
