"""What training depends on, and an explanation must not change."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from seewhy.model.tape.guard import everything

SEED = "global_seed_generator"
"""What Keras calls the generator that layers without a seed of their own draw from."""

_turn = threading.RLock()


@contextmanager
def same_randomness() -> Iterator[None]:
    """Put back the random states of Python, NumPy, torch and Keras, on a GPU too, once left.

    They belong to the whole process, so threads wait for each other.
    """
    with _turn:
        python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - training's
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else []
        try:
            with torch.random.fork_rng(devices), _same_seed_of_keras():
                yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


@contextmanager
def evaluated(module: nn.Module) -> Iterator[None]:
    """Hold a module in evaluation mode; each part's own mode and gradients are put back.

    Inside the guard's `alone`, as modes and gradients are read here.
    """
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
    with _same_values(list(model.non_trainable_variables)):
        yield


@contextmanager
def _same_seed_of_keras() -> Iterator[None]:
    """Put back the generator that layers without a seed of their own draw from, or its absence."""
    known: Any = sys.modules.get("keras.src.backend.common.global_state")
    generator = None if known is None else known.get_global_attribute(SEED)
    try:
        with _same_values([] if generator is None else [generator.state]):
            yield
    finally:
        if known is not None and generator is None:
            known.set_global_attribute(SEED, None)  # training makes it, from Python's random state


@contextmanager
def _same_values(variables: list[Any]) -> Iterator[None]:
    """Put back the values of Keras variables."""
    before = [_value(each) for each in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            if not np.array_equal(_value(variable), value):
                variable.assign(value)


def _value(variable: Any) -> np.ndarray:
    """A copy of a Keras variable's value; Keras's own reading warns with NumPy 2."""
    value = variable.value
    return np.array(value.detach().cpu() if isinstance(value, torch.Tensor) else np.asarray(value))
