"""What a ReLU sends back, in guided backpropagation and in deconvolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from seewhy.errors import ModelError
from seewhy.model.tape.intercept import Call, Handler, Rules, handles, names, node_name
from seewhy.model.tape.rules.functions import ruled
from seewhy.model.tape.rules.norms import plain_batch_norm

threshold_backward = torch.ops.aten.threshold_backward  # several times faster than a mask
hardtanh_backward = torch.ops.aten.hardtanh_backward

TABLE: dict[str, Handler] = {}

ACTIVATION_NODES = names(
    """
    relu leakyRelu preluKernel rrelu rreluWithNoise elu celu selu gelu silu mish tanh sigmoid
    logSigmoid softplus softsign hardtanh hardswish hardsigmoid hardshrink softshrink threshold glu
    """
)
"""Autograd nodes of activation functions, for which neither method has a rule."""

LAYER_NODES = names("convolution addmm mm bmm baddbmm mv nativelayernorm nativegroupnorm")
"""Autograd nodes with weights of a network's own: what comes after them is no picture."""


class Rectified(Rules):
    """A rectifier sends back what is positive; guided, only where it has a gradient of its own.

    Rectifiers are the ReLU and what is clipped above as well (ReLU6). met: how many of them the
    forward went through.
    """

    table = TABLE

    def __init__(self, *, guided: bool) -> None:
        super().__init__()
        self.guided, self.met = guided, 0

    def passes(self, node: Node, name: str) -> bool:
        """Whatever is no activation; what a custom function is nobody knows."""
        return name not in ACTIVATION_NODES and not isinstance(node, BackwardCFunction)


@handles(TABLE, "relu")
def _relu(rules: Rectified, call: Call) -> Any:
    return _rectify(rules, call)


@handles(TABLE, "relu6 hardtanh clamp clamp_min")
def _clipped(rules: Rectified, call: Call) -> Any:
    """A rectifier too, where it is at zero from below."""
    if call.name == "relu6":
        return _rectify(rules, call, 6)
    bounds = ("min_val", "max_val") if call.name == "hardtanh" else ("min", "max")
    least, most = call.take("input", *bounds)[1:]
    if isinstance(least, Tensor) or isinstance(most, Tensor) or least != 0:
        return NotImplemented
    if call.name != "hardtanh" and _is_picture(call.args[0]):
        return call()  # brought into its range, and no activation
    return _rectify(rules, call, 1 if most is None and call.name == "hardtanh" else most)


def _is_picture(tensor: Tensor) -> bool:
    """Whether a tensor is the picture, scaled or laid out anew: no layer stands before it."""
    seen: set[Node] = set()
    ahead: list[Node | None] = [tensor.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        own: Any = node
        if node_name(node).lower() in LAYER_NODES or isinstance(own, BackwardCFunction):
            return False
        seen.add(node)
        ahead += [each for each, _ in node.next_functions]
    return True


@handles(TABLE, "threshold")
def _threshold(rules: Rectified, call: Call) -> Any:
    threshold, value = call.take("input", "threshold", "value")[1:]
    return _rectify(rules, call) if threshold == value == 0 else NotImplemented


@handles(TABLE, "batch_norm")
def _batch_norm(_: Rectified, call: Call) -> Any:
    return plain_batch_norm(call)


def _rectify(rules: Rectified, call: Call, most: float | None = None) -> Tensor:
    rules.met += 1
    with torch.no_grad():
        value = call()

    def back(gradient: Tensor) -> Tensor:
        if not rules.guided:
            return gradient.clamp(min=0)
        if known._version != version:
            raise ModelError(
                "the network writes into what a ReLU has given, which no gradient comes through: "
                "use a method that needs none, such as 'occlusion'"
            )
        own: Tensor
        if most is None:
            own = threshold_backward(gradient, known, 0)
        else:
            own = hardtanh_backward(gradient, known, 0, most)
        return own.clamp_(min=0)

    result = ruled(call.args[0], value, back)
    known, version = result.detach(), result._version
    return result
