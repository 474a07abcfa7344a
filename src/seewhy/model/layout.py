"""Layouts: which axes of a layer's output are pictures, channels and space."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Layout = Literal[
    "channels-first", "channels-last", "tokens", "tokens-last", "tokens-first", "vector"
]
"""(N,C,*space) | (N,*space,C) | (N,L,D) | (N,D,L) | (L,N,D) | (N,C) without space."""

MOST_PREFIX_TOKENS = 16
GRID_FROM_CONVOLUTION = 0.05  # how much worse a reading is that no convolution has vouched for


@dataclass(frozen=True)
class Reading:
    """One way to read a shape: its layout, the grid of places, tokens in front of the grid.

    doubt: 0 is certain; the reading with the least doubt is taken.
    """

    layout: Layout
    grid: tuple[int, ...]
    prefix: int = 0
    doubt: float = 0.0

    def canonical(self, tensor: Tensor) -> Tensor:
        """Return the tensor as (N, C, *space), without its prefix tokens; a view."""
        match self.layout:
            case "channels-last":
                return tensor.movedim(-1, 1)
            case "tokens":
                return _gridded(tensor[:, self.prefix :].transpose(1, 2), self.grid)
            case "tokens-first":
                return _gridded(tensor[self.prefix :].permute(1, 2, 0), self.grid)
            case "tokens-last":
                return _gridded(tensor[:, :, self.prefix :], self.grid)
        return tensor

    def restore(self, activations: Tensor, like: Tensor) -> Tensor:
        """Return (N, C, *space) in the layer's own layout, with the prefix tokens of `like`.

        like: what the layer gave, with the same N.
        """
        if self.layout == "channels-last":
            return activations.movedim(1, -1)
        if self.layout in ("channels-first", "vector"):
            return activations
        own = {"tokens": (0, 2, 1), "tokens-first": (2, 0, 1), "tokens-last": (0, 1, 2)}
        axis = {"tokens": 1, "tokens-first": 0, "tokens-last": 2}[self.layout]
        given = activations.flatten(2).permute(own[self.layout])
        if not self.prefix:
            return given
        front = like.narrow(axis, 0, self.prefix).to(given.dtype)
        return torch.cat([front, given], axis)


def _gridded(tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Return (N, D, L) as (N, D, *grid)."""
    return tokens.reshape(*tokens.shape[:2], *grid)


def readings(
    shape: tuple[int, ...], batch: int, size: tuple[int, ...], grids: list[tuple[int, ...]]
) -> list[Reading]:
    """Return every reading of a shape that fits a picture of that size, the likeliest first.

    shape: of a layer's output; batch: pictures that went in; size: their spatial size; grids:
    spatial sizes of the convolutions so far, latest last.
    """
    if not size:
        return []
    found = []
    layout: Layout
    if len(shape) == len(size) + 2 and shape[0] == batch:
        maps: list[tuple[Layout, tuple[int, ...]]]
        maps = [("channels-first", shape[2:]), ("channels-last", shape[1:-1])]
        for layout, grid in maps:
            doubt = _stride_mismatch(grid, size)
            if doubt is not None:
                doubt += 0.0 if grid in grids else GRID_FROM_CONVOLUTION
                found.append(Reading(layout, tuple(grid), 0, doubt))
    if len(shape) == 3 and len(size) > 1:
        orders: list[tuple[Layout, int, int]]
        orders = [("tokens", 0, 1), ("tokens-last", 0, 2), ("tokens-first", 1, 0)]
        for layout, batch_axis, token_axis in orders:
            if shape[batch_axis] != batch:
                continue
            fit = token_grid(shape[token_axis], size, grids)
            if fit is not None:
                grid, prefix = fit
                doubt = 0.1 * (layout != "tokens") + 0.01 * prefix
                found.append(Reading(layout, grid, prefix, doubt))
    return sorted(found, key=lambda reading: reading.doubt)


def _stride_mismatch(grid: tuple[int, ...], size: tuple[int, ...]) -> float | None:
    """How far the last two axes are from having one stride; None where they cannot have one.

    Any padding may add or take one place, so each axis allows an interval of strides.
    """
    if any(places > pixels for places, pixels in zip(grid, size, strict=True)) or max(grid) < 2:
        return None
    pairs = list(zip(size[-2:], grid[-2:], strict=True))
    least = max(pixels / (places + 1) for pixels, places in pairs)
    most = min(pixels / max(places - 1, 0.5) for pixels, places in pairs)
    if least > most:
        return None
    strides = [pixels / places for pixels, places in pairs]
    return abs(math.log(strides[-1] / strides[0]))


def token_grid(
    tokens: int, size: tuple[int, ...], grids: list[tuple[int, ...]]
) -> tuple[tuple[int, ...], int] | None:
    """Return the grid behind so many tokens and how many stand in front of it, if there is one."""
    best: tuple[tuple[int, ...], tuple[int, ...], int] | None = None
    rank: tuple[int, ...]
    for age, grid in enumerate(reversed(grids)):
        for halvings in range(5):
            halved = tuple(-(-places // 2**halvings) for places in grid)
            if max(halved) < 2:
                break
            prefix = tokens - math.prod(halved)
            allowed = 0 < prefix <= MOST_PREFIX_TOKENS and halvings == 0 and prefix * 4 < tokens
            if prefix == 0 or allowed:
                rank = (int(prefix > 0), halvings, age, prefix)
                if best is None or rank < best[0]:
                    best = (rank, halved, prefix)
    if best is None and tokens > 3:  # no convolution seen: a grid of the picture's aspect
        for stride in range(2, 65):
            grid = tuple(-(-pixels // stride) for pixels in size)
            prefix = tokens - math.prod(grid)
            if 0 <= prefix <= MOST_PREFIX_TOKENS and prefix * 4 < tokens:
                rank = (prefix,)
                if best is None or rank < best[0]:
                    best = (rank, grid, prefix)
    return None if best is None else (best[1], best[2])
