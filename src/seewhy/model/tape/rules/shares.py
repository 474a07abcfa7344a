"""How relevance is shared at each kind of operation: the table of `rules.relevance`.

Linear operations have rules of their own (`rules.linear`). Products of two factors share by halves,
softmax is expanded at its value, a norm's denominator is a constant, and what a function of one
element gives is that element's (Achtibat et al. 2024, AttnLRP).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.model.tape.intercept import Call, Handler, handles, is_live, operands
from seewhy.model.tape.rules.functions import cosine, ratio, ruled, scaled
from seewhy.model.tape.rules.linear import as_linear
from seewhy.model.tape.rules.norms import (
    INSTANCE_NORM,
    batch_norm_arguments,
    column,
    scaled_channels,
    statistics,
)

if TYPE_CHECKING:
    from seewhy.model.tape.rules.relevance import Relevance

TABLE: dict[str, Handler] = {}


@handles(
    TABLE,
    "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d "
    "matmul mm bmm addmm baddbmm",
)
def _linear(rules: Relevance, call: Call) -> Any:
    found = as_linear(call)
    if found is None:
        return _bilinear(rules, call)
    ran, value = found.run()
    return rules.linear(ran, found.x, rules.rule_for(found), value)


def _bilinear(rules: Relevance, call: Call) -> Any:
    """A product of two factors that depend on the picture: one half each."""
    if call.name in ("addmm", "baddbmm"):
        shift, one, two = call.take("input", "mat1", "mat2")
        one, two = call.kwargs.get("batch1", one), call.kwargs.get("batch2", two)
        product = torch.matmul(scaled(one, 0.5), scaled(two, 0.5))
        shift, product = (
            shift * call.kwargs.get("beta", 1),
            product * call.kwargs.get("alpha", 1),
        )
        return product + shift if is_live(shift) else rules.took(product + shift, shift)
    one, two = call.take("input", "other")
    return call.function(scaled(one, 0.5), scaled(call.kwargs.get("mat2", two), 0.5))


@handles(TABLE, "einsum")
def _einsum(_: Relevance, call: Call) -> Any:
    equation, *factors = call.args
    if len(factors) == 1 and isinstance(factors[0], list | tuple):
        factors = list(factors[0])
    share = 1 / sum(is_live(each) for each in factors)
    return torch.functional.einsum(equation, *(scaled(each, share) for each in factors))


@handles(TABLE, "mul")
def _mul(rules: Relevance, call: Call) -> Any:
    """A gate takes no relevance from what it lets through; other factors share it."""
    one, two = call.take("input", "other")
    if not (is_live(one) and is_live(two)):
        return call()
    gates = rules.gates(one), rules.gates(two)
    if gates[0] != gates[1]:
        return torch.mul(*(x.detach() if gate else x for x, gate in zip((one, two), gates)))  # noqa: B905
    return torch.mul(scaled(one, 0.5), scaled(two, 0.5))


@handles(TABLE, "div")
def _div(_: Relevance, call: Call) -> Any:
    """What is divided by takes none."""
    one, two = call.take("input", "other")
    mode = {k: each for k, each in call.kwargs.items() if k == "rounding_mode"}
    return torch.div(one, two.detach() if is_live(two) else two, **mode)


@handles(TABLE, "add sub rsub")
def _add(rules: Relevance, call: Call) -> Any:
    """A sum shares by its parts; a constant, such as a position's embedding, takes its own."""
    one, two = call.take("input", "other")
    if is_live(one) and is_live(two):
        return call()
    rest = {k: each for k, each in call.kwargs.items() if k != "other"}
    zero = (one if is_live(one) else two).new_zeros(())
    parts = (zero, two) if is_live(one) else (one, zero)
    return rules.took(call(), call.function(*parts, **rest))


@handles(TABLE, "max min maximum minimum")
def _winner(rules: Relevance, call: Call) -> Any:
    """The winner takes all: a constant that wins has what it won."""
    one, two = call.take("input", "other")
    two = call.kwargs.get("other", two)
    if not isinstance(two, Tensor) or (is_live(one) and is_live(two)):
        return call()
    found, constant = call(), two if is_live(one) else one
    return rules.took(found, constant * (found.detach() == constant))


@handles(TABLE, "cat stack")
def _cat(rules: Relevance, call: Call) -> Any:
    parts = call.take("tensors")[0]
    if all(is_live(each) for each in parts):
        return call()
    constant = [x.new_zeros(()).expand(x.shape) if is_live(x) else x for x in parts]
    named = {k: each for k, each in call.kwargs.items() if k != "tensors"}
    return rules.took(call(), call.function(constant, *call.args[1:], **named))


@handles(
    TABLE,
    """
    gelu silu hardswish mish elu celu selu tanh softplus relu6 hardtanh clamp clamp_min clamp_max
    sigmoid hardsigmoid logsigmoid softsign hardshrink softshrink tanhshrink exp log log1p expm1 erf
    pow square sin cos
    """,
)
def _elementwise(rules: Relevance, call: Call) -> Any:
    """What a function of one element gives belongs to that element."""
    x = call.args[0]
    if not is_live(x) or any(is_live(each) for each in operands(call.args[1:], call.kwargs)):
        return NotImplemented
    with torch.no_grad():
        value = call()
    share = ratio(call.on, x)  # at once: x may be written over
    found = ruled(x, value, lambda gradient: gradient * share)
    return rules.note(found, gate=call.name in ("sigmoid", "hardsigmoid"))


