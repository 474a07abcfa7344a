"""Layers: what there is in a network, where its space and channels are, which one to use."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node

from seewhy.errors import LayerError
from seewhy.model.layout import Layout, Reading, readings
from seewhy.model.outputs import has_class_head, main_output
from seewhy.model.tape.graph import cuts, following
from seewhy.model.tape.trace import Call, Trace

MOST_AFTER = 0.5  # with more of the layers than this after it, a cut says too little
_POOLING = tuple(vars(nn.modules.pooling)[name] for name in nn.modules.pooling.__all__)
_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
ZERO_HEAD = "the classifier's weights are all zero, and so is every gradient"
AMBIGUOUS = 0.02  # two readings closer than this are told apart by an experiment


@dataclass(frozen=True)
class Layer:
    """A place in a network: the output of one call of one module, and how to read it.

    name: the module's; call: which of its calls, from 0 (-1: the last); output: which of its
    floating-point outputs. layout, prefix and grid say where channels and space are: see
    `seewhy.model.layout`; a layer given with a layout is used as it is given. The other fields
    describe the layer: type of module, output shape without the batch, kernel size, channels in
    and out, parameters; last: whether it was meant as the last of several calls; still: whether it
    gives the same whatever the picture is, once for a whole batch (a learned position).
    """

    name: str
    layout: Layout | None = None
    prefix: int = 0
    grid: tuple[int, ...] = ()
    call: int = -1
    output: int = 0
    kind: str = field(default="", compare=False)
    shape: tuple[int, ...] = field(default=(), compare=False)
    kernel: tuple[int, ...] = field(default=(), compare=False)
    channels: tuple[int, int] | None = field(default=None, compare=False)
    parameters: int = field(default=0, compare=False)
    last: bool = field(default=False, compare=False, repr=False)
    still: bool = field(default=False, compare=False, repr=False)
    readings: tuple[Reading, ...] = field(default=(), compare=False, repr=False)

    @property
    def spatial(self) -> bool:
        """Whether it has a grid of places that a map can be drawn on."""
        return self.layout not in (None, "vector") and (not self.grid or math.prod(self.grid) > 1)

    @property
    def reading(self) -> Reading:
        """How its tensors are read."""
        return Reading(self.layout or "vector", self.grid, self.prefix)

    @property
    def ambiguous(self) -> bool:
        """Whether two readings fit its shape about equally well."""
        two = self.readings[:2]
        return len(two) == 2 and two[1].doubt - two[0].doubt < AMBIGUOUS

    def read_as(self, reading: Reading) -> Layer:
        """Return the layer with another reading, which is certain from now on."""
        return replace(
            self,
            layout=reading.layout,
            prefix=reading.prefix,
            grid=reading.grid,
            readings=(reading,),
        )

    def written(self) -> str:
        """Return the layer as a string that `Model.layer` takes, with a reading given by hand."""
        if self.layout is None or self.readings or self in (INPUT, OUTPUT):
            return str(self)
        grid = "x".join(map(str, self.grid))
        return f"{self}[{self.layout} {self.prefix} {grid}]".replace(" ]", "]")

    @classmethod
    def parse(cls, text: str) -> Layer:
        """Read "layer4", "relu#2", "blocks.3[tokens 1 14x14]"; raises LayerError for the rest."""
        found = re.fullmatch(
            r"(?P<name>[^#\[]+)(#(?P<call>\d+))?"
            r"(\[(?P<layout>[a-z-]+)( (?P<prefix>\d+)( (?P<grid>\d+(x\d+)*))?)?\])?",
            text,
        )
        if found is None or found["layout"] not in (None, *get_args(Layout)):
            raise LayerError(
                f"{text!r} names no layer: write 'layer4', 'relu#2' for its call number 2, or "
                "'blocks.3[tokens 1 14x14]' to say how to read it"
            )
        return cls(
            found["name"],
            cast(Layout | None, found["layout"]),
            int(found["prefix"] or 0),
            tuple(map(int, found["grid"].split("x"))) if found["grid"] else (),
            call=int(found["call"]) if found["call"] else -1,
        )

    def __str__(self) -> str:
        return self.name if self.call < 0 else f"{self.name}#{self.call}"


INPUT = Layer("input", "channels-first")
"""The network's input, as a layer: gradients with respect to the picture."""

OUTPUT = Layer("output", "vector")
"""The network's main output, as a layer: how a score reads the logits."""

LayerSpec = str | nn.Module | Layer | None
"""How a layer is named: its name ("layer4", "relu#2" for the call number 2), module, or a Layer."""


@dataclass(frozen=True)
class LayerTable:
    """All layers in order of execution, and the default with what must be said about it.

    head: the linear layer or convolution that gives the class scores, where there is one. outputs:
    what layers of several outputs give beside the first.
    """

    layers: tuple[Layer, ...]
    default: Layer | None
    remark: str = ""
    head: Layer | None = None
    outputs: tuple[Layer, ...] = ()


