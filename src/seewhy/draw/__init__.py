"""From relevance to pictures: overlays, panels, legends and files; nothing here needs torch."""

from seewhy.draw.files import save_image, to_png_bytes
from seewhy.draw.grid import Cell, panel
from seewhy.draw.legend import colorbar
from seewhy.draw.overlay import colorize, heatmap_image, mask_out, overlay

__all__ = [
    "overlay",
    "heatmap_image",
    "mask_out",
    "colorize",
    "colorbar",
    "Cell",
    "panel",
    "save_image",
    "to_png_bytes",
]
