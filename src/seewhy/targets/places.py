"""Targets at a place: a neuron or a channel of a layer, a region of a segmentation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import NoAnswerError, TargetError
from seewhy.model.labels import Labels
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.predictions import name_of
from seewhy.model.tape.record import Outcome
from seewhy.targets.base import Bound, Target
from seewhy.targets.classes import class_number

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Neuron(Target):
    """The activation of one neuron: a channel of a layer, at a place or averaged over space.

    layer: a layer of the model; channel: from 0; position: (row, column) on the layer's grid, None
    for the mean over it.
    """

    layer: LayerSpec
    channel: int
    position: tuple[int, ...] | None = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer, once it has been found."""
        return (self.layer,) if isinstance(self.layer, Layer) else ()

    def located(self, model: Model, like: Prepared) -> Target:
        """Return the target with its layer found in the model."""
        return replace(self, layer=model.layer(self.layer, like))

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        (layer,) = self.layers
        found = outcome.activations[layer]
        space = tuple(found.shape[2:])
        if not 0 <= self.channel < found.shape[1]:
            raise TargetError(
                f"layer {str(layer)!r} has {found.shape[1]} channels: there is no {self.channel}"
            )
        if self.position is not None and (
            len(self.position) != len(space)
            or any(not 0 <= p < size for p, size in zip(self.position, space, strict=True))
        ):
            raise TargetError(
                f"layer {str(layer)!r} has the grid {space}: {self.position} is not on it"
            )

        def read(later: Outcome, rows: Tensor) -> Tensor:
            channel = later.activations[layer][:, self.channel]
            if self.position is not None:
                place: list[Any] = [slice(None), *self.position]
                return channel[tuple(place)]
            return channel.reshape(len(rows), -1).mean(1)

        where = "" if self.position is None else f" at {self.position}"
        return Bound(read, (f"channel {self.channel} of {layer}{where}",) * len(found))


@dataclass(frozen=True, eq=False)
class Region(Target):
    """The mean score of a class over a region of a segmentation output (N, K, h, w).

    label: class number or name, None for the class that covers most of the picture. mask: boolean
    (H, W), or (N, H, W) with one for each picture, True where it counts; None is where the class
    is predicted. A mask of the original picture's size lies on the picture, one of another size on
    the whole input. A place that it covers in part counts in part.
    """

    label: int | str | None = None
    mask: Any = None

    def of_picture(self, index: int, count: int, prepared: Prepared) -> Target:
        """Return the target with the picture's own mask, laid on the model's input."""
        if self.mask is None:
            return self
        mask = torch.as_tensor(np.asarray(self.mask)).bool()
        if mask.ndim == 3 and len(mask) == count:
            mask = mask[index]
        if mask.ndim != 2:
            raise TargetError(
                f"the mask has the shape {tuple(mask.shape)}: give (H, W), or ({count}, H, W) for "
                f"{count} pictures"
            )
        geometry = prepared.geometries[0] if prepared.geometries else None
        if geometry is not None and tuple(mask.shape) == geometry.original:
            mask = geometry.on_model(mask)
        return Region(self.label, mask)

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        """Bind to the pictures; see the class."""
        main = outcome.main.detach()
        if main.ndim != 4:
            raise TargetError(
                f"a region needs a segmentation output (N, K, h, w), and this model gives "
                f"{tuple(main.shape)}: use a class or another target"
            )
        predicted = main.argmax(1)
        common = torch.stack([each.flatten().mode().values for each in predicted])
        one_hot = torch.nn.functional.one_hot(common, main.shape[1]).to(main)
        numbers = class_number(self.label, one_hot, labels)
        if self.mask is None:
            mask = predicted == numbers.to(main.device)[:, None, None]
        else:
            mask = _resized(self.mask, len(main), tuple(main.shape[2:])).to(main.device)
        empty = [i for i, each in enumerate(mask) if not bool(each.any())]
        if empty:
            raise NoAnswerError(
                f"the region of {name_of(int(numbers[empty[0]]), labels)!r} is empty: give a mask "
                "that covers something"
            )

        def read(later: Outcome, rows: Tensor) -> Tensor:
            found = later.main
            place = rows.to(found.device)
            chosen = found[torch.arange(len(found)), numbers.to(found.device)[place]]
            weight = mask.to(found)[place]
            return (chosen * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)

        names = tuple(f"{name_of(number, labels)} in the region" for number in numbers.tolist())
        return Bound(read, names)


def _resized(mask: Any, count: int, size: tuple[int, ...]) -> Tensor:
    """Return what share of each of (N, h, w) places a mask (H, W) or (N, H, W) covers."""
    given = torch.as_tensor(np.asarray(mask)).bool()
    given = given[None].expand(count, -1, -1) if given.ndim == 2 else given
    if given.ndim != 3 or len(given) != count:
        raise TargetError(
            f"the mask has the shape {tuple(given.shape)}: give (H, W), or ({count}, H, W)"
        )
    height, width = size
    return torch.nn.functional.adaptive_avg_pool2d(given.float(), (height, width))
