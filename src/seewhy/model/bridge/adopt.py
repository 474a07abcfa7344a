"""Adopting objects of other frameworks, known by their types; nothing is imported for it."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn

from seewhy.errors import ModelError
from seewhy.model.bridge.adopted import Adopted

LOGITS = (
    "logits=True leaves out the softmax or the sigmoid of a Keras model: of other networks give "
    "one that ends before it"
)


def adopt(found: Any, *, logits: bool = False) -> Adopted | None:
    """Return the torch module behind an object of another framework; None for all others.

    Known are Keras models, tf.functions and what tf.saved_model.load gives, jitted functions of
    JAX, flax modules (nnx, and linen bound to its variables), onnx.ModelProto. logits: of a Keras
    model, leave out the softmax or the sigmoid in which it ends.
    """
    if _is(found, "keras", "Model"):
        from seewhy.model.bridge.keras import keras_model

        return keras_model(found, logits=logits)
    if _is(found, "keras", "Layer"):
        raise ModelError(
            f"{type(found).__name__} is a Keras layer without its inputs: make a model of it, such "
            "as keras.Sequential([keras.Input((height, width, channels)), layer])"
        )
    if logits:
        raise ModelError(LOGITS)
    if isinstance(found, nn.Module):
        return None
    if _is(found, "flax.nnx", "Module") or _is(found, "flax.linen", "Module"):
        from seewhy.model.bridge.flax import flax_module

        return flax_module(found)
    if (
        _is(found, "tensorflow.types.experimental", "GenericFunction")
        or _is(found, "tensorflow.types.experimental", "ConcreteFunction")
        or _is(found, "tensorflow", "Module")
        or ("tensorflow" in sys.modules and hasattr(found, "signatures"))
    ):
        from seewhy.model.bridge.functions import tensorflow_function

        return tensorflow_function(found)
    if _is(found, "onnx", "ModelProto"):
        from seewhy.model.bridge.onnx import adopted_onnx

        return adopted_onnx(found)
    if type(found).__module__.startswith("jaxlib") and hasattr(found, "lower"):
        from seewhy.model.bridge.functions import jax_function

        return jax_function(found)
    return None


def _is(found: Any, module: str, name: str) -> bool:
    """Whether this is of a class of a module, where that has been imported."""
    home: Any = sys.modules.get(module.partition(".")[0])
    for part in module.split(".")[1:]:
        home = getattr(home, part, None)
    kind = getattr(home, name, None)
    return isinstance(kind, type) and isinstance(found, kind)
