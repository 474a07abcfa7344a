"""Transforms: a picture that excites only where it stands exactly so is no answer.

Each step sees the pictures shifted, scaled, turned a little, at random from a generator of each
picture's own. All are differentiable, and the picture keeps its middle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import MethodError


class Transform:
    """One way of seeing pictures a little differently."""

    def __call__(self, pictures: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """Return pictures (N, C, *space), row i drawn from draws[i]; the space may be another."""
        raise NotImplementedError


@dataclass(frozen=True)
class Jitter(Transform):
    """Shift by up to so many pixels along each axis; what comes in is the edge, drawn on."""

    pixels: int = 4

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise MethodError(f"jitter by {self.pixels} pixels: give 0 or more")

    def __call__(self, pictures: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """Return shifted pictures of the same size."""
        space = pictures.shape[2:]
        most = self.pixels
        wide = _surrounded(pictures, most)
        rows = []
        for row, draw in zip(wide, draws, strict=True):
            begins = torch.randint(2 * most + 1, (len(space),), generator=draw).tolist()
            place = [slice(b, b + size) for b, size in zip(begins, space, strict=True)]
            rows.append(row[(slice(None), *place)])
        return torch.stack(rows)


@dataclass(frozen=True)
class Pad(Transform):
    """Surround by so many pixels of each picture's own mean colour, for shifts to bring in."""

    pixels: int = 4

    def __post_init__(self) -> None:
        if self.pixels < 0:
            raise MethodError(f"a pad of {self.pixels} pixels: give 0 or more")

    def __call__(self, pictures: Tensor, draws: Sequence[torch.Generator]) -> Tensor:  # noqa: ARG002
        """Return larger pictures."""
        axes = tuple(range(2, pictures.ndim))
        mean = pictures.detach().mean(axes, keepdim=True)
        return F.pad(pictures - mean, [self.pixels] * (2 * len(axes))) + mean


@dataclass(frozen=True)
class Scale(Transform):
    """Enlarge by a factor between these, about the middle; what comes in is the edge, drawn on."""

    low: float = 0.9
    high: float = 1.1

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise MethodError(f"scale from {self.low} to {self.high}: give 0 < low <= high")

    def __call__(self, pictures: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """Return pictures of the same size."""
        shares = torch.cat([torch.rand(1, generator=draw) for draw in draws])
        factors = self.low + (self.high - self.low) * shares
        return _turned(pictures, torch.eye(2) / factors[:, None, None])


@dataclass(frozen=True)
class Rotate(Transform):
    """Turn by up to so many degrees either way; what comes in is the edge, drawn on."""

    degrees: float = 5.0

    def __call__(self, pictures: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
        """Return pictures of the same size."""
        shares = torch.cat([torch.rand(1, generator=draw) for draw in draws])
        angles = math.radians(self.degrees) * (2 * shares - 1)
        cos, sin = angles.cos(), angles.sin()
        turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
        return _turned(pictures, turn)


def usual(space: tuple[int, ...]) -> tuple[Transform, ...]:
    """Return the transforms for pictures of a size: shifts, and in a plane scaling and turning."""
    if not space or min(space) < 8:
        return ()
    pixels = max(1, round(min(space) / 16))
    shifts = (Pad(pixels), Jitter(pixels))
    return (*shifts, Scale(), Rotate(), Jitter(max(1, pixels // 2))) if len(space) == 2 else shifts


def seen(
    pictures: Tensor, transforms: Sequence[Transform], draws: Sequence[torch.Generator]
) -> Tensor:
    """Return pictures through all transforms, cut about the middle to the size they had."""
    space = pictures.shape[2:]
    for each in transforms:
        pictures = each(pictures, draws)
    for axis, size in enumerate(space, 2):
        pictures = pictures.narrow(axis, (pictures.shape[axis] - size) // 2, size)
    return pictures


def check_transforms(transforms: Sequence[Transform], space: tuple[int, ...]) -> None:
    """Raise MethodError where pictures of this size cannot be transformed so."""
    if transforms and not space:
        raise MethodError("inputs without space cannot be shifted or scaled: give transforms=()")
    if len(space) != 2 and any(isinstance(each, Scale | Rotate) for each in transforms):
        raise MethodError(
            f"inputs with {len(space)} axes of space are not scaled or rotated: use Jitter and Pad"
        )


def _surrounded(pictures: Tensor, pixels: int) -> Tensor:
    """Pictures with their edges drawn on, along every axis of space."""
    for axis in range(2, pictures.ndim):
        index = torch.arange(-pixels, pictures.shape[axis] + pixels, device=pictures.device)
        pictures = pictures.index_select(axis, index.clamp(0, pictures.shape[axis] - 1))
    return pictures


def _turned(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Pictures whose place p shows what was at matrices @ p (N, 2, 2), in pixels from the middle.

    Bilinear.
    """
    height, width = pictures.shape[2:]
    sides = torch.tensor([width, height], dtype=torch.float32)
    scaled = matrices * (sides[None, :] / sides[:, None])  # from pixels to -1..1 along each axis
    affine = torch.cat([scaled, torch.zeros(len(pictures), 2, 1)], 2).to(pictures)
    grid = F.affine_grid(affine, list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
