"""DeepLIFT's rescale rule on operations: slopes of secants between two inputs.

The first forward, on one of the two, notes the operands of every nonlinear operation; the second,
on the other, meets them in the same order and sends back by how much the result differs for each
unit by which the operand does. Products are of one factor's difference with the other's mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

from seewhy.errors import MethodError, ModelError
from seewhy.model.tape.intercept import Call, Handler, Rules, handles, is_live, names, operands
from seewhy.model.tape.rules.functions import cosine, ruled, slope, surrogate
from seewhy.model.tape.rules.norms import INSTANCE_NORM, plain_batch_norm
from seewhy.model.tape.rules.relevance import GRADIENT_NODES, SCALING_NODES
from seewhy.model.tape.rules.winners import TABLE as WINNERS

TABLE: dict[str, Handler] = dict(WINNERS)

LINEAR_NODES = names("convolution linear addmm mm bmm mv")
"""Linear operations: the gradient is their slope."""

CURVED_NODES = names(
    """
    relu leakyRelu preluKernel abs max maximum amax min minimum amin sort topk
    maxPool2dWithIndices maxPool3dWithIndices adaptiveMaxPool2d adaptiveMaxPool3d
    """
)
"""Nodes whose gradient is a share of relevance, but no slope of a secant."""

SMOOTH = names("gelu silu mish tanh softplus sigmoid logSigmoid erf sin cos exp expm1")
POWERS = names("pow square sqrt rsqrt reciprocal log")
"""Functions that vary over about one, and over about their operand; the others have corners."""


class Secant(Rules):
    """The rules for two forwards, of which the second sends back; there may be several second ones.

    Raises ModelError where the second goes another way through the network than the first.
    """

    table = TABLE
    kept = 1.8

    def __init__(self) -> None:
        super().__init__()
        self._noted: list[tuple[str, tuple[Any, ...]]] = []
        self._met, self._last = -1, False

    def second(self, *, last: bool = True) -> Secant:
        """Return the rules for a second forward: these. last: no other will come after it."""
        self._met, self._last = 0, last
        return self

    def passes(self, node: Node, name: str) -> bool:
        """Where the gradient is a slope whatever the two inputs are."""
        if name in CURVED_NODES:
            return False
        if name in SCALING_NODES or name in LINEAR_NODES:
            # the weight and bias of a network are constants
            return sum(child is not None for child, _ in node.next_functions) == 1
        return name in GRADIENT_NODES or name.startswith("upsample")

    def pair(self, name: str, *values: Any) -> tuple[Any, ...] | None:
        """Return what stood here in the first forward; None in the first, which notes it."""
        if self._met < 0:
            kept = (x.detach().clone() if isinstance(x, Tensor) else x for x in values)
            self._noted.append((name, tuple(kept)))
            return None
        known, found = self._noted[self._met] if self._met < len(self._noted) else ("", ())
        shapes = [getattr(each, "shape", None) for each in values]
        if known != name or shapes != [getattr(each, "shape", None) for each in found]:
            raise ModelError(
                f"the network goes another way for the baseline than for the picture (at {name!r}, "
                f"where the other has {known or 'nothing'!r}): use 'integrated-gradients'"
            )
        if self._last:
            self._noted[self._met] = ("", ())
        self._met += 1
        return found


# ---------------------------------------------------------------------- functions of one element


@handles(
    TABLE,
    """
    relu relu6 leaky_relu prelu gelu silu hardswish mish elu celu selu tanh softplus hardtanh clamp
    clamp_min clamp_max sigmoid hardsigmoid logsigmoid softsign hardshrink softshrink tanhshrink
    threshold exp log log1p expm1 erf pow square abs sqrt rsqrt reciprocal sin cos
    """,
)
def _elementwise(rules: Secant, call: Call) -> Any:
    x = call.args[0]
    if not is_live(x) or any(is_live(each) for each in operands(call.args[1:], call.kwargs)):
        return NotImplemented
    first = rules.pair(call.name, x)
    if first is None:
        return call()
    share, value, _ = secant(call.on, x.detach(), first[0], _closeness(call.name, x.detach()))
    return ruled(x, value, lambda gradient: gradient * share)


def secant(
    function: Callable[[Tensor], Tensor], one: Tensor, two: Tensor, close: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the slope between two operands, and both values.

    close: how near to each other they have f' half-way for a slope, in place of the quotient.
    """
    with torch.no_grad():
        values = function(one), function(two)
        difference = one - two
        near = difference.abs() <= close
        found = (values[0] - values[1]) / torch.where(near, 1, difference)
    if bool(near.any()):
        found = torch.where(near, slope(function, (one + two) / 2), found)
    return found, *values


def _closeness(name: str, x: Tensor) -> Tensor:
    """Where the quotient's rounding and the derivative's curvature err alike.

    Functions with corners have a quotient that is exact on straight parts, and no derivative that
    would be right across a corner.
    """
    closeness = float(torch.finfo(x.dtype).eps ** (1 / 3))
    if name in POWERS:
        return closeness * x.abs()
    return x.new_tensor(closeness if name in SMOOTH else 0.0)


