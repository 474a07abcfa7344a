"""The first class activation map: a classifier's own weights, applied to the maps it averages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, positive
from seewhy.methods.cam import LayerMaps, mapped, most_active, weighted_by
from seewhy.methods.registry import method
from seewhy.model.layers import OUTPUT, Layer, LayerSpec
from seewhy.model.tape.record import Recording, record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "cam",
    paper="Zhou et al. 2016, eq. 2",
    cost="1 forward",
    needs=("gradient", "layers", "operations"),
)
@dataclass(frozen=True)
class CAM(LayerMaps):
    """The classifier's own weights applied to the maps that it averages.

    layer: None is the default. channels: use only so many feature maps, those of the highest mean
    activation; None for all. Applies where average pooling and a linear layer follow the layer
    (after a ReLU too, as in DenseNet), or a 1 x 1 convolution and average pooling (SqueezeNet);
    this is verified on every batch, and anything else is a MethodError.
    The map is (N, 1, *space) and signed; its mean is the score without the bias, where no ReLU
    stands between the class maps and their average (as in SqueezeNet).
    """

    layer: LayerSpec = None
    channels: int | None = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if self.channels is not None:
            positive(self.channels, "cam: channels")
        if isinstance(self.layer, tuple | list):
            raise MethodError(f"cam takes one layer, and {len(self.layer)} came: name one")

    def at_layers(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,  # noqa: ARG002
        layers: list[Layer],
    ) -> list[Attribution]:
        """Eq. 2, with the weights of the classes combined as the score combines their logits."""
        recording = record(model, prepared, score, [OUTPUT], watch=layers)
        combined = recording.gradients[OUTPUT].reshape(len(prepared), -1)
        found = []
        for layer in layers:
            maps, head = averaged_maps(model, recording, layer)
            weights = combined @ head.weight.flatten(1).to(maps)
            if self.channels is not None:
                kept = most_active(maps)[:, : self.channels]
                weights = torch.zeros_like(weights).scatter(1, kept, weights.gather(1, kept))
            found.append(mapped(weighted_by(weights, maps), layer))
        return found


def averaged_maps(
    model: Model, recording: Recording, layer: Layer
) -> tuple[Tensor, nn.Linear | nn.Conv2d]:
    """The maps that are averaged and weighted into the logits, and the module with the weights.

    They are the layer's activations or, where a ReLU follows, their positive part: whichever gives
    the network's own logits.
    """
    head = model.head(recording.prepared)
    module = model.find(head) if head is not None else None
    pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and pointwise):
        activations, logits = recording.activations[layer], recording.activations[OUTPUT]
        weight = module.weight.detach().flatten(1).to(activations)
        bias = weight.new_zeros(len(weight)) if module.bias is None else module.bias.to(weight)
        for maps in (activations, activations.relu()):
            if maps.shape[1] == weight.shape[1] and _gives(
                maps, weight, bias, logits, module.weight.dtype
            ):
                return maps, module
    raise MethodError(
        f"cam does not apply to {model.name} at layer {str(layer)!r}: its logits are not a linear "
        "layer on the mean of these maps; grad-cam is the generalisation that applies"
    )


def _gives(
    maps: Tensor, weight: Tensor, bias: Tensor, logits: Tensor, precision: torch.dtype
) -> bool:
    """Whether averaging and weighting the maps, in either order, gives these logits."""
    class_maps = torch.einsum("kc,nc...->nk...", weight, maps)
    shift = bias.reshape(-1, *(1,) * (maps.ndim - 2))
    rounding = max(1e-3, 8 * torch.finfo(precision).eps)
    tolerance = rounding * float(logits.abs().max()) + 1e-6
    return any(
        float((found.flatten(2).mean(2) - logits).detach().abs().max()) <= tolerance
        for found in (class_maps + shift, (class_maps + shift).relu())
    )
