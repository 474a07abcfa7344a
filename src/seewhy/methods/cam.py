"""Class activation maps: a layer's channels, weighted by what the target makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from seewhy.errors import MethodError, NoSpaceError, warn
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer, LayerSpec
from seewhy.model.tape.record import Scoring, record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

CANCELLED = 1e-4  # of what was summed: float32 leaves about 1e-6

Layers = LayerSpec | tuple[LayerSpec, ...]
Fusion = Literal["mean", "max", "product"]


@dataclass(frozen=True)
class LayerMaps(Method):
    """Whatever weights the channels of layers: one map a layer, fused where there are several.

    layer: a layer, or several; None is the default (`Model.layer`). A map is the sum of a layer's
    weighted channels. Maps of several layers are each divided by their largest value in the
    picture, brought to the finest grid and averaged.
    """

    layer: Layers = None

    display: ClassVar[Display] = "positive"
    family: ClassVar[str] = "cam"

    def at_layers(
        self, model: Model, prepared: Prepared, score: Score, run: Run, layers: list[Layer]
    ) -> list[Attribution]:
        """Return the weighted channels (N, C, *space) of each of the layers, to be summed."""
        raise NotImplementedError

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Map each of the layers, and fuse the maps."""
        return self.fused(model, prepared, score, run, partial(summed, self))

    def fused(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,
        of_channels: Callable[[Attribution], Tensor],
    ) -> Attribution:
        """Return the map of all layers; of_channels: makes one map (N, 1, *space) of a layer's."""
        layers = spatial_layers(model, prepared, self.layer)
        found = self.at_layers(model, prepared, score, run, layers)
        checks = {
            name: torch.stack([each.checks[name] for each in found]).sum(0)
            for name in found[0].checks
        }
        return Attribution(fuse([of_channels(each) for each in found]), checks, tuple(layers))


@dataclass(frozen=True)
class GradientCAM(LayerMaps):
    """A map from a layer's activations A and gradients g, both (N, C, *space)."""

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Return the weighted channels (N, C, *space), whose sum is the map."""
        raise NotImplementedError

    def question(self, score: Score) -> Scoring:
        """Return what is differentiated: the score itself."""
        return score

    def at_layers(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,  # noqa: ARG002
        layers: list[Layer],
    ) -> list[Attribution]:
        """Record the layers once and combine."""
        found = record(model, prepared, self.question(score), layers)
        return [
            mapped(self.combine(found.activations[each], found.gradients[each]), each)
            for each in layers
        ]


@dataclass(frozen=True)
class ActivationCAM(LayerMaps):
    """A map from a layer's activations (N, C, *space) alone: no target has a part in it."""

    def combine(self, activations: Tensor) -> Tensor:
        """Return the weighted channels (N, C, *space), whose sum is the map."""
        raise NotImplementedError

    def at_layers(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,  # noqa: ARG002
        layers: list[Layer],
    ) -> list[Attribution]:
        """Record the layers once and combine."""
        activations = record(model, prepared, score, watch=layers).activations
        return [mapped(self.combine(activations[each]), each) for each in layers]


