"""Pictures of a page: small, and inside the page as data."""

from __future__ import annotations

import base64
import math
from io import BytesIO
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from seewhy.draw.overlay import colorize, strength
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.colors import Colormap
    from numpy.typing import ArrayLike, NDArray

    from seewhy.draw.colors import RGB

LARGEST_PICTURE = 768  # pixels of the longer side
LARGEST_MASK = 256
MASK = 96  # of the map of one concept among many
SMALL = 128  # of pictures that stand beside words
LEVELS = 40  # of a mask: more would cost bytes, and not be seen
CRISP = 128  # smaller pictures keep every pixel, and show it
CARE: tuple[tuple[int, float, dict[str, int]], ...] = (
    (512, 22_000, {"quality": 88, "alpha_quality": 100}),  # smooth: any less shows as rings
    (512, 30_000, {"quality": 70, "alpha_quality": 60}),
    (512, 44_000, {"quality": 50, "alpha_quality": 30}),
    (256, math.inf, {"quality": 35, "alpha_quality": 15}),  # noise in every pixel
)
"""How a map is written: its longer side, and the bytes above which the next way is taken."""
UNSEEN = (128, 128, 128, 168)  # grey glass over what the model did not see
UNSEEN_DIMMED = (72, 72, 72, 168)  # likewise, where the picture is dimmed too

Size = tuple[int, int]
Colors: TypeAlias = "str | Colormap | None"


def fitted(size: Size, limit: int) -> Size:
    """Return a width and height reduced to at most `limit`, in proportion."""
    scale = min(1.0, limit / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def picture_address(picture: Image.Image, most: int = LARGEST_PICTURE) -> str:
    """Return a picture as a data: address; most: pixels of its longer side."""
    flat = picture.convert("RGB")
    small = flat.resize(fitted(flat.size, most), Image.Resampling.LANCZOS)
    return _address(_webp(small, quality=82))


def map_address(heat: ArrayLike, size: Size, *, signed: bool, colormap: Colors = None) -> str:
    """Return a heat as a data: address of a picture that is clear where nothing is relevant.

    size: of the picture it covers; both have the same proportions, so that both fit the same
    frame. Raises PictureError as `colorize` does.
    """
    values = np.asarray(heat, np.float32)

    def drawn(fit: Size) -> Image.Image:
        return _glass(_resized(values, fit), signed, colormap)

    return _address(_light(drawn, size))


def concepts_address(
    maps: NDArray[np.floating], colors: Sequence[RGB], size: Size, *, most: int | None = None
) -> str:
    """Return maps (k, h, w) as a data: address: each place in the colour of the strongest there.

    maps: 0..1, NaN where the model did not see. colors: one for each. size: of the picture that
    they cover. most: pixels of the longer side, for a mask over a picture that is dimmed, kept
    exactly but for the finest steps; None is as for one map.
    """
    values = np.asarray(maps, np.float32)
    table = np.asarray(colors, np.uint8)

    def drawn(fit: Size) -> Image.Image:
        laid = np.stack([_resized(each, fit) for each in values])
        unseen = np.isnan(laid).any(0)
        first = np.nan_to_num(laid).argmax(0)
        strongest = np.take_along_axis(np.nan_to_num(laid), first[None], 0)[0]
        levels = 255 if most is None else LEVELS
        alpha = 255 / levels * np.rint(levels * strength(strongest.clip(0, 1), signed=False))
        pixels = np.concatenate([table[first], np.rint(alpha)[..., None]], 2).astype(np.uint8)
        pixels[unseen] = UNSEEN if most is None else UNSEEN_DIMMED
        return Image.fromarray(pixels)

    return _address(_light(drawn, size) if most is None else _webp(drawn(fitted(size, most))))


def ramp_address(*, signed: bool, colormap: Colors = None) -> str:
    """Return what maps look like from their low to their high end, as a data: address."""
    ramp = np.linspace(-1 if signed else 0, 1, 64, dtype=np.float32)[None]
    return _address(_webp(_glass(ramp, signed, colormap)))


def grey(heat: ArrayLike) -> Image.Image:
    """Return an empty picture for a heat that has none."""
    height, width = (*np.shape(heat), 1, 1)[:2]  # what is no matrix is refused later
    return Image.new("RGB", (max(1, width), max(1, height)), UNSEEN[:3])


def outline(mask: ArrayLike, size: Size) -> tuple[str, Size]:
    """Return the borders of a mask as an SVG path, and the width and height that it is drawn in.

    Raises PictureError for a mask that is not a matrix.
    """
    given = np.asarray(mask)
    if given.ndim != 2 or not given.size:
        raise PictureError(f"A mask is a matrix (H, W); this one is {given.shape}.")
    width, height = fitted(size, LARGEST_MASK)
    shape = Image.fromarray(255 * given.astype(bool).astype(np.uint8))
    reduced = np.asarray(shape.resize((width, height), Image.Resampling.BILINEAR)) > 127
    inside = np.pad(reduced, 1)
    across = (inside[1:] != inside[:-1])[:, 1:-1]
    down = (inside[:, 1:] != inside[:, :-1])[1:-1]
    path = [f"M{x} {y}h{length}" for y, x, length in _runs(across)]
    path += [f"M{x} {y}v{length}" for x, y, length in _runs(down.T)]
    return "".join(path), (width, height)


def _light(drawn: Callable[[Size], Image.Image], size: Size) -> bytes:
    """A map that is drawn for a picture of that size, with as much care as it has bytes for."""
    for largest, most, care in CARE:
        data = _webp(drawn(fitted(size, largest)), **care)
        if len(data) <= most:
            break
    return data


def _glass(values: NDArray[np.float32], signed: bool, colormap: Colors) -> Image.Image:
    """Return a heat as an RGBA picture to be laid over another."""
    colors = colorize(values, colormap, signed=signed)
    colors[..., 3] *= strength(values, signed=signed)
    pixels = np.rint(255 * colors).astype(np.uint8)
    pixels[np.isnan(values)] = UNSEEN
    return Image.fromarray(pixels)


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """Return row, first place and length of each run of True along the rows."""
    steps = np.diff(np.pad(edges.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)
    ends = np.nonzero(steps == -1)[1]
    return [
        (int(row), int(start), int(end - start))
        for row, start, end in zip(rows, starts, ends, strict=True)
    ]


def _resized(values: NDArray[np.float32], size: Size) -> NDArray[np.float32]:
    if values.ndim != 2 or not values.size or values.shape == size[::-1]:
        return values  # what is no matrix is refused where it is coloured
    height, width = values.shape
    larger = size[0] > width or size[1] > height
    way = Image.Resampling.BILINEAR if larger else Image.Resampling.BOX
    return np.array(Image.fromarray(values).resize(size, way))


def _webp(image: Image.Image, **options: int) -> bytes:
    exact = {"lossless": True} if max(image.size) <= CRISP else options
    stream = BytesIO()
    # The profile stays out: some are larger than the picture.
    image.save(stream, "WEBP", method=4, icc_profile=None, **exact)
    return stream.getvalue()


def _address(data: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(data).decode()
