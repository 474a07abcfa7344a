"""What training depends on, and an explanation must not change."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from seewhy.model.tape.guard import everything


@contextmanager
def same_randomness() -> Iterator[None]:
    """Put back the random states of Python, NumPy and torch, on a GPU too, once left."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - training may use it
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode; each part's own mode and gradients are put back."""
    parts = everything(module)
    modes = [part.training for part in parts]
    weights = list(module.parameters())
    gradients = [weight.grad for weight in weights]
    try:
        for part in parts:  # not .eval(): people override .train() with side effects
            part.training = False
        for weight in weights:
            weight.grad = None  # what is accumulated meanwhile is not training's
        yield
    finally:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


@contextmanager
def same_variables(model: Any) -> Iterator[None]:
    """Put back what a Keras model keeps beside its weights: statistics, seeds, metrics."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, keras.Model):
        yield
        return
    variables = list(model.non_trainable_variables)
    values = keras.ops.convert_to_numpy
    before = [np.array(values(each.value)) for each in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            if not np.array_equal(values(variable.value), value):
                variable.assign(value)
