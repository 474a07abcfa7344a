"""DeepLIFT's rule where one of several operands is handed on: pooling and reduction by maximum."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from seewhy.model.tape.intercept import Call, Handler, handles
from seewhy.model.tape.rules.functions import ruled

if TYPE_CHECKING:
    from seewhy.model.tape.rules.secant import Secant

TABLE: dict[str, Handler] = {}

WITH_INDICES = "_with_indices"


@handles(
    TABLE,
    """
    max_pool1d max_pool2d max_pool3d adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d
    max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices
    adaptive_max_pool1d_with_indices adaptive_max_pool2d_with_indices
    adaptive_max_pool3d_with_indices
    """,
)
def _max_pool(rules: Secant, call: Call) -> Any:
    x, name = call.args[0], call.name.removesuffix(WITH_INDICES)
    first = rules.pair(name, x)
    if first is None:
        return call()
    pool: Callable[..., Any] = getattr(functional, name)
    given = call.args[1 : 2 if name.startswith("adaptive") else 6]
    named = {key: each for key, each in call.kwargs.items() if key != "return_indices"}
    with torch.no_grad():
        one, here = pool(x, *given, **named, return_indices=True)
        _, there = pool(first[0], *given, **named, return_indices=True)
    axes = int(name[-2])  # of space, which the places are counted over
    laid = x.flatten(-axes), first[0].flatten(-axes), here.flatten(-axes), there.flatten(-axes)
    found = _highest(*laid).view_as(one)
    pair = call.name.endswith(WITH_INDICES) or call.function is torch.adaptive_max_pool1d
    return (found, here) if pair else found


@handles(TABLE, "max amax maximum")
def _max(rules: Secant, call: Call) -> Any:
    x, dim, keepdim = call.take("input", "dim", "keepdim")
    other = dim if isinstance(dim, Tensor) else call.kwargs.get("other")
    if other is not None:
        with rules:
            return torch.stack(torch.broadcast_tensors(x, other), -1).amax(-1)
    first = rules.pair(call.name, x)
    if first is None:
        return call()
    axes = tuple(range(x.ndim)) if dim is None or dim == () else dim
    axes = tuple(axis % x.ndim for axis in ((axes,) if isinstance(axes, int) else axes))
    last = tuple(range(-len(axes), 0))
    one, two = (each.movedim(axes, last).flatten(-len(axes)) for each in (x, first[0]))
    here, there = (each.detach().argmax(-1, keepdim=True) for each in (one, two))
    found = _highest(one, two, here, there).squeeze(-1)
    if keepdim:
        shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
        found, here = found.reshape(shape), here.reshape(shape)
    if call.name == "max" and dim is not None:
        return torch.return_types.max((found, here if keepdim else here.squeeze(-1)))
    return found


@handles(TABLE, "min amin minimum")
def _min(rules: Secant, call: Call) -> Any:
    """The largest of what is turned round."""
    opposites: dict[str, Callable[..., Any]]
    opposites = {"min": torch.max, "amin": torch.amax, "minimum": torch.maximum}

    def turned(each: Any) -> Any:
        return -each if isinstance(each, Tensor) else each

    with rules:
        named = {key: turned(each) for key, each in call.kwargs.items()}
        found = opposites[call.name](*map(turned, call.args), **named)
        if isinstance(found, Tensor):
            return -found
        return torch.return_types.min((-found[0], found[1]))


def _highest(x: Tensor, other: Tensor, here: Tensor, there: Tensor) -> Tensor:
    """Return the maxima of x, whose whole difference goes to the place that has the higher of both.

    x, other: (..., places), the two operands; here, there: (..., maxima), the places of theirs.
    """
    with torch.no_grad():
        one, two = x.gather(-1, here), other.gather(-1, there)
        place = torch.where(one >= two, here, there)
        moved = (x - other).gather(-1, place)
        share = (one - two) / torch.where(moved == 0, 1, moved)
        share = torch.where(one == two, (here == there).to(x.dtype), share)

    def back(gradient: Tensor) -> Tensor:
        return gradient.new_zeros(x.shape).scatter_add_(-1, place, gradient * share)

    return ruled(x, one, back)