# ---------------------------------------------------------------------- products


def _by_means(
    operation: Callable[[Tensor, Tensor], Tensor], factors: tuple[Tensor, Tensor], others: Any
) -> Tensor:
    """Whatever is bilinear: ab - a'b' = (a - a') (b + b') / 2 + (a + a') / 2 (b - b')."""
    (one, two), (first, second) = factors, others
    way = operation(one, ((two + second) / 2).detach())
    way = way + operation(((one + first) / 2).detach(), two)
    with torch.no_grad():
        value = operation(one, two)
    return surrogate(way, value)


def _product(
    rules: Secant, name: str, operation: Callable[..., Any], factors: tuple[Any, Any]
) -> Any:
    if not all(is_live(each) for each in factors):
        return operation(*factors)
    first = rules.pair(name, *factors)
    return operation(*factors) if first is None else _by_means(operation, factors, first)


@handles(TABLE, "mul")
def _mul(rules: Secant, call: Call) -> Any:
    one, two = call.take("input", "other")
    return _product(rules, "mul", torch.mul, (one, two))


@handles(TABLE, "matmul mm bmm")
def _matmul(rules: Secant, call: Call) -> Any:
    one, two = call.take("input", "other")
    return _product(rules, call.name, torch.matmul, (one, call.kwargs.get("mat2", two)))


@handles(TABLE, "addmm baddbmm")
def _addmm(rules: Secant, call: Call) -> Any:
    shift, one, two = call.take("input", "mat1", "mat2")
    one, two = call.kwargs.get("batch1", one), call.kwargs.get("batch2", two)
    product = _product(rules, call.name, torch.matmul, (one, two))
    return call.kwargs.get("beta", 1) * shift + call.kwargs.get("alpha", 1) * product


@handles(TABLE, "einsum")
def _einsum(rules: Secant, call: Call) -> Any:
    equation, *factors = call.args
    if len(factors) == 1 and isinstance(factors[0], list | tuple):
        factors = list(factors[0])
    if len(factors) != 2:
        return call() if sum(map(is_live, factors)) == 1 else NotImplemented

    def operation(one: Tensor, two: Tensor) -> Any:
        return torch.functional.einsum(equation, one, two)

    return _product(rules, "einsum", operation, (factors[0], factors[1]))


@handles(TABLE, "div")
def _div(rules: Secant, call: Call) -> Any:
    one, two = call.take("input", "other")
    if not is_live(two):
        return call()
    with rules:
        return torch.mul(torch.reciprocal(two), one)


@handles(TABLE, "addcmul")
def _addcmul(rules: Secant, call: Call) -> Any:
    shift, one, two = call.take("input", "tensor1", "tensor2")
    with rules:
        return shift + call.kwargs.get("value", 1) * torch.mul(one, two)


# ---------------------------------------------------------------------- attention


@handles(TABLE, "softmax")
def _softmax(rules: Secant, call: Call) -> Any:
    """Exponentials, their sum, and the product of one with the other's reciprocal."""
    found = _exponentials(rules, call)
    if found is None:
        return call()
    way, one, two, sums = found
    falling = -way.sum(call.take("input", "dim")[1], keepdim=True) / (sums[0] * sums[1])
    way = way * (1 / sums[0] + 1 / sums[1]) / 2 + (one + two) / 2 * falling
    with torch.no_grad():
        value = call()
    return surrogate(way.to(value.dtype), value)


@handles(TABLE, "log_softmax")
def _log_softmax(rules: Secant, call: Call) -> Any:
    """The operand, less the logarithm of the sum of exponentials."""
    found = _exponentials(rules, call)
    if found is None:
        return call()
    x, dim = call.take("input", "dim")
    way, _, _, sums = found
    rate = secant(torch.log, *sums, _closeness("log", sums[0]))[0]
    way = x - rate * way.sum(dim, keepdim=True)
    with torch.no_grad():
        value = call()
    return surrogate(way.to(value.dtype), value)


def _exponentials(
    rules: Secant, call: Call
) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]] | None:
    """Return the exponentials' way back, those of both operands, and their sums; None at first."""
    x, dim = call.take("input", "dim")
    first = rules.pair(call.name, x)
    if first is None:
        return None
    gone = x.detach().isneginf() & first[0].isneginf()  # masked out, in both
    low = torch.finfo(x.dtype).min / 4
    seen, other = x.detach().masked_fill(gone, low), first[0].masked_fill(gone, low)
    highest = torch.maximum(seen.amax(dim, keepdim=True), other.amax(dim, keepdim=True))
    share, one, two = secant(torch.exp, seen - highest, other - highest, _closeness("exp", seen))
    way = x.masked_fill(gone, 0) * share
    return way, one, two, (one.sum(dim, keepdim=True), two.sum(dim, keepdim=True))


