"""Linear operations, and the rules by which relevance goes back through one.

Every rule is given the result z = f(x, w, b) and its relevance R, and returns a multiplier for x,
whose product with x is x's. Rules for the first layer return relevance itself: there x may be zero
and still have some. Where R is zero, z need not be right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from seewhy.model.tape.intercept import Call, is_live
from seewhy.model.tape.rules.functions import stable

Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]

TINY = 1e-6


@dataclass(frozen=True)
class Linear:
    """A linear operation z = apply(x, weight, bias) of which only x depends on the picture.

    transposed: the plain backward, once it has run. joins: whether an affine map of its channels
    (axis 1 of what comes out, axis 0 of the weight) can be merged into it. scale: of what was, by
    channel; the bias has it already.
    """

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    apply: Apply
    kind: Literal["convolution", "dense"]
    transposed: Callable[[Tensor], Tensor] | None = None
    joins: bool = False
    scale: Tensor | None = None

    @property
    def kernel(self) -> Tensor:
        """The weight with what was merged into it: made when asked for, as it may be large."""
        return self.weight if self.scale is None else self.weight * _lead(self.scale, self.weight)

    def again(self) -> Tensor:
        """Return what comes out, computed once more."""
        with torch.no_grad():
            return self.apply(self.x, self.kernel, self.bias)

    def run(self) -> tuple[Linear, Tensor]:
        """Return the operation with its backward, and what comes out."""
        with torch.enable_grad():
            x = self.x.detach().requires_grad_()
            z = self.apply(x, self.weight, self.bias)
        result = z.detach()

        def transposed(share: Tensor) -> Tensor:
            # again where a batch norm was merged, and something else reads the operation too
            return torch.autograd.grad(z, x, share, retain_graph=True)[0]

        return replace(self, x=x.detach(), transposed=transposed), result

    def merged(self, scale: Tensor, shift: Tensor) -> Linear:
        """Return the operation followed by z * scale + shift in each of its channels."""
        bias = shift if self.bias is None else self.bias * scale + shift
        inner = self.transposed
        assert inner is not None  # noqa: S101 - only what has run is merged

        def transposed(share: Tensor) -> Tensor:
            return inner(share * scale.reshape(1, -1, *(1,) * (share.ndim - 2)))

        known = scale if self.scale is None else self.scale * scale
        return replace(self, bias=bias, transposed=transposed, scale=known)


def _lead(values: Tensor, weight: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (weight.ndim - 1))


def as_linear(call: Call) -> Linear | None:
    """Return a call as a linear operation, None where both factors depend on the picture."""
    if call.name == "linear":
        x, weight, bias = call.take("input", "weight", "bias")
        found = Linear(x, weight, bias, functional.linear, "dense", joins=x.ndim == 2)
    elif call.name.startswith("conv"):
        found = _convolution(call)
    elif call.name in ("addmm", "baddbmm"):
        bias, one, two = call.take("input", "mat1", "mat2")
        one = call.kwargs.get("batch1", one)
        two = call.kwargs.get("batch2", two)
        if is_live(bias) or call.kwargs.get("alpha", 1) != 1 or call.kwargs.get("beta", 1) != 1:
            return None
        found = _product(one, two, bias)
    else:
        one, two = call.take("input", "other")
        found = _product(one, call.kwargs.get("mat2", two), None)
    return found if is_live(found.x) and not is_live(found.weight) else None


def _convolution(call: Call) -> Linear:
    x, weight, bias = call.take("input", "weight", "bias")
    rest = call.args[3:]
    named = {k: v for k, v in call.kwargs.items() if k not in ("input", "weight", "bias")}

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = call.function(x, weight, bias, *rest, **named)
        return found

    return Linear(x, weight, bias, apply, "convolution", joins="transpose" not in call.name)


def _product(one: Tensor, two: Tensor, bias: Tensor | None) -> Linear:
    swapped = is_live(two)

    def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found = torch.matmul(weight, x) if swapped else torch.matmul(x, weight)
        return found if bias is None else found + bias

    return Linear(*((two, one) if swapped else (one, two)), bias, apply, "dense")


# ---------------------------------------------------------------------- rules


@dataclass(frozen=True)
class Rule:
    """How relevance goes back through a linear operation; first: it gives relevance itself."""

    first: ClassVar[bool] = False

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:
        """Return what flows back to x."""
        raise NotImplementedError


@dataclass(frozen=True)
class Epsilon(Rule):
    """R_i = sum_j x_i w_ij / (z_j + epsilon sign z_j) R_j, with the bias in z."""

    epsilon: float = TINY

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:
        """The gradient, damped where z is small."""
        assert linear.transposed is not None  # noqa: S101 - it has run
        return linear.transposed(relevance / stable(z, self.epsilon))


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """alpha times what the positive contributions explain, minus beta times the negative ones.

    A contribution is x_i w_ij, whatever the sign of x_i; alpha - beta is 1.
    """

    alpha: float = 2.0
    beta: float = 1.0

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:  # noqa: ARG002
        """Positive and negative contributions, each against their own sum."""

        def explained(
            up: Callable[[Tensor], Tensor], down: Callable[[Tensor], Tensor], tiny: float
        ) -> Tensor:
            # a sum of contributions of one sign has that sign
            return signed(linear, (up, down), lambda total: relevance / (total + tiny))

        found = explained(positive, negative, TINY)
        found = found if self.alpha == 1 else self.alpha * found
        return found - self.beta * explained(negative, positive, -TINY) if self.beta else found


@dataclass(frozen=True)
class Gamma(Rule):
    """Contributions of the sign of z count 1 + gamma times; gamma 0 is epsilon."""

    gamma: float = 0.25

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:
        """Results above zero with weights raised one way, those below with the other."""

        def raised(tensor: Tensor) -> Tensor:
            return tensor + self.gamma * positive(tensor)

        def lowered(tensor: Tensor) -> Tensor:
            return tensor + self.gamma * negative(tensor)

        def favoured(
            one: Callable[[Tensor], Tensor], two: Callable[[Tensor], Tensor], where: Tensor
        ) -> Tensor:
            return signed(linear, (one, two), lambda t: where * relevance / stable(t, TINY))

        found = favoured(raised, lowered, z > 0)
        below = (z < 0) & (relevance != 0)
        return found + favoured(lowered, raised, below) if bool(below.any()) else found


@dataclass(frozen=True)
class Flat(Rule):
    """Every input of a result gets the same share, whatever its value and weight."""

    first: ClassVar[bool] = True

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:  # noqa: ARG002
        """As if all inputs and all weights were one."""
        with torch.enable_grad():
            ones = torch.ones_like(linear.x).requires_grad_()
            total = linear.apply(ones, self.weights(linear), None)
        share = relevance / stable(total.detach(), TINY)
        (found,) = torch.autograd.grad(total, ones, share)
        return found

    def weights(self, linear: Linear) -> Tensor:
        """Return what each input's share is proportional to."""
        return torch.ones_like(linear.weight)


