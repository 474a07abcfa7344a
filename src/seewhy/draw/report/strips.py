"""Rows of small pictures under a title, to be compared at a glance; on a page, or as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from PIL import Image, ImageDraw

from seewhy.draw.grid import Cell, panel
from seewhy.draw.report.pictures import picture_address
from seewhy.draw.text import font, line_height, wrap
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LINES = 12  # of what is written above the rows of a picture
TITLE, TEXT = 20, 14  # sizes in pixels
NARROWEST = 480  # pixels, for the words


@dataclass(frozen=True)
class Strips:
    """Pictures in rows, each with a title above and a caption below.

    rows: the name of each, and its pictures. words: what is seen and how it was asked, in
    paragraphs.
    """

    title: str
    rows: Sequence[tuple[str, Sequence[Cell]]]
    words: Sequence[str] = ()

    parts: ClassVar[tuple[str, ...]] = ("strips",)
    maps: ClassVar[bool] = False
    size: ClassVar[None] = None

    def view(self, number: int) -> _View:
        """Return what the template reads; PictureError where there is nothing to show."""
        if not self.rows or not all(cells for _, cells in self.rows):
            raise PictureError("Strips are one or more rows of one or more pictures.")
        rows = [
            (name, [(cell, picture_address(cell.image)) for cell in cells])
            for name, cells in self.rows
        ]
        return _View(self, number, rows)

    def draw(self, width: int = 84) -> Image.Image:
        """Return all of it as one picture; width: of a cell, in pixels."""
        rows = [panel(cells, columns=len(cells), width=width) for _, cells in self.rows]
        across = max(NARROWEST, *(row.width for row in rows))
        parts = [_written([self.title], across, TITLE, bold=True)]
        parts += [_written(list(self.words), across, TEXT)] if self.words else []
        for (name, _), row in zip(self.rows, rows, strict=True):
            parts += [_written([name], across, TEXT, bold=True), row]
        sheet = Image.new("RGB", (across, sum(part.height for part in parts)), "white")
        top = 0
        for part in parts:
            sheet.paste(part, (0, top))
            top += part.height
        return sheet


@dataclass(frozen=True)
class _View:
    block: Strips
    number: int
    rows: list[tuple[str, list[tuple[Cell, str]]]]


def _written(paragraphs: list[str], width: int, size: int, *, bold: bool = False) -> Image.Image:
    """Return paragraphs as black text on white."""
    face, margin = font(size, bold=bold), size // 2
    lines = wrap("\n".join(paragraphs), face, width - 2 * margin, MOST_LINES)
    step = line_height(face)
    band = Image.new("RGB", (width, len(lines) * step + margin), "white")
    pen = ImageDraw.Draw(band)
    for number, line in enumerate(lines):
        pen.text((margin, margin + number * step), line, fill=(32, 32, 32), font=face)
    return band
