"""The target of a direction: how much of a vector of channels a layer holds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import TargetError
from seewhy.model.labels import Labels
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.tape.record import Outcome
from seewhy.targets.base import Bound, Target

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True, eq=False)
class Direction(Target):
    """How much of a direction of its channels a layer holds: the mean over its places.

    layer: a layer of the model. vector: (C,), such as a concept of a `Factorization`. power: 0 is
    the product with the direction of length 1; larger ones multiply by that power of the cosine
    (at least 0.1), so that what points elsewhere too counts less (Olah et al. 2017).
    """

    layer: LayerSpec
    vector: Any
    power: float = 0.0
    name: str = ""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer, once it has been found."""
        return (self.layer,) if isinstance(self.layer, Layer) else ()

    def located(self, model: Model, like: Prepared) -> Target:
        """Return the target with its layer found in the model."""
        return replace(self, layer=model.layer(self.layer, like))

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; TargetError where the layer has other channels."""
        (layer,) = self.layers
        found = outcome.activations[layer]
        given = torch.as_tensor(self.vector).detach().double().flatten()
        if len(given) != found.shape[1]:
            raise TargetError(
                f"the direction has {len(given)} numbers and layer {str(layer)!r} has "
                f"{found.shape[1]} channels: take a vector of that layer"
            )
        if not float(given.norm()) > 0:
            raise TargetError("the direction is zero everywhere: give one that points somewhere")

        def read(later: Outcome, rows: Tensor) -> Tensor:
            return self.along(later.activations[layer]).reshape(len(rows), -1).mean(1)

        return Bound(read, (self.name or f"a direction of {layer}",) * len(found))

    def along(self, activations: Tensor) -> Tensor:
        """Return how much of the direction is in each place of (N, C, *space): (N, *space)."""
        vector = torch.as_tensor(self.vector).detach().double().flatten()
        vector = (vector / vector.norm()).to(activations)
        along = torch.einsum("nc...,c->n...", activations, vector)
        if self.power:
            cosine = along / activations.norm(dim=1).clamp(min=1e-8)
            along = along * cosine.clamp(min=0.1) ** self.power
        return along
