"""A colour a concept, over the photograph, and a legend of what each speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from seewhy.draw.colors import RGB, ink, rgb
from seewhy.draw.overlay import strength
from seewhy.draw.text import font, line_height, shorten
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAFE: tuple[RGB, ...] = (  # told apart by the colour-blind: Okabe & Ito 2008, and Tol's wine
    (230, 159, 0),
    (0, 114, 178),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (136, 34, 85),
)
LIGHT, DARK = 85, 30  # the lightness of colours that show on any photograph


def palette(count: int) -> list[RGB]:
    """Return a colour for each concept: up to 8 are safe for the colour-blind, all are distinct.

    Raises PictureError for fewer than one.
    """
    if count < 1:
        raise PictureError(f"{count} colours: give 1 or more.")
    return list(SAFE[:count]) + list(_further(max(0, count - len(SAFE))))


def concept_overlay(
    picture: Image.Image,
    maps: NDArray[np.floating],
    *,
    colors: Sequence[RGB] | None = None,
    opacity: float = 0.7,
    photo: float = 1.0,
) -> Image.Image:
    """Lay concepts over their picture in grey, each place in the colour of the strongest there.

    maps: (k, H, W) of the picture's size, each 0..1 of its own largest value, NaN where the model
    did not see the picture. opacity: of a colour where its map is 1. photo: of the photograph
    itself, 0 (white) to 1. Returns an RGB picture. Raises PictureError where sizes differ.
    """
    if maps.ndim != 3 or maps.shape[1:] != (picture.height, picture.width):
        raise PictureError(
            f"The picture is {picture.width} x {picture.height} (width x height), the maps are "
            f"{maps.shape}: give (k, H, W) of its size."
        )
    for name, value in (("opacity", opacity), ("photo", photo)):
        if not 0 <= value <= 1:
            raise PictureError(f"The {name} is {value}: give a number from 0 to 1.")
    table = np.asarray(colors or palette(len(maps)), dtype=np.float32)
    seen = np.nan_to_num(maps).clip(0, 1).astype(np.float32)
    first = seen.argmax(0)
    strongest = np.take_along_axis(seen, first[None], 0)[0]
    # grey, so that every colour is a concept's
    base = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32)
    base = 255 + photo * (base - 255)
    weight = opacity * strength(strongest, signed=False)[..., None]
    return Image.fromarray(np.rint(base + weight * (table[first] - base)).astype(np.uint8))


def concept_legend(
    names: Sequence[str],
    *,
    colors: Sequence[RGB] | None = None,
    width: int = 256,
    height: int | None = None,
    background: str | tuple[int, int, int] = "white",
) -> Image.Image:
    """Draw a legend: a swatch and a line or more of text for each concept.

    names: the text of each; lines are parted by line breaks. height: the legend fills it, with
    smaller text where it must; None takes what text of the usual size needs. Texts that are too
    long end in an ellipsis. Returns an RGB picture of `width` pixels.
    """
    paper = rgb(background)
    table = colors or palette(len(names))
    lines = [name.split("\n") for name in names]
    size = max(11, min(28, width // 16))
    while size > 8 and height is not None and _tall(lines, size) > height:
        size -= 1
    face, step, gap = font(size), line_height(font(size)), max(2, size // 3)
    tall = _tall(lines, size)
    sheet = Image.new("RGB", (width, max(tall, height or 0)), paper)
    pen = ImageDraw.Draw(sheet)
    top = gap + max(0, (height or 0) - tall) // 2
    for color, texts in zip(table, lines, strict=True):
        block = step * len(texts)
        pen.rectangle(
            (gap, top, gap + size, top + block - 2), fill=tuple(color), outline=ink(paper)
        )
        for line, text in enumerate(texts):
            place = (2 * gap + size, top + line * step)
            room = width - place[0] - gap
            pen.text(place, shorten(text, face, room), fill=ink(paper), font=face)
        top += block + gap
    return sheet


def _tall(lines: Sequence[Sequence[str]], size: int) -> int:
    gap = max(2, size // 3)
    return gap + sum(line_height(font(size)) * len(each) + gap for each in lines)


@lru_cache(maxsize=8)
def _further(count: int) -> tuple[RGB, ...]:
    """Colours after the safe ones: each as far as can be from all before it, in CIELAB."""
    if not count:
        return ()
    from skimage.color import rgb2lab

    steps = np.arange(0, 256, 15)
    every = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    lab = rgb2lab(every[None] / 255.0)[0]
    shows = (lab[:, 0] >= DARK) & (lab[:, 0] <= LIGHT)
    every, lab = every[shows], lab[shows]
    known = rgb2lab(np.asarray(SAFE)[None] / 255.0)[0]
    apart = np.linalg.norm(lab[:, None] - known[None], axis=2).min(1)
    found = []
    for _ in range(count):
        best = int(apart.argmax())
        found.append((int(every[best][0]), int(every[best][1]), int(every[best][2])))
        apart = np.minimum(apart, np.linalg.norm(lab - lab[best], axis=1))
    return tuple(found)