@method(
    "grad-cam",
    paper="Selvaraju et al. 2017, eq. 1-2",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class GradCAM(GradientCAM):
    """Channels weighted by the mean of their gradient over space.

    The map is (N, 1, *space) and signed; the paper's rectification happens when it is drawn.
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Eq. 1-2."""
        return over_space(torch.mean, gradients) * activations


@method(
    "hires-cam",
    paper="Draelos & Carin 2021, eq. 4",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class HiResCAM(GradientCAM):
    """Activations times gradients, place by place.

    The map is (N, 1, *space) and signed; at a layer followed by average pooling and a linear layer
    it is Grad-CAM's, and its sum is the score without the bias.
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Eq. 4."""
        return gradients * activations


@method(
    "layer-cam",
    paper="Jiang et al. 2021, eq. 6-8",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class LayerCAM(GradientCAM):
    """Activations times the positive part of their gradients: fine maps from any layer.

    The map is (N, 1, *space).
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Eq. 6-7."""
        return gradients.relu() * activations


@method(
    "grad-cam-plus-plus",
    paper="Chattopadhay et al. 2018",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class GradCAMPlusPlus(GradientCAM):
    """Channels weighted by their positive gradients, each shared out by how much it decides.

    w = sum alpha relu(g), alpha = g^2 / (2 g^2 + g^3 sum A), without any epsilon: what packages add
    is larger than g^2 itself. The paper's maps A are rectified; where the sum of another channel is
    negative it counts as 0, for alpha has a pole there. The factor exp(score) is left out.
    The map is (N, 1, *space).
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """With g^2 cancelled: alpha = 1 / (2 + g sum A)."""
        positive = gradients.relu()
        alpha = 1 / (2 + positive * over_space(torch.sum, activations).relu())
        return over_space(torch.sum, alpha * positive) * activations


@method(
    "xgrad-cam",
    paper="Fu et al. 2020",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class XGradCAM(GradientCAM):
    """Channels weighted by the mean of their gradient where they are active.

    w = sum g |A| / sum |A|: the paper's g A / sum A for every channel of one sign. A channel of
    both signs has a sum that may be next to nothing, and the paper's weight no bound.
    The map is (N, 1, *space) and signed.
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """The axioms' weights."""
        size = activations.abs()
        whole = over_space(torch.sum, size)
        share = size / torch.where(whole > 0, whole, 1)
        return over_space(torch.sum, gradients * share) * activations


@method(
    "grad-cam-element-wise",
    paper="the package grad-cam; no paper",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class GradCAMElementWise(GradientCAM):
    """Activations times gradients, place by place and channel by channel, where that is positive.

    The map is (N, 1, *space), 0 or more.
    """

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """What speaks for the target in each channel."""
        return (gradients * activations).relu()


def spatial_layers(model: Model, prepared: Prepared, spec: Layers) -> list[Layer]:
    """Return the layers that are meant; LayerError where one has no space for a map."""
    found = []
    if spec == ():
        raise MethodError("layer is an empty list: name at least one layer, or leave it out")
    for each in spec if isinstance(spec, tuple | list) else (spec,):
        layer = model.layer(each, prepared)
        if not layer.spatial or (layer == INPUT and prepared.tensor.ndim < 3):
            raise NoSpaceError(
                f"layer {str(layer)!r} of {model.name} has no space to draw a map on (its output "
                f"is {layer.shape}): choose a layer before pooling, or say how to read it with "
                "Layer(name, layout, prefix, grid)"
            )
        found.append(layer)
    return found


def summed(how: Method, found: Attribution) -> Tensor:
    """Return the map (N, 1, *space) that a layer's channels sum to.

    Warns where it is what rounding left of channels that cancel. A layer norm after the layer makes
    gradients orthogonal to activations: their product sums to zero in every place of a pre-norm
    transformer.
    """
    channels, (layer,) = found.relevance, found.layers
    whole = channels.sum(1, keepdim=True)
    strongest, size = channels.abs().sum(1).max(), whole.abs().max()
    if bool((size > 0) & (size < CANCELLED * strongest)):
        warn(
            f"{how.name} at {str(layer)!r}: the channels cancel in every place, as they do where a "
            "layer norm follows; the map is rounding noise. Use grad-cam or layer-cam there"
        )
    return whole


def fuse(maps: list[Tensor], fusion: Fusion = "mean") -> Tensor:
    """Return maps (N, 1, *space) as one on the finest grid, each scaled by its maximum.

    fusion: their mean, their maximum, or the product of their positive parts. A single map stays as
    it is.
    """
    if len(maps) == 1:
        return maps[0]
    finest = max((tuple(each.shape[2:]) for each in maps), key=lambda size: (size[-1], size))
    scaled = []
    for each in maps:
        largest = over_space(torch.amax, each.abs())
        scaled.append(enlarged(each / torch.where(largest > 0, largest, 1), finest))
    stacked = torch.stack(scaled)
    match fusion:
        case "mean":
            return stacked.mean(0)
        case "max":
            return stacked.amax(0)
        case "product":
            return stacked.relu().prod(0)


def enlarged(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps (N, C, *space) on another grid, linear in each axis: no value beyond theirs."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return nn.functional.interpolate(maps, size, mode=mode, align_corners=False)


def mapped(weighted: Tensor, layer: Layer, **checks: Tensor) -> Attribution:
    """Return weighted channels (N, C, *space), which sum to the map at a layer."""
    return Attribution(weighted, checks, (layer,))


def weighted_by(weights: Tensor, activations: Tensor) -> Tensor:
    """Return channels (N, C, *space) times their weights (N, C)."""
    columns = weights.reshape(*weights.shape, *(1,) * (activations.ndim - 2))
    return columns.to(activations) * activations


def most_active(activations: Tensor) -> Tensor:
    """Return the numbers of the channels (N, C), those of the highest mean first."""
    mean = over_space(torch.mean, activations).flatten(1)
    return mean.argsort(dim=1, descending=True, stable=True)


def over_space(reduce: Callable[..., Tensor], tensor: Tensor) -> Tensor:
    """Reduce (N, C, *space) over space, keeping its axes with size one."""
    return reduce(tensor, dim=tuple(range(2, tensor.ndim)), keepdim=True)
