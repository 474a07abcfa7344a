"""Probabilities: what is seen of attention while a network runs, whatever computes it.

`scaled_dot_product_attention` is computed in the open, and every softmax is followed to the product
with the values.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from seewhy.model.tape.guard import hookable
from seewhy.model.tape.intercept import body


@dataclass(eq=False)
class Probabilities:
    """What a softmax gave, and whether it has met its values yet."""

    name: str
    weights: Tensor
    grids: tuple[tuple[int, ...], ...]
    followed: bool = False
    width: int = 0  # of the values


@dataclass(frozen=True)
class _Trail:
    """A tensor that still holds probabilities; turned: with keys before queries."""

    tensor: Tensor  # kept, for its id stands for it
    source: Probabilities
    turned: bool = False


class Watch(TorchFunctionMode):
    """Sees the operations of one forward in this thread, whatever module they are called from.

    graph: let the autograd graph begin at the first probabilities.
    """

    def __init__(self, axes: int, *, graph: bool) -> None:
        super().__init__()
        self.axes, self.graph = axes, graph
        self.seen: list[Probabilities] = []
        self.calls: list[str] = []
        self.grids: list[tuple[int, ...]] = []
        self._trails: dict[int, _Trail] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look at the operations that attention consists of, and let all others be."""
        rule = _RULES.get(_name(function))
        if rule is None:
            return function(*args, **(kwargs or {}))
        return rule(self, function, args, kwargs or {})

    def plain(self, _: Any, args: Any, kwargs: Any) -> Any:
        """scaled_dot_product_attention, its softmax in the open."""
        query, key, value, mask, dropout, causal, scale, grouped = _attention_inputs(
            *args, **kwargs
        )
        if grouped:
            key, value = (
                each.repeat_interleave(query.shape[-3] // each.shape[-3], -3)
                for each in (key, value)
            )
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        logits = (query * scale) @ key.transpose(-2, -1)
        logits = logits if logits.dtype.itemsize >= 4 else logits.float()  # as the fused kernel
        if causal:
            mask = logits.new_ones(logits.shape[-2:], dtype=torch.bool).tril()
        if mask is not None and mask.dtype == torch.bool:
            weights = logits.masked_fill(~mask, -torch.inf).softmax(-1)
            weights = weights.masked_fill(~mask.any(-1, keepdim=True), 0)  # nothing to attend to
        else:
            weights = (logits if mask is None else logits + mask).softmax(-1)
        source, weights = self._found(weights)
        source.followed, source.width = True, value.shape[-1]
        return (F.dropout(weights, dropout) if dropout else weights).to(value.dtype) @ value

    def softmax(self, function: Any, args: Any, kwargs: Any) -> Any:
        """A softmax over the last axis, or the one before it: perhaps attention."""
        found = function(*args, **kwargs)
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(axis, int) or found.ndim < 3 or axis % found.ndim < found.ndim - 2:
            return found
        source, found = self._found(found)
        if axis % found.ndim == found.ndim - 1:
            self._follow(found, source)
        return found

    def carried(self, function: Any, args: Any, kwargs: Any) -> Any:
        """What leaves probabilities what they are, but for their order."""
        found = function(*args, **kwargs)
        trail = self._trail(args[0] if args else kwargs.get("input"))
        if trail is not None and isinstance(found, Tensor):
            before, after = trail.tensor.shape[-2:], found.shape[-2:]
            if _name(function) in _TURNING:
                order = _order(function, args, kwargs, trail.tensor.ndim)
                straight = list(range(trail.tensor.ndim))
                swapped = [*straight[:-2], straight[-1], straight[-2]]
                if order in (straight, swapped):
                    self._follow(found, trail.source, turned=trail.turned ^ (order == swapped))
            elif before == after:
                self._follow(found, trail.source, turned=trail.turned)
        return found

    def product(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Probabilities @ values, or values @ probabilities with keys first."""
        left, right = (*args, *(kwargs[n] for n in ("input", "other", "mat2") if n in kwargs))[:2]
        self._meet(left, right, turned=False)
        self._meet(right, left, turned=True)
        return function(*args, **kwargs)

    def summed(self, function: Any, args: Any, kwargs: Any) -> Any:
        """einsum, where it sums over the keys and keeps the queries."""
        equation = args[0] if args else kwargs.get("equation")
        operands = args[1] if len(args) == 2 and isinstance(args[1], list | tuple) else args[1:]
        if isinstance(equation, str) and "->" in equation:
            terms, result = equation.replace(" ", "").split("->")
            for term, operand in zip(terms.split(","), operands, strict=False):
                trail = self._trail(operand)
                if trail is None or len(operands) != 2 or len(term.replace("...", "")) < 2:
                    continue
                query, key = (term[-1], term[-2]) if trail.turned else (term[-2], term[-1])
                if key not in result and query in result:
                    other = operands[1] if operand is operands[0] else operands[0]
                    self._meet(operand, other, turned=trail.turned)
        return function(*args, **kwargs)

    def convolved(self, function: Any, args: Any, kwargs: Any) -> Any:
        """A convolution says what grid the tokens can lie on."""
        found = function(*args, **kwargs)
        grid = tuple(found.shape[2:])
        if len(grid) == self.axes and found[0, 0].numel() > 1:
            self.grids = [known for known in self.grids if known != grid] + [grid]
        return found

    def opened(self, function: Any, args: Any, kwargs: Any) -> Any:
        """A function made of others: they are watched too."""
        with self:
            return (body(function) or function)(*args, **kwargs)

    def _found(self, weights: Tensor) -> tuple[Probabilities, Tensor]:
        """Note probabilities; returns what goes on in their place."""
        passed_on = weights
        if self.graph and not weights.requires_grad and weights.is_floating_point():
            weights = weights.detach().requires_grad_()
            torch.set_grad_enabled(True)
            passed_on = weights.clone()  # a leaf may not be changed in place
        source = Probabilities(self._caller, weights, tuple(self.grids))
        self.seen.append(source)
        return source, passed_on

    @property
    def _caller(self) -> str:
        return self.calls[-1] if self.calls else ""

    def _trail(self, tensor: Any) -> _Trail | None:
        return self._trails.get(id(tensor))

    def _follow(self, tensor: Tensor, source: Probabilities, *, turned: bool = False) -> None:
        self._trails[id(tensor)] = _Trail(tensor, source, turned)

    def _meet(self, tensor: Any, values: Any, *, turned: bool) -> None:
        """The tensor is multiplied with values: if it holds probabilities, that is attention."""
        trail = self._trail(tensor)
        if trail is None or trail.turned != turned or isinstance(values, nn.Parameter):
            return
        if not trail.source.followed:
            trail.source.followed, trail.source.name = True, self._caller
            trail.source.width = values.shape[-2 if turned else -1]


@contextmanager
def calling(module: nn.Module, calls: list[str]) -> Iterator[None]:
    """Keep the names of the modules that are running in `calls`, the innermost last."""
    me, handles = threading.get_ident(), []

    def enters(name: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            if threading.get_ident() == me:
                calls.append(name)

        return enter

    def leave(*_: Any) -> None:
        if threading.get_ident() == me and calls:
            calls.pop()

    try:
        for name, part in module.named_modules():
            if hookable(part):
                handles.append(part.register_forward_pre_hook(enters(name)))
                handles.append(part.register_forward_hook(leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attention_inputs(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Any, ...]:
    return query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa


def _name(function: Any) -> str:
    """The name of a torch function, whether it is a method, a function or a property."""
    name: str = getattr(function, "__name__", "")
    if name == "__get__":
        name = getattr(getattr(function, "__self__", None), "__name__", "")
    return name.strip("_") if name.startswith("__") else name


def _order(function: Any, args: Any, kwargs: Any, axes: int) -> list[int]:
    """The order in which a function puts the axes, told by a tensor whose sizes are all unlike."""
    probe = torch.empty(tuple(range(axes)), device="meta")
    own = {name: value for name, value in kwargs.items() if name != "input"}
    return list(function(probe, *args[1:], **own).shape)


_TURNING = {"transpose", "swapaxes", "swapdims", "permute", "movedim", "moveaxis", "mT"}

_KEEPING = {
    *("dropout", "to", "type", "type_as", "float", "half", "bfloat16", "double"),
    *("contiguous", "clone", "view", "reshape", "unflatten", "flatten", "unsqueeze", "squeeze"),
}

_RULES: dict[str, Callable[[Watch, Any, Any, Any], Any]] = {
    "scaled_dot_product_attention": Watch.plain,
    "multi_head_attention_forward": Watch.opened,
    "softmax": Watch.softmax,
    "einsum": Watch.summed,
    **dict.fromkeys(("matmul", "bmm"), Watch.product),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), Watch.convolved),
    **dict.fromkeys(_TURNING | _KEEPING, Watch.carried),
}
