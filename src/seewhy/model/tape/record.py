"""Record: one forward that keeps activations at layers, and the gradients of a score there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from seewhy.errors import LayerError, ModelError
from seewhy.model.layers import INPUT, OUTPUT, Layer
from seewhy.model.outputs import detects, main_output
from seewhy.model.tape.guard import hookable, hooked
from seewhy.model.tape.head import answered
from seewhy.model.tape.passes import spend
from seewhy.model.tape.trees import float_tensors, full, put, select_rows, usable

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Outcome:
    """What a forward gave: the network's outputs, any structure, and the activations asked for.

    activations: (N, C, *space) by layer, connected to the graph where there is one. clean: whether
    it comes from the pictures themselves, not from changed ones. end: what the network is known to
    end in, as in its offers.
    """

    outputs: Any
    activations: Mapping[Layer, Tensor] = field(default_factory=dict)
    clean: bool = True
    end: str = ""

    @property
    def main(self) -> Tensor:
        """The tensor that answers, usually the logits (N, K)."""
        return main_output(self.outputs)

    def rows(self, rows: Tensor) -> Outcome:
        """Return the outcome of these pictures, in this order; one may come several times."""
        outputs = self.outputs
        if detects(outputs):
            chosen: Any = [outputs[i] for i in rows.tolist()]  # detectors: one dict a picture
        else:
            chosen = select_rows(outputs, rows)
        return Outcome(chosen, select_rows(self.activations, rows), self.clean, self.end)


class Scoring(Protocol):
    """What `record` needs of a score: a number a row, and the layers that it reads."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers whose activations the score reads."""

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        """Return (len(rows),): what the outcome of each picture is worth."""


@dataclass(frozen=True)
class Recording:
    """Activations and gradients at layers as (N, C, *space), whatever the layer's own layout.

    scores: (N,), empty where no score was asked for. Half precision is returned as float32.
    read: layers that the score reads; captures: what replays keep of these pictures.
    """

    model: Model
    prepared: Prepared
    outcome: Outcome
    scores: Tensor
    activations: dict[Layer, Tensor]
    gradients: dict[Layer, Tensor]
    read: tuple[Layer, ...] = ()
    captures: dict[Layer, Any] = field(default_factory=dict, repr=False)


@dataclass
class Kept:
    """A layer's tensor in its own layout, and where a gradient can be asked for."""

    tensor: Tensor
    live: Tensor
    edge: Any  # a GradientEdge, or the tensor where the graph begins

    def canonical(self, layer: Layer, model: Model, rows: int, tensor: Tensor) -> Tensor:
        """Return a tensor of the layer's as (N, C, *space), without what fills a fixed batch."""
        found = layer.reading.canonical(tensor)
        return found if model.offers.batch is None else found[:rows]


def record(
    model: Model,
    prepared: Prepared,
    score: Scoring | None = None,
    layers: Iterable[Layer] = (),
    *,
    watch: Iterable[Layer] = (),
    instead: Callable[..., Any] | None = None,
    lend: bool = False,
) -> Recording:
    """Run the model once; keep the layers' activations and the gradients of the score there.

    What comes before the earliest of the layers runs without a graph; only what comes after it is
    differentiated, and never with respect to a parameter. INPUT and OUTPUT are layers too. watch:
    layers of which only the activations are kept. instead: what runs in the module's place where no
    layer is read. lend: the pictures are not needed any more, and a network that writes into its
    input may have them rather than a copy. Returns tensors (N, C, *space), detached.

    Raises LayerError when a layer was not reached, ModelError when no gradient comes back.
    """
    starts = tuple(dict.fromkeys(layers))
    if score is None:
        starts, watch = (), (*starts, *watch)  # nothing to differentiate
    asked = tuple(dict.fromkeys((*starts, *watch)))
    read = score.layers if score is not None else ()
    count = len(prepared)
    with model.held(), torch.inference_mode(mode=False), torch.no_grad():
        kept: dict[Layer, Kept] = {}
        outcome, scores = _run(model, prepared, score, kept, (asked, starts, read), instead, lend)
        if starts and not scores.requires_grad:
            # a network that turns gradients off for some of its layers also turns ours off again
            with torch.enable_grad():
                kept = {}
                outcome, scores = _run(model, prepared, score, kept, (asked, starts, read))
        activations = {
            each: full(kept[each].canonical(each, model, count, kept[each].tensor.detach()))
            for each in asked
        }
        gradients = {
            each: full(kept[each].canonical(each, model, count, gradient))
            for each, gradient in differentiate(model, scores, kept, starts).items()
        }
    return Recording(model, prepared, outcome, scores.detach(), activations, gradients, read)


