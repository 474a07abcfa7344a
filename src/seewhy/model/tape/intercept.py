"""Intercept: one forward under which chosen operations send back what a rule says.

What flows back is a multiplier, relevance over activation: for a linear operation without a bias,
a sum, a view, average pooling or a ReLU the gradient already is one, and needs no rule. No module
is touched: a mode of this thread sees each operation as it is called. What the mode cannot see
(TorchScript, custom autograd functions) or has no rule for is found in the autograd graph.
"""

from __future__ import annotations

import inspect
import threading
import types as python
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from seewhy.errors import MethodError
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.guard import everything, hookable
from seewhy.model.tape.record import Kept, Outcome, Scoring, differentiate, keeping, live
from seewhy.model.tape.trees import full, map_leaves, usable

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Flow:
    """What flowed back from the scores.

    activations, multipliers: (N, C, *space) by layer, in float32 at least; scores: (N,).
    unruled: operations on the way that no rule covers, with how often they came.
    """

    scores: Tensor
    activations: dict[Layer, Tensor]
    multipliers: dict[Layer, Tensor]
    unruled: Counter[str]


@dataclass(frozen=True)
class Call:
    """A call of a torch function, by its plain name, as it is out of place."""

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def __call__(self) -> Any:
        """Call it."""
        return self.function(*self.args, **self.kwargs)

    def on(self, tensor: Any) -> Any:
        """Call it on another first operand."""
        return self.function(tensor, *self.args[1:], **self.kwargs)

    def take(self, *names: str) -> list[Any]:
        """Return the arguments of these names, in the order of the signature; None where absent."""
        given = dict(zip(names, self.args, strict=False))
        return [given.get(name, self.kwargs.get(name)) for name in names]

    def named(self, text: str) -> dict[str, Any]:
        """Return the arguments by name, for a signature written as words."""
        known = text.split()
        return dict(zip(known, self.take(*known), strict=True))


Handler = Callable[[Any, Call], Any]

_VOUCHED = "seewhy: a rule answers for this node"


_ruled = threading.local()


def ruled() -> bool:
    """Tell whether this thread runs a network under rules."""
    return getattr(_ruled, "depth", 0) > 0


class Rules(TorchFunctionMode):
    """A mode under which operations with a handler in `table` go by it; all others as ever.

    Used for one forward. Derived classes fill the table (`handles`), and say in `passes` for which
    autograd nodes the gradient itself is the rule. kept: what a pass holds, as a multiple of what a
    plain gradient does (measured on ResNet-50, VGG-16, ViT-B/16 and MobileNetV2).
    """

    table: ClassVar[dict[str, Handler]] = {}
    kept: ClassVar[float] = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.rows = 1
        self._entered: set[Any] = set()

    def __enter__(self) -> Self:
        _ruled.depth = getattr(_ruled, "depth", 0) + 1
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *failure: object) -> None:
        _ruled.depth -= 1
        super().__exit__(*failure)  # type: ignore[no-untyped-call]

    def begin(self, leaf: Tensor) -> Tensor:
        """Return what the network gets for its input."""
        return leaf.clone()  # a network may write into it

    def passes(self, node: Node, name: str) -> bool:
        """Whether the gradient of a node that no handler made is what this method means."""
        raise NotImplementedError

    def finish(self) -> None:
        """Let go of what is known of the graph."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled() or _is_plain_property(func):
            return func(*args, **kwargs)
        return self.call(func, args, kwargs)

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call: by its handler, by what its body calls, or as ever."""
        args, kwargs = frozen(args), {name: frozen(each) for name, each in kwargs.items()}
        if not any(is_live(each) for each in operands(args, kwargs)):
            return func(*args, **kwargs)
        name, in_place = canonical(func)
        handler = self.table.get(name)
        if handler is None:
            inner = body(func)
            if inner is None or func in self._entered:
                return func(*args, **kwargs)
            self._entered.add(func)
            try:
                with self:
                    return inner(*args, **kwargs)
            finally:
                self._entered.discard(func)
        call, in_place = plain_call(func, name, args, kwargs, in_place=in_place)
        if not in_place:
            return self.handled(handler, call)
        target = call.args[0]
        copied = replace(call, args=(target.clone(), *call.args[1:]))
        self.overwrites(target, copied.args[0])
        return self.written(target, self.handled(handler, copied))

    def overwrites(self, target: Tensor, copy: Tensor) -> None:
        """Take notice that a tensor is about to be written over, and of its copy."""

    def written(self, target: Tensor, value: Tensor) -> Tensor:
        """Write the value of an operation where it was to be written."""
        return target.copy_(value)

    def handled(self, handler: Handler, call: Call) -> Any:
        """Call a handler; it answers for what it makes, unless it says NotImplemented."""
        found = handler(self, call)
        if found is NotImplemented:
            return call()  # the graph shows it, and the reader is told
        return self.vouch(found, operands(call.args, call.kwargs))

    def vouch(self, found: Any, given: Iterable[Tensor]) -> Any:
        """Answer for the autograd nodes between what was given and what was found."""
        stop = {each.grad_fn for each in given}
        pending = [each.grad_fn for each in operands((found,), {})]
        while pending:
            node = pending.pop()
            if node is not None and node not in stop and _VOUCHED not in _metadata(node):
                _metadata(node)[_VOUCHED] = True  # a set of nodes would keep what they hold
                pending.extend(child for child, _ in node.next_functions)
        return found

    def unruled(self, scores: Tensor) -> Counter[str]:
        """Return the names of nodes between the scores and the input that no rule covers."""
        found: Counter[str] = Counter()
        seen: set[Node] = set()
        pending = [scores.grad_fn]
        while pending:
            node = pending.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            name = node_name(node)
            if _VOUCHED not in _metadata(node) and not self.passes(node, name.lower()):
                found[name] += 1
            pending.extend(child for child, _ in node.next_functions)
        return found


