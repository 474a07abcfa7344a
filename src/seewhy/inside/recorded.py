"""Activations: the maps that were recorded, drawn beside their pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, colorbar, heatmap_image, panel
from seewhy.errors import Failure, PictureError
from seewhy.inside.tiles import Tile, below, beside, grid, seen_part
from seewhy.result import Result
from seewhy.shown import Shown, packed, unpacked

if TYPE_CHECKING:
    from seewhy.draw.report import Page

Scale = Literal["map", "layer"]
WIDTH = 1200  # pixels of a drawn layer: the picture and its maps


@dataclass(frozen=True, eq=False)
class Activations(Result):
    """What layers make of pictures.

    maps: by layer (N, C', *space), raw, of the channels in `channels`, by layer; none of them where
    the map is the mean of all. shapes: by layer (C, *space), of all its channels. chosen: how
    channels were chosen, in words. shown: the pictures. failures: what could not be read.
    """

    maps: dict[str, Tensor]
    channels: dict[str, tuple[int, ...]]
    shapes: dict[str, tuple[int, ...]]
    shown: tuple[Shown, ...]
    chosen: str = ""
    seconds: float = 0.0
    model: str = "model"
    weights: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()

    kind = "activations"

    def __len__(self) -> int:
        return len(self.shown)

    def __getitem__(self, layer: str) -> Tensor:
        return self.maps[self._known(layer)]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in order of execution."""
        return tuple(self.maps)

    def draw(  # type: ignore[override]
        self,
        picture: int | None = None,
        layer: str | None = None,
        *,
        scale: Scale = "map",
        colormap: Any = None,
        width: int = WIDTH,
    ) -> Image.Image:
        """Return each layer's maps in a grid beside the picture, layer after layer.

        picture: which, by number; None is all. layer: None is all. The picture is what the model
        sees of it, and maps have its proportions. scale: "map", each map's own largest value is the
        end of its colours, and stands below it; "layer", the largest of the layer, in all pictures.
        colormap: None is viridis from 0, or where the layer has negative values blue to red, white
        at 0. width: of the sheet in pixels, from 240.

        Raises PictureError where maps have no two axes of space, or there is no such picture.
        """
        if scale not in ("map", "layer"):
            raise PictureError(f"scale is {scale!r}: use 'map' or 'layer'")
        if width < 240:
            raise PictureError(f"a sheet of {width} pixels: give a width of 240 or more")
        if picture is not None and not -len(self) <= picture < len(self):
            raise PictureError(f"there is no picture {picture}: there are {len(self)}")
        names = self.layers if layer is None else (self._known(layer),)
        chosen = range(len(self)) if picture is None else [picture]
        return below(
            [
                self._sheet(number, name, scale, colormap, width)
                for number in chosen
                for name in names
            ]
        )

    def page(self) -> Page:
        """Return a page with each layer's maps of each picture."""
        from seewhy.draw.report import Sheet, Sheets

        return self._page(
            *(
                Sheets([Sheet(self.draw(number, name), name) for name in self.layers], shown.name)
                for number, shown in enumerate(self.shown)
            )
        )

    def plain(self) -> dict[str, Any]:
        """Return what was recorded as plain data, without maps."""
        return {
            "model": self.model,
            "chosen": self.chosen,
            "pictures": [each.source for each in self.shown],
            "layers": [
                {
                    "layer": name,
                    "shape": list(self.shapes[name]),
                    "channels": list(self.channels[name]),
                    "least": _ends(maps)[0],
                    "largest": _ends(maps)[1],
                }
                for name, maps in self.maps.items()
            ],
        }

    def __str__(self) -> str:
        count = f"{len(self)} picture" + ("s" if len(self) != 1 else "")
        lines = [f"{count} in {self.model}, {self.chosen}"]
        for name, maps in self.maps.items():
            some = self.channels[name]
            listed = ", ".join(map(str, some[:8])) + (", ..." if len(some) > 8 else "")
            what = f"channels {listed}" if some else "their mean"
            ends = "{:.3g} to {:.3g}".format(*_ends(maps))
            lines.append(f"{name}: {_written(self.shapes[name])}, {what}, {ends}")
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays, shown = packed(self.shown)
        arrays |= {f"maps{number}": maps.numpy() for number, maps in enumerate(self.maps.values())}
        data = {name: getattr(self, name) for name in ("chosen", "seconds", "model", "weights")}
        layers = [[name, self.channels[name], self.shapes[name]] for name in self.maps]
        return arrays, data | {"versions": self.versions, "shown": shown, "layers": layers}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        shown, layers = unpacked(arrays, data.pop("shown")), data.pop("layers")
        return cls(
            maps={
                name: torch.from_numpy(arrays[f"maps{number}"])
                for number, (name, _, _) in enumerate(layers)
            },
            channels={name: tuple(channels) for name, channels, _ in layers},
            shapes={name: tuple(shape) for name, _, shape in layers},
            shown=shown,
            **data,
        )

    # ------------------------------------------------------------------ helpers

    def _known(self, layer: str) -> str:
        if layer not in self.maps:
            raise PictureError(f"layer {layer!r} was not recorded: {', '.join(self.layers)}")
        return layer

    def _sheet(
        self, number: int, name: str, scale: Scale, colormap: Any, width: int
    ) -> Image.Image:
        maps, shown = self.maps[name], self.shown[number]
        if maps.ndim != 4:
            raise PictureError(
                f"the maps of layer {name!r} have {maps.ndim - 2} axes of space, and pictures have "
                "two: read .maps"
            )
        signed = bool((maps < 0).any())
        most = _largest(maps)
        side = max(48, width // 6)
        canvas = seen_part(shown)
        left = panel([Cell(canvas, shown.name)], width=side) if canvas is not None else None
        tall, wide = shown.size if len(shown.size) == 2 else maps.shape[2:]
        colormap = colormap or (None if signed else "viridis")
        tiles = []
        for place, own in enumerate(maps[number]):
            largest = _largest(own) if scale == "map" else most
            values = torch.where(own.isfinite(), own / (largest or 1.0), torch.nan)
            image = heatmap_image(values.numpy(), colormap=colormap, signed=signed)
            called = str(self.channels[name][place]) if self.channels[name] else "mean"
            said = f"{largest:.3g}" if scale == "map" else ""
            tiles.append(Tile(image, called, said))
        room = width - (left.width if left is not None else 0)
        some = len(self.channels[name])
        shape = " x ".join(map(str, maps.shape[2:]))
        title = f"{some} of {self.shapes[name][0]} channels" if some else "mean of all channels"
        right = grid(tiles, room, aspect=tall / wide, title=f"{name}: {title}, {shape}")
        if scale == "layer":
            end = f"{most:.3g}"
            labels = (f"-{end}" if signed else "0", end)
            bar = colorbar(colormap, signed=signed, width=min(256, room), labels=labels)
            right = below([right, bar])
        return beside(left, right)


def _ends(maps: Tensor) -> tuple[float, float]:
    """The least and the largest value that are numbers, 0 where none is."""
    known = maps[maps.isfinite()]
    return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def _largest(maps: Tensor) -> float:
    """The largest magnitude that is a number."""
    return float(maps.abs().nan_to_num(nan=0.0, posinf=0.0).max())


def _written(shape: tuple[int, ...]) -> str:
    """A layer's shape in words."""
    return f"{shape[0]} channels of {' x '.join(map(str, shape[1:]))}"
