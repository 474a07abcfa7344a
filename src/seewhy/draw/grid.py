"""Pictures side by side, each with a title above and a caption below."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw

from seewhy.draw.colors import RGB, ink, rgb
from seewhy.draw.text import Font, font, line_height, wrap
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NARROWEST = 32  # pixels of a cell: below this no text is legible
TALLEST = 4 / 3  # height of a cell's picture over its width, at most, in a row of portraits
TITLE_LINES, CAPTION_LINES = 2, 3


@dataclass(frozen=True)
class Cell:
    """One picture of a panel, with the text above and below it."""

    image: Image.Image
    title: str = ""
    caption: str = ""


def panel(
    cells: Iterable[Cell],
    *,
    columns: int | None = None,
    title: str = "",
    width: int = 256,
    background: str | tuple[int, int, int] = "white",
) -> Image.Image:
    """Draw cells in rows, the pictures fitted to `width` pixels and never distorted.

    Small pictures are enlarged pixel by pixel and stay crisp, large ones are reduced with
    antialiasing. Titles and captions are wrapped to the cell and end in an ellipsis where they are
    too long. Without `columns`, the rows are made as full as possible. Returns an RGB picture.
    Raises PictureError without cells, for fewer than one column and for cells under 32 pixels.
    """
    cells = list(cells)
    if not cells:
        raise PictureError("A panel of no cells: give at least one Cell(image).")
    empty = [number for number, cell in enumerate(cells) if 0 in cell.image.size]
    if empty:
        raise PictureError(f"The pictures of cells {empty} have no pixels: leave them out.")
    if columns is not None and columns < 1:
        raise PictureError(f"A panel of {columns} columns: give 1 or more, or None to choose.")
    if width < NARROWEST:
        raise PictureError(f"Cells of {width} pixels: give a width of {NARROWEST} or more.")
    columns = min(columns or _columns(len(cells)), len(cells))
    paper = rgb(background)
    gap = max(4, width // 20)

    rows = [
        _row(cells[start : start + columns], width=width, gap=gap, paper=paper)
        for start in range(0, len(cells), columns)
    ]
    across = max(row.width for row in rows)
    heading = _text([title], font(_size(width) * 5 // 4, bold=True), across, TITLE_LINES, paper)
    if heading:
        rows.insert(0, heading)

    height = sum(row.height for row in rows) + gap * (len(rows) + 1)
    sheet = Image.new("RGB", (across + 2 * gap, height), paper)
    top = gap
    for row in rows:
        sheet.paste(row, (gap, top))
        top += row.height + gap
    return sheet


def _columns(count: int) -> int:
    """Return how many columns leave the fewest places empty, in a shape that is rather wide."""
    if count <= 4:
        return count
    least = ceil(sqrt(count))
    return min(range(least, least + 3), key=lambda columns: (-count % columns, columns))


def _size(width: int) -> int:
    """Return the size of text that suits a cell's width, in pixels."""
    return min(28, max(10, 6 + width // 32))


def _row(cells: Sequence[Cell], *, width: int, gap: int, paper: RGB) -> Image.Image:
    """Draw cells side by side: a band of titles, a band of pictures, a band of captions."""
    size = _size(width)
    shapes = [cell.image.height / cell.image.width for cell in cells]
    # Beside a landscape, a portrait gets a square: more would part the landscape from its title.
    tallest = TALLEST if min(shapes) >= 1 else 1.0
    height = max(1, round(width * min(max(shapes), tallest)))
    pictures = Image.new("RGB", (len(cells) * (width + gap) - gap, height), paper)
    for index, cell in enumerate(cells):
        picture = _fit(cell.image, pictures.height, width, paper)
        left = index * (width + gap) + (width - picture.width) // 2
        pictures.paste(picture, (left, (pictures.height - picture.height) // 2))

    titles = [cell.title for cell in cells]
    captions = [cell.caption for cell in cells]
    bands = [
        _text(titles, font(size, bold=True), width, TITLE_LINES, paper, gap=gap, low=True),
        pictures,
        _text(captions, font(size), width, CAPTION_LINES, paper, gap=gap),
    ]
    drawn = [band for band in bands if band]
    space = max(2, gap // 3)
    row = Image.new(
        "RGB",
        (pictures.width, sum(band.height for band in drawn) + space * (len(drawn) - 1)),
        paper,
    )
    top = 0
    for band in drawn:
        row.paste(band, (0, top))
        top += band.height + space
    return row


def _text(
    texts: Sequence[str],
    face: Font,
    width: int,
    lines: int,
    paper: RGB,
    *,
    gap: int = 0,
    low: bool = False,
) -> Image.Image | None:
    """Draw texts side by side, each centred and wrapped to `width`; None where all are empty.

    With `low`, shorter texts stand at the bottom, next to what follows.
    """
    wrapped = [wrap(text, face, width, lines) for text in texts]
    most = max(map(len, wrapped))
    if not most:
        return None
    step = line_height(face)
    band = Image.new("RGB", (len(texts) * (width + gap) - gap, most * step), paper)
    pen = ImageDraw.Draw(band)
    for index, text in enumerate(wrapped):
        first = most - len(text) if low else 0
        for number, line in enumerate(text):
            left = index * (width + gap) + max(0, round((width - face.getlength(line)) / 2))
            pen.text((left, (first + number) * step), line, fill=ink(paper), font=face)
    return band


def _fit(image: Image.Image, height: int, width: int, paper: RGB) -> Image.Image:
    """Return an RGB picture scaled into a box, its proportions kept."""
    flat = image.convert("RGB")
    if image.has_transparency_data:
        flat = Image.new("RGB", image.size, paper)
        flat.paste(image.convert("RGBA"), mask=image.convert("RGBA"))
    scale = min(width / flat.width, height / flat.height)
    size = (max(1, round(flat.width * scale)), max(1, round(flat.height * scale)))
    if scale < 1:
        return flat.resize(size, Image.Resampling.LANCZOS)
    # Enlarged by a whole factor and reduced by area, pixels stay sharp and all of the same size.
    factor = ceil(scale)
    whole = (flat.width * factor, flat.height * factor)
    return flat.resize(whole, Image.Resampling.NEAREST).resize(size, Image.Resampling.BOX)
