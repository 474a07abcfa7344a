"""A demonstration in a world whose truth is known: do maps point at what decides.

>>> found = demo(count=1)
>>> found.columns
('method', 'in the shape', 'share')
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image, ImageDraw
from skimage.segmentation import find_boundaries

from seewhy.api import explain
from seewhy.data.world import CLASSES, PARTS, Scenes, generate
from seewhy.draw import Cell, colorbar, overlay, panel, save_image
from seewhy.explanation import Explanation, Explanations
from seewhy.model.load import load
from seewhy.run import Progress

METHODS = {
    "Grad-CAM": "grad-cam",
    "LayerCAM, middle layer": "layer-cam:layer=halve",
    "integrated gradients": "integrated-gradients",
}
MOST_DRAWN = 12
"""Pictures in the panel; the table counts them all."""

_ZOOM = 3
_HIT, _MISS = (30, 160, 60), (215, 40, 40)


def demo(count: int = 6, *, seed: int = 0, progress: Progress | None = None) -> Demonstration:
    """Explain generated pictures by the embedded model, with several methods.

    count: pictures, each with a shape, and most with a sticker and other figures beside it. seed:
    which. Raises PictureError for a count below 1 or a negative seed.
    """
    scenes = generate(count, seed=seed, empty=0.0)
    model = load("demo")
    maps: dict[str, Explanations] = {}
    for title, method in METHODS.items():
        found = explain(model, list(scenes.pictures), method=method, seed=seed, progress=progress)
        maps[title] = cast("Explanations", found)
    return Demonstration(scenes, maps)


@dataclass(frozen=True)
class Demonstration:
    """Pictures of the generated world with their truth, and by title the maps of each method."""

    scenes: Scenes
    maps: dict[str, Explanations]

    columns = ("method", "in the shape", "share")

    def hits(self, title: str) -> list[bool]:
        """Return for each picture whether the map's strongest point lies in the shape."""
        return [
            bool(mask[strongest(why)])
            for mask, why in zip(self.scenes.mask("shape"), self.maps[title], strict=True)
        ]

    def rows(self) -> list[dict[str, str]]:
        """Return one row a method, and one for points drawn at random, in words."""
        rows = []
        for title in self.maps:
            hits = self.hits(title)
            said = (title, f"{sum(hits)} of {len(hits)}", f"{np.mean(hits):.0%}")
            rows.append(dict(zip(self.columns, said, strict=True)))
        chance = float(self.scenes.mask("shape").mean())
        said = ("a point at random", "", f"{chance:.0%}")
        return [*rows, dict(zip(self.columns, said, strict=True))]

    def introduction(self) -> list[str]:
        """Return what was done, in paragraphs for someone who sees this for the first time."""
        first = next(iter(self.maps.values()))
        right = sum(
            each.prediction[0].label == CLASSES[label]
            for each, label in zip(first, self.scenes.labels, strict=True)
        )
        learned = (
            f"A small network has learned to name the one shape in a picture "
            f"({_listed(CLASSES[:-1])}). New pictures were drawn for it, and it named {right} of "
            f"{len(first)} rightly."
        )
        asked = (
            "Each method was asked why the network decided as it did, and answered with a map: the "
            "warmer a place, the more it spoke for the decision. As the pictures are drawn, it is "
            "known exactly where the shape is, and so whether a map's strongest point lies in it:"
        )
        return [learned, asked]

    def reading(self) -> str:
        """Return how the panel is to be read."""
        drawn = min(len(self.scenes), MOST_DRAWN)
        many = f"the first {drawn} pictures" if drawn < len(self.scenes) else "each picture"
        return (
            f"The panel has a row for {many}: the picture, the maps with a ring around their "
            "strongest point (green in the shape, red beside it), and the truth: the shape alone, "
            "outlined."
        )

    def draw(self) -> Image.Image:
        """Return the panel: a row for each of the first pictures, truth in the last column."""
        cells: list[Cell] = []
        shown = min(len(self.scenes), MOST_DRAWN)
        for row in range(shown):
            cells += self._row(row, titled=row == 0)
        columns = len(self.maps) + 2
        sheet = panel(cells, columns=columns, width=self.scenes.pictures.shape[2] * _ZOOM)
        scale = colorbar(width=min(420, sheet.width))
        joined = Image.new("RGB", (sheet.width, sheet.height + scale.height + 8), "white")
        joined.paste(sheet)
        joined.paste(scale, ((sheet.width - scale.width) // 2, sheet.height))
        return joined

    def save(self, path: str | Path) -> Path:
        """Write the panel; SaveError where that cannot be done."""
        return save_image(self.draw(), path)

    def _row(self, row: int, *, titled: bool) -> list[Cell]:
        predicted = next(iter(self.maps.values()))[row].prediction[0]
        picture = Image.fromarray(self.scenes.pictures[row])
        mask = self.scenes.mask("shape")[row]
        truth = CLASSES[self.scenes.labels[row]]
        cells = [Cell(_larger(picture), "picture" if titled else "", f"predicted: {predicted}")]
        for title, found in self.maps.items():
            place = strongest(found[row])
            grey = picture.convert("L").convert("RGB")  # the colours are the map's alone
            warm = overlay(grey, found[row].heatmap("positive"), opacity=0.85)
            drawn = _ringed(warm, place, hit=bool(mask[place]))
            cells.append(
                Cell(drawn, title if titled else "", f"points at {self._part(row, place)}")
            )
        cells.append(Cell(_outlined(picture, mask), "the truth" if titled else "", truth))
        return cells

    def _part(self, row: int, place: tuple[int, int]) -> str:
        for part in PARTS:
            if self.scenes.mask(part)[row][place]:
                return f"the {part.split()[0]}"
        return "the background"


def strongest(why: Explanation) -> tuple[int, int]:
    """Return the row and column of a map's largest value on the picture."""
    heat = why.heatmap("positive")
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return int(row), int(column)


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


def _outlined(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """Return the picture enlarged, dim and grey outside the mask, with a line around it."""
    pixels = np.asarray(_larger(picture), np.float32)
    large = np.asarray(_larger(Image.fromarray(mask.astype(np.uint8)))).astype(bool)
    dim = 0.25 * pixels.mean(2, keepdims=True) + 150
    shown = np.where(large[..., None], pixels, dim)
    shown[find_boundaries(large, mode="thick")] = _HIT
    return Image.fromarray(shown.clip(0, 255).astype(np.uint8))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
