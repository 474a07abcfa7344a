"""The fixed pictures that are explained again and again: read once, each with a name of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seewhy.data.images import find_pictures, read_picture
from seewhy.errors import PictureError
from seewhy.model.prepare import is_model_input


@dataclass(frozen=True)
class Fixed:
    """Pictures as `seewhy.explain` takes them, and what each is called; no two names are equal."""

    pictures: list[Any]
    names: tuple[str, ...]

    @classmethod
    def of(cls, pictures: Any) -> Fixed:
        """Read pictures, and copy tensors; PictureError for what cannot be read, and for none."""
        found: list[Any] = []
        names: list[str] = []
        several = not is_model_input(pictures) and getattr(pictures, "ndim", 0) == 4
        for each in list(pictures) if several else find_pictures(pictures):
            usual = f"picture {len(found)}"
            if is_model_input(each):
                rows = _rows(each)
                found += rows
                names += [f"picture {len(names) + place}" for place in range(len(rows))]
                continue
            picture = read_picture(each)
            known = Path(picture.source.partition("?")[0]).stem
            name = unique(usual if known in ("", "picture") else known, names)
            image = picture.image
            image.filename = name  # type: ignore[attr-defined]  # what its explanation is called by
            found.append(image)
            names.append(name)
        if not found:
            raise PictureError("there are no pictures to explain: give at least one")
        return cls(found, tuple(names))


def safe(name: str) -> str:
    """Return a name that every file system and TensorBoard take."""
    return re.sub(r"[^\w.=-]+", "_", name).strip("_") or "_"


def unique(name: str, taken: Iterable[str]) -> str:
    """Return the name, numbered where it is taken."""
    found, number = name, 2
    while found in taken:
        found, number = f"{name} {number}", number + 1
    return found


def _rows(given: Any) -> list[Tensor]:
    """Model input as rows of their own: of a batch (N, C, h, w) each, else the one that it is."""
    tensor = torch.as_tensor(given).detach().cpu().clone()
    return list(tensor.split(1)) if tensor.ndim >= 4 else [tensor]
