"""Excitation backpropagation: the probability that each unit wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.cam import spatial_layers
from seewhy.methods.propagation import flows, together
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer, LayerSpec
from seewhy.model.tape.rules.relevance import Winning
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "excitation-backprop",
    paper="Zhang et al. 2016",
    cost="1 forward, 1 backward with about its work; contrastive two of each",
    needs=("gradient", "layers", "operations"),
)
@dataclass(frozen=True)
class ExcitationBackprop(Method):
    """The probability that a place wins when the target hands on to what excites it.

    layer: where; None is the default. contrastive: minus the same of the dual unit, whose last
    weights are negated, which cancels what excites both.
    Each unit hands on in proportion to activation times weight, of positive weights alone. The map
    is (N, 1, *space), summed over channels; it sums to 1, and checks["conservation gap"] is how far
    it is from that, where units have nothing that excites them. Meant for networks of ReLUs.
    """

    layer: LayerSpec = None
    contrastive: bool = False

    display: ClassVar[Display] = "positive"
    family: ClassVar[str] = "propagation"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One backward from the target to the layer, or two."""
        layer = spatial_layers(model, prepared, self.layer)[0]
        found, met = _won(model, prepared, score, run, layer, None)
        gap = (found.flatten(1).sum(1, dtype=torch.float64) - 1).abs()
        if self.contrastive:
            found = found - _won(model, prepared, score, run, layer, met - 1)[0]
        return Attribution(found, {"conservation gap": gap}, (layer,))


def _won(
    model: Model, prepared: Prepared, score: Score, run: Run, layer: Layer, dual: int | None
) -> tuple[Tensor, int]:
    """Probabilities at a layer (N, 1, *space), and how many linear operations there are."""
    parts = flows(model, prepared, score, run, lambda: Winning(dual), [layer])
    relevance = together(parts, layer)
    if layer != INPUT:  # to the input relevance itself flows back
        relevance = relevance * torch.cat([flow.activations[layer] for flow, _ in parts])
    scores = torch.cat([flow.scores for flow, _ in parts]).to(relevance)
    whole = scores.reshape(-1, *(1,) * (relevance.ndim - 1))
    shares = relevance / torch.where(whole == 0, 1, whole)  # the target wins for certain
    return shares.sum(1, keepdim=True), parts[0][1].met