@handles(
    TABLE, "sqrt rsqrt reciprocal norm vector_norm linalg_vector_norm var std var_mean std_mean"
)
def _scale(_: Relevance, call: Call) -> Any:
    """What a network measures to divide by is a constant."""
    detached = tuple(each.detach() if isinstance(each, Tensor) else each for each in call.args)
    return call.function(*detached, **call.kwargs)


@handles(TABLE, "softmax log_softmax logsumexp")
def _softmax(rules: Relevance, call: Call) -> Any:
    """Its gradient, which keeps nothing: what goes is booked against what came."""
    x = call.args[0]
    if rules.softmax == "detached" and call.name == "softmax":
        return call.on(x.detach())
    given, seen = scaled(x, 1.0), x.detach()
    given.register_hook(_booking(rules, seen))
    found = call.on(given)
    return rules.took(found, found.detach())


@handles(TABLE, "scaled_dot_product_attention")
def _attention(rules: Relevance, call: Call) -> Any:
    """Softmax between two products: a quarter of what comes to q and k each, half of it to v."""
    query, key, value = call.take("query", "key", "value")
    rest = {k: each for k, each in call.kwargs.items() if k not in ("query", "key", "value")}
    more = call.args[3:]
    if rules.softmax == "detached":
        return call.function(query.detach(), key.detach(), value, *more, **rest)
    parts = [scaled(query, 0.25), scaled(key, 0.25), scaled(value, 0.5)]
    for part, share in zip(parts, (query, key, value), strict=True):
        if is_live(part):
            part.register_hook(_booking(rules, share.detach()))
    found = call.function(*parts, *more, **rest)
    return rules.took(found, found.detach())


def _booking(rules: Relevance, value: Tensor) -> Callable[[Tensor], None]:
    """What a factor gets goes on, and is not absorbed."""
    # where a mask lets nothing through the value may be -inf
    return lambda gradient: rules.book(torch.where(gradient == 0, 0, gradient * value), -1)


@handles(TABLE, "cosine_similarity")
def _cosine(rules: Relevance, call: Call) -> Any:
    with rules:
        return cosine(call)


@handles(TABLE, "layer_norm rms_norm")
def _layer_norm(rules: Relevance, call: Call) -> Any:
    if call.name == "layer_norm":
        names = ("input", "normalized_shape", "weight", "bias", "eps")
        x, shape, weight, bias, eps = call.take(*names)
    else:
        x, shape, weight, eps = call.take("input", "normalized_shape", "weight", "eps")
        bias = None
    axes = tuple(range(-len(shape), 0)) if isinstance(shape, list | tuple | torch.Size) else (-1,)
    eps = 1e-5 if eps is None and call.name == "layer_norm" else eps
    return _normalised(rules, call, (x.shape, axes), (weight, bias), eps)


@handles(TABLE, "group_norm instance_norm")
def _group_norm(rules: Relevance, call: Call) -> Any:
    if call.name == "group_norm":
        given = call.named("input num_groups weight bias eps")
    else:
        given = call.named(INSTANCE_NORM)
        if given["use_input_stats"] is False:
            return _affine(rules, call, given["input"], *statistics(given))
    x, weight, bias, eps = (given[each] for each in ("input", "weight", "bias", "eps"))
    groups = given.get("num_groups", x.shape[1])
    weight, bias = (each if each is None else column(each, x) for each in (weight, bias))
    shape = torch.Size((x.shape[0], groups, x[0].numel() // groups))
    return _normalised(rules, call, (shape, (-1,)), (weight, bias), 1e-5 if eps is None else eps)


def _normalised(
    rules: Relevance,
    call: Call,
    groups: tuple[torch.Size, tuple[int, ...]],
    parameters: tuple[Tensor | None, Tensor | None],
    eps: float | None,
) -> Tensor:
    """What is divided by is a constant; the mean that is taken off is linear.

    groups: the shape in which x is normalised, and over which of its axes. parameters: weight and
    bias, which broadcast against x.
    """
    (shape, axes), (weight, bias) = groups, parameters
    centred, x = call.name != "rms_norm", call.args[0]
    with torch.no_grad():
        value = call()
        own = x.reshape(shape)
        middle = own.mean(axes, keepdim=True) if centred else 0
        eps = torch.finfo(x.dtype).eps if eps is None else eps
        scale = torch.rsqrt((own - middle).square().mean(axes, keepdim=True) + eps)

    def back(gradient: Tensor) -> Tensor:
        weighted = gradient if weight is None else gradient * weight
        found = weighted.reshape(shape) * scale
        if centred:
            found = found - found.mean(axes, keepdim=True)
        return found.reshape(x.shape)

    found = ruled(x, value, back)
    return found if bias is None else rules.took(found, bias)


@handles(TABLE, "batch_norm")
def _batch_norm(rules: Relevance, call: Call) -> Any:
    given = batch_norm_arguments(call)
    x = given["input"]
    scale, shift = statistics(given)
    made = rules.made(x)
    if made is not None and made.linear.joins:
        with torch.no_grad():
            value, merged = call(), made.linear.merged(scale, shift)
        return rules.linear(merged, made.x, made.rule, value)
    return _affine(rules, call, x, scale, shift)


def _affine(rules: Relevance, call: Call, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """A scale and a shift of each channel."""
    return rules.took(scaled_channels(call, x, scale), column(shift, x))