@dataclass
class _Place:
    """A tensor of the forward: the calls that returned it, the innermost first."""

    edge: GradientEdge
    calls: list[Call]
    layer: Layer

    @property
    def inner(self) -> Call:
        return self.calls[0]

    @property
    def named(self) -> Call:
        """The outermost call that returned the tensor plain, by which people know it."""
        plain = [call for call in self.calls if call.plain and call.name]
        return plain[-1] if plain else self.calls[-1]

    @property
    def has_parameters(self) -> bool:
        return any(next(call.module.parameters(), None) is not None for call in self.calls)

    @property
    def only_moves(self) -> bool:
        """Whether it comes from a leaf that only pools or reshapes: the place before says more."""
        module, given, made = self.inner.module, self.inner.inputs, self.inner.outputs
        if not self.inner.leaf or next(module.parameters(), None) is not None or len(given) != 1:
            return False  # what joins several is a place of its own
        pools = isinstance(module, _POOLING) or made[0].numel() < given[0].numel()
        return pools or (given[0].shape != made[0].shape and not self.has_parameters)


def layer_table(trace: Trace) -> LayerTable:
    """Describe every layer of a traced forward of two pictures and choose the default.

    The default is the latest place that everything passes through (a cut of the graph), that has
    space, in which the gradient of the predicted class's score reaches at least two places and two
    channels. Where there is none, or most of the network comes after it, the latest place with
    such a gradient is taken, and the remark says that it carries only part of the evidence.
    """
    every, places, grids = _describe(trace)
    layers = tuple(layer for layer in every if layer.output == 0)
    more = tuple(layer for layer in every if layer.output > 0)
    score = class_score(trace.outputs)
    if score is None:
        remark = "no gradient flows from the output back to the picture"
        return LayerTable(layers, None, remark, outputs=more)
    cut = cuts(score.grad_fn, trace.input) if score.grad_fn is not None else {}
    spatial = [place for place in places if place.layer.spatial and place.inner.name]
    on_cut = [p for p in spatial if cut.get(p.edge.node) == p.edge.output_nr]
    head = _head(trace, cut)

    remark = ""
    gradients = _gradients(score, on_cut)
    if on_cut and not any(g is not None and bool(g.any()) for g in gradients):
        remark = ZERO_HEAD
        gradients = _gradients_of_head(trace, on_cut, cut)
    best = _latest(on_cut, gradients)

    if best is None or _share_after(trace, best, grids) > MOST_AFTER:
        others = [place for place in spatial if place.has_parameters]
        later = _latest(others, _gradients(score, others))
        if later is not None and (best is None or later.inner.end > best.inner.end):
            best = later
            remark = "not everything passes through it: it carries only part of the evidence"
    if best is None:
        return LayerTable(layers, None, "no layer has space and a gradient", head, more)
    return LayerTable(layers, best.layer, remark, head, more)


def _describe(trace: Trace) -> tuple[list[Layer], list[_Place], list[tuple[int, ...]]]:
    """Every named output in order of execution, the tensors behind them, convolutions' grids."""
    batch, size = trace.input.shape[0], tuple(trace.input.shape[2:])
    last = {call.module: call.number for call in trace.calls}
    grids: list[tuple[int, ...]] = []
    layers: dict[tuple[Call, int], Layer] = {}
    places: dict[tuple[Node, int], _Place] = {}
    edges = [edge for call in trace.calls for _, edge in call.floats if edge is not None]
    moved = following((edge.node for edge in edges), trace.input)
    for call in trace.by_end:
        mapped = isinstance(call.module, (*_CONVOLUTIONS, *_POOLING))
        grid = tuple(call.outputs[0].shape[2:]) if mapped and call.outputs else ()
        mapped = mapped and len(grid) == len(size)
        if mapped and _is_convolution(call.module) and math.prod(grid) > 1:
            grids = [known for known in grids if known != grid] + [grid]
        for index, (tensor, edge) in enumerate(call.floats):
            fits = readings(tuple(tensor.shape), batch, size, grids)
            if mapped and math.prod(grid) > 1:
                fits = [Reading("channels-first", grid)]  # by definition
            layer = _layer(call, index, fits)
            if call.number == last[call.module] and call.number == 0:
                layer = replace(layer, call=-1)
            layer = replace(layer, still=edge is None or edge.node not in moved)
            layers[call, index] = layer
            if edge is None:
                continue
            key = (edge.node, edge.output_nr)
            place = places.setdefault(key, _Place(edge, [], layer))
            if not place.calls or call in place.inner.ancestors:
                place.calls.append(call)
                if call is place.named:
                    place.layer = replace(layer, readings=place.layer.readings)
                    place.layer = _read(place.layer)
    in_order = sorted(layers, key=lambda key: (key[0].start, key[1]))
    return [layers[key] for key in in_order if key[0].name], list(places.values()), grids


