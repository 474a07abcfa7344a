"""From a page to HTML: one file with its style, its script and its pictures inside."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from seewhy.draw.files import write_whole
from seewhy.draw.report import pictures
from seewhy.draw.report.words import where_strongest
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from jinja2 import Template

    from seewhy.draw.report.page import Card, Layer, Page, Table

LINE = 14
"""Characters of a table's cell that stay on one line."""

_NUMBER = re.compile(
    r"([+-]?\d[\d,]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(?:%|of \d+|[a-zµ]{1,3}|\[.*\])?"
)


def render(page: Page) -> str:
    """Return the page as the text of an HTML file.

    It asks for nothing beyond itself, and its own policy forbids it to; without JavaScript it
    shows the first map of each card. Every text is escaped. Raises PictureError for an opacity
    outside 0..1, and for heats and masks that cannot be drawn.
    """
    if not 0 <= page.opacity <= 1:
        raise PictureError(f"The opacity is {page.opacity}: give a number from 0 to 1.")
    blocks = [(each.parts[0], each.view(number)) for number, each in enumerate(page.blocks, 1)]
    parts = ["page", *dict.fromkeys(part for block in page.blocks for part in block.parts)]
    style = _joined(parts, ".css") + f":root {{ --opacity: {page.opacity:.2f}; }}\n"
    script = _joined(parts, ".js")
    cards = [_View.of(card) for card in page.cards]
    text = _template().render(
        page=page,
        cards=cards,
        blocks=blocks,
        maps=any(card.maps for card in cards) or any(block.maps for block in page.blocks),
        tables=[
            _Sheet.of(table, number, below=table.below or len(cards) + len(blocks) <= 1)
            for number, table in enumerate(page.tables, 1)
        ],
        switch=_shared(page.cards),
        shape=_shape([view.size for view in cards] + [it.size for it in page.blocks if it.size]),
        style=style,
        script=script,
        hashes={"style": _hash(style), "script": _hash(script)},
    )
    return text.lstrip().encode("utf-8", "replace").decode()  # labels may hold what no file can


def save_page(page: Page, path: str | PathLike[str]) -> Path:
    """Write the page to an HTML file that is complete or not there, and return its path.

    Raises as `render` does, and SaveError for a path that cannot be written.
    """
    return write_whole(Path(path).expanduser(), render(page).encode())


@dataclass(frozen=True)
class _Map:
    """A layer with its pictures."""

    layer: Layer
    address: str
    ramp: str
    ends: tuple[str, str]
    where: str

    @classmethod
    def of(cls, layer: Layer, size: pictures.Size) -> _Map:
        signed, colors = layer.signed, layer.colormap
        return cls(
            layer,
            pictures.map_address(layer.heat, size, signed=signed, colormap=colors),
            pictures.ramp_address(signed=signed, colormap=colors),
            layer.ends,
            where_strongest(layer.heat),
        )


@dataclass(frozen=True)
class _View:
    """A card with its pictures."""

    card: Card
    size: pictures.Size
    address: str
    crisp: bool
    maps: list[_Map]
    outline: str
    outline_size: pictures.Size

    @classmethod
    def of(cls, card: Card) -> _View:
        picture = card.picture
        if picture is None:
            if not card.layers:
                raise PictureError(f"The card {card.title!r} is empty: give a picture or a layer.")
            picture = pictures.grey(card.layers[0].heat)
        truth = card.truth
        path, inside = ("", (1, 1)) if truth is None else pictures.outline(truth, picture.size)
        return cls(
            card,
            picture.size,
            pictures.picture_address(picture),
            max(picture.size) <= pictures.CRISP,
            [_Map.of(layer, picture.size) for layer in card.layers],
            path,
            inside,
        )


@dataclass(frozen=True)
class _Sheet:
    """A table, where it stands, which of its columns are numbers, and which have long texts."""

    table: Table
    number: int
    below: bool
    rows: list[list[tuple[str, float | None]]]
    numeric: list[bool]
    long: list[bool]

    @classmethod
    def of(cls, table: Table, number: int, *, below: bool) -> _Sheet:
        rows = [[(_said(cell), _number(cell)) for cell in row] for row in table.rows]
        columns = list(zip(*rows, strict=True)) if rows else [() for _ in table.columns]
        numeric = [
            any(number is not None for _, number in column)
            and all(number is not None or not said.strip("–") for said, number in column)
            for column in columns
        ]
        long = [any(len(said) > LINE for said, _ in column) for column in columns]
        return cls(table, number, below, rows, numeric, long)


def _said(cell: str | float) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell:.4g}" if math.isfinite(cell) else "–"


def _number(cell: str | float) -> float | None:
    if not isinstance(cell, str):
        return float(cell) if math.isfinite(cell) else None
    found = _NUMBER.fullmatch(cell.strip().replace("−", "-"))
    return float(found[1].replace(",", "")) if found else None


def _shared(cards: Sequence[Card]) -> list[str]:
    """Return the names of maps that several cards have: one switch turns them all."""
    everywhere = [layer.name for card in cards for layer in card.layers]
    shared = [name for name in dict.fromkeys(everywhere) if everywhere.count(name) > 1]
    return shared if len(shared) > 1 else []


def _shape(sizes: Sequence[pictures.Size]) -> str:
    """Return the frame that suits most of the pictures."""
    ratios = sorted(width / height for width, height in sizes) or [1.0]
    middle = ratios[len(ratios) // 2]
    return "wide" if middle > 1.15 else "tall" if middle < 0.87 else "square"


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _joined(parts: Sequence[str], ending: str) -> str:
    return "\n".join(filter(None, (_part(name + ending) for name in parts)))


@lru_cache
def _part(name: str) -> str | None:
    file = files(__package__) / "templates" / name
    return file.read_text("utf-8") if file.is_file() else None


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_part),
    )
    return environment.get_template("page.html")
