"""Heat over photographs: colours whose strength follows the relevance.

A heat is a float array (H, W) of the picture's size: 0..1, or -1..1 where `signed`, and NaN where
the model did not see the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seewhy.draw.colors import STEPS, color_table, rgb
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from numpy.typing import ArrayLike, NDArray

UNSEEN = 176  # the grey of places that the model did not see, where a map stands alone
TOLERANCE = 1e-3  # rounding of half-precision maps beyond their range


def overlay(
    picture: Image.Image,
    heat: ArrayLike,
    *,
    colormap: str | Colormap | None = None,
    opacity: float = 0.6,
    signed: bool = False,
) -> Image.Image:
    """Lay a heat over its picture, more opaque where there is more of it.

    `opacity` in 0..1 is the weight of the colour where |heat| is 1; where the heat is 0, the
    picture keeps its pixels exactly. Places that are NaN turn grey and dim. Returns an RGB picture
    of the same size. Raises PictureError for a heat of another size or range, for an opacity
    outside 0..1 and for an unknown colour map.
    """
    if not 0 <= opacity <= 1:
        raise PictureError(f"The opacity is {opacity}: give a number from 0 (photograph) to 1.")
    values = _checked(heat, signed=signed)
    photo = _pixels(picture, values)
    colors = colorize(values, colormap, signed=signed)
    weight = opacity * strength(values, signed=signed) * colors[..., 3]
    blended = photo + weight[..., None] * (255 * colors[..., :3] - photo)
    unseen = np.isnan(values)
    if unseen.any():
        looked_past = photo[unseen]
        shade = min(1.0, 2 * opacity)  # at the usual opacities, unseen is unmistakable
        blended[unseen] = looked_past + shade * (_dimmed(looked_past) - looked_past)
    return _image(blended)


def heatmap_image(
    heat: ArrayLike, *, colormap: str | Colormap | None = None, signed: bool = False
) -> Image.Image:
    """Draw a heat alone, in the colours of its map; grey where it is NaN.

    Returns an RGB picture of the heat's size. Raises PictureError as `colorize` does.
    """
    colors = colorize(heat, colormap, signed=signed)
    return _image(UNSEEN + colors[..., 3:] * (255 * colors[..., :3] - UNSEEN))


def mask_out(
    picture: Image.Image,
    heat: ArrayLike,
    *,
    fill: str | tuple[int, int, int] | Image.Image = "gray",
    keep: float | None = None,
) -> Image.Image:
    """Show a picture only where its heat is, and `fill` elsewhere.

    Without `keep`, the heat (0..1) is the share of the picture in every pixel. With `keep` in
    0..1, exactly round(keep * H * W) pixels are shown, those of the highest heat (which may be
    signed); ties are broken by a fixed scatter, which favours no side of the picture. NaN ranks
    last and otherwise shows the fill. `fill` is a colour, or a picture of the same size, such as a
    blurred one. Returns an RGB picture. Raises PictureError for sizes that differ and for values
    out of range.
    """
    if keep is not None and not 0 <= keep <= 1:
        raise PictureError(f"keep is {keep}: give the share of pixels to show, from 0 to 1.")
    values = _checked(heat, signed=keep is not None)
    photo = _pixels(picture, values)
    if isinstance(fill, Image.Image):
        behind = _pixels(fill, values)
    else:
        behind = np.broadcast_to(np.array(rgb(fill), dtype=np.float32), photo.shape)
    shown = np.nan_to_num(values) if keep is None else _highest(values, keep)
    return _image(behind + shown[..., None] * (photo - behind))


def colorize(
    heat: ArrayLike, colormap: str | Colormap | None = None, *, signed: bool = False
) -> NDArray[np.float32]:
    """Return the colours of a heat: float32 RGBA (H, W, 4) in 0..1, transparent where it is NaN.

    `colormap` is a matplotlib colour map or its name; by default "turbo", or "bwr" for a signed
    heat (red for, blue against), whose 0 is the map's centre. Raises PictureError for an unknown
    name and for a heat that is not a matrix, is empty, or leaves 0..1 (-1..1 where signed).
    """
    values = _checked(heat, signed=signed)
    table = color_table(colormap, signed=signed)
    unseen = np.isnan(values)
    places = (values + 1) / 2 if signed else values
    index = np.rint(np.where(unseen, 0, places) * (STEPS - 1)).astype(np.intp)
    colors: NDArray[np.float32] = table[index]
    colors[unseen] = 0
    return colors


def _checked(heat: ArrayLike, *, signed: bool) -> NDArray[np.float32]:
    given = np.asarray(heat)
    if given.ndim != 2 or 0 in given.shape or given.dtype.kind not in "fiub":
        message = f"A heat is a matrix (H, W) of numbers; this one is {given.shape} of "
        raise PictureError(f"{message}{given.dtype}. Give one map for one picture.")
    low = -1 if signed else 0
    values: NDArray[np.float32] = given.astype(np.float32)
    least, most = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if least < low - TOLERANCE or most > 1 + TOLERANCE:
        kind = "a signed" if signed else "an unsigned"
        advice = "Scale it first" if signed else "Scale it first, or pass signed=True for -1..1"
        message = f"The heat runs from {least:.4g} to {most:.4g}, {kind} one lies in {low}..1."
        raise PictureError(f"{message} {advice}.")
    return values.clip(low, 1)


def _pixels(picture: Image.Image, heat: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = heat.shape
    if picture.size != (width, height):
        theirs = f"{picture.width} x {picture.height}"
        message = f"The picture is {theirs} (width x height), the heat {width} x {height}."
        raise PictureError(f"{message} Resize the heat to the picture's size.")
    return np.asarray(picture.convert("RGB"), dtype=np.float32)


def strength(heat: NDArray[np.float32], *, signed: bool) -> NDArray[np.float32]:
    """Return how strongly each place is coloured, 0..1, growing with |heat|.

    A smooth step over a root: flat at 0, so that faint noise leaves the picture clean, and steep
    soon after, so that middling relevance shows. Signed maps are pale near 0, where a strong
    weight would only lay fog over dark photographs: their root is weaker.
    """
    root = np.float32(0.8 if signed else 0.6)
    level: NDArray[np.float32] = np.abs(np.nan_to_num(heat)) ** root
    return level * level * (3 - 2 * level)


def _dimmed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return pixels (N, 3) without colour and with little contrast, as if behind grey glass."""
    luminance = pixels @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32)
    return np.repeat((luminance + 128) / 2, 3, axis=1)


def _highest(heat: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Return 1 at exactly round(share * size) places, those of the highest heat, else 0."""
    ranked = np.where(np.isnan(heat), -np.inf, heat).ravel()
    count = round(share * ranked.size)
    shown = np.zeros(ranked.size, dtype=np.float32)
    if count:
        threshold = np.partition(ranked, ranked.size - count)[ranked.size - count]
        above = ranked > threshold
        ties = np.flatnonzero(ranked == threshold)
        missing = count - int(above.sum())
        shown[above] = 1
        shown[np.random.default_rng(0).choice(ties, missing, replace=False)] = 1
    return shown.reshape(heat.shape)


def _image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray(np.rint(pixels).astype(np.uint8))
