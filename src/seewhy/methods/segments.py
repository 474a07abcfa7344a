"""Segments: the parts that a picture is taken to pieces in, numbered from 0.

>>> segments_of(Prepared(torch.zeros(1, 3, 4, 4)), "patch:2")[0][0]
tensor([0, 0, 1, 1])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from skimage.segmentation import slic
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.model.prepare import Prepared

Segmentation = str | Callable[[np.ndarray], Any]
"""How to take a picture to pieces.

"slic:50" is about 50 superpixels, "patch:16" squares of 16 pixels a side (cubes, intervals),
"each" every place by itself; or a function of the picture as the model sees it, float32
(C, *space), that returns whole numbers (*space). Inputs without space are always "each".
"""

COMPACTNESS, MOST_COMPACT = 10.0, 1e4  # of superpixels, for values in 0..1 scaled to 0..100


def segments_of(prepared: Prepared, how: Segmentation) -> list[Tensor]:
    """Return the segments of each picture, int64 (*space), or (D,) for flat inputs; on the CPU.

    Every number from 0 to the largest occurs. The segments of a picture follow from the picture
    alone. Raises MethodError for a description that is none, and for segments of another shape.
    """
    return [_of_one(row.detach().float().cpu(), how) for row in prepared.tensor]


def check_segmentation(how: Segmentation) -> None:
    """Raise MethodError for a description that is none."""
    name, _, option = how.partition(":") if isinstance(how, str) else ("", "", "")
    if callable(how) or how == "each" or (name in ("slic", "patch") and _counts(option)):
        return
    raise MethodError(
        f"there is no segmentation {how!r}: write slic:50 (superpixels), patch:16 (pixels a side) "
        "or each, or give a function of the picture"
    )


def _counts(option: str) -> bool:
    return option.isascii() and option.isdigit() and int(option) > 0


def _of_one(picture: Tensor, how: Segmentation) -> Tensor:
    space = tuple(picture.shape[1:]) or tuple(picture.shape)
    if callable(how):
        found = torch.as_tensor(np.asarray(how(picture.numpy())))
        if tuple(found.shape) != space or found.is_floating_point():
            raise MethodError(
                f"the segments are {found.dtype} of the shape {tuple(found.shape)}: give whole "
                f"numbers of the shape {space}"
            )
        return _numbered(found)
    check_segmentation(how)
    name, _, option = how.partition(":")
    if name == "each" or picture.ndim == 1:
        return torch.arange(int(np.prod(space))).reshape(space)
    if name == "patch":
        return _numbered(_patches(space, int(option)))
    return _numbered(torch.from_numpy(_superpixels(picture, int(option))))


def _patches(space: tuple[int, ...], side: int) -> Tensor:
    found = torch.zeros(space, dtype=torch.int64)
    for axis, length in enumerate(space):
        steps = torch.arange(length) // side
        shape = [1] * len(space)
        shape[axis] = length
        found = found * int(steps[-1] + 1) + steps.reshape(shape)
    return found


def _superpixels(picture: Tensor, count: int) -> np.ndarray:
    """SLIC on the picture scaled to 0..1; other than three channels count as they are.

    Values are rounded to bfloat16's eight bits first, so that a run in half precision has the same
    superpixels as one in full.

    Noise falls into pieces too small to be kept: there nearness counts for more, until at least
    half as many are found.
    """
    values = picture.bfloat16().float().numpy()
    low, high = float(values.min()), float(values.max())
    scaled = np.moveaxis((values - low) / max(high - low, 1e-12), 0, -1)
    flat = scaled.ndim == 2  # one axis of space: a picture of one row
    colors = scaled.shape[-1] == 3
    compactness, found = COMPACTNESS, np.zeros(0, np.int64)
    while (
        compactness <= MOST_COMPACT and len(np.unique(found)) < min(count, picture[0].numel()) / 2
    ):
        found = slic(
            (scaled[None] if flat else scaled) * (1 if colors else 100),
            n_segments=count,
            compactness=compactness,
            convert2lab=colors,
            channel_axis=-1,
            start_label=0,
        )
        compactness *= 10
    return (found[0] if flat else found).astype(np.int64)


def _numbered(found: Tensor) -> Tensor:
    """The same segments, numbered without a gap in the order of their numbers."""
    numbers: Tensor = found.unique(return_inverse=True)[1]
    return numbers.reshape(found.shape)
