"""Trace: one forward with every module call written down, and the autograd graph it left."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from seewhy.model.tape.guard import hookable
from seewhy.model.tape.trees import float_tensors, tensors


@dataclass(eq=False)
class Call:
    """One call of one module during a forward.

    `start` and `end` are ticks of one clock. `outputs` are all tensors that it returned and `edges`
    where each stands in the autograd graph (None: nowhere), taken when the call returned: an edge
    survives later in-place work, and two calls with the same edge returned the same tensor.
    """

    module: nn.Module
    name: str
    number: int
    start: int
    parent: Call | None
    end: int = 0
    plain: bool = False
    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    edges: list[GradientEdge | None] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)

    @property
    def floats(self) -> list[tuple[Tensor, GradientEdge | None]]:
        """Its floating-point outputs with their edges."""
        pairs = zip(self.outputs, self.edges, strict=True)
        return [(tensor, edge) for tensor, edge in pairs if tensor.is_floating_point()]

    @property
    def overwritten(self) -> bool:
        """Whether any of its outputs was changed in place after it had returned."""
        pairs = zip(self.outputs, self.versions, strict=True)
        return any(tensor._version != version for tensor, version in pairs)

    @property
    def ancestors(self) -> list[Call]:
        """The calls inside which this one ran, innermost first."""
        found, call = [], self.parent
        while call is not None:
            found.append(call)
            call = call.parent
        return found

    @property
    def leaf(self) -> bool:
        """Whether its module has no submodules but lists of parameters."""
        lists = nn.ParameterDict, nn.ParameterList
        return all(isinstance(each, lists) for each in self.module.children())


@dataclass(eq=False)
class Trace:
    """The calls of one forward in order of their start, its input and what came out."""

    input: Tensor
    outputs: Any
    calls: list[Call]
    input_overwritten: bool

    @property
    def by_end(self) -> list[Call]:
        """The calls in the order in which they returned."""
        return sorted(self.calls, key=lambda call: call.end)


def trace(module: nn.Module, forward: Callable[[Tensor], Any], tensor: Tensor) -> Trace:
    """Run `forward` on the tensor with a graph from the input on, and write down every call.

    forward: runs the module on a tensor that stands for its pictures, with its further inputs.
    The caller holds the guard. Modules that take no hooks (TorchScript) leave no calls.
    """
    me, clock = threading.get_ident(), 0
    names: dict[nn.Module, str] = {part: name for name, part in module.named_modules()}
    calls: list[Call] = []
    open_calls: list[Call] = []
    numbers: dict[nn.Module, int] = {}

    def entered(part: nn.Module, args: Any, kwargs: Any) -> None:
        nonlocal clock
        if threading.get_ident() != me:
            return
        clock += 1
        number = numbers[part] = numbers.get(part, -1) + 1
        call = Call(part, names[part], number, clock, open_calls[-1] if open_calls else None)
        call.inputs = float_tensors((args, kwargs))
        calls.append(call)
        open_calls.append(call)

    def left(_: nn.Module, __: Any, ___: Any, output: Any) -> None:
        nonlocal clock
        if threading.get_ident() != me:
            return
        clock += 1
        call = open_calls.pop()
        call.end, call.plain = clock, isinstance(output, Tensor)
        call.outputs = tensors(output)
        call.versions = [found._version for found in call.outputs]
        call.edges = [get_gradient_edge(t) if t.requires_grad else None for t in call.outputs]

    handles = []
    try:
        for part in names:
            if hookable(part):
                handles.append(part.register_forward_pre_hook(entered, with_kwargs=True))
                handles.append(part.register_forward_hook(left, with_kwargs=True))
        with torch.inference_mode(mode=False), torch.enable_grad():
            leaf = tensor.detach().clone().requires_grad_()
            given = leaf * 1  # a leaf may not be changed in place; a network may do that
            version = given._version
            outputs = forward(given)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(leaf, outputs, [call for call in calls if call.end], given._version != version)
