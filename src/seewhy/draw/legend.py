"""What the colours mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from seewhy.draw.colors import ink, rgb
from seewhy.draw.overlay import heatmap_image
from seewhy.draw.text import font, shorten
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from matplotlib.colors import Colormap


def colorbar(
    colormap: str | Colormap | None = None,
    *,
    signed: bool = False,
    width: int = 256,
    height: int = 24,
    labels: tuple[str, str] | None = None,
    background: str | tuple[int, int, int] = "white",
) -> Image.Image:
    """Draw a colour map as a horizontal bar between the names of its two ends.

    The labels are "less" and "more", or "against" and "for" where `signed`, unless others are
    given; each takes at most a third of the width. Returns an RGB picture of `width` x `height`
    pixels. Raises PictureError under 64 x 10 pixels and for an unknown colour map.
    """
    if width < 64 or height < 10:
        raise PictureError(f"A colour bar of {width} x {height}: give at least 64 x 10 pixels.")
    paper = rgb(background)
    face = font(max(8, min(height * 3 // 5, width // 12)))
    space = max(3, min(height // 4, width // 24))
    start, end = labels or (("against", "for") if signed else ("less", "more"))
    room = width // 3 - space
    start, end = shorten(start, face, room), shorten(end, face, room)
    left = round(face.getlength(start)) + space if start else 0
    right = width - (round(face.getlength(end)) + space if end else 0)

    sheet = Image.new("RGB", (width, height), paper)
    ramp = np.linspace(-1 if signed else 0, 1, right - left)[None]
    bar = heatmap_image(
        np.repeat(ramp, max(1, height * 3 // 4), axis=0), colormap=colormap, signed=signed
    )
    sheet.paste(bar, (left, (height - bar.height) // 2))
    pen = ImageDraw.Draw(sheet)
    pen.text((1, height / 2), start, fill=ink(paper), font=face, anchor="lm")
    pen.text((width - 1, height / 2), end, fill=ink(paper), font=face, anchor="rm")
    return sheet
