"""Layer-wise relevance propagation on operations.

Between the first linear operation and the score what flows back is a multiplier, relevance over
activation; before it, where views and an affine normalisation may stand, relevance itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, count_nonzero
from torch.autograd.graph import Node
from torch.utils.weak import WeakTensorKeyDictionary

from seewhy.errors import MethodError, ModelError
from seewhy.model.tape.intercept import (
    Rules,
    canonical,
    is_live,
    names,
    operands,
    plain_call,
)
from seewhy.model.tape.rules.functions import ruled, scaled, surrogate
from seewhy.model.tape.rules.linear import Excitation, Linear, Rule
from seewhy.model.tape.rules.shares import TABLE

Softmax = Literal["gradient", "detached"]

GRADIENT_NODES = names(
    """
    accumulategrad add sub rsub neg view unsafeview reshape reshapealias permute t transpose slice
    select index indexselect gather cat stack split splitwithsizes chunk unbind unsqueeze squeeze
    expand clone copy tocopy copyslices alias asstrided narrow diagonal mean sum cumsum roll flip
    repeat unfold im2col col2im avgpool1d avgpool2d avgpool3d adaptiveavgpool1d adaptiveavgpool2d
    adaptiveavgpool3d maxpool2dwithindices maxpool3dwithindices adaptivemaxpool2d adaptivemaxpool3d
    max maximum amax min minimum amin sort topk relu leakyrelu preluKernel abs constantpadnd
    reflectionpad1d reflectionpad2d replicationpad1d replicationpad2d pixelshuffle pixelunshuffle
    maskedfill where nativedropout lift
    """
)
"""Autograd nodes whose gradient is the proportional rule: linear, or a winner, or a ReLU."""

SCALING_NODES = names("mul div mm bmm mv")
"""The same where one operand alone depends on the picture."""


@dataclass
class Result:
    """What a linear operation gave, z, as it lies in memory; version: when that was still z.

    rectified: an in-place ReLU has gone over it since, and left z where relevance can come back.
    """

    z: Tensor
    version: int
    rectified: bool = False

    @property
    def stands(self) -> bool:
        """Whether nothing else has written over it."""
        return self.z._version == self.version


class Made(NamedTuple):
    """The linear operation that gave a tensor, by which rule, from what."""

    linear: Linear
    rule: Rule
    x: Tensor
    result: Result


@dataclass
class _Note:
    """What is known of a tensor while the network runs.

    relevance: relevance itself flows back to it. gate: it comes from a sigmoid.
    """

    relevance: bool = False
    gate: bool = False
    made: Made | None = None


class Relevance(Rules):
    """LRP: a rule for convolutions, one for dense layers, one for what first meets the picture.

    first: None is the rule of its kind. softmax: its gradient (AttnLRP), or a constant (CP-LRP).
    absorbed: (rows,), what biases and stabilisers took of each score, measured at each operation.
    mixed: whether the rows of the batch were not the first axis of each.
    """

    table = TABLE
    kept = 1.3

    def __init__(
        self,
        convolution: Rule,
        dense: Rule,
        first: Rule | None = None,
        softmax: Softmax = "gradient",
    ) -> None:
        super().__init__()
        self.convolution, self.dense, self.first, self.softmax = convolution, dense, first, softmax
        self.absorbed, self.mixed = torch.zeros(1, dtype=torch.float64), False
        self._notes: Any = WeakTensorKeyDictionary()

    def begin(self, leaf: Tensor) -> Tensor:
        """Relevance itself flows back to the picture."""
        self.absorbed = torch.zeros(self.rows, dtype=torch.float64, device=leaf.device)
        return self.note(leaf.clone(), relevance=True)

    def passes(self, node: Node, name: str) -> bool:
        """Where the gradient is the proportional rule."""
        if name in SCALING_NODES:
            return sum(child is not None for child, _ in node.next_functions) == 1
        return name in GRADIENT_NODES or name.startswith("upsample")

    def finish(self) -> None:
        """Let go of what is known of the graph."""
        self._notes.clear()

    # ------------------------------------------------------------------ before the first layer

    def call(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer a call; what has relevance itself stays so in views and affine maps."""
        with_relevance = [each for each in operands(args, kwargs) if self._noted(each).relevance]
        name, in_place = canonical(func)
        if not with_relevance:
            found = super().call(func, args, kwargs)
            if in_place and name == "relu":
                self._rectified(found)
            return found
        if name == "linear" or name.startswith("conv"):
            return super().call(func, args, kwargs)
        alone = all(self._noted(each).relevance for each in operands(args, kwargs) if is_live(each))
        if alone and name in MOVES:
            found = func(*args, **kwargs)
            for each in operands((found,), {}):
                self.note(each, relevance=True)
            return found
        call, in_place = plain_call(func, name, args, kwargs, in_place=in_place)
        if alone and len(with_relevance) == 1 and name in AFFINE:
            with torch.no_grad():
                value = call()
            found = surrogate(with_relevance[0].expand_as(value), value)
            self.vouch(found, with_relevance)
            found = super().written(call.args[0], found) if in_place else found
            return self.note(found, relevance=True)
        entered = tuple(self._entered_all(each) for each in call.args)
        named = {key: self._entered_all(each) for key, each in call.kwargs.items()}
        found = super().call(call.function, entered, named)
        return self.written(call.args[0], found) if in_place else found

    def enter(self, tensor: Tensor) -> Tensor:
        """Return a tensor to which multipliers flow back; before it they become relevance."""
        return scaled(tensor, tensor.detach().clone())

    def _entered_all(self, value: Any) -> Any:
        if isinstance(value, Tensor) and self._noted(value).relevance:
            return self.enter(value)
        if isinstance(value, list | tuple):
            return [self._entered_all(each) for each in value]
        return value

    # ------------------------------------------------------------------ what is known

    def note(self, tensor: Tensor, **known: Any) -> Tensor:
        """Note something of a tensor; what was known of it is out of date."""
        if is_live(tensor):
            self._notes[tensor] = _Note(**known)
        return tensor

    def _noted(self, tensor: Any) -> _Note:
        found: _Note = self._notes.get(tensor, _NOTHING) if isinstance(tensor, Tensor) else _NOTHING
        return found

    def gates(self, tensor: Any) -> bool:
        """Whether a tensor comes from a sigmoid."""
        return self._noted(tensor).gate

    def made(self, tensor: Tensor) -> Made | None:
        """Return the linear operation that gave this tensor, unless it was changed since."""
        made = self._noted(tensor).made
        stands = made is not None and made.result.stands and not made.result.rectified
        return made if stands else None

    def rule_for(self, linear: Linear) -> Rule:
        """Return the rule of a linear operation: by where it stands, and its kind."""
        if self.first is not None and self._noted(linear.x).relevance:
            return self.first
        return self.convolution if linear.kind == "convolution" else self.dense

    def overwrites(self, target: Tensor, copy: Tensor) -> None:
        """What a linear operation gave is still needed: from now on its copy stands for it."""
        noted = self._noted(target)
        if noted.made is not None and noted.made.result.stands:
            result, noted.made = noted.made.result, None
            result.z, result.version = copy.detach(), copy._version

    def _rectified(self, tensor: Any) -> None:
        made = self._noted(tensor).made
        if made is not None and made.result.version == tensor._version - 1:
            made.result.version, made.result.rectified = tensor._version, True

    def written(self, target: Tensor, value: Tensor) -> Tensor:
        """Write in place; a gate stays one."""
        gate = self.gates(value)
        return self.note(super().written(target, value), gate=gate)

    # ------------------------------------------------------------------ linear operations

    def linear(self, linear: Linear, given: Tensor, rule: Rule, value: Tensor) -> Tensor:
        """Return the value of a linear operation on `given`, through which a rule goes back."""
        relevance = self._noted(given).relevance
        if rule.first and not relevance:
            raise MethodError(
                f"{type(rule).__name__} is a rule for the first layer: deeper in, use epsilon, "
                "gamma or alpha-beta"
            )
        x = self.enter(given) if relevance and not rule.first else given
        version = linear.x._version

        def back(gradient: Tensor) -> Tensor:
            if linear.x._version != version:
                raise ModelError(
                    "the network writes into what a linear layer has read, and LRP cannot go back "
                    "through that: use a method such as 'integrated-gradients'"
                )
            z = known.z if known.stands else linear.again()
            share = gradient * z
            if known.rectified and count_nonzero(share) != count_nonzero(gradient):
                z = linear.again()  # something else has read it before the ReLU, and it was below
                share = gradient * z
            found = rule.back(linear, z, share)
            self.book(share)
            self.book(found if rule.first else found * linear.x, -1)
            return found

        result = ruled(x, value, back)
        known = Result(result.detach(), result._version)
        return self.note(result, made=Made(linear, rule, x, known))

    # ------------------------------------------------------------------ the books

    def book(self, relevance: Tensor, sign: int = 1) -> None:
        """Add up what was absorbed, in each row; sign -1: what was handed on."""
        self.mixed |= relevance.ndim == 0 or len(relevance) != self.rows
        self.absorbed.add_(by_row(relevance, self.rows), alpha=sign)

    def took(self, result: Tensor, constant: Tensor) -> Tensor:
        """Book the part of a result that is a constant's: it broadcasts against the result."""
        if is_live(result):
            result.register_hook(lambda gradient: self.book(gradient * constant))
        return result


