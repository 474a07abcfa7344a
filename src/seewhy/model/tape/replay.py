"""Replay: run only what comes after a layer, from activations of the caller's choice.

Module calls that ended before the layer began are skipped and give back what they gave. Of these
values only those that reach the output by a way around the layer are kept; all others become
zeros that take no memory. Whether a network can be cut like this is not assumed: each plan is
checked once against a full forward, and stepped down until it agrees.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seewhy.errors import LayerError
from seewhy.model.layers import Layer
from seewhy.model.tape.graph import Edge, reached
from seewhy.model.tape.guard import hooked
from seewhy.model.tape.head import answered
from seewhy.model.tape.passes import spend
from seewhy.model.tape.record import Kept, Outcome, Recording, keeping, live
from seewhy.model.tape.trace import Call, Trace
from seewhy.model.tape.trees import float_tensors, map_leaves, put, select_rows

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

AGREEMENT = 1e-3  # of the largest output; a plan that cuts too much is off by far more


class Mode(Enum):
    """How much of a forward is left out, the most first."""

    CUT = auto()
    """What the layer hides becomes zeros that take no memory."""
    ZEROS = auto()
    """What the layer hides becomes zeros, for networks that write into them."""
    FULL = auto()
    """Everything runs, and the layer's output is replaced."""


@dataclass(frozen=True)
class _Item:
    """One tensor of a skipped call: its batch axis (None: it has none), its rows for one picture.

    hidden: its values reach the output only through the layer.
    """

    axis: int | None
    stride: int
    hidden: bool


@dataclass
class _Skip:
    """One skipped call: its tensors, and how often each module would have run inside it."""

    items: list[_Item]
    inside: dict[nn.Module, int]


@dataclass
class Plan:
    """What to skip before a layer; found once for a model, a layer and a shape of input."""

    layer: Layer
    target: tuple[nn.Module, int]
    target_items: list[_Item]
    skips: dict[tuple[nn.Module, int], _Skip]
    needs_input: bool
    overwrites: bool
    mode: Mode = Mode.CUT


@dataclass
class Capture:
    """What one forward of some pictures left for replays: what each skipped call gave, the end."""

    given: dict[tuple[nn.Module, int], Any] = field(default_factory=dict)
    outputs: Any = None


def replay(recording: Recording, layer: Layer, activations: Tensor, rows: Tensor) -> Outcome:
    """Run what comes after the layer; row i of the activations continues the picture rows[i].

    activations: (M, C, *space); rows: (M,) numbers of pictures of the recording. Prefix tokens are
    those of the pictures. Follows the caller's grad mode: activations may require gradients.
    Returns the outcome of M rows, equal to a forward in which the layer gave these activations.

    Raises LayerError when the layer is not reached, or a layer of the score lies before it.
    """
    model, prepared = recording.model, recording.prepared
    with model.held():
        if layer not in recording.captures:
            recording.captures[layer] = _fitting(model, layer, prepared)
        plan, capture = recording.captures[layer]
        spend(replays=len(rows))
        kept: dict[Layer, Kept] = {}
        with keeping(model, kept, read=recording.read):
            outputs = _run(model, plan, capture, prepared, activations, rows.to(activations.device))
        found = live(model, kept, recording.read, len(rows))
        return Outcome(outputs, found, clean=False, end=model.offers.end)


def _fitting(model: Model, layer: Layer, prepared: Prepared) -> tuple[Plan, Capture]:
    """The plan for a layer and what it captures; made anew where the network has changed since.

    A plan fits if it gives the first picture's outputs back from the picture's own activations.
    """
    for again in (False, True):
        plan = model.findings.plan(layer, prepared, again=again)
        capture = _capture(model, plan, prepared)
        if plan.mode is Mode.FULL:
            break
        own = float_tensors(capture.given[plan.target])[layer.output]
        first = torch.zeros(1, dtype=torch.long, device=own.device)
        with torch.no_grad():
            given = layer.reading.canonical(own).index_select(0, first)
            outputs = _run(model, plan, capture, prepared, given, first)
        if alike(outputs, select_rows(capture.outputs, first)):
            break
        plan.mode = Mode.FULL
    return plan, capture


