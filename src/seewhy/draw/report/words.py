"""What a map shows, in words: for those who cannot see it, or print it without colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

COARSE = 24
"""Places along a side: a region is strong, not a pixel."""

PLACES = (
    ("in the upper left", "at the top", "in the upper right"),
    ("on the left", "in the centre", "on the right"),
    ("in the lower left", "at the bottom", "in the lower right"),
)


def where_strongest(heat: ArrayLike) -> str:
    """Say where a heat (h, w) is strongest, and on how little of the picture half of it lies.

    What is negative or NaN does not count, unless nothing is positive.

    >>> where_strongest(np.eye(9)[:, :1])
    'strongest at the top; half of it lies on 11% of the picture'
    """
    values = np.nan_to_num(np.asarray(heat, np.float32))
    positive = values.clip(min=0)
    if positive.any():
        return f"strongest {_place(positive)}; {_spread(positive)}"
    if values.any():
        return f"nothing speaks for it; strongest against it {_place(-values)}"
    return "the map is empty"


def shares_of(maps: ArrayLike, least: float = 0.25) -> list[float]:
    """Return the share of a picture that each of several maps (k, h, w) is the strongest on, 0..1.

    Places where none reaches `least` belong to none, and those that are NaN do not count.

    >>> shares_of([[[1.0, 0.5], [0.1, np.nan]], [[0.0, 0.6], [0.9, np.nan]]])
    [0.3333333333333333, 0.6666666666666666]
    """
    values = np.asarray(maps, np.float32)
    seen = values[:, ~np.isnan(values).any(0)]
    first = np.where(seen.max(0) >= least, seen.argmax(0), -1)
    return [float((first == place).sum()) / max(1, len(first)) for place in range(len(values))]


def _place(values: NDArray[np.float32]) -> str:
    height, width = values.shape
    size = (min(width, COARSE), min(height, COARSE))
    coarse = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BOX))
    row, column = np.unravel_index(coarse.argmax(), coarse.shape)
    thirds = (3 * (row + 0.5) / coarse.shape[0], 3 * (column + 0.5) / coarse.shape[1])
    return PLACES[int(thirds[0])][int(thirds[1])]


def _spread(values: NDArray[np.float32]) -> str:
    sizes = np.sort(values, axis=None)[::-1].cumsum(dtype=np.float64)
    share = (np.searchsorted(sizes, sizes[-1] / 2) + 1) / sizes.size
    said = f"{share:.0%}" if share >= 0.01 else "less than 1%"
    return f"half of it lies on {said} of the picture"
