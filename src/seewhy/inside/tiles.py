"""Tiles: maps and kernels as small pictures in a grid, beside the picture that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from seewhy.draw import Cell, panel
from seewhy.draw.colors import ink
from seewhy.draw.grid import NARROWEST, TALLEST
from seewhy.draw.text import font, line_height, shorten

if TYPE_CHECKING:
    from seewhy.shown import Shown

NUMBERED, CAPTIONED = 36, 56  # pixels of a tile from which its number is legible, and a caption
LARGE, ALONE = 128, 180  # pixels of a tile where there are few, and where there is one
SHARE = 0.25  # of a grid's width is its height, about
GAP = 6  # pixels between tiles, at most
LINE = (176, 176, 176)


def seen_part(shown: Shown) -> Image.Image | None:
    """Return what the model sees of a picture, black beyond its edge; None where it is none."""
    picture, geometry = shown.picture, shown.geometry
    if picture is None or geometry is None:
        return picture
    (top, bottom), (left, right) = (
        ((0 - offset) / scale, (length - offset) / scale)
        for offset, scale, length in zip(
            geometry.offset, geometry.scale, geometry.model, strict=True
        )
    )
    size = (max(1, round(abs(right - left))), max(1, round(abs(bottom - top))))
    corners = tuple(round(each, 6) for each in (left, top, right, bottom))
    if corners[:2] == (0, 0) and corners[2:] == picture.size:
        return picture
    way = Image.Resampling.BICUBIC
    return picture.convert("RGB").transform(size, Image.Transform.EXTENT, corners, way)


@dataclass(frozen=True)
class Tile:
    """A map or a kernel, its number and what is said of it."""

    image: Image.Image
    number: str = ""
    caption: str = ""


def grid(tiles: Sequence[Tile], width: int, *, aspect: float = 1.0, title: str = "") -> Image.Image:
    """Draw tiles in rows, each place as a rectangle; text where it is legible.

    aspect: height over width of a tile, whatever its image has. width: of the grid in pixels.
    """
    most = max(1, (width - GAP) // (NARROWEST + GAP))
    wanted = max(round(width / LARGE), ceil(sqrt(len(tiles) / SHARE)))
    columns = min(len(tiles), most, wanted)
    largest = LARGE if len(tiles) > 1 else ALONE
    side = max(NARROWEST, min(largest, (width - GAP) // columns - GAP))
    tall = min(side * aspect, side * TALLEST)
    size = (max(1, round(tall / aspect)), max(1, round(tall)))
    cells = [
        Cell(
            stretched(each.image, size),
            each.number if side >= NUMBERED else "",
            each.caption if side >= CAPTIONED else "",
        )
        for each in tiles
    ]
    sheet = panel(cells, columns=columns, width=side)
    if title and side < NUMBERED:
        title += f", {columns} in a row"
    return below([_heading(title, max(width, sheet.width)), sheet]) if title else sheet


def stretched(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return a map or a kernel in this size (width, height), within a thin grey line."""
    factor = (ceil(size[0] / image.width), ceil(size[1] / image.height))
    whole = (image.width * factor[0], image.height * factor[1])
    large = image.convert("RGB").resize(whole, Image.Resampling.NEAREST)
    found = large.resize(size, Image.Resampling.BOX)
    if min(size) > 8:
        ImageDraw.Draw(found).rectangle((0, 0, size[0] - 1, size[1] - 1), outline=LINE)
    return found


def _heading(text: str, width: int) -> Image.Image:
    face = font(max(12, min(16, width // 50)), bold=True)
    line = shorten(text, face, width - 2 * GAP)
    size = (ceil(face.getlength(line)) + 2 * GAP, line_height(face) + 2 * GAP)
    sheet = Image.new("RGB", size, "white")
    ImageDraw.Draw(sheet).text((GAP, GAP + 2), line, fill=ink((255, 255, 255)), font=face)
    return sheet


def beside(left: Image.Image | None, right: Image.Image) -> Image.Image:
    """Return two sheets side by side."""
    if left is None:
        return right
    sheet = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width, 0))
    return sheet


def below(sheets: Sequence[Image.Image]) -> Image.Image:
    """Return sheets one below the other."""
    size = (max(each.width for each in sheets), sum(each.height for each in sheets))
    joined, top = Image.new("RGB", size, "white"), 0
    for each in sheets:
        joined.paste(each, (0, top))
        top += each.height
    return joined