def make_plan(model: Model, layer: Layer, two: Trace, three: Trace, noise: Prepared) -> Plan:
    """Find what to skip before the layer, and step down until it agrees with a full forward.

    two, three: traces of two and three rows, which show where each tensor has its batch. Where the
    batch is fixed they are one, and everything runs.
    """
    module = model.find(layer)
    calls = [call for call in two.calls if call.module is module]
    if not calls or layer.call > calls[-1].number:
        raise LayerError(f"layer {str(layer)!r} was not reached: choose one of model.layers()")
    target = calls[layer.call]
    around = set(target.ancestors)
    before = [call for call in two.calls if call.end < target.start and call.parent in around]
    seen_again = {(call.module, call.number): call for call in three.calls}

    stop = {edge for call in before for edge in _edges(call)}
    met, needs_input = reached(float_tensors(two.outputs), stop, _edges(target), two.input)

    def items(call: Call) -> list[_Item]:
        larger = seen_again[call.module, call.number].outputs
        found = []
        for small, large, edge in zip(call.outputs, larger, call.edges, strict=True):
            # what no gradient reaches (masks, positions) may be read all the same: it is kept
            unseen = edge is not None and (edge.node, edge.output_nr) not in met
            found.append(_item(small.shape, large.shape, hidden=unseen and call is not target))
        return found

    plan = Plan(
        layer=layer,
        target=(module, target.number),
        target_items=items(target),
        skips={(c.module, c.number): _Skip(items(c), _inside(two, c)) for c in before},
        needs_input=needs_input or two.input_overwritten,
        overwrites=target.overwritten,
    )
    for mode in Mode if model.offers.batch is None else (Mode.FULL,):
        plan.mode = mode
        if mode is Mode.FULL or _agrees(model, plan, noise):
            break
    return plan


def whole_plan(model: Model, layer: Layer) -> Plan:
    """Replace the layer, skip nothing by hand: the network leaves out what it does not need."""
    item = _Item(0, 1, hidden=False)
    target = (model.find(layer), max(layer.call, 0))
    return Plan(layer, target, [item], {}, needs_input=True, overwrites=False)


def _edges(call: Call) -> set[Edge]:
    return {(edge.node, edge.output_nr) for edge in call.edges if edge is not None}


def _item(two: torch.Size, three: torch.Size, *, hidden: bool) -> _Item:
    for axis, (small, large) in enumerate(zip(two, three, strict=True)):
        if small != large:
            return _Item(axis, large - small, hidden)
    return _Item(None, 1, hidden)


def _inside(trace: Trace, call: Call) -> dict[nn.Module, int]:
    counts: dict[nn.Module, int] = {}
    for other in trace.calls:
        if call.start < other.start and other.end < call.end:
            counts[other.module] = counts.get(other.module, 0) + 1
    return counts


def _agrees(model: Model, plan: Plan, noise: Prepared) -> bool:
    """Whether three rows of changed activations give what a full forward gives."""
    rows = torch.tensor([1, 0, 1], device=noise.tensor.device)
    with torch.no_grad():
        capture = _capture(model, plan, noise)
        own = float_tensors(capture.given[plan.target])[plan.layer.output]
        given = plan.layer.reading.canonical(own).index_select(0, rows)
        ramp = torch.linspace(0.5, 1.5, given.numel()).to(given).view(given.shape)
        try:
            outputs = _run(model, plan, capture, noise, given * ramp, rows)
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError):
            return False  # the network does something to zeros that only real values allow
        expected = _run_full(model, plan, noise, given * ramp, rows)
    return alike(outputs, expected)


def alike(outputs: Any, expected: Any, rounding: float = AGREEMENT) -> bool:
    """Tell whether two outputs are the same up to rounding, as a share of the largest value."""
    found, wanted = float_tensors(outputs), float_tensors(expected)
    return len(found) == len(wanted) and all(
        got.shape == want.shape
        and bool((got - want).abs().max() <= rounding * want.abs().max().clamp(min=1e-30))
        for got, want in zip(found, wanted, strict=True)
        if want.numel()
    )


def _capture(model: Model, plan: Plan, prepared: Prepared) -> Capture:
    """Run the pictures once and keep what the skipped calls and the layer gave."""
    capture = Capture()
    wanted = {key: skip.items for key, skip in plan.skips.items()}
    wanted[plan.target] = plan.target_items
    numbers: dict[nn.Module, int] = {}

    def keep(module: nn.Module, _: Any, __: Any, output: Any) -> None:
        number = numbers[module] = numbers.get(module, -1) + 1
        items = wanted.get((module, number))
        if items is not None:
            hidden = iter(item.hidden for item in items)
            capture.given[module, number] = map_leaves(
                lambda leaf: _copy(leaf, next(hidden)) if isinstance(leaf, Tensor) else leaf, output
            )

    with torch.no_grad(), hooked((module, keep) for module in {key[0] for key in wanted}):
        capture.outputs = answered(model, prepared.tensor.clone(), prepared.others)
    return capture


