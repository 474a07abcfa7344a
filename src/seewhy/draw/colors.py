"""Colour names and colour maps; matplotlib is imported only when a map is looked up."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import ImageColor

from seewhy.errors import PictureError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from numpy.typing import NDArray

RGB: TypeAlias = tuple[int, int, int]

UNSIGNED = "turbo"  # stands out over dark, pale, green and reddish photographs alike
SIGNED = "bwr"  # stays vivid at its ends, where RdBu_r and seismic turn dark
STEPS = 1025  # odd, so that the middle of a table is the exact centre of the map
SMOOTH = 64  # a map with fewer colours than this is meant to show steps


def rgb(color: str | tuple[int, ...]) -> RGB:
    """Return a colour given by name, "#rrggbb" or three numbers, as three numbers in 0..255.

    Raises PictureError for anything else.
    """
    try:
        channels = ImageColor.getrgb(color) if isinstance(color, str) else tuple(color)
        red, green, blue = (int(channel) for channel in channels[:3])
    except (TypeError, ValueError) as error:
        message = f'{color!r} is no colour: give a name ("white"), "#rrggbb" or (r, g, b).'
        raise PictureError(message) from error
    if not all(0 <= channel <= 255 for channel in (red, green, blue)):
        raise PictureError(f"{color!r} is no colour: each of (r, g, b) lies in 0..255.")
    return red, green, blue


def ink(background: RGB) -> RGB:
    """Return the colour of text that is legible on a background: near black or near white."""
    red, green, blue = background
    return (32, 32, 32) if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else (235, 235, 235)


def color_table(colormap: str | Colormap | None, *, signed: bool) -> NDArray[np.float32]:
    """Return a colour map as evenly spaced colours, (1025, 4) RGBA in 0..1.

    None is the default map. Maps are interpolated between their own entries, so that the centre
    of a diverging one is neutral although it has no entry there; maps of fewer than 64 colours
    keep their steps. Raises PictureError, with close matches, for a name that matplotlib lacks.
    """
    found = _find(colormap, signed=signed)
    entries: NDArray[np.float32] = np.asarray(found(np.arange(found.N)), dtype=np.float32)
    places = np.linspace(0, 1, STEPS)
    if found.N < SMOOTH:
        steps = np.minimum((places * found.N).astype(np.intp), int(found.N) - 1)
        return np.take(entries, steps, axis=0)
    own_places = np.linspace(0, 1, found.N)
    channels = [np.interp(places, own_places, entries[:, channel]) for channel in range(4)]
    return np.stack(channels, axis=1).astype(np.float32)


def _find(colormap: object, *, signed: bool) -> Colormap:
    import matplotlib as mpl
    from matplotlib.colors import Colormap

    if colormap is None:
        colormap = SIGNED if signed else UNSIGNED
    if isinstance(colormap, Colormap):
        return colormap
    if not isinstance(colormap, str):
        kind = type(colormap).__name__
        raise PictureError(f"A colour map is a name or a matplotlib Colormap, not a {kind}.")
    names = list(mpl.colormaps)
    if colormap not in names:
        folded = {name.lower(): name for name in names}
        close = difflib.get_close_matches(colormap.lower(), folded, n=3, cutoff=0.5)
        nearest = ", ".join(folded[name] for name in close) or f"{UNSIGNED}, viridis, {SIGNED}"
        message = f"There is no colour map {colormap!r}. Did you mean one of: {nearest}?"
        raise PictureError(message)
    return mpl.colormaps[colormap]