class Winning(Relevance):
    """Excitation backpropagation: every unit hands on to those that excite it.

    dual: the number of the linear operation whose weights are negated, in order of execution.
    met: how many linear operations there were.
    """

    def __init__(self, dual: int | None = None) -> None:
        super().__init__(Excitation(), Excitation())
        self.dual, self.met = dual, 0

    def rule_for(self, linear: Linear) -> Rule:  # noqa: ARG002 - the same for all but one
        """Return the rule, for the dual unit where it is asked for."""
        self.met += 1
        return Excitation(dual=self.met - 1 == self.dual)


_NOTHING = _Note()

MOVES = names(
    """
    view reshape permute transpose flatten unflatten contiguous to float half double bfloat16 clone
    pad cat stack getitem squeeze unsqueeze unfold chunk split expand movedim narrow select roll
    flip pixel_unshuffle view_as reshape_as type_as dropout .T .mT as_strided t
    """
)
AFFINE = names("add sub mul div rsub")


def by_row(tensor: Tensor, rows: int) -> Tensor:
    """Return the sum of a tensor over each row of the batch, (rows,), in float64.

    The batch is the first axis, or the second (tokens before it), or rows stand in blocks (windows,
    heads) along the first; where none of this fits, every row gets the same share.
    """
    full = torch.promote_types(tensor.dtype, torch.float32)  # torch adds up in pairs
    if tensor.ndim > 1 and tensor.shape[0] != rows and tensor.shape[1] == rows:
        tensor = tensor.transpose(0, 1)
    if tensor.ndim and tensor.shape[0] % rows == 0:
        return tensor.reshape(rows, -1).sum(1, dtype=full).double()
    return tensor.sum(dtype=full).double().expand(rows) / rows
