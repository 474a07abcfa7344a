"""Metrics with masks: does the map point at what is known to be the answer.

They judge what speaks for the target: the positive part of a map, or its magnitude where the
method's display is "absolute". An empty mask is no hit but NaN, and so is a map with nothing
positive. Places that the model did not see belong neither to the map nor to the mask.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import MethodError, PictureError
from seewhy.explanation import Explanation
from seewhy.model.geometry import Geometry
from seewhy.trust.metrics import PEAKS, RANKS, Case, Maps, Metric


@dataclass(frozen=True)
class PointingGame(Metric):
    """Whether the map's largest value lies in the mask: 1 or 0.

    tolerance: pixels of the original picture that it may lie beside the mask (15 in the paper).
    Of several largest values one is drawn at random, the same for a picture whatever its batch.
    Zhang et al. 2016.
    """

    tolerance: float = 0

    name = "pointing-game"
    words = "whether the largest value lies in the marked region"
    paper = "Zhang et al. 2016"
    needs = ("masks",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance >= 0:
            raise MethodError(
                f"pointing-game: tolerance is {self.tolerance}: give pixels, 0 or more"
            )

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return 1, 0 or NaN for each picture, float64 (N,)."""
        return _each(
            case,
            maps,
            lambda row, heat, mask: pointing_game(
                heat, mask, self.tolerance, case.draw(row, PEAKS)
            ),
        )


@dataclass(frozen=True)
class RelevanceMass(Metric):
    """The share of the map's relevance that lies in the mask, 0..1.

    Arras et al. 2022.
    """

    name = "relevance-mass"
    words = "the share of the map that lies in the marked region"
    paper = "Arras et al. 2022"
    needs = ("masks",)

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return the share or NaN for each picture, float64 (N,)."""
        return _each(case, maps, lambda _, heat, mask: relevance_mass(heat, mask))


@dataclass(frozen=True)
class RelevanceRank(Metric):
    """The share of the K most relevant pixels that lie in a mask of K pixels, 0..1.

    Of equal pixels those that count are drawn at random. Arras et al. 2022.
    """

    name = "relevance-rank"
    words = "the share of the largest values that lie in it, as many as it has pixels"
    paper = "Arras et al. 2022"
    needs = ("masks",)

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return the share or NaN for each picture, float64 (N,)."""
        return _each(
            case, maps, lambda row, heat, mask: relevance_rank(heat, mask, case.draw(row, RANKS))
        )


def mass_of(explanations: Sequence[Explanation], masks: Iterable[Any]) -> Tensor:
    """Return for each explanation the share of its map that lies in a mask, float64 (N,).

    masks: bool (H, W) of each original picture. NaN as for `relevance_mass`.
    """
    found, listed = [], list(masks)
    if len(listed) != len(explanations):
        raise PictureError(f"{len(listed)} masks for {len(explanations)} maps: give one for each")
    for why, mask in zip(explanations, listed, strict=True):
        size = tuple(np.asarray(mask).shape)
        if why.geometry is not None and size != why.geometry.original:
            raise PictureError(
                f"the mask of {why.source} has the shape {size}: give {why.geometry.original}"
            )
        geometry = why.geometry or Geometry.stretched(size, size)
        heat = Maps(why.relevance[None], why.display).laid(0, geometry)
        found.append(relevance_mass(heat, torch.as_tensor(np.asarray(mask))))
    return torch.tensor(found, dtype=torch.float64)


def pointing_game(
    heat: Tensor, mask: Tensor, tolerance: float = 0, draw: torch.Generator | None = None
) -> float:
    """Return 1.0 where the largest value lies within `tolerance` pixels of the mask, else 0.0.

    heat: (H, W), NaN where unseen; mask: bool (H, W). NaN where nothing is positive or masked.
    """
    heat, mask = _judged(heat, mask)
    if not _answerable(heat, mask):
        return math.nan
    peaks = (heat == heat.max()).nonzero()
    peak = peaks[torch.randint(len(peaks), (), generator=draw)]
    distance = (mask.nonzero() - peak).square().sum(1).min()
    return float(distance <= tolerance**2)


def relevance_mass(heat: Tensor, mask: Tensor) -> float:
    """Return the share of what is positive in the heat (H, W) that lies in the mask (H, W).

    NaN where nothing is positive or masked.
    """
    heat, mask = _judged(heat, mask)
    if not _answerable(heat, mask):
        return math.nan
    return float(heat[mask].sum() / heat.clamp(min=0).sum())


def relevance_rank(heat: Tensor, mask: Tensor, draw: torch.Generator | None = None) -> float:
    """Return the share of the K largest values of the heat (H, W) in a mask (H, W) of K pixels.

    NaN where nothing is positive or masked.
    """
    heat, mask = _judged(heat, mask)
    if not _answerable(heat, mask):
        return math.nan
    size = int(mask.sum())
    least = heat.flatten().topk(size).values[-1]
    above, equal = heat > least, mask[heat == least]
    drawn = equal[torch.randperm(len(equal), generator=draw)[: size - int(above.sum())]]
    return float((mask & above).sum() + drawn.sum()) / size


def _each(case: Case, maps: Maps, judge) -> Tensor:  # type: ignore[no-untyped-def]
    """Judge picture by picture: originals differ in size."""
    if len(case.masks) != len(maps):
        raise MethodError(
            f"{len(case.masks)} masks for {len(maps)} maps: give a bool mask (H, W) of each "
            "original picture"
        )
    found = [
        judge(row, maps.laid(row, case.geometry(row)), case.masks[row]) for row in range(len(maps))
    ]
    return torch.tensor(found, dtype=torch.float64)


def _judged(heat: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """What speaks for the target where the model saw the picture, and the mask there.

    Unseen places become -1: less than anything seen.
    """
    seen = ~heat.isnan()
    return torch.where(seen, heat.clamp(min=0), -1.0), mask & seen


def _answerable(heat: Tensor, mask: Tensor) -> bool:
    return bool(mask.any()) and float(heat.max()) > 0