@handles(TABLE, "scaled_dot_product_attention")
def _attention(rules: Secant, call: Call) -> Any:
    """Taken apart: both products and the softmax have slopes of their own."""
    arguments = call.take("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    query, key, value, mask, _, causal = arguments
    scale = call.kwargs.get("scale") or query.shape[-1] ** -0.5
    if call.kwargs.get("enable_gqa"):
        raise MethodError("deeplift has no rule for grouped attention: use 'attn-lrp'")
    with rules:
        found = torch.matmul(query * scale, key.transpose(-2, -1))
        if causal:
            mask = torch.ones(found.shape[-2:], dtype=torch.bool, device=found.device).tril()
        if mask is not None and mask.dtype == torch.bool:
            found = found.masked_fill(~mask, -math.inf)
        elif mask is not None:
            found = found + mask
        return torch.matmul(torch.softmax(found, -1), value)


# ---------------------------------------------------------------------- norms


@handles(TABLE, "cosine_similarity")
def _cosine(rules: Secant, call: Call) -> Any:
    with rules:
        return cosine(call)


@handles(TABLE, "layer_norm")
def _layer_norm(rules: Secant, call: Call) -> Any:
    named = ("input", "normalized_shape", "weight", "bias", "eps")
    x, shape, weight, bias, eps = call.take(*named)
    axes = tuple(range(-len(shape), 0))
    found = _standardised(rules, call.name, x, axes, 1e-5 if eps is None else eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


@handles(TABLE, "rms_norm")
def _rms_norm(rules: Secant, call: Call) -> Any:
    x, shape, weight, eps = call.take("input", "normalized_shape", "weight", "eps")
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    found = _standardised(rules, call.name, x, tuple(range(-len(shape), 0)), eps, centred=False)
    return found if weight is None else found * weight


@handles(TABLE, "group_norm")
def _group_norm(rules: Secant, call: Call) -> Any:
    x, groups, weight, bias, eps = call.take("input", "num_groups", "weight", "bias", "eps")
    return _in_groups(rules, call.name, x, (groups, weight, bias, eps))


@handles(TABLE, "instance_norm")
def _instance_norm(rules: Secant, call: Call) -> Any:
    given = call.named(INSTANCE_NORM)
    if given["use_input_stats"] is False:
        return call()
    settings = (None, given["weight"], given["bias"], given["eps"])
    return _in_groups(rules, call.name, given["input"], settings)


def _in_groups(rules: Secant, name: str, x: Tensor, settings: tuple[Any, ...]) -> Tensor:
    groups, weight, bias, eps = settings
    own = x.reshape(x.shape[0], groups or x.shape[1], -1)
    found = _standardised(rules, name, own, (-1,), 1e-5 if eps is None else eps).reshape(x.shape)
    column = (-1, *(1,) * (x.ndim - 2))
    found = found if weight is None else found * weight.reshape(column)
    return found if bias is None else found + bias.reshape(column)


def _standardised(
    rules: Secant, name: str, x: Tensor, axes: tuple[int, ...], eps: float, *, centred: bool = True
) -> Tensor:
    """What is over its mean, by its deviation: a product, where r = 1 / sqrt(v + eps) has a slope.

    (r - r') / (v - v') is - (r r')^2 / (r + r'), which needs no division by a difference.
    """

    def middle(tensor: Tensor) -> Tensor:
        return tensor - tensor.mean(axes, keepdim=True) if centred else tensor

    def inverse(tensor: Tensor) -> Tensor:
        return torch.rsqrt(tensor.square().mean(axes, keepdim=True) + eps)

    first = rules.pair(name, x)
    if first is None:
        own = middle(x)
        return own * inverse(own)
    own, other = middle(x), middle(first[0])
    seen = own.detach()
    one, two = inverse(seen), inverse(other)
    variance = (own * (seen + other)).mean(axes, keepdim=True)
    falling = -((one * two) ** 2) / (one + two) * variance
    way = own * (one + two) / 2 + (seen + other) / 2 * falling
    return surrogate(way, seen * one)


@handles(TABLE, "batch_norm")
def _batch_norm(_: Secant, call: Call) -> Any:
    return plain_batch_norm(call)


@handles(TABLE, "linalg_vector_norm")
def _vector_norm(rules: Secant, call: Call) -> Any:
    """|x| - |x'| is (x - x') (x + x') over |x| + |x'|."""
    x, order, dim, keepdim = call.take("x", "ord", "dim", "keepdim")
    if order not in (None, 2):
        return NotImplemented
    first = rules.pair("norm", x)
    if first is None:
        return call()
    with torch.no_grad():
        one, two = call(), call.on(first[0])
    product = x * (x.detach() + first[0])
    way = product.sum() if dim is None else product.sum(dim, keepdim=bool(keepdim))
    return surrogate(way / (one + two).clamp(min=torch.finfo(one.dtype).tiny), one)


@handles(TABLE, "norm")
def _norm(rules: Secant, call: Call) -> Any:
    x, order, dim, keepdim = call.take("input", "p", "dim", "keepdim")
    with rules:
        order = 2 if order in ("fro", None) else order
        return torch.linalg.vector_norm(x, order, dim, bool(keepdim))
