"""The fixed pictures that are explained again and again: read once, each with a name of its own."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.images import find_pictures, read_picture
from seewhy.errors import PictureError
from seewhy.model.prepare import is_model_input


@dataclass(frozen=True)
class Fixed:
    """Pictures as `seewhy.explain` takes them, and what each is called; no two names are equal.

    contents: a hash of each, by which a later run knows whether its pictures are these.
    """

    pictures: list[Any]
    names: tuple[str, ...]
    contents: tuple[str, ...]

    @classmethod
    def of(cls, pictures: Any) -> Fixed:
        """Read pictures, and copy tensors.

        Raises PictureError for what cannot be read or drawn, and for none.
        """
        found = _read(pictures)
        if not found:
            raise PictureError("there are no pictures to explain: give at least one")
        names = _names([wish for _, wish in found])
        for (picture, wish), name in zip(found, names, strict=True):
            if wish is not None:
                picture.filename = name  # what its explanation is called by
        given = [picture for picture, _ in found]
        return cls(given, names, tuple(map(_content, given)))


def safe(name: str) -> str:
    """Return a name that every file system and TensorBoard take."""
    return re.sub(r"[^\w.=-]+", "_", name).strip("_") or "_"


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """Return what `safe` makes of each name, numbered where two would be equal.

    >>> safe_names(["a b", "a_b"])
    {'a b': 'a_b', 'a_b': 'a_b_2'}
    """
    found: dict[str, str] = {}
    for name in names:
        found[name] = unique(safe(name), found.values(), "_")
    return found


def unique(name: str, taken: Iterable[str], between: str = " ") -> str:
    """Return the name, numbered where it is taken."""
    taken, found, number = set(taken), name, 2
    while found in taken:
        found, number = f"{name}{between}{number}", number + 1
    return found


def _read(pictures: Any) -> list[tuple[Any, str | None]]:
    """Each picture with the name that it should have, "" for none and None for model input."""
    if getattr(pictures, "ndim", 0) == 3 and is_model_input(pictures):
        raise _undrawable(pictures)  # (N, C, L) as well as (C, h, w)
    several = not is_model_input(pictures) and getattr(pictures, "ndim", 0) == 4
    found: list[tuple[Any, str | None]] = []
    for each in list(pictures) if several else find_pictures(pictures):
        if is_model_input(each):
            found += [(row, None) for row in _rows(each)]
            continue
        picture = read_picture(each)
        known = Path(picture.source.partition("?")[0]).stem
        found.append((picture.image, "" if known == "picture" else known))
    return found


def _names(wishes: list[str | None]) -> tuple[str, ...]:
    """Names by what is wished; model input has those that `seewhy.explain` gives by number."""
    usual = [f"picture {place}" for place in range(len(wishes))]
    names = [own for own, wish in zip(usual, wishes, strict=True) if wish is None]
    found = []
    for own, wish in zip(usual, wishes, strict=True):
        name = own if wish is None else unique(wish or own, names)
        names.append(name)
        found.append(name)
    return tuple(found)


def _rows(given: Any) -> list[Tensor]:
    """Model input as rows of their own: of a batch (N, C, h, w) each, else the one that it is."""
    tensor = torch.as_tensor(given).detach().cpu().clone()
    if tensor.ndim not in (3, 4):
        raise _undrawable(tensor)
    return list(tensor.split(1)) if tensor.ndim == 4 else [tensor]


def _undrawable(given: Any) -> PictureError:
    return PictureError(
        f"model input of the shape {tuple(given.shape)} is not understood as pictures to be drawn "
        "over the epochs: give pictures (N, C, h, w), with [None] one; for rows, signals and "
        "volumes call seewhy.explain at each epoch and keep its maps"
    )


def _content(picture: Image.Image | Tensor) -> str:
    """A hash of what a picture holds."""
    if isinstance(picture, Tensor):
        kind, data = f"{picture.dtype} {tuple(picture.shape)}", picture.contiguous()
        return _hash(kind, data.view(torch.uint8).numpy().tobytes())
    return _hash(f"{picture.mode} {picture.size}", picture.tobytes())


def _hash(kind: str, data: bytes) -> str:
    return hashlib.blake2b(kind.encode() + data, digest_size=16).hexdigest()
