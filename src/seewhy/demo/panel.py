"""The panel of the demonstration: pictures, and where a few maps of each model point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from seewhy.data.world import PARTS
from seewhy.demo.demonstration import FOLLOWED, MIDDLE
from seewhy.draw import Cell, colorbar, overlay, panel

if TYPE_CHECKING:
    from seewhy.demo.demonstration import Demonstration
    from seewhy.explanation import Explanation

DRAWN = {"Grad-CAM": "grad-cam", "LayerCAM at halve": MIDDLE, "IG": "integrated-gradients:steps=20"}
"""Methods in the panel, where they are measured; the page has them all."""

ROWS = 6

_ZOOM = 3
_HIT, _MISS = (30, 160, 60), (215, 40, 40)


def drawn(found: Demonstration) -> Image.Image:
    """Return the panel: a row a picture, a ring around the strongest point of each map."""
    methods = {title: each for title, each in DRAWN.items() if each in found.methods}
    if not methods:
        methods = {each: each for each in found.methods[:1]}
    cells: list[Cell] = []
    for row in range(min(ROWS, len(found.scenes))):
        cells += _row(found, methods, row)
    width = found.scenes.pictures.shape[2] * _ZOOM
    sheet = panel(cells, columns=1 + len(FOLLOWED) * len(methods), width=width)
    scale = colorbar(width=min(420, sheet.width))
    joined = Image.new("RGB", (sheet.width, sheet.height + scale.height + 8), "white")
    joined.paste(sheet)
    joined.paste(scale, ((sheet.width - scale.width) // 2, sheet.height))
    return joined


def strongest(why: Explanation) -> tuple[int, int]:
    """Return the row and column of a map's largest value on the picture."""
    heat = why.heatmap()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return int(row), int(column)


def _row(found: Demonstration, methods: dict[str, str], row: int) -> list[Cell]:
    picture = Image.fromarray(found.scenes.pictures[row])
    grey = picture.convert("L").convert("RGB")  # the colours are the map's alone
    cells = [Cell(_larger(picture), "picture" if row == 0 else "", "")]
    for model, part in FOLLOWED.items():
        mask = found.scenes.mask(part)[row]
        for title, method in methods.items():
            why = found.examples(model, method)[row]
            place = strongest(why)
            warm = overlay(grey, why.heatmap(), opacity=0.85)
            said = f"{why.prediction[0].label}: points at {_part(found, row, place)}"
            head = f"{model} model, {title}" if row == 0 else ""
            cells.append(Cell(_ringed(warm, place, hit=bool(mask[place])), head, said))
    return cells


def _part(found: Demonstration, row: int, place: tuple[int, int]) -> str:
    for part in PARTS:
        if found.scenes.mask(part)[row][place]:
            return f"the {part.split()[0]}"
    return "the background"


def _larger(picture: Image.Image) -> Image.Image:
    size = (picture.width * _ZOOM, picture.height * _ZOOM)
    return picture.resize(size, Image.Resampling.NEAREST)


def _ringed(picture: Image.Image, place: tuple[int, int], *, hit: bool) -> Image.Image:
    """Return the picture enlarged, with a ring around a place."""
    large = _larger(picture)
    y, x = ((each + 0.5) * _ZOOM for each in place)
    pen = ImageDraw.Draw(large)
    for radius, width, color in ((11, 6, "white"), (10, 4, _HIT if hit else _MISS)):
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color, width=width)
    return large
