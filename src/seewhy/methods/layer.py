"""What a layer's channels are, and what they do: maps of activations and along paths."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.baselines import Baseline, baselines_of, check_baseline
from seewhy.methods.path import gap_of, gather, gauss_legendre, straight
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, OUTPUT, Layer, LayerSpec
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.passes import spend
from seewhy.model.tape.record import Recording, record
from seewhy.model.tape.replay import replay
from seewhy.model.tape.trees import full
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@dataclass(frozen=True)
class _OfLayer(Method):
    """A value for each channel and place of a layer.

    layer: one layer, None is the default (`Model.layer`); it may be one without space. The map is
    as large as the layer's output, (N, C', *space').
    """

    layer: LayerSpec = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if isinstance(self.layer, tuple | list):
            raise MethodError(f"{self.name} takes one layer, and {len(self.layer)} came: name one")


@dataclass(frozen=True)
class _AlongPath(_OfLayer):
    """What happens in a layer while the input goes straight from a baseline to the picture.

    steps: on the path. baseline: as for integrated-gradients; over several is averaged.
    """

    steps: int = 50
    baseline: Baseline = 0.0

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        super().check()
        positive(self.steps, f"{self.name}: steps")
        check_baseline(self.baseline, f"{self.name}: baseline")


@method(
    "layer-activation",
    paper="what the network itself computes",
    cost="1 forward",
    needs=("layers",),
)
@dataclass(frozen=True)
class LayerActivation(_OfLayer):
    """What the layer gives, whatever the target is."""

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:  # noqa: ARG002
        """One forward."""
        layer = model.layer(self.layer, prepared)
        recording = record(model, prepared, score, watch=[layer])
        return Attribution(recording.activations[layer], layers=(layer,))


@method(
    "gradient-x-activation",
    paper="Shrikumar et al. 2016, at a layer",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class GradientXActivation(_OfLayer):
    """The gradient at the layer times what the layer gives; its sum over channels is HiRes-CAM."""

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:  # noqa: ARG002
        """One backward to the layer."""
        layer = model.layer(self.layer, prepared)
        recording = record(model, prepared, score, [layer])
        product = recording.gradients[layer] * recording.activations[layer]
        return Attribution(product, layers=(layer,))


@method(
    "conductance",
    paper="Dhamdhere et al. 2019",
    cost="steps + 1 forwards, steps + 1 backwards to the layer, 1 forward",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class Conductance(_AlongPath):
    """The part of integrated gradients that flows through each neuron of a layer.

    It is the sum over steps of the change of an activation times the mean of its gradients before
    and after, as in Shrikumar et al. 2018. At a layer that everything passes through, the map sums
    to score(picture) - score(baseline); checks["completeness gap"] is how far it is from that, as
    a share of the difference, and near 1 where most of it flows elsewhere.
    """

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The integral along the path of the gradient times the change of the activation."""
        layer = model.layer(self.layer, prepared)
        score.bind(model, prepared)
        starts, count = baselines_of(model, prepared, self.baseline, run), self.steps + 1
        inputs, length = full(prepared.tensor), len(starts) * (self.steps + 1)
        total, at_once = len(prepared) * length, model.rows_at_once(prepared, run)
        relevance = torch.empty(0)
        empty, whole = torch.zeros(2, len(prepared), dtype=torch.float64)
        before: tuple[Tensor, Tensor, Tensor] | None = None

        def points(begin: int, end: int) -> Recording:
            work = torch.arange(begin, end)
            rows, path, step = work // length, work % length // count, work % count
            place = rows.to(inputs.device)
            start = full(starts[path.to(inputs.device), place])
            share = (step / self.steps).to(start).reshape(-1, *(1,) * (inputs.ndim - 1))
            pictures = start + share * (inputs[place] - start)
            changed = prepared.changed(pictures.to(prepared.tensor), rows)
            return record(model, changed, score.of(rows), [layer])

        for begin, end, found in in_parts(total, at_once, points):
            work = torch.arange(begin, end)
            rows, step, ways = work // length, work % count, work // count
            activations, gradients = found.activations[layer], found.gradients[layer]
            if before is not None:  # the last point of the part before
                ways = torch.cat([before[0], ways])
                activations = torch.cat([before[1], activations])
                gradients = torch.cat([before[2], gradients])
            else:
                relevance = activations.new_zeros(len(prepared), *activations.shape[1:])
            before = ways[-1:], activations[-1:], gradients[-1:]
            flows = activations.diff(dim=0) * (gradients[1:] + gradients[:-1]) / 2
            same = ways[1:] == ways[:-1]  # from one picture's path to the next is no step
            owner = (ways[1:] // len(starts))[same].to(flows.device)
            relevance.index_add_(0, owner, flows[same.to(flows.device)] / len(starts))

            scores = found.scores.double().cpu() / len(starts)
            for ends, number in ((empty, 0), (whole, self.steps)):
                ends.index_add_(0, rows[step == number], scores[step == number])
            run.report(end, total, "steps")
        gap = gap_of(relevance, (whole - empty, whole))
        return Attribution(relevance, {"completeness gap": gap}, (layer,))


@method(
    "internal-influence",
    paper="Leino et al. 2018",
    cost="steps forwards, steps backwards to the layer, 1 forward",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class InternalInfluence(_AlongPath):
    """The mean gradient at the layer while the input goes from the baseline to the picture.

    The mean is by Gauss-Legendre quadrature. Of the paper's distributions of interest it is the
    straight path.
    """

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The mean of the gradient over the path."""
        layer = model.layer(self.layer, prepared)
        score.bind(model, prepared)
        starts = baselines_of(model, prepared, self.baseline, run)
        points, count = straight(prepared, starts, self.steps)
        influence = gather(model, prepared, score, run, count, points, layer=layer)
        return Attribution(influence, layers=(layer,))


@method(
    "layer-integrated-gradients",
    paper="Sundararajan et al. 2017, eq. 1, at a layer",
    cost="steps replays from the layer, steps backwards to it, 3 forwards",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class LayerIntegratedGradients(_AlongPath):
    """Integrated gradients of what comes after the layer, from the baseline's activations on.

    The path is straight in the layer's own space, where conductance follows that of the input.
    What flows around the layer stays as it is in the picture. The map sums to score(picture) -
    score(picture with the baseline's activations at the layer), and checks["completeness gap"] is
    how far it is from that, as a share of the difference.
    """

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Eq. 1 for the function that begins at the layer, by quadrature."""
        layer = model.layer(self.layer, prepared)
        if layer in (INPUT, OUTPUT):
            raise MethodError(
                f"{self.name} runs what comes after a layer, and {str(layer)!r} is none: use "
                "integrated-gradients, or a layer that model.layers() lists"
            )
        recording = record(model, prepared, score, watch=[layer])
        own, every = recording.activations[layer], torch.arange(len(prepared))
        points, weights = gauss_legendre(self.steps)
        relevance, empty = torch.zeros_like(own), torch.zeros(len(prepared), dtype=torch.float64)
        starts = baselines_of(model, prepared, self.baseline, run)
        at_once, total = model.rows_at_once(prepared, run), len(prepared) * self.steps
        for number, start in enumerate(starts):
            begun = record(model, prepared.changed(start), score.of(every), watch=[layer])
            begin, way = begun.activations[layer], own - begun.activations[layer]
            empty += score.of(every)(replay(recording, layer, begin, every), every).double().cpu()

            def flow(first: int, last: int, begin: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
                part = torch.arange(first, last)
                rows, step = part // self.steps, part % self.steps
                place = rows.to(own.device)
                share = points[step].to(own).reshape(-1, *(1,) * (own.ndim - 1))
                weight = weights[step].to(own).reshape(share.shape) / len(starts)
                between = begin[place] + share * way[place]
                gradients = _gradients_after(recording, layer, between, score, rows)
                return place, gradients * weight * way[place]

            flowing = partial(flow, begin=begin, way=way)
            for _, done, (place, flows) in in_parts(total, at_once, flowing):
                relevance.index_add_(0, place, flows)
                run.report(number * total + done, len(starts) * total, "steps")
        whole = recording.scores.double().cpu()
        gap = gap_of(relevance, (whole - empty / len(starts), whole))
        return Attribution(relevance, {"completeness gap": gap}, (layer,))


def _gradients_after(
    recording: Recording, layer: Layer, activations: Tensor, score: Score, rows: Tensor
) -> Tensor:
    """The gradient of each score where the layer gives these activations, one for each row."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        given = activations.clone().requires_grad_()
        outcome = replay(recording, layer, given, rows)
        scores = score.of(rows)(outcome, torch.arange(len(rows)))
        (found,) = torch.autograd.grad(scores.sum(), given)
    spend(backwards=len(rows))
    return found
