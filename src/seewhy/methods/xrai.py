"""XRAI: regions of several scales, ranked by what attributions they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.ndimage import find_objects
from skimage.morphology import dilation, disk
from skimage.segmentation import felzenszwalb
from torch import Tensor

from seewhy.errors import NoSpaceError
from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.baselines import Baseline, check_baseline
from seewhy.methods.path import IntegratedGradients
from seewhy.methods.registry import method
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

SCALES = (50, 100, 150, 250, 500, 1200)
SMOOTHED, SMALLEST, GROWN, SIDE = 0.8, 150, 5, 224  # pixels, for pictures of 224 a side


@method(
    "xrai",
    paper="Kapishnikov et al. 2019, algorithm 1",
    cost="2 x steps + 3 forwards, 2 x steps backwards",
    needs=("gradient",),
)
@dataclass(frozen=True)
class XRAI(Method):
    """Regions of the picture, each with the mean of the integrated gradients in it.

    Segments of six scales overlap (Felzenszwalb's graph segmentation, grown by a few pixels);
    again and again the one that adds most attribution for its new pixels is taken. steps: of the
    integrated gradients. baseline: theirs; black and white together leave no colour out. The map is
    (N, 1, H, W), in units of the score for a pixel; it sums to what the integrated gradients do.
    """

    steps: int = 50
    baseline: Baseline = "black+white"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "xrai: steps")
        check_baseline(self.baseline, "xrai: baseline")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Algorithm 1, on integrated gradients summed over channels."""
        if prepared.tensor.ndim != 4:
            raise NoSpaceError(
                f"xrai finds regions in pictures (N, C, H, W), and an input of the shape "
                f"{tuple(prepared.tensor.shape)} came: use 'integrated-gradients'"
            )
        inner = IntegratedGradients(self.steps, self.baseline)
        found = inner.attribute(model, prepared, score, run)
        pixels = found.relevance.sum(1)
        regions: dict[int, Tensor] = {}
        for key, picture in zip(prepared.keys, prepared.tensor, strict=True):
            if key not in regions:
                regions[key] = _regions(picture.detach().float().cpu())
        maps = [
            _ranked(own.cpu().double(), regions[key])
            for own, key in zip(pixels, prepared.keys, strict=True)
        ]
        return Attribution(torch.stack(maps)[:, None].to(pixels), found.checks, found.layers)


def _ranked(pixels: Tensor, regions: Tensor) -> Tensor:
    """The mean attribution of the new pixels of each region, the highest first; (H, W)."""
    values, masks = pixels.flatten(), regions.flatten(1)
    free = torch.ones(len(values), dtype=torch.bool)
    held, area = masks.double() @ values, masks.sum(1).double()
    found = torch.zeros_like(values)
    while bool((area > 0).any()):
        best = int(torch.where(area > 0, held / area, -torch.inf).argmax())
        new = masks[best] & free
        found[new] = values[new].mean()
        free &= ~new
        held -= masks[:, new].double() @ values[new]
        area -= masks[:, new].sum(1)
    found[free] = values[free].mean() if bool(free.any()) else 0
    return found.reshape(pixels.shape)


def _regions(picture: Tensor) -> Tensor:
    """Overlapping segments of all scales, bool (S, H, W); together they cover the picture."""
    height, width = picture.shape[1:]
    size = (height * width) ** 0.5 / SIDE
    low, high = float(picture.min()), float(picture.max())
    scaled = ((picture - low) / max(high - low, 1e-12) * 2 - 1).permute(1, 2, 0).numpy()
    reach, found = round(GROWN * size), {}
    grown = disk(reach)
    for scale in SCALES:
        numbers = felzenszwalb(
            scaled,
            scale=scale * size**2,
            sigma=SMOOTHED * size,
            min_size=max(1, round(SMALLEST * size**2)),
            channel_axis=-1,
        )
        for number, box in enumerate(find_objects(numbers + 1)):
            around = tuple(slice(max(0, side.start - reach), side.stop + reach) for side in box)
            mask = np.zeros(numbers.shape, bool)
            mask[around] = dilation((numbers[around] == number).astype(np.uint8), grown)
            found[mask.tobytes()] = mask
    return torch.from_numpy(np.stack(list(found.values())))
