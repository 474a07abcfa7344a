"""Pictures with the way they came, as frames to go through, and a curve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from seewhy.draw.report import pictures
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

    from seewhy.draw.report.charts import Chart, Drawn

MOST_FRAMES = 240
"""Frames of all films together: of more, some of each film are left out."""

SIDES = ((60, 448), (120, 320), (240, 224), (math.inf, 112))
"""Up to so many frames, the longer side that they are reduced to."""


@dataclass(frozen=True)
class Film:
    """A picture, and what it was on the way.

    frames: (what it is called, such as "step 32", picture) in order. best: which of them is shown
    at first. words: what there is to say of it, a line each. chart: how it went.
    """

    title: str
    frames: Sequence[tuple[str, Image.Image]]
    best: int = -1
    words: Sequence[str] = ()
    chart: Chart | None = None


@dataclass(frozen=True)
class Films:
    """Pictures to be gone through frame by frame, one by one or all together."""

    films: Sequence[Film]
    caption: str = "What came out"

    parts: ClassVar[tuple[str, ...]] = ("films", "charts")
    maps: ClassVar[bool] = False

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of the first picture."""
        return self.films[0].frames[0][1].size

    def view(self, number: int) -> _View:
        """Return what the template reads; PictureError where there is nothing to show."""
        if not self.films or not all(each.frames for each in self.films):
            raise PictureError("Films are of one or more frames each.")
        most = max(2, MOST_FRAMES // len(self.films))
        kept = [_kept(each, most) for each in self.films]
        count = sum(len(frames) for frames, _ in kept)
        side = next(side for limit, side in SIDES if count <= limit)
        views = [
            _Film(
                film,
                [(said, pictures.picture_address(image, side)) for said, image in frames],
                best,
                frames[best][1].size,
                film.chart.drawn(small=True) if film.chart else None,
            )
            for film, (frames, best) in zip(self.films, kept, strict=True)
        ]
        return _View(self, number, views)


@dataclass(frozen=True)
class _Film:
    film: Film
    frames: list[tuple[str, str]]
    best: int
    size: pictures.Size
    chart: Drawn | None

    @property
    def crisp(self) -> bool:
        """Whether every pixel is shown."""
        return max(self.size) <= pictures.CRISP


@dataclass(frozen=True)
class _View:
    films: Films
    number: int
    views: list[_Film]

    @property
    def longest(self) -> int:
        """How many frames the longest has."""
        return max(len(each.frames) for each in self.views)


def _kept(film: Film, most: int) -> tuple[list[tuple[str, Image.Image]], int]:
    """At most so many frames, evenly, with the first, the last and the best; where the best is."""
    last = len(film.frames) - 1
    best = film.best % len(film.frames)
    if last < most:
        return list(film.frames), best
    places = {round(last * number / (most - 1)) for number in range(most)}
    if best not in places:  # it takes the place of its neighbour
        places = places - {min(places, key=lambda place: abs(place - best))} | {best}
    order = sorted(places)
    return [film.frames[place] for place in order], order.index(best)
