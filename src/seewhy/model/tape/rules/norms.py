"""Norms with running statistics: a scale and a shift of each channel."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seewhy.errors import MethodError
from seewhy.model.tape.intercept import Call
from seewhy.model.tape.rules.functions import ruled

INSTANCE_NORM = "input running_mean running_var weight bias use_input_stats momentum eps"


def batch_norm_arguments(call: Call) -> dict[str, Any]:
    """Return a batch norm's arguments by name. Raises MethodError for one of batch statistics."""
    python = "input running_mean running_var weight bias training momentum eps"
    native = "input weight bias running_mean running_var training momentum eps"
    given = call.named(python if call.function is functional.batch_norm else native)
    if given["training"] or given["running_mean"] is None:
        raise MethodError(
            "a batch norm uses the batch's own statistics, by which every picture depends on the "
            "others: set track_running_stats=True and train, or use a method of gradients"
        )
    return given


def statistics(given: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return the scale and shift of a norm with running statistics."""
    mean, variance, eps = given["running_mean"], given["running_var"], given["eps"]
    scale = torch.rsqrt(variance + (1e-5 if eps is None else eps))
    scale = scale if given["weight"] is None else scale * given["weight"]
    shift = -mean * scale
    return scale, shift if given["bias"] is None else shift + given["bias"]


def column(values: Tensor, x: Tensor) -> Tensor:
    """Return one value a channel as it broadcasts against x (N, C, *space)."""
    return values.reshape(1, -1, *(1,) * (x.ndim - 2))


def scaled_channels(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    """Return what a norm with running statistics gives, with a backward of our own.

    torch's own on a CPU (2.13) is wrong for a single picture whose gradient comes transposed, as it
    does from tokens that a convolution made.
    """
    with torch.no_grad():
        value = call()
    factor = column(scale, x)
    return ruled(x, value, lambda gradient: gradient * factor)


def plain_batch_norm(call: Call) -> Tensor:
    """Return a batch norm of running statistics, with the gradient that it has."""
    given = batch_norm_arguments(call)
    return scaled_channels(call, given["input"], statistics(given)[0])
