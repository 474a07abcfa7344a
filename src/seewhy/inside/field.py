"""Receptive fields: which part of the input a place of a layer sees, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import ModelError, warn
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.record import Outcome, record
from seewhy.run import generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

PROBES = 4  # pictures of noise
FIELDS = 900  # tells this use of random numbers from others
BEYOND = 0.025  # of the gradient, on each side of each axis
CLEARLY = 1.01  # times as well

Box = tuple[float, float, float, float]
"""(left, top, right, bottom)."""


@dataclass(frozen=True)
class Axis:
    """One axis of a receptive field: where the centre place sees the input, in pixels.

    size: of the input; centre: number of the place; stride: pixels from one place to the next.
    """

    size: int
    centre: int
    start: float
    end: float
    stride: float

    def at(self, place: int) -> tuple[float, float]:
        """Return from where to where a place sees, up to the input's edges, at least a pixel."""
        shift = (place - self.centre) * self.stride
        start = min(max(0.0, self.start + shift), self.size - 1.0)
        return start, min(max(start + 1.0, self.end + shift), float(self.size))


@dataclass(frozen=True)
class Field:
    """What the centre place of a layer sees of the input; other places see it shifted."""

    rows: Axis
    columns: Axis

    def at(self, place: tuple[int, ...]) -> Box:
        """Return what a place (row, column) sees, in pixels of the input."""
        (top, bottom), (left, right) = self.rows.at(place[0]), self.columns.at(place[1])
        return left, top, right, bottom


def receptive_field(model: Model, layer: Layer, like: Prepared) -> Field | None:
    """Measure what a layer's centre place sees of inputs like these; None without two axes.

    The gradient of random sums of its channels at that place, with respect to noise, shows it: the
    part outside of which, to each side, lies less than 2.5 % of the gradient's magnitude. How far
    it moves from place to place is read off a second place. Where no gradient comes back, the place
    itself is taken, of the size of the layer's stride, with a warning.
    """
    noise = model.at_home(model.findings.noise(PROBES, like))
    grid = record(model, noise, watch=[layer]).activations[layer].shape[2:]
    size = noise.tensor.shape[2:]
    if len(grid) != 2 or len(size) != 2:
        return None
    centre = (grid[0] // 2, grid[1] // 2)
    steps = (grid[0] // 3, grid[1] // 3)
    try:
        seen = _seen(model, layer, noise, centre)
        moved = _seen(model, layer, noise, (centre[0] - steps[0], centre[1] - steps[1]))
    except ModelError:
        seen = moved = torch.zeros(*size, dtype=torch.float64)
    if not float(seen.sum()) > 0:
        warn(
            f"what layer {str(layer)!r} sees cannot be measured, since no gradient comes from it "
            "back to the picture: crops are its places alone; take .place and a crop of your own"
        )
    rows, columns = (
        _axis(seen.sum(1 - axis), moved.sum(1 - axis), int(grid[axis]), steps[axis])
        for axis in (0, 1)
    )
    return Field(rows, columns)


def _seen(model: Model, layer: Layer, noise: Prepared, place: tuple[int, int]) -> Tensor:
    """How much what a place gives depends on each pixel, (h, w): in noise, over all channels."""
    found = record(model, noise, _At(layer, place), [INPUT]).gradients[INPUT]
    return found.abs().double().sum((0, 1)).nan_to_num().cpu()


@dataclass(frozen=True)
class _At:
    """Random sums of a layer's channels at a place."""

    layer: Layer
    place: tuple[int, int]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (self.layer,)

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        values = outcome.activations[self.layer][:, :, self.place[0], self.place[1]]
        signs = torch.randn(values.shape[1], generator=generator(0, 0, FIELDS))
        return (values * signs.to(values)).sum(1)[: len(rows)]


def _axis(seen: Tensor, moved: Tensor, places: int, steps: int) -> Axis:
    """One axis, of what the centre place sees (length,) and one so many places before it."""
    size, centre = len(seen), places // 2
    even = size / places
    if not float(seen.sum()) > 0:
        return Axis(size, centre, centre * even, (centre + 1) * even, even)
    share = seen / seen.sum()
    start = int((share.cumsum(0) <= BEYOND).sum())
    end = size - int((share.flip(0).cumsum(0) <= BEYOND).sum())
    return Axis(size, centre, start, max(start + 1, end), _stride(seen, moved, even, steps))


def _stride(seen: Tensor, moved: Tensor, even: float, steps: int) -> float:
    """How far what is seen moves from place to place: the shift by which both agree best.

    even: the stride of places that are spread evenly over the input, as they are with padding; it
    is left only where another agrees clearly better.
    """
    if not steps or not float(moved.sum()) > 0:
        return even
    usual = min(round(even * steps), len(seen) - 1)
    shifts = range(round(0.7 * usual), min(round(1.3 * usual) + 1, len(seen)))
    agreement = {
        shift: float(F.cosine_similarity(seen[shift:], moved[: len(moved) - shift], dim=0))
        for shift in {*shifts, usual}
    }
    best = max(agreement, key=lambda shift: (agreement[shift], -abs(shift - usual)))
    return best / steps if agreement[best] > CLEARLY * agreement[usual] else even