@dataclass(frozen=True)
class WSquare(Flat):
    """Every input gets a share as the square of its weight, whatever its value."""

    def weights(self, linear: Linear) -> Tensor:
        """Squares."""
        return linear.kernel.square()


@dataclass(frozen=True)
class ZBox(Rule):
    """For inputs within bounds: x_i w_ij - low_i w_ij^+ - high_i w_ij^-, against its sum.

    low, high: the bounds in the model's units; None is the picture's own smallest and largest
    value in each channel.
    """

    low: float | None = None
    high: float | None = None

    first: ClassVar[bool] = True

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:  # noqa: ARG002
        """Three passes of one operation, one for each term."""
        x, weight = linear.x, linear.kernel
        places = tuple(range(2, x.ndim)) if x.ndim > 2 else (-1,)
        low = x.amin(places, keepdim=True) if self.low is None else x.new_tensor(self.low)
        high = x.amax(places, keepdim=True) if self.high is None else x.new_tensor(self.high)
        operands = [each.expand_as(x).detach().clone().requires_grad_() for each in (x, low, high)]
        with torch.enable_grad():
            total = (
                linear.apply(operands[0], weight, None)
                - linear.apply(operands[1], positive(weight), None)
                - linear.apply(operands[2], negative(weight), None)
            )
        share = relevance / stable(total.detach(), TINY)
        found = torch.autograd.grad(total, operands, share)
        terms = (one.detach() * two for one, two in zip(operands, found, strict=True))
        return torch.stack(list(terms)).sum(0)


@dataclass(frozen=True)
class Excitation(Rule):
    """The probability of winning: x_i w_ij over its sum, of inputs and weights above zero.

    dual: of the unit whose weights are the negative ones.
    """

    dual: bool = False

    def back(self, linear: Linear, z: Tensor, relevance: Tensor) -> Tensor:  # noqa: ARG002
        """Without biases: they excite nothing."""
        with torch.enable_grad():
            x = positive(linear.x).requires_grad_()
            weight = -linear.kernel if self.dual else linear.kernel
            total = linear.apply(x, positive(weight), None)
        (found,) = torch.autograd.grad(total, x, relevance / (total.detach() + TINY))
        return found * (x > 0)


def signed(
    linear: Linear,
    ways: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    share: Callable[[Tensor], Tensor],
) -> Tensor:
    """Return what flows back to x through f(x^+, one(w), one(b)) + f(x^-, two(w)).

    ways: one and two. share: of the sum, what flows back to it.
    """
    one, two = ways
    x, weight, bias = linear.x, linear.kernel, linear.bias
    both = bool(x.amin() < 0)
    parts = [(positive(x) if both else x.detach()).requires_grad_()]
    with torch.enable_grad():
        total = linear.apply(parts[0], one(weight), None if bias is None else one(bias))
        if both:
            parts.append(negative(x).requires_grad_())
            total = total + linear.apply(parts[1], two(weight), None)
    found = torch.autograd.grad(total, parts, share(total.detach()))
    return torch.where(x > 0, found[0], found[1]) if both else found[0]


def positive(tensor: Tensor) -> Tensor:
    """Return the positive part."""
    return tensor.clamp(min=0)


def negative(tensor: Tensor) -> Tensor:
    """Return the negative part."""
    return tensor.clamp(max=0)
