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
from seewhy.targets import Score, Target
from seewhy.trial import Trial
from seewhy.trust.metrics import DRAWS, Case, Maps, measured
from seewhy.trust.removal import numbered, patch_relevance, scores_of_kept

FILLS: tuple[Fill, ...] = (Blur(), NoisyLinear())
GRID = 16  # patches across the shorter side
TRIED = 8  # times as many moves are drawn as are used: those that overlap least
ENDS = torch.tensor([0.05, 0.95], dtype=torch.float64)


@dataclass(frozen=True)
class RemovalCheck:
    """Remove what a map points at, and regions of the same form elsewhere.

    A map points at the patches that speak most for the target, at most `share` of the picture; a
    sixteenth of its shorter side is a patch's. Elsewhere is the same region moved, mirrored or
    turned, in `draws` ways drawn at random among those that overlap it least. Of a class the
    probability is measured. Both fills of SRG are tried: an answer that depends on the fill is
    none. The interval is that of the draws, not of their mean: a map drawn at random is one of
    them, and passes one time in twenty.
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
        patch = max(1, min(height, width) // GRID)
        patches = numbered(case.prepared, patch)
        grid = (-(-height // patch), -(-width // patch))
        relevance = patch_relevance(maps.on_input((height, width)), patch)
        most = max(1, round(self.share * relevance.shape[1]))
        gone = torch.zeros(len(case), self.draws + 1, relevance.shape[1], dtype=torch.bool)
        for row, own in enumerate(relevance):
            count = min(most, int((own > 0).sum()))
            if count:
                region = torch.zeros(grid, dtype=torch.bool)
                region.view(-1)[own.topk(count).indices] = True
                moved = moves(region, self.draws, case.draw(row, DRAWS))
                gone[row] = torch.stack([region, *moved]).flatten(1)
        pointing = gone[:, 0].any(1)
        counts = (pointing * (self.draws + 1)).tolist()
        trials: list[list[Trial]] = [[] for _ in range(len(case))]
        for fill in self.fills if any(counts) else ():
            scores = scores_of_kept(
                case, fill, patches, counts, lambda rows, draws: ~gone[rows, draws]
            )
            for row in pointing.nonzero().flatten().tolist():
                share = float(gone[row, 0][patches].double().mean())
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
    case = Case(model, prepared, Score(measured(targets), model, prepared), (), run)
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


def _trial(case: Case, row: int, fill: Fill, share: float, scores: Tensor) -> Trial:
    """scores: without what the map points at, and without as much in each other place."""
    pointed, elsewhere = scores[0], scores[1:]
    low, high = (elsewhere - pointed).quantile(ENDS).tolist()
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
