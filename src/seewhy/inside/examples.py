"""Exciting: the pictures that excite a unit most, each with the crop that does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from PIL import Image, ImageDraw

from seewhy.draw import Cell, panel
from seewhy.errors import PictureError
from seewhy.inside.field import Box
from seewhy.inside.tiles import below
from seewhy.result import ORIGIN, Traceable

View = Literal["panel", "crops", "pictures"]
ACROSS = 9  # pictures in a row
FRAME = ((255, 255, 255), (214, 39, 40))  # of a crop in its picture: outside and inside


@dataclass(frozen=True, eq=False)
class Example:
    """A picture that excites a unit.

    value: how much. index: its number among all pictures. place: where on the layer's grid, None
    where there is none. box: (left, top, right, bottom) of the crop in the original, in pixels.
    size: (width, height) of the original. crop, picture: reduced; None where it is no picture.
    """

    source: str
    index: int
    value: float
    place: tuple[int, ...] | None = None
    box: Box | None = None
    size: tuple[int, int] = (0, 0)
    crop: Image.Image | None = None
    picture: Image.Image | None = None

    @property
    def name(self) -> str:
        """The last part of what the picture is called."""
        return self.source.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0] or self.name

    def framed(self, width: int) -> Image.Image:
        """Return the picture with a frame around the crop, its longer side `width` pixels."""
        if self.picture is None:
            raise PictureError(f"{self.source} is no picture: there is nothing to draw, read .box")
        scale = width / max(self.picture.size)
        size = (
            max(1, round(self.picture.width * scale)),
            max(1, round(self.picture.height * scale)),
        )
        way = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        image = self.picture.convert("RGB").resize(size, way)
        if self.box is not None:
            pen, thick = ImageDraw.Draw(image), max(1, width // 96)
            across, down = size[0] / self.size[0], size[1] / self.size[1]
            left, right = (round(each * across) for each in self.box[::2])
            top, bottom = (round(each * down) for each in self.box[1::2])
            for layer, color in enumerate(FRAME):
                inset = layer * thick
                ends = (left + inset, top + inset, right - 1 - inset, bottom - 1 - inset)
                if ends[2] > ends[0] and ends[3] > ends[1]:
                    pen.rectangle(ends, outline=color, width=thick)
        return image


@dataclass(frozen=True, eq=False)
class Exciting(Traceable):
    """The pictures that excite units most.

    units: what they are called. examples: for each unit the pictures, the most exciting first.
    seen: how many pictures were looked at. by: how a picture's value comes of its places, "max" or
    "mean". failures: what could not be looked at.
    """

    units: tuple[str, ...]
    examples: tuple[tuple[Example, ...], ...]
    seen: int = 0
    by: str = "max"
    seconds: float = 0.0

    kind = "exciting"

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, unit: int) -> tuple[Example, ...]:
        return self.examples[unit]

    def __iter__(self) -> Iterator[tuple[Example, ...]]:
        return iter(self.examples)

    def draw(  # type: ignore[override]
        self, view: View = "panel", unit: int | None = None, *, width: int = 112
    ) -> Image.Image:
        """Return one view: "crops", "pictures" with a frame around each crop, "panel" both.

        unit: which, by number; None is all, one below the other. width: of a cell in pixels, from
        32. Values stand below the crops. Raises PictureError where there is nothing to draw.
        """
        if view not in ("panel", "crops", "pictures"):
            raise PictureError(f"there is no view {view!r}: use 'panel', 'crops' or 'pictures'")
        if unit is not None and not -len(self) <= unit < len(self):
            raise PictureError(f"there is no unit {unit}: there are {len(self)}, from 0")
        chosen = range(len(self)) if unit is None else [unit]
        return below([self._sheet(each, view, width) for each in chosen])

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without pictures."""
        return {
            "model": self.model,
            "seen": self.seen,
            "by": self.by,
            "units": [
                {
                    "unit": name,
                    "examples": [
                        {
                            "source": each.source,
                            "index": each.index,
                            "value": each.value,
                            "place": each.place,
                            "box": each.box,
                        }
                        for each in own
                    ],
                }
                for name, own in zip(self.units, self.examples, strict=True)
            ],
        }

    def __str__(self) -> str:
        lines = [f"of {self.seen} pictures, what excites {self.model} most"]
        for name, own in zip(self.units, self.examples, strict=True):
            said = ", ".join(f"{each.name} {each.value:.3g}" for each in own)
            lines.append(f"{name}: {said}")
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays: dict[str, np.ndarray] = {}
        listed: list[list[dict[str, Any]]] = []
        for number, own in enumerate(self.examples):
            listed.append([])
            for rank, each in enumerate(own):
                for kind in ("crop", "picture"):
                    image = getattr(each, kind)
                    if image is not None:
                        arrays[f"{kind}{number}.{rank}"] = np.asarray(image)
                plain = ("source", "index", "value", "place", "box", "size")
                listed[-1].append({name: getattr(each, name) for name in plain})
        names = ("units", "seen", "by", "seconds", *ORIGIN)
        return arrays, {name: getattr(self, name) for name in names} | {"examples": listed}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        found = []
        for number, own in enumerate(data.pop("examples")):
            some = []
            for rank, plain in enumerate(own):
                images = {
                    kind: Image.fromarray(arrays[f"{kind}{number}.{rank}"])
                    for kind in ("crop", "picture")
                    if f"{kind}{number}.{rank}" in arrays
                }
                lists: dict[str, Any] = {
                    name: tuple(value) if isinstance(value, list) else value
                    for name, value in plain.items()
                }
                some.append(Example(**(lists | images)))
            found.append(tuple(some))
        data["units"] = tuple(data["units"])
        return cls(examples=tuple(found), **data)

    def _sheet(self, unit: int, view: View, width: int) -> Image.Image:
        cells: list[Cell] = []
        own = self.examples[unit]
        for start in range(0, len(own), ACROSS):
            row = own[start : start + ACROSS]
            blank = [Cell(Image.new("RGB", (1, 1), "white"))] * (min(len(own), ACROSS) - len(row))
            if view != "pictures":
                cells += [Cell(_square(each), caption=f"{each.value:.3g}") for each in row] + blank
            if view != "crops":
                said = "" if view == "panel" else "{:.3g}"
                cells += [
                    Cell(each.framed(width), caption=f"{each.stem} {said.format(each.value)}")
                    for each in row
                ] + blank
        return panel(cells, columns=min(len(own), ACROSS), title=self.units[unit], width=width)


def _square(example: Example) -> Image.Image:
    """The crop in the middle of a white square: those at an edge are smaller."""
    crop = example.crop
    if crop is None:
        raise PictureError(f"{example.source} is no picture: there is nothing to draw, read .box")
    side = max(crop.size)
    sheet = Image.new("RGB", (side, side), "white")
    sheet.paste(crop, ((side - crop.width) // 2, (side - crop.height) // 2))
    return sheet
