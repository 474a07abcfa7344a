"""What can be observed of maps, computed on a grid of 15 x 15 cells, for compare_methods.py.

half of it in: the smallest share of the picture that holds half of what speaks for the class (half
of the picture for a map that is the same everywhere). most of it: the ninth of the picture with
most of it, and how much. most alike: the map whose cells are in the most similar order (Spearman's
rank correlation, 1 for the same order). removing it costs: whether the probability falls more where
the map points than with as much removed in any other place, by what fills the gap. on the shape:
how much of it lies there, where that is known.
"""

import numpy as np
from scipy.stats import spearmanr

from seewhy import Comparison
from seewhy.trust import mass_of

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "centre", "right")
PLACES = [f"{row} {column}" for row in ROWS for column in COLUMNS]


def observations(found: Comparison, shape: np.ndarray | None = None) -> list[dict[str, str]]:
    """Return a row for each map; shape: bool (H, W), where the answer should be."""
    grids = [cells(why.heatmap(), 15) for why in found]
    alike = spearmanr([grid.ravel() for grid in grids], axis=1).statistic
    np.fill_diagonal(alike, -np.inf)  # every map is like itself
    rows = []
    for why, grid, own in zip(found, grids, alike, strict=True):
        ninths = cells(grid, 3).ravel()
        row = {
            "method": why.method,
            "half of it in": f"{half(grid):.0%}",
            "most of it": f"{PLACES[ninths.argmax()]}, {ninths.max() / ninths.sum():.0%}",
            "most alike": f"{found[own.argmax()].method}, {own.max():.2f}",
            "removing it costs": ", ".join(f"{each.verdict} ({each.fill})" for each in why.trials),
        }
        if shape is not None:
            row["on the shape"] = f"{float(mass_of([why], [shape])):.0%}"
        rows.append(row)
    return rows


def cells(heat: np.ndarray, side: int) -> np.ndarray:
    """Return the mean of a map (H, W) over each of side x side cells."""
    bands = np.array_split(heat, side)
    return np.array(
        [[each.mean() for each in np.array_split(band, side, axis=1)] for band in bands]
    )


def half(grid: np.ndarray) -> float:
    """Return the smallest share of the cells that together hold half of the map."""
    held = np.sort(grid.ravel())[::-1].cumsum() / grid.sum()
    return float(np.searchsorted(held, 0.5) + 1) / grid.size
