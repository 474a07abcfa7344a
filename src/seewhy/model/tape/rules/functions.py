"""Autograd functions whose forward is one thing and whose backward another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from seewhy.model.tape.intercept import Call

Back = Callable[[Tensor], Tensor]
"""What flows back to the result -> what flows back to the operand."""


class _Ruled(Function):
    @staticmethod
    def forward(ctx: Any, operand: Tensor, value: Tensor, back: Back) -> Tensor:  # noqa: ARG004
        ctx.back = back
        return value.data

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        back, ctx.back = ctx.back, None  # what has gone back is let go at once
        return back(gradient), None, None


class _Surrogate(Function):
    @staticmethod
    def forward(ctx: Any, way: Tensor, value: Tensor) -> Tensor:  # noqa: ARG004
        return value.data

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # noqa: ARG004
        return gradient, None


def ruled(operand: Tensor, value: Tensor, back: Back) -> Tensor:
    """Return the value, through which `back` decides what flows to the operand."""
    found: Tensor = _Ruled.apply(operand, value, back)  # type: ignore[no-untyped-call]
    return found


def surrogate(way: Tensor, value: Tensor) -> Tensor:
    """Return the value, with the gradient of another tensor of its shape."""
    found: Tensor = _Surrogate.apply(way, value.detach())  # type: ignore[no-untyped-call]
    return found


def scaled(tensor: Tensor, factor: float | Tensor) -> Tensor:
    """Return a view of a tensor to which so much of what comes flows back."""
    if not tensor.requires_grad:
        return tensor
    view = tensor.view_as(tensor)
    view.register_hook(lambda gradient: gradient * factor)
    return view


def stable(tensor: Tensor, epsilon: float) -> Tensor:
    """Return the tensor moved away from zero, as a denominator."""
    return tensor + torch.copysign(tensor.new_tensor(epsilon), tensor)


def cosine(call: Call) -> Tensor:
    """Return a cosine similarity taken apart, for the rules of its parts."""
    one, two, dim, eps = call.take("x1", "x2", "dim", "eps")
    dim, eps = 1 if dim is None else dim, 1e-8 if eps is None else eps
    one, two = torch.broadcast_tensors(one, two)
    lengths = [torch.linalg.vector_norm(each, 2, dim).clamp_min(eps) for each in (one, two)]
    found: Tensor = torch.mul(one, two).sum(dim) / (lengths[0] * lengths[1])
    return found


def ratio(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """Return f(x) / x, and f'(x) where x is next to zero."""
    tensor = tensor.detach()
    with torch.no_grad():
        near = tensor.abs() < NEAR
        found = function(tensor) / torch.where(near, 1, tensor)
    return torch.where(near, slope(function, tensor), found) if bool(near.any()) else found


def slope(function: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """Return f'(x) of a function of each element."""
    with torch.enable_grad():
        at = tensor.detach().requires_grad_()
        (found,) = torch.autograd.grad(function(at).sum(), at)
    return found


NEAR = 1e-6  # below this a quotient is rounding, and the derivative is exact
