"""Craft: the concepts of a class, how important each is, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seewhy.concepts.found import Factorization
from seewhy.concepts.importance import Importance
from seewhy.concepts.seen import named
from seewhy.draw import Cell, markdown, panel
from seewhy.draw import plain as aligned
from seewhy.draw.colors import RGB, ink, rgb
from seewhy.draw.concepts import concept_overlay, palette
from seewhy.draw.text import font, line_height, shorten
from seewhy.errors import Failure, PictureError
from seewhy.result import ORIGIN, Result
from seewhy.shown import Shown, canvas_of, packed, unpacked

COLUMNS = ("concept", "importance", "drop", "agreement", "mixed", "sub-concepts")
MOST_DRAWN = 10  # concepts in a panel where no number is given


@dataclass(frozen=True, eq=False)
class Bank:
    """Concepts of one layer, the most important first.

    vectors: (k, C), of length 1. total, drops: (k,), as of an `Importance`, in the mean. error: of
    the factorized crops, ||V - W H|| / ||V||. crops: of each concept those that show it best.
    agreement: the correlation of a concept's weights in enlarged crops with those at their places
    in the whole pictures, -1..1; low where crops show something else; empty for parts.
    mixed: how much a concept's crops differ at the next earlier layer, as a share of how much all
    crops do there; empty without such a layer. parts: by the number of a concept, what it consists
    of at that layer, with the importance of each part for the concept, in the concept's crops.
    """

    layer: str
    vectors: Tensor
    total: Tensor
    drops: Tensor
    error: float
    crops: tuple[tuple[Image.Image, ...], ...] = ()
    agreement: tuple[float, ...] = ()
    mixed: tuple[float, ...] = ()
    parts: dict[int, Bank] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, eq=False)
class Craft(Result):
    """The concepts that a class is recognised by, the most important first.

    bank: the concepts, with their crops and parts. maps: for each picture (k, *space), how strongly
    each concept is in each place, in units of the activations. importance: for the class's score,
    picture by picture. crops: how many were factorized. settings: how they were found.
    """

    bank: Bank
    maps: tuple[Tensor, ...]
    shown: tuple[Shown, ...]
    importance: Importance
    crops: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    failures: tuple[Failure, ...] = ()

    kind = "craft"

    def __len__(self) -> int:
        return len(self.bank)

    @property
    def concepts(self) -> Factorization:
        """The concepts as a factorization, which draws their maps and can be asked further."""
        own = self.importance
        return Factorization(
            vectors=self.bank.vectors,
            maps=self.maps,
            shown=self.shown,
            error=self.bank.error,
            names=own.names,
            layer=self.bank.layer,
            failures=self.failures,
            **{name: getattr(own, name) for name in ORIGIN},
        )

    @property
    def target(self) -> str:
        """What the concepts matter for, in words."""
        return named(self.importance.targets)

    def strongest(self, concept: int) -> int:
        """Return the number of the picture that a concept is strongest in."""
        return int(torch.stack([each[concept].max() for each in self.maps]).argmax())

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each concept, and one for each part of it, as text."""
        return [
            {
                "concept": path,
                "importance": f"{float(bank.total[number]):.2f}",
                "drop": f"{float(bank.drops[number]):+.2f}",
                "agreement": f"{bank.agreement[number]:.2f}" if bank.agreement else "",
                "mixed": f"{bank.mixed[number]:.0%}" if bank.mixed else "",
                "sub-concepts": _parts(bank, number),
            }
            for path, bank, number in _walk(self.bank)
        ]

    def table(self) -> str:
        """Return the concepts and their parts as a Markdown table."""
        return markdown(COLUMNS, self.rows())

    def draw(  # type: ignore[override]
        self, concepts: int | None = None, *, opacity: float = 0.7, width: int = 128
    ) -> Image.Image:
        """Return a panel: a row for each concept, and under it one for each of its parts.

        A row has the importance, the crops that show the concept best, and where it is in the
        picture in which it is strongest. concepts: how many, the most important; None is 10 at
        most. width: of a cell in pixels.
        """
        most = len(self) if concepts is None else concepts
        if not 1 <= most <= len(self):
            raise PictureError(f"{most} concepts: there are {len(self)}, give 1 to {len(self)}")
        most = min(most, MOST_DRAWN) if concepts is None else most
        colors, found = palette(len(self)), self.concepts
        across = max(len(each) for _, bank, _ in _walk(self.bank) for each in bank.crops)
        cells: list[Cell] = []
        for path, bank, number in _walk(self.bank):
            whole = int(path.partition(".")[0]) - 1
            if whole >= most:
                continue
            tile = _tile(bank, number, path, colors[whole], width)
            title = "" if cells else f"importance for {self.target}"
            shown = [Cell(each) for each in bank.crops[number]]
            if shown and not cells:
                shown[0] = Cell(shown[0].image, "crops that show it best")
            blank = Image.new("RGB", (width, width), "white")
            shown += [Cell(blank)] * (across - len(shown))
            where = Cell(blank)
            if bank is self.bank:
                picture = self.strongest(number)
                canvas, heat = canvas_of(self.shown, picture), found.heatmaps(picture)[number]
                drawn = concept_overlay(
                    canvas, heat[None], colors=[colors[number]], opacity=opacity
                )
                where = Cell(drawn, "" if cells else "where it is")
            cells += [Cell(tile, title), *shown, where]
        return panel(cells, columns=across + 2, width=width)

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without vectors, maps and crops."""
        own = self.importance
        return {
            "model": own.model,
            "layer": self.bank.layer,
            "targets": list(dict.fromkeys(own.targets)),
            "crops": self.crops,
            "error": self.bank.error,
            "share": own.share,
            "settings": self.settings,
            "concepts": [
                {
                    "name": path,
                    "layer": bank.layer,
                    "importance": float(bank.total[number]),
                    "drop": float(bank.drops[number]),
                    "agreement": bank.agreement[number] if bank.agreement else None,
                    "mixed": bank.mixed[number] if bank.mixed else None,
                }
                for path, bank, number in _walk(self.bank)
            ],
            "pictures": [each.source for each in self.shown],
        }

    def __str__(self) -> str:
        own = self.importance
        where = f"{len(self.shown)} pictures at {self.bank.layer} of {own.model}"
        lines = [
            f"{len(self)} concepts of {self.crops} crops of {where}, for {self.target}",
            own.explained,
            aligned(COLUMNS, self.rows()),
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays, shown = packed(self.shown)
        arrays |= {f"maps{number}": maps.numpy() for number, maps in enumerate(self.maps)}
        asked, importance = self.importance.pack()
        arrays |= {f"importance.{name}": each for name, each in asked.items()}
        data = {name: getattr(self, name) for name in ("crops", "settings", "seconds")}
        bank = _packed(self.bank, "bank", arrays)
        return arrays, data | {"shown": shown, "importance": importance, "bank": bank}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        shown = unpacked(arrays, data.pop("shown"))
        own = {
            name.removeprefix("importance."): each
            for name, each in arrays.items()
            if name.startswith("importance.")
        }
        return cls(
            bank=_unpacked(data.pop("bank"), "bank", arrays),
            maps=tuple(torch.from_numpy(arrays[f"maps{number}"]) for number in range(len(shown))),
            shown=shown,
            importance=Importance.unpack(own, data.pop("importance")),
            **data,
        )


def _walk(bank: Bank, path: str = "") -> Iterator[tuple[str, Bank, int]]:
    """Every concept and, after it, its parts: "2", "2.1", "2.2", "3", with its bank and number."""
    for number in range(len(bank)):
        own = f"{path}{number + 1}"
        yield own, bank, number
        if number in bank.parts:
            yield from _walk(bank.parts[number], f"{own}.")


def _parts(bank: Bank, number: int) -> str:
    below = bank.parts.get(number)
    return "" if below is None else f"{len(below)} at {below.layer}"


def _tile(bank: Bank, number: int, path: str, color: RGB, width: int) -> Image.Image:
    """A concept in figures: its number, a bar as long as it is important, and what a panel says."""
    paper = rgb("white")
    sheet = Image.new("RGB", (width, width), paper)
    pen, gap = ImageDraw.Draw(sheet), max(2, width // 24)
    large, small = font(max(10, width // 8), bold=True), font(max(9, width // 11))
    # parts stand to the right of what they are part of
    left = gap * (1 + 2 * path.count("."))
    top, room = gap, width - gap
    pen.text((left, top), path, fill=ink(paper), font=large)
    top += line_height(large) + gap
    share = min(1.0, max(0.0, float(bank.total[number])))
    pen.rectangle((left, top, room, top + 3 * gap), fill=(232, 232, 232))
    if share > 0:
        pen.rectangle((left, top, left + share * (room - left), top + 3 * gap), fill=tuple(color))
    top += 4 * gap
    lines = [f"{float(bank.total[number]):.2f}, drop {float(bank.drops[number]):+.2f}"]
    if path.count("."):
        lines.append(f"at {bank.layer}")
    if bank.agreement:
        lines.append(f"agreement {bank.agreement[number]:.2f}")
    if bank.mixed:
        lines.append(f"mixed {bank.mixed[number]:.0%}")
    for line in lines:
        text = shorten(line, small, room - left)
        pen.text((left, top), text, fill=ink(paper), font=small)
        top += line_height(small)
    return sheet


_TENSORS = ("vectors", "total", "drops")


def _packed(bank: Bank, name: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """The plain data of a bank; its arrays are added to those that there are."""
    arrays |= {f"{name}.{each}": getattr(bank, each).numpy() for each in _TENSORS}
    for number, crops in enumerate(bank.crops):
        for place, crop in enumerate(crops):
            arrays[f"{name}.crop{number}.{place}"] = np.asarray(crop)
    return {
        "layer": bank.layer,
        "error": bank.error,
        "agreement": bank.agreement,
        "mixed": bank.mixed,
        "crops": [len(each) for each in bank.crops],
        "parts": {
            str(number): _packed(each, f"{name}.{number}", arrays)
            for number, each in bank.parts.items()
        },
    }


def _unpacked(data: dict[str, Any], name: str, arrays: dict[str, np.ndarray]) -> Bank:
    tensors = {each: torch.from_numpy(arrays[f"{name}.{each}"]) for each in _TENSORS}
    crops = tuple(
        tuple(Image.fromarray(arrays[f"{name}.crop{number}.{place}"]) for place in range(count))
        for number, count in enumerate(data["crops"])
    )
    parts = {
        int(number): _unpacked(each, f"{name}.{number}", arrays)
        for number, each in data["parts"].items()
    }
    return Bank(
        layer=data["layer"],
        error=data["error"],
        agreement=tuple(data["agreement"]),
        mixed=tuple(data["mixed"]),
        crops=crops,
        parts=parts,
        **tensors,
    )