def _run(
    model: Model,
    prepared: Prepared,
    score: Scoring | None,
    kept: dict[Layer, Kept],
    layers: tuple[tuple[Layer, ...], ...],
    instead: Callable[..., Any] | None = None,
    lend: bool = False,
) -> tuple[Outcome, Tensor]:
    """One forward and its scores; `kept` is filled."""
    asked, starts, read = layers
    alone = bool(starts) and len(prepared) == 1
    with keeping(model, kept, asked, starts, read), _plain_gradients(model, wanted=alone):
        if INPUT in starts:
            tensor = _begin(kept, INPUT, usable(prepared.tensor))
        else:  # a network may write into its input
            tensor = usable(prepared.tensor) if lend else prepared.tensor.clone()
        if INPUT in asked and INPUT not in starts:
            kept[INPUT] = Kept(prepared.tensor, prepared.tensor, prepared.tensor)
        hooks = bool(asked or read)
        given = usable(prepared.others)
        begun = {model.find(each) for each in starts if each not in (INPUT, OUTPUT)}
        outputs = answered(model, tensor, given, but=begun, instead=None if hooks else instead)
    if OUTPUT in asked:
        main = main_output(outputs)
        if OUTPUT in starts:
            index = [id(found) for found in float_tensors(outputs)].index(id(main))
            outputs = put(outputs, {index: _begin(kept, OUTPUT, main)})
        else:
            kept[OUTPUT] = Kept(main, main, main)
    _check_reached(model, kept, asked)
    found = live(model, kept, read, len(prepared))
    outcome = Outcome(outputs, found, clean=prepared.clean, end=model.offers.end)
    if score is None:
        return outcome, torch.empty(0)
    with torch.enable_grad():
        return outcome, score(outcome, torch.arange(len(prepared)))


def _begin(kept: dict[Layer, Kept], layer: Layer, tensor: Tensor, *, read: bool = False) -> Tensor:
    """Keep the tensor; from the first layer on there is a graph. Returns what goes on instead.

    What goes on is a copy: work in place after the layer cannot reach what was kept, and a view
    changed in place later would lose its gradient without a word. read: whether the score reads
    the layer, which then needs a copy of its own too.
    """
    if tensor.requires_grad:
        edge: Any = get_gradient_edge(tensor)
        kept_tensor = tensor.detach()
    else:
        kept_tensor = edge = usable(tensor).detach().requires_grad_()
        torch.set_grad_enabled(True)
        tensor = kept_tensor
    passed_on = tensor.clone()
    kept[layer] = Kept(kept_tensor, tensor.clone() if read else passed_on, edge)
    return passed_on


