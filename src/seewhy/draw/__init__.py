"""From relevance to pictures: overlays, panels, legends and files; nothing here needs torch."""

from seewhy.draw.figure import figure_image
from seewhy.draw.files import FORMATS, save_image, to_png_bytes, write_whole
from seewhy.draw.grid import Cell, panel
from seewhy.draw.legend import colorbar
from seewhy.draw.overlay import colorize, heatmap_image, mask_out, overlay
from seewhy.draw.tables import markdown, plain

__all__ = [
    "overlay",
    "heatmap_image",
    "mask_out",
    "colorize",
    "colorbar",
    "figure_image",
    "Cell",
    "panel",
    "save_image",
    "to_png_bytes",
    "write_whole",
    "markdown",
    "plain",
    "FORMATS",
]
