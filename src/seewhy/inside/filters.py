"""Filters: the kernels of a convolution, as pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seewhy.draw import heatmap_image
from seewhy.errors import LayerError, PictureError
from seewhy.inside.tiles import Tile, grid
from seewhy.model.layers import Layer, LayerSpec
from seewhy.result import Result, versions

if TYPE_CHECKING:
    from seewhy.model.model import Model

View = Literal["auto", "colours", "components", "channels"]
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
WIDTH = 1000
MOST_NAMED = 6


@dataclass(frozen=True, eq=False)
class Filters(Result):
    """The kernels of a convolution.

    weights: (O, I, *kernel), for each of the O channels that come out what is multiplied with the
    I that come in (of its group).
    """

    weights: Tensor
    layer: str = ""
    model: str = "model"
    fingerprint: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    kind = "filters"

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def view(self) -> View:
        """How they are drawn by themselves: "colours", "channels" or "components"."""
        inputs = self.weights.shape[1]
        return "colours" if inputs == 3 else "channels" if inputs == 1 else "components"

    def components(self) -> tuple[Tensor, Tensor]:
        """Return each filter's first principal component over its input channels.

        (O, *kernel): of one filter (I, places) the pattern over places that comes nearest to all
        its input channels, each taking its share of it: the first singular vector, times its
        singular value, with the sign in which most of the weight comes in. And (O,), 0..1: the
        share of the filter's squared weights that this is.
        """
        flat = self.weights.flatten(2).double()
        left, size, right = torch.linalg.svd(flat, full_matrices=False)
        sign = left[:, :, 0].sum(1).sign()
        sign = torch.where(sign == 0, 1.0, sign)
        pattern = (sign * size[:, 0])[:, None] * right[:, 0]
        share = size[:, 0].square() / size.square().sum(1).clamp(min=1e-30)
        return pattern.reshape(len(flat), *self.weights.shape[2:]).float(), share.float()

    def draw(  # type: ignore[override]
        self,
        view: View = "auto",
        number: int | None = None,
        *,
        colormap: Any = None,
        width: int = WIDTH,
    ) -> Image.Image:
        """Return the kernels in a grid, each on its own scale, zero in the middle of it.

        view: "colours", where three channels come in: red, green and blue, grey is zero;
        "components", the first principal component over the input channels; "channels", the kernel
        of every input channel, all filters' one after another; "auto" the first that fits. number:
        of one filter, which is then drawn by "channels" unless a view is given. Kernels of one axis
        are rows, of three axes their slices side by side. colormap: for values, None is blue to
        red, white at 0. width: of the sheet in pixels, from 240.
        """
        if number is not None and not -len(self) <= number < len(self):
            raise PictureError(f"there is no filter {number}: there are {len(self)}, from 0")
        if width < 240:
            raise PictureError(f"a sheet of {width} pixels: give a width of 240 or more")
        if view == "auto":
            view = self.view if number is None or self.view == "colours" else "channels"
        rows = list(range(len(self))) if number is None else [number % len(self)]
        what = self._written() if number is None else f"filter {rows[0]} of {self._written()}"
        if view == "components":
            what += ", first principal component over them"
        tiles = self._tiles(view, rows, colormap)
        wide, tall = tiles[0].image.size
        return grid(tiles, width, aspect=tall / wide, title=f"{self.layer}: {what}")

    def plain(self) -> dict[str, Any]:
        """Return what they are as plain data, without weights."""
        return {
            "model": self.model,
            "layer": self.layer,
            "shape": list(self.weights.shape),
            "view": self.view,
        }

    def __str__(self) -> str:
        ways = {
            "colours": "drawn in colours, grey is zero",
            "channels": "drawn by value, red is positive",
            "components": "drawn as the first principal component over what comes in",
        }
        where = f"{self.layer} of {self.model}"
        if self.view == "components":
            share = float(self.components()[1].mean())
            ways["components"] += f", on average {share:.0%} of a filter"
        return f"{self._written()} at {where}, {ways[self.view]}"

    __repr__ = __str__

    def _written(self) -> str:
        inputs, kernel = self.weights.shape[1], self.weights.shape[2:]
        size = " x ".join(map(str, kernel))
        return f"{len(self)} filters of {size} over {inputs} channel{'s' * (inputs > 1)}"

    def _tiles(self, view: View, rows: list[int], colormap: Any) -> list[Tile]:
        inputs = self.weights.shape[1]
        if view == "colours":
            if inputs != 3:
                raise PictureError(
                    f"{inputs} channels come into {self.layer}, and colours are three: use "
                    "'components' or 'channels'"
                )
            return [Tile(_coloured(self.weights[row]), str(row)) for row in rows]
        if view == "components":
            patterns, shares = self.components()
            return [
                Tile(_valued(_scaled(patterns[row]), colormap), str(row), f"{shares[row]:.0%}")
                for row in rows
            ]
        if view != "channels":
            raise PictureError(
                f"there is no view {view!r}: use 'auto', 'colours', 'components' or 'channels'"
            )
        return [
            Tile(
                _valued(each, colormap),
                str(row) if inputs == 1 else str(place) if len(rows) == 1 else f"{row}: {place}",
            )
            for row in rows
            for place, each in enumerate(_scaled(self.weights[row]))
        ]

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        data = {name: getattr(self, name) for name in ("layer", "model", "fingerprint", "versions")}
        return {"weights": self.weights.numpy()}, data

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        return cls(weights=torch.from_numpy(arrays["weights"]), **data)


def filters(model: Model, layer: LayerSpec = None) -> Filters:
    """Return the kernels of a convolution; see `seewhy.filters`."""
    name, module = _found(model, layer)
    kernel: Any = module.weight
    weights: Tensor = kernel.detach().float().cpu().clone()
    if isinstance(module, TRANSPOSED):  # (I, O / groups, *kernel)
        groups: Any = module.groups
        split = weights.reshape(groups, -1, *weights.shape[1:])
        weights = split.transpose(1, 2).flatten(0, 1).contiguous()
    return Filters(weights, name, model.name, model.fingerprint(), versions())


def _found(model: Model, spec: LayerSpec) -> tuple[str, nn.Module]:
    """The convolution that is meant, the first with places by default, and its name."""
    named = dict(model.module.named_modules(remove_duplicate=False))
    placed = {name: each for name, each in named.items() if _has_places(each)}
    if spec is None:
        if not placed:
            raise LayerError(
                f"{model.name} has no convolution whose kernel has places, and so no filters to "
                "be seen: look at seewhy.activations(...) or seewhy.prototype(...) instead"
            )
        return next(iter(placed.items()))
    if isinstance(spec, nn.Module):
        name = next((name for name, each in named.items() if each is spec), None)
        if name is None:
            raise LayerError(
                f"this {type(spec).__name__} is not a layer of {model.name}: give one of its own "
                "modules, or its name"
            )
    else:
        name = spec.name if isinstance(spec, Layer) else Layer.parse(spec).name
    module = named[name] if name in named else model.find(Layer(name))
    if name in placed:
        return name, module
    inside = [each for each in placed if each.startswith(name + ".")] or list(placed)
    listed = ", ".join(inside[:MOST_NAMED]) + (", ..." if len(inside) > MOST_NAMED else "")
    what = f"is a {type(module).__name__}, which has no kernels of its own"
    if isinstance(module, CONVOLUTIONS):
        what = "has kernels of a single place, which only mix channels"
    advice = f"name one of {listed}" if inside else "look at seewhy.activations(...) instead"
    raise LayerError(f"layer {name!r} of {model.name} {what}: {advice}")


def _has_places(module: nn.Module) -> bool:
    weight: Any = getattr(module, "weight", None)
    if not isinstance(module, CONVOLUTIONS) or not isinstance(weight, Tensor) or is_lazy(weight):
        return False
    return weight.ndim > 2 and weight[0, 0].numel() > 1


def _scaled(kernels: Tensor) -> Tensor:
    """Kernels (I, *kernel) of one filter, so that their largest value is 1."""
    return kernels / kernels.abs().max().clamp(min=1e-30)


def _coloured(kernel: Tensor) -> Image.Image:
    """A kernel (3, *kernel) in colours, grey where it is zero."""
    levels = (127.5 * (1 + _scaled(kernel))).round().byte()
    planes = np.stack([_plane(each) for each in levels], -1)
    return Image.fromarray(planes)


def _valued(kernel: Tensor, colormap: Any) -> Image.Image:
    """A kernel by value, in -1..1."""
    return heatmap_image(_plane(kernel), colormap=colormap, signed=True)


def _plane(kernel: Tensor) -> np.ndarray:
    """A kernel of one to three axes as (h, w): a row, itself, its slices side by side."""
    if kernel.ndim == 1:
        return kernel[None].numpy()
    if kernel.ndim == 3:
        return torch.cat(list(kernel), 1).numpy()
    return kernel.numpy()