def _copy(tensor: Tensor, hidden: bool) -> Tensor:
    """What is kept of a tensor: itself, or only its shape."""
    return tensor.new_zeros(()).expand(tensor.shape) if hidden else tensor.detach().clone()


def _run(
    model: Model, plan: Plan, capture: Capture, prepared: Prepared, given: Tensor, rows: Tensor
) -> Any:
    module, number = plan.target

    def replaced(output: Any) -> Any:
        """The layer's output for these rows, with the caller's activations in it."""
        alone = isinstance(output, Tensor) and not plan.layer.prefix
        like = output if alone else _select(output, plan.target_items, rows, Mode.ZEROS)
        own = float_tensors(like)[plan.layer.output]
        new = plan.layer.reading.restore(given.to(own.dtype), own)
        return put(like, {plan.layer.output: new.clone() if plan.overwrites else new})

    if plan.mode is Mode.FULL:
        return _run_full(model, plan, prepared, given, rows)

    numbers: dict[nn.Module, int] = {}

    def instead(part: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        place = numbers[part] = numbers.get(part, -1) + 1
        if (part, place) == (module, number):
            return replaced(capture.given[plan.target])
        skip = plan.skips.get((part, place))
        if skip is None:
            return forward(*args, **kwargs)
        for inner, count in skip.inside.items():
            numbers[inner] = numbers.get(inner, -1) + count
        return _select(capture.given[part, place], skip.items, rows, plan.mode)

    def nothing(*_: Any) -> None:
        """A hook that does nothing keeps torch's fused encoder from bypassing the layer."""

    blank = prepared.tensor.new_zeros(()).expand(len(rows), *prepared.tensor.shape[1:])
    tensor = prepared.tensor.index_select(0, rows) if plan.needs_input else blank
    parts = {module, *(part for part, _ in plan.skips)}
    with _instead_of_forward(parts, instead), hooked([(module, nothing)]):
        others = select_rows(prepared.others, rows)
        outputs = answered(model, tensor, others, but=parts, counted=False)
    if numbers.get(module, -1) < number:
        raise LayerError(f"layer {str(plan.layer)!r} was not reached in a replay")
    return outputs


def _run_full(model: Model, plan: Plan, prepared: Prepared, given: Tensor, rows: Tensor) -> Any:
    """Run everything for these rows and replace what the layer gives.

    Shares nothing with the cut run: it is what that run is checked against.
    """
    module, number = plan.target
    count = -1

    def hook(_: nn.Module, __: Any, ___: Any, output: Any) -> Any:
        nonlocal count
        count += 1
        if count != number:
            return None
        own = float_tensors(output)[plan.layer.output]
        filled = given
        if model.offers.batch is not None:  # the surplus rows of a fixed batch repeat the last
            filled = given[torch.arange(model.offers.batch).clamp(max=len(given) - 1)]
        new = plan.layer.reading.restore(filled.to(own.dtype), own)
        return put(output, {plan.layer.output: new.clone()})

    some = prepared.rows(rows)
    with hooked([(module, hook)]):
        return answered(model, some.tensor, some.others, but={module})


def _select(output: Any, items: list[_Item], rows: Tensor, mode: Mode) -> Any:
    """What a call gave, for these rows of the captured pictures."""
    each = iter(items)

    def choose(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        item = next(each)
        if item.axis is None:
            return leaf if item.hidden else leaf.clone()
        if item.hidden:
            shape = list(leaf.shape)
            shape[item.axis] = item.stride * len(rows)
            zero = leaf.new_zeros(())
            return leaf.new_zeros(shape) if mode is Mode.ZEROS else zero.expand(shape)
        wanted = rows
        if item.stride > 1:
            steps = torch.arange(item.stride, device=rows.device)
            wanted = (rows[:, None] * item.stride + steps).flatten()
        return leaf.index_select(item.axis, wanted)

    return map_leaves(choose, output)


@contextmanager
def _instead_of_forward(modules: set[nn.Module], instead: Callable[..., Any]) -> Iterator[None]:
    """Call instead(module, forward, args, kwargs) in this thread in place of forward(*args)."""
    me = threading.get_ident()
    patched: list[tuple[nn.Module, Any]] = []
    missing = object()

    def patch(module: nn.Module) -> None:
        forward = module.forward
        patched.append((module, module.__dict__.get("forward", missing)))

        def dispatch(*args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != me:
                return forward(*args, **kwargs)
            return instead(module, forward, args, kwargs)

        module.__dict__["forward"] = dispatch

    try:
        for module in modules:
            patch(module)
        yield
    finally:
        for module, own in patched:
            if own is missing:
                del module.__dict__["forward"]
            else:
                module.__dict__["forward"] = own