def handles(table: dict[str, Handler], known: str) -> Callable[[Handler], Handler]:
    """Put a handler into a table under several names."""

    def put(handler: Handler) -> Handler:
        table.update(dict.fromkeys(known.split(), handler))
        return handler

    return put


def propagate(
    model: Model,
    prepared: Prepared,
    score: Scoring,
    rules: Rules,
    layers: Sequence[Layer] = (INPUT,),
    *,
    backward: bool = True,
) -> Flow:
    """Run the model and the score under rules, and return what flows back to the layers.

    A score that is not bound yet binds itself to the outcome. backward: whether anything is to
    flow back; without, the rules only see the forward. The model is held by the caller.
    Raises MethodError for TorchScript, whose operations cannot be seen, ModelError where nothing
    flows back.
    """
    if not all(hookable(part) for part in everything(model.module)):
        raise MethodError(
            f"{model.name} is TorchScript, whose operations cannot be given rules: use a method "
            "that takes the network as it is, such as 'integrated-gradients'"
        )
    rules.rows = model.offers.batch or len(prepared)
    every = torch.arange(len(prepared))
    kept: dict[Layer, Kept] = {}
    inner = [layer for layer in layers if layer != INPUT]
    with model.held(), torch.inference_mode(mode=False), torch.enable_grad():
        leaf = usable(prepared.tensor).detach().clone().requires_grad_()
        try:
            with keeping(model, kept, inner, inner, score.layers), rules:
                outputs = model.forward(rules.begin(leaf), usable(prepared.others))
                found = live(model, kept, score.layers, len(prepared))
                with torch.no_grad():  # what is bound must not hold the graph
                    bare = map_leaves(_detached, outputs), map_leaves(_detached, found)
                    score(Outcome(*bare, prepared.clean, model.offers.end), every)
                scores = score(Outcome(outputs, found, False, model.offers.end), every)
            kept[INPUT] = Kept(leaf.detach(), leaf, leaf)
            unruled = rules.unruled(scores)
            gradients = differentiate(model, scores, kept, layers) if backward else {}
        finally:
            rules.finish()
    count = len(prepared)
    activations = {
        each: full(kept[each].canonical(each, model, count, kept[each].tensor)) for each in layers
    }
    multipliers = {
        each: full(kept[each].canonical(each, model, count, gradient))
        for each, gradient in gradients.items()
    }
    return Flow(scores.detach(), activations, multipliers, unruled)


# ---------------------------------------------------------------------- operands


def is_live(value: Any) -> bool:
    """Whether a value is a tensor that depends on the picture."""
    return isinstance(value, Tensor) and value.requires_grad


