"""How sure a mean over pictures is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from seewhy.errors import MethodError


class Interval(NamedTuple):
    """A mean with the ends of its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


def bootstrap(values: Tensor, draws: int = 1000, level: float = 0.9, seed: int = 0) -> Interval:
    """Return the mean of values (N,) and its interval by the percentile bootstrap.

    Values that are NaN are left out; the mean of none is NaN, and so is the interval of fewer than
    two. level: the share of resampled means inside. Efron 1979. Raises MethodError for values of
    another shape or settings without sense.

    >>> bootstrap(torch.tensor([1.0, 1.0, float("nan")]))
    Interval(mean=1.0, low=1.0, high=1.0)
    """
    if values.ndim != 1:
        raise MethodError(f"values (N,) are resampled, and the shape {tuple(values.shape)} came")
    if draws < 1 or not 0 < level < 1:
        raise MethodError(f"{draws} draws at the level {level}: give at least 1, and 0 < level < 1")
    known = values.detach().double().cpu()
    known = known[~known.isnan()]
    if not len(known):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(known.mean())
    if len(known) < 2:
        return Interval(mean, math.nan, math.nan)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(known), (draws, len(known)), generator=draw)
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = known[chosen].mean(1).quantile(tails).tolist()
    return Interval(mean, low, high)


def bootstrap_difference(
    one: Tensor, other: Tensor, draws: int = 1000, level: float = 0.9, seed: int = 0
) -> Interval:
    """Return the mean of one - other (N,) and its interval, picture by picture.

    A picture counts where both are known. Raises MethodError where their lengths differ.
    """
    if one.shape != other.shape:
        raise MethodError(
            f"values of the same pictures are compared, and {tuple(one.shape)} and "
            f"{tuple(other.shape)} came"
        )
    return bootstrap(one.double() - other.double(), draws, level, seed)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Return how often a value of the first (N,) is larger than one of the second (M,), 0..1.

    Equal ones count half: 0.5 tells nothing. NaN is left out; NaN where nothing is left. Hanley &
    McNeil 1982.

    >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
    0.875
    """
    one, other = (each[~each.isnan()].double() for each in (positive, negative))
    if not len(one) or not len(other):
        return math.nan
    larger = (one[:, None] > other).double() + 0.5 * (one[:, None] == other).double()
    return float(larger.mean())