@contextmanager
def keeping(
    model: Model,
    kept: dict[Layer, Kept],
    layers: Iterable[Layer] = (),
    starts: Iterable[Layer] = (),
    read: Iterable[Layer] = (),
) -> Iterator[None]:
    """Keep the layers' tensors during one forward.

    starts: layers that begin the graph; read: layers that the score reads.
    """
    starts, read = set(starts), set(read)
    wanted: dict[nn.Module, list[Layer]] = {}
    for layer in dict.fromkeys([*layers, *starts, *read]):
        if layer not in (INPUT, OUTPUT):
            wanted.setdefault(model.find(layer), []).append(layer)
    numbers = dict.fromkeys(wanted, -1)

    def keep(module: nn.Module, _: Any, __: Any, output: Any) -> Any:
        numbers[module] += 1
        found = float_tensors(output)
        changed: dict[int, Tensor] = {}
        for layer in wanted[module]:
            if layer.call not in (-1, numbers[module]) or layer.output >= len(found):
                continue
            tensor = changed.get(layer.output, found[layer.output])
            if layer in starts or tensor.requires_grad:
                changed[layer.output] = _begin(kept, layer, tensor, read=layer in read)
            else:
                copy = tensor.clone()
                kept[layer] = Kept(copy, copy, copy)
        return put(output, changed) if changed else None

    for module in wanted:
        if not hookable(module):
            raise LayerError(
                "TorchScript takes no hooks, so its layers cannot be read: use a method that needs "
                "no layer, such as 'integrated-gradients'"
            )
    with hooked((module, keep) for module in wanted):
        yield
    for module, meant in wanted.items():
        _check_last(meant, numbers[module])


@contextmanager
def _plain_gradients(model: Model, *, wanted: bool) -> Iterator[None]:
    """Hand gradients to batch norms as they lie in memory by themselves.

    On a CPU, torch 2.13 computes a wrong gradient of a batch norm in evaluation mode for a single
    picture where what comes back to it is transposed, as before a layer norm over channels.
    """

    def lay(_: nn.Module, __: Any, ___: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.requires_grad:
            output.register_hook(Tensor.contiguous)

    norms = (each for each in model.module.modules() if isinstance(each, nn.BatchNorm2d))
    with hooked((each, lay) for each in norms if hookable(each)) if wanted else nullcontext():
        yield


def _check_last(layers: list[Layer], number: int) -> None:
    """Raise LayerError where what was meant as the last call of a module was not the last."""
    for layer in layers:
        if layer.last and layer.call != number >= 0:
            raise LayerError(
                f"layer {layer.name!r} is called {number + 1} times for this input, and was called "
                f"{layer.call + 1} times for others: say which call you mean, as '{layer}'"
            )


def live(
    model: Model, kept: dict[Layer, Kept], layers: Iterable[Layer], rows: int
) -> dict[Layer, Tensor]:
    """Return what was kept of the layers as (N, C, *space), connected to the graph."""
    _check_reached(model, kept, layers)
    return {each: kept[each].canonical(each, model, rows, kept[each].live) for each in layers}


def _check_reached(model: Model, kept: dict[Layer, Kept], layers: Iterable[Layer]) -> None:
    for layer in layers:
        if layer not in kept:
            raise LayerError(
                f"layer {str(layer)!r} was not reached when {model.name} ran: "
                "choose one that model.layers() lists"
            )


def differentiate(
    model: Model, scores: Tensor, kept: dict[Layer, Kept], layers: Sequence[Layer]
) -> dict[Layer, Tensor]:
    """Return what flows back from the scores (N,) to each layer, in the layer's own layout.

    Raises ModelError where nothing does, and where checkpointing stands in the way.
    """
    if not layers:
        return {}
    if not scores.requires_grad:
        names = ", ".join(str(layer) for layer in layers)
        raise ModelError(
            f"no gradient comes from the score back to {names}: either the score does not depend "
            f"on it, or {model.name} turns gradients off on the way (no_grad, detach); choose a "
            "later layer, or a method that needs no gradient"
        )
    try:
        edges = [kept[layer].edge for layer in layers]
        found = torch.autograd.grad(scores, edges, torch.ones_like(scores), allow_unused=True)
    except RuntimeError as error:
        raise_if_known(error, model.name)
        raise
    spend(backwards=len(scores))
    return {
        layer: torch.zeros_like(kept[layer].tensor) if gradient is None else gradient
        for layer, gradient in zip(layers, found, strict=True)
    }


def raise_if_known(error: RuntimeError, name: str) -> None:
    """Raise a ModelError that says what to do, where the error is one that torch explains badly."""
    if "checkpoint" in str(error).lower():
        raise ModelError(
            f"{name} uses re-entrant activation checkpointing, which gives no gradients at its "
            "layers: switch checkpointing off"
        ) from error
