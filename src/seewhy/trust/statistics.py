"""How sure a mean over pictures is."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from scipy.special import ndtr, ndtri, stdtrit
from torch import Tensor

from seewhy.errors import MethodError

FEWEST = 4
"""Values below which no interval is given."""


class Interval(NamedTuple):
    """A mean with the ends of its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


def bootstrap(values: Tensor, draws: int = 1000, level: float = 0.9, seed: int = 0) -> Interval:
    """Return the mean of values (N,) and its interval by the bootstrap.

    Values that are NaN are left out; the mean of none is NaN, and so is the interval of fewer than
    four, which would say more than they know. The percentiles are widened for few values (the
    expanded percentile interval of Hesterberg 2015); hits and misses, all 0 or 1, have the interval
    of Wilson 1927 instead. level: the share of such intervals that hold the true mean. Raises
    MethodError for values of another shape or settings without sense.

    >>> bootstrap(torch.tensor([0.5, 0.5, 0.5, 0.5, float("nan")]))
    Interval(mean=0.5, low=0.5, high=0.5)
    """
    if values.ndim != 1:
        raise MethodError(f"values (N,) are resampled, and the shape {tuple(values.shape)} came")
    if draws < 1 or not 0 < level < 1:
        raise MethodError(f"{draws} draws at the level {level}: give at least 1, and 0 < level < 1")
    known = values.detach().double().cpu()
    known = known[~known.isnan()]
    count = len(known)
    if not count:
        return Interval(math.nan, math.nan, math.nan)
    mean = float(known.mean())
    if count < FEWEST:
        return Interval(mean, math.nan, math.nan)
    if bool(((known == 0) | (known == 1)).all()):
        return _wilson(mean, count, level)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(count, (draws, count), generator=draw)
    beyond = math.sqrt(count / (count - 1)) * float(stdtrit(count - 1, (1 - level) / 2))
    tail = float(ndtr(beyond))
    tails = torch.tensor([tail, 1 - tail], dtype=torch.float64)
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


def _wilson(share: float, count: int, level: float) -> Interval:
    """The share of hits and its score interval."""
    z = float(ndtri((1 + level) / 2))
    scale = 1 + z * z / count
    centre = (share + z * z / (2 * count)) / scale
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / scale
    return Interval(share, centre - half, centre + half)


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
