"""Curves and rows of dots, as geometry for SVG: text stays text, colours follow the page."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = {False: (400, 190), True: (300, 120)}  # width and height, by whether it is small
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 22
MOST_POINTS = 160  # of a line: more would not be seen


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    lines: name and points (x, y) of each. x, y: what the axes are. mark: an x to stand out, and
    marked: what it is.
    """

    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    x: str
    y: str = ""
    mark: float | None = None
    marked: str = ""
    caption: str = ""
    words: Sequence[str] = ()

    parts: ClassVar[tuple[str, ...]] = ("charts",)
    maps: ClassVar[bool] = False
    size: ClassVar[None] = None

    def view(self, number: int) -> _View:
        """Return what the template reads."""
        return _View(self, number, self.drawn())

    def drawn(self, *, small: bool = False) -> Drawn:
        """Return the lines as SVG paths with ticks; what is not finite is left out."""
        lines = [(name, _thinned([p for p in points if _finite(p)])) for name, points in self.lines]
        lines = [(name, points) for name, points in lines if points]
        every = [point for _, points in lines for point in points] or [(0.0, 0.0)]
        width, height = SIZES[small]
        xs = _axis([x for x, _ in every], 4 if small else 7, LEFT, width - RIGHT, tight=True)
        ys = _axis([y for _, y in every], 2 if small else 4, height - BOTTOM, TOP)
        paths = [
            (name, "M" + "L".join(f"{xs.place(x):.1f} {ys.place(y):.1f}" for x, y in points))
            for name, points in lines
        ]
        said = "; ".join(
            f"{name or self.y} {points[0][1]:.3g} at {points[0][0]:g} to {points[-1][1]:.3g} at "
            f"{points[-1][0]:g}"
            for name, points in lines
        )
        mark = None if self.mark is None else xs.place(self.mark)
        return Drawn(self, (width, height), paths, xs.ticks, ys.ticks, mark, said)


@dataclass(frozen=True)
class Drawn:
    """A chart in the units of its drawing."""

    chart: Chart
    size: tuple[int, int]
    paths: list[tuple[str, str]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    mark: float | None
    said: str
    inner: tuple[int, int, int, int] = (LEFT, TOP, RIGHT, BOTTOM)


@dataclass(frozen=True)
class _View:
    chart: Chart
    number: int
    drawn: Drawn


@dataclass(frozen=True)
class Row:
    """Numbers 0..1 of one kind and their mean.

    said: what they come to, in words. strong: whether that is more than chance.
    """

    title: str
    detail: str
    values: Sequence[float]
    said: str = ""
    strong: bool = True

    @property
    def mean(self) -> float:
        """The mean of the numbers."""
        return sum(self.values) / len(self.values)


@dataclass(frozen=True)
class Rows:
    """Rows of dots between two ends, with a line in the middle."""

    rows: Sequence[Row]
    caption: str = ""
    words: Sequence[str] = ()
    ends: tuple[str, str] = ("0", "1")

    parts: ClassVar[tuple[str, ...]] = ("rows", "charts")
    maps: ClassVar[bool] = False
    size: ClassVar[None] = None

    def view(self, number: int) -> _Rows:
        """Return what the template reads."""
        return _Rows(self, number)


@dataclass(frozen=True)
class _Rows:
    block: Rows
    number: int


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    ticks: list[tuple[float, str]]

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _axis(
    values: Sequence[float], count: int, start: float, end: float, *, tight: bool = False
) -> _Axis:
    """An axis over values with about so many ticks; not tight, it ends at ticks."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(1.0, abs(high)):
        low, high = low - 0.5, high + 0.5
    step = _step((high - low) / count)
    first, last = math.floor(low / step), math.ceil(high / step)
    if tight:
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    else:
        low, high = first * step, last * step
    axis = _Axis(low, high, start, end, [])
    numbers = [each * step for each in range(first, last + 1)]
    axis.ticks.extend((axis.place(each), f"{each:.6g}".replace("-", "−")) for each in numbers)
    return axis


def _step(rough: float) -> float:
    """The next larger of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= 0.999 * rough)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means of neighbours where there are more points than are seen, and both ends."""
    if len(points) <= MOST_POINTS:
        return list(points)
    each = math.ceil(len(points) / MOST_POINTS)
    groups = [points[start : start + each] for start in range(0, len(points), each)]
    means = [
        (sum(x for x, _ in group) / len(group), sum(y for _, y in group) / len(group))
        for group in groups
    ]
    return [points[0], *means[1:-1], points[-1]]


def _finite(point: tuple[float, float]) -> bool:
    return all(map(math.isfinite, point))