def _layer(call: Call, index: int, fits: list[Reading]) -> Layer:
    module, shape = call.module, tuple(call.floats[index][0].shape)
    channels = None
    kernel: Any = getattr(module, "kernel_size", ())
    if isinstance(module, nn.Linear):
        channels = (module.in_features, module.out_features)
    elif _is_convolution(module):
        channels = (int(module.in_channels), int(module.out_channels))  # type: ignore[arg-type]
    else:
        axes: Any = getattr(getattr(module, "kernel", None), "shape", ())  # of Keras, on torch
        if len(axes) > 1:
            channels = (int(axes[-2]), int(getattr(module, "filters", None) or axes[-1]))
    return _read(
        Layer(
            name=call.name,
            call=call.number,
            output=index,
            kind=type(module).__name__,
            shape=shape[1:],
            kernel=tuple(kernel) if isinstance(kernel, tuple | list) else (int(kernel),) * 2,
            channels=channels,
            parameters=sum(p.numel() for p in module.parameters()),
            readings=tuple(fits),
        )
    )


def _read(layer: Layer) -> Layer:
    if not layer.readings:
        return replace(layer, layout="vector" if len(layer.shape) == 1 else None)
    first = layer.readings[0]
    return replace(layer.read_as(first), readings=layer.readings)


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, _CONVOLUTIONS)


def class_score(outputs: Any) -> Tensor | None:
    """Return the sum over the pictures of the predicted class's score.

    Of an embedding it is a sum of all its numbers; None where nothing flows back.
    """
    output = main_output(outputs)
    if not output.requires_grad:
        return None
    if output.ndim <= 2 and not has_class_head(outputs):
        return (output * _ramp(output)).sum()
    output = output.flatten(2).mean(2) if output.ndim > 2 else output.reshape(len(output), -1)
    return output.gather(1, output.argmax(1, keepdim=True)).sum()


def _head(trace: Trace, cut: dict[Node, int]) -> Layer | None:
    """The last linear layer or convolution, if everything passes through it to the class scores."""
    output = main_output(trace.outputs)
    for call in reversed(trace.by_end):
        if isinstance(call.module, nn.Linear) or _is_convolution(call.module):
            edge = call.edges[0]
            fits = output.ndim == 2 and call.outputs[0].shape[1] == output.shape[1]
            return _layer(call, 0, []) if fits and edge is not None and edge.node in cut else None
    return None


def _gradients(score: Tensor, places: list[_Place]) -> list[Tensor | None]:
    if not places:
        return []
    edges = [place.edge for place in places]
    return list(torch.autograd.grad(score, edges, allow_unused=True, retain_graph=True))


def _gradients_of_head(
    trace: Trace, places: list[_Place], cut: dict[Node, int]
) -> list[Tensor | None]:
    """Gradients of a random projection of what the head receives."""
    edges = [place.edge for place in places]
    for call in sorted(trace.calls, key=lambda call: -call.start):
        for given in call.inputs:
            on_cut = given.grad_fn is not None and given.grad_fn in cut
            if given.ndim != 2 or not on_cut or len(given) != len(trace.input):
                continue
            found = torch.autograd.grad(
                given, edges, _ramp(given), allow_unused=True, retain_graph=True
            )
            if any(gradient is not None and bool(gradient.any()) for gradient in found):
                return list(found)
    return [None] * len(places)


def _ramp(like: Tensor) -> Tensor:
    """Weights that make one number of many, none of them zero."""
    return torch.linspace(0.5, 1.5, like.numel()).to(like).view_as(like)


def _latest(places: Iterable[_Place], gradients: Iterable[Tensor | None]) -> _Place | None:
    fit = [
        place
        for place, gradient in zip(places, gradients, strict=True)
        if gradient is not None
        and spreads(place.layer.reading.canonical(gradient))
        and not place.only_moves
    ]
    return max(fit, key=lambda place: place.inner.end, default=None)


def spreads(gradient: Tensor) -> bool:
    """Tell whether a gradient reaches two places and two channels of (N, C, *space)."""
    size = gradient.abs()
    places = (size.amax(1).flatten(1) > 0).sum(1).min()
    channels = (size.flatten(2).amax(2) > 0).sum(1).max()  # one channel: already a class map
    return bool(places >= 2) and bool(channels >= 2)


def _share_after(trace: Trace, place: _Place, grids: list[tuple[int, ...]]) -> float:
    """The share of calls with parameters of their own and with space that start after the place."""
    batch, size = trace.input.shape[0], tuple(trace.input.shape[2:])
    spatial = [
        call
        for call in trace.calls
        if next(call.module.parameters(recurse=False), None) is not None
        and any(readings(tuple(t.shape), batch, size, grids) for t in call.outputs)
    ]
    return sum(call.start > place.inner.end for call in spatial) / max(1, len(spatial))
