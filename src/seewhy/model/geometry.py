"""Geometry: where each place of the model's input came from in the original picture.

A picture is resized, cropped, padded on its way into a model. Here that is one affine map for each
axis. For preprocessing of unknown make it is measured, not assumed: grey ramps are sent through
it, and the brightness that comes out tells where each pixel came from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

STRAIGHT = 0.02  # how far a measured ramp may be from a straight line, in parts of the picture


@dataclass(frozen=True)
class Geometry:
    """How a picture of `original` (height, width) became an input of `model` (height, width).

    A point at y pixels from the top of the original lies at scale[0] * y + offset[0] pixels from
    the top of the input; x likewise. shape: what a flat input (N, D) is as (C, h, w), else None.
    """

    original: tuple[int, int]
    model: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float] = (0.0, 0.0)
    shape: tuple[int, int, int] | None = None

    @classmethod
    def stretched(cls, original: tuple[int, int], model: tuple[int, int]) -> Geometry:
        """Return the geometry of a plain resize of the whole picture."""
        return cls(original, model, (model[0] / original[0], model[1] / original[1]))

    def on_original(self, relevance: Tensor) -> Tensor:
        """Lay a map (..., h, w) that covers the model's input on the original: (..., H, W).

        Bilinear between the map's places; averaged where the map is finer than the picture. NaN
        where the model did not see the picture.
        """
        rows = self._weights(0, relevance.shape[-2])
        columns = self._weights(1, relevance.shape[-1])
        return rows.to(relevance) @ relevance @ columns.to(relevance).T

    def on_model(self, mask: Tensor) -> Tensor:
        """Lay a mask (H, W) of the original on the model's input: (h, w), False beyond its edge."""
        rows, inside_rows = self._source(0)
        columns, inside_columns = self._source(1)
        return mask[rows][:, columns] & inside_rows[:, None] & inside_columns

    def _source(self, axis: int) -> tuple[Tensor, Tensor]:
        """The pixel of the original behind each pixel of the input, and whether there is one."""
        centres = torch.arange(self.model[axis], dtype=torch.float64) + 0.5
        source = ((centres - self.offset[axis]) / self.scale[axis]).floor().long()
        last = self.original[axis] - 1
        return source.clamp(0, last), (source >= 0) & (source <= last)

    def _weights(self, axis: int, places: int) -> Tensor:
        """Weights (pixels of the original, places of the map); each row sums to one, or is NaN."""
        length, extent = self.original[axis], self.model[axis]
        centres = torch.arange(length, dtype=torch.float64) + 0.5
        seen = (centres * self.scale[axis] + self.offset[axis]) / extent
        position = (seen * places - 0.5).clamp(0, places - 1)
        width = max(1.0, abs(self.scale[axis]) * places / extent)  # places under one pixel
        distance = (position[:, None] - torch.arange(places, dtype=torch.float64)).abs()
        weights = (1 - distance / width).clamp(min=0)
        weights = weights / weights.sum(1, keepdim=True)
        slack = 0.5 / extent  # half an input pixel: a measured border is not sharper
        weights[(seen < -slack) | (seen > 1 + slack)] = math.nan
        return weights


def measure(
    preprocess: Callable[[Image.Image], Tensor], original: tuple[int, int]
) -> Geometry | None:
    """Measure what a preprocessing does to pictures of that (height, width).

    preprocess: takes an RGB picture, returns one input (C, h, w), (h, w) or flat (D,). Returns None
    where no resizing, cropping and padding explains what comes out.
    """
    height, width = original
    y = np.broadcast_to(np.linspace(0, 255, height)[:, None], original)
    x = np.broadcast_to(np.linspace(0, 255, width)[None], original)
    flat = [np.full(original, value) for value in (0.0, 255.0)]
    black, white, down, across, both = (
        preprocess(_grey(values)).detach().double() for values in (*flat, y, x, (y + x) / 2)
    )
    if not black.shape == white.shape == down.shape == across.shape == both.shape:
        return None
    if (both - (down + across) / 2).abs().max() > STRAIGHT * (white - black).abs().max():
        return None  # it is another every time, or depends on what is in the picture
    for shape in _shapes(tuple(black.shape), original):
        span = (white - black).reshape(shape)
        if not span.any():
            return None
        live = span.abs() > span.abs().max() / 2  # padding is the same whatever the picture
        parts = [
            torch.where(live, (ramp - black).reshape(shape) / span, math.nan).nanmean(0)
            for ramp in (down, across)
        ]
        rows = _line(parts[0].nanmean(1), parts[0], 1, height)
        columns = _line(parts[1].nanmean(0), parts[1], 0, width)
        if rows is not None and columns is not None:
            (scale_y, offset_y), (scale_x, offset_x) = rows, columns
            flattened = (shape[0], shape[1], shape[2]) if black.ndim == 1 else None
            return Geometry(
                original, shape[-2:], (scale_y, scale_x), (offset_y, offset_x), flattened
            )
    return None


def _grey(values: np.ndarray) -> Image.Image:
    levels = np.rint(values).astype(np.uint8)
    return Image.fromarray(np.repeat(levels[..., None], 3, axis=2))


def _shapes(shape: tuple[int, ...], original: tuple[int, int]) -> list[tuple[int, int, int]]:
    """The shapes (C, h, w) that an input may have; a flat one is tried as square, then alike."""
    if len(shape) == 3:
        return [(shape[0], shape[1], shape[2])]
    if len(shape) == 2:
        return [(1, shape[0], shape[1])]
    if len(shape) != 1:
        return []
    found = []
    for channels in (1, 3, 4):
        places = shape[0] / channels
        for aspect in (1.0, original[0] / original[1]):
            height = round(math.sqrt(places * aspect))
            if height and places == height * round(places / height):
                found.append((channels, height, round(places / height)))
    return found


def _line(ramp: Tensor, values: Tensor, axis: int, length: int) -> tuple[float, float] | None:
    """Fit a line to a ramp that came out: (scale, offset) of the axis, None where it is not one.

    ramp: brightness 0..1 along the axis; values: the same for every place. length: in pixels.
    """
    known = ~ramp.isnan()
    if known.sum() < 2 or length < 2:
        return None
    if (values - ramp.unsqueeze(axis)).abs().nan_to_num().max() > STRAIGHT:
        return None  # it varies across the axis too: turned, or not a picture
    places = torch.arange(len(ramp), dtype=torch.float64)[known] + 0.5
    source = ramp[known] * (length - 1) + 0.5  # linspace puts 0 and 1 on the pixels' centres
    inner = (ramp[known] > 1 / length) & (ramp[known] < 1 - 1 / length)  # edges are blurred flat
    if inner.sum() >= 2:
        places, source = places[inner], source[inner]
    centred = places - places.mean()
    slope = float((centred * source).sum() / centred.square().sum())
    start = float(source.mean() - slope * places.mean())
    allowed = max(STRAIGHT * length, abs(slope) / 2)  # half an input pixel: borders are mixed
    if abs(slope) < 1e-9 or (source - slope * places - start).abs().max() > allowed:
        return None
    return 1 / slope, -start / slope
