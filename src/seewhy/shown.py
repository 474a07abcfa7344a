"""The pictures that a result is about: how they are drawn on, packed and unpacked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from seewhy.errors import PictureError
from seewhy.model.geometry import Geometry
from seewhy.model.reading import Ready
from seewhy.stream import as_pictures

SMALL = 128  # pixels of a picture that is kept as an example


@dataclass(frozen=True, eq=False)
class Shown:
    """One of the pictures: what it is called, itself, and where the model's input is in it."""

    source: str
    picture: Image.Image | None
    geometry: Geometry | None
    size: tuple[int, ...]

    @classmethod
    def of(cls, ready: Ready) -> Self:
        """Return a picture that was read, its input being one row."""
        prepared = ready.prepared
        original, geometry = None, None
        if prepared.originals:
            original, geometry = prepared.originals[0], prepared.geometries[0]
        picture = original.image if original is not None else as_pictures(prepared.tensor)[0]
        return cls(ready.name, picture, geometry, tuple(prepared.tensor.shape[2:]))

    @property
    def name(self) -> str:
        """The last part of what it is called."""
        return self.source.rpartition("/")[2]

    def laid(self, maps: Tensor) -> Tensor:
        """Return maps (k, h, w) on the original, float32 (k, H, W): NaN where it was not seen."""
        if maps.ndim != 3:
            raise PictureError(
                f"the maps of {self.source} have {maps.ndim - 1} axes of space, and pictures have "
                "two: read .maps"
            )
        if self.geometry is not None:
            return self.geometry.on_original(maps).float()
        return F.interpolate(maps[None].float(), self.size, mode="bilinear")[0]


def canvas_of(shown: Sequence[Shown], picture: int) -> Image.Image:
    """Return a picture to draw on; PictureError where there is none."""
    if not -len(shown) <= picture < len(shown):
        raise PictureError(f"there is no picture {picture}: there are {len(shown)}")
    found = shown[picture].picture
    if found is None:
        raise PictureError(
            f"{shown[picture].source} was given as a tensor that is no picture: there is "
            "nothing to draw on; read .maps"
        )
    return found


def reduced(picture: Image.Image, side: int = SMALL) -> Image.Image:
    """Return a copy in colours whose longer side is at most so many pixels, to be kept."""
    small = picture.convert("RGB")
    small.thumbnail((side, side))
    return small


def packed(shown: Sequence[Shown]) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Return the arrays and the plain data that pictures become."""
    arrays = {
        f"picture{number}": np.asarray(each.picture)
        for number, each in enumerate(shown)
        if each.picture is not None
    }
    data = [
        {
            "source": each.source,
            "geometry": None if each.geometry is None else asdict(each.geometry),
            "size": each.size,
        }
        for each in shown
    ]
    return arrays, data


def unpacked(arrays: dict[str, np.ndarray], data: list[dict[str, Any]]) -> tuple[Shown, ...]:
    """Return the pictures that were packed."""
    found = []
    for number, each in enumerate(data):
        own, geometry = arrays.get(f"picture{number}"), each["geometry"]
        if geometry is not None:
            lists = {k: tuple(v) if isinstance(v, list) else v for k, v in geometry.items()}
            geometry = Geometry(**lists)
        picture = None if own is None else Image.fromarray(own)
        found.append(Shown(each["source"], picture, geometry, tuple(each["size"])))
    return tuple(found)
