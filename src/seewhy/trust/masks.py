"""Masks: where the answer should be, from arrays, pictures, files or a folder of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from seewhy.data.images import find_pictures
from seewhy.errors import MethodError, PictureError
from seewhy.model.geometry import Geometry
from seewhy.model.prepare import Prepared
from seewhy.model.reading import name_of

Masks = Iterable[Any] | Tensor | str | Path | None
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
    if not isinstance(masks, Iterable):
        raise PictureError(f"{masks!r} is no list of masks: give one for each picture, or a folder")
    listed = list(masks)
    if len(listed) != len(sources):
        raise PictureError(f"{len(listed)} masks for {len(sources)} pictures: give one for each")
    return listed


def mask_on(mask: Any, prepared: Prepared, name: str, row: int = 0) -> Tensor:
    """Return a mask of a prepared picture as a bool tensor (H, W).

    Raises PictureError where it is not bool, or not of the original picture's size.
    """
    if isinstance(mask, str | Path):
        found = torch.from_numpy(_read(Path(mask)))
    elif isinstance(mask, Image.Image):
        found = torch.from_numpy(_marked(mask))
    elif isinstance(mask, Tensor | np.ndarray | list | tuple):
        found = mask if isinstance(mask, Tensor) else torch.as_tensor(np.asarray(mask))
    else:
        raise PictureError(
            f"the mask of {name} is {type(mask).__name__}: give a bool array (H, W), or a file"
        )
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


def _read(path: Path) -> NDArray[np.bool_]:
    """What is marked in a file; refused where its format changes values, as JPEG does."""
    try:
        with Image.open(path) as file:
            if file.format == "JPEG":
                raise PictureError(
                    f"{path} is a JPEG, whose values are not exact: save masks as PNG"
                )
            return _marked(ImageOps.exif_transpose(file))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"the mask {path} cannot be read ({error}): give a PNG") from error


def _marked(mask: Image.Image) -> NDArray[np.bool_]:
    """What is neither zero nor transparent."""
    if mask.mode in ("LA", "RGBA", "PA"):
        bands = np.asarray(mask.convert("RGBA"))
        opaque: NDArray[np.bool_] = (bands[..., :3] != 0).any(2) & (bands[..., 3] != 0)
        return opaque
    values = np.asarray(mask) != 0
    found: NDArray[np.bool_] = values if values.ndim == 2 else values.any(2)
    return found


def _in_folder(folder: str | Path, names: Sequence[str]) -> list[Any]:
    if not Path(folder).expanduser().is_dir():
        raise PictureError(f"there is no folder {folder}: give one that has a mask of each picture")
    files: dict[str, Path] = {}
    for each in map(Path, find_pictures(folder)):
        if each.stem in files:
            raise PictureError(f"{files[each.stem]} and {each} are masks of one name: keep one")
        files[each.stem] = each
    stems = [Path(name).stem for name in names]
    twice = [name for name, stem in zip(names, stems, strict=True) if stems.count(stem) > 1]
    if twice:
        raise PictureError(
            f"{' and '.join(twice[:2])} have one name, so that a folder of masks cannot tell them "
            "apart: give the masks as a list, or rename the pictures"
        )
    missing = [name for name, stem in zip(names, stems, strict=True) if stem not in files]
    if missing:
        raise PictureError(
            f"{folder} has no mask for {', '.join(missing[:3])}"
            + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            + ": a mask has the name of its picture, such as cat.png for cat.jpg"
        )
    return [files[stem] for stem in stems]
