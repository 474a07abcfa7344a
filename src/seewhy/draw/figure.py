"""Charts of matplotlib as pictures."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_image(figure: Figure) -> Image.Image:
    """Return a figure as a picture of its own size."""
    written = BytesIO()
    figure.savefig(written, format="png")
    return Image.open(written).convert("RGB")