def frozen(value: Any) -> Any:
    """Return parameters detached, so that what requires a gradient depends on the picture."""
    if isinstance(value, nn.Parameter):
        return value.detach()
    if type(value) in (list, tuple):
        return type(value)(frozen(each) for each in value)
    return value


def operands(args: Iterable[Any], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Yield the tensors among arguments, and in lists of them."""
    for each in (*args, *kwargs.values()):
        if isinstance(each, Tensor):
            yield each
        elif isinstance(each, list | tuple):
            yield from (one for one in each if isinstance(one, Tensor))


def _metadata(node: Node) -> dict[str, Any]:
    """What is written on an autograd node; torch's types take the property for a method."""
    found: Any = node.metadata
    return found  # type: ignore[no-any-return]


def _detached(leaf: Any) -> Any:
    return leaf.detach() if isinstance(leaf, Tensor) else leaf


# ---------------------------------------------------------------------- names of functions


def node_name(node: Node) -> str:
    """Return what an autograd node is the backward of, such as Convolution."""
    return node.name().rpartition("::")[2].partition("Backward")[0]


def names(text: str) -> frozenset[str]:
    """Return the words of a text, in lower case but for properties such as .T."""
    return frozenset(each if each[0] == "." else each.lower() for each in text.split())


_IN_PLACE = {
    "__iadd__": "add", "__isub__": "sub", "__imul__": "mul", "__itruediv__": "div",
    "__idiv__": "div", "__ipow__": "pow",
}  # fmt: skip
_ALIASES = {
    "true_divide": "div", "divide": "div", "truediv": "div", "multiply": "mul", "subtract": "sub",
    "radd": "add", "rmul": "mul", "concat": "cat", "concatenate": "cat", "clip": "clamp",
    "absolute": "abs", "swapaxes": "transpose", "swapdims": "transpose", "moveaxis": "movedim",
}  # fmt: skip
_MOVING_PROPERTIES = ("T", "mT", "H", "mH")


@cache
def _is_plain_property(func: Any) -> bool:
    """Whether this reads a property that is no operation: x.shape, but not x.T."""
    if getattr(func, "__name__", "") != "__get__":
        return False
    return getattr(func.__self__, "__name__", "") not in _MOVING_PROPERTIES


@cache
def canonical(func: Any) -> tuple[str, bool]:
    """Return a torch function's plain name, and whether it works in place."""
    name = getattr(func, "__name__", "") or ""
    if name in _IN_PLACE:
        return _IN_PLACE[name], True
    if name == "__get__":
        return f".{getattr(func.__self__, '__name__', '')}", False
    in_place = name.endswith("_") and not name.endswith("__")
    name = name.strip("_")
    return _ALIASES.get(name, name), in_place


def plain_call(
    func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, in_place: bool
) -> tuple[Call, bool]:
    """Return the call as it is out of place, first operand first, and whether it was in place."""
    if in_place:
        func = getattr(torch, name, None) or getattr(functional, name, getattr(Tensor, name, func))
    elif isinstance(func, python.FunctionType) and "inplace" in func.__code__.co_varnames:
        given = _signature(func).bind(*args, **kwargs)
        in_place = bool(given.arguments.pop("inplace", False))
        args, kwargs = given.args, given.kwargs
    kwargs = {_NUMPYS.get(name, name): each for name, each in kwargs.items()}
    if not args and "input" in kwargs:
        args = (kwargs.pop("input"),)
    return Call(name, func, args, kwargs), in_place


_signature = cache(inspect.signature)
_NUMPYS = {"axis": "dim", "keepdims": "keepdim"}  # which torch takes as well
_CHECKS = ("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic")


@cache
def body(func: Any) -> Callable[..., Any] | None:
    """Return a torch function that is written in Python without its check for modes, else None.

    The check would call the mode again, and what the function calls would never be seen.
    """
    if not isinstance(func, python.FunctionType):
        return None
    if "handle_torch_function" not in func.__code__.co_names:
        return None
    known = dict(func.__globals__)
    known.update({check: lambda *_: False for check in _CHECKS if check in known})
    copy = python.FunctionType(
        func.__code__, known, func.__name__, func.__defaults__, func.__closure__
    )
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
