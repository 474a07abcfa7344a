"""Masks: where the answer should be, from arrays, pictures, files or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seewhy.data.images import find_pictures, read_picture
from seewhy.errors import MethodError, PictureError
from seewhy.model.geometry import Geometry
from seewhy.model.prepare import Prepared
from seewhy.model.reading import name_of

Masks = Sequence[Any] | Tensor | str | Path | None
"""One for each picture: bool (H, W), or a picture or file that is not black where the answer is.

A folder has a file of each picture's name, whatever the ending.
"""


def listed_masks(masks: Masks, sources: Sequence[Any]) -> list[Any]:
    """Return one mask for each picture, unread; none where there are none.

    Raises PictureError where their number differs, and names pictures without a file.
    """
    if masks is None:
        return []
    if isinstance(masks, str | Path):
        return _in_folder(masks, [name_of(each, row) for row, each in enumerate(sources)])
    if len(masks) != len(sources):
        raise PictureError(f"{len(masks)} masks for {len(sources)} pictures: give one for each")
    return list(masks)


def mask_on(mask: Any, prepared: Prepared, name: str, row: int = 0) -> Tensor:
    """Return a mask of a prepared picture as a bool tensor (H, W).

    Raises PictureError where it is not bool, or not of the original picture's size.
    """
    if isinstance(mask, str | Path) or hasattr(mask, "getbands"):  # a Pillow picture has them
        mask = np.asarray(read_picture(mask).image.convert("RGB")).any(2)
    found = mask if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask))
    size = place_of(prepared, row).original
    if found.dtype != torch.bool or tuple(found.shape) != size:
        raise PictureError(
            f"the mask of {name} is {found.dtype} of the shape {tuple(found.shape)}: give a bool "
            f"mask of the original picture's size, {size}"
        )
    return found.cpu()


def place_of(prepared: Prepared, row: int) -> Geometry:
    """Return where the input's places are in a row's original picture."""
    known = prepared.geometries[row] if prepared.geometries else None
    if known is not None:
        return known
    if prepared.tensor.ndim != 4:
        raise MethodError(
            f"an input of the shape {tuple(prepared.tensor.shape)} came: the metrics judge maps of "
            "pictures, (N, C, H, W)"
        )
    size = (int(prepared.tensor.shape[2]), int(prepared.tensor.shape[3]))
    return Geometry.stretched(size, size)


def _in_folder(folder: str | Path, names: Sequence[str]) -> list[Any]:
    files = {Path(str(each)).stem: each for each in find_pictures(folder)}
    missing = [name for name in names if Path(name).stem not in files]
    if missing:
        raise PictureError(
            f"{folder} has no mask for {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            + ": a mask has the name of its picture, such as cat.png for cat.jpg"
        )
    return [files[Path(name).stem] for name in names]
