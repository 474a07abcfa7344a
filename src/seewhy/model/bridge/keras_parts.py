"""What a Keras model is made of: its layers, its ends, what it takes."""

from __future__ import annotations

from typing import Any

import torch

from seewhy.model.bridge.foreign import safe_name

_ONE_DIMENSIONAL = ("Conv1D", "SeparableConv1D", "DepthwiseConv1D")


def by_path(keras: Any, model: Any) -> tuple[dict[str, Any], set[str]]:
    """Return every layer by its path, "outer/inner", and which are parts of ready-made layers.

    One that is shared stands under the first path.
    """
    found: dict[str, Any] = {}
    inner: set[str] = set()
    seen: set[int] = set()

    def walk(owner: Any, prefix: str, *, ready: bool) -> None:
        composed = isinstance(owner, keras.Model)
        for layer in owner.layers if composed else owner._layers:  # noqa: SLF001 - no public way
            begins = isinstance(layer, keras.layers.InputLayer)
            if id(layer) in seen or begins or not isinstance(layer, keras.layers.Layer):
                continue
            seen.add(id(layer))
            path = safe_name(prefix + layer.name, found)
            found[path] = layer
            if ready:
                inner.add(path)
            made = type(layer).__module__.startswith("keras.") and not isinstance(
                layer, keras.Model
            )
            walk(layer, f"{path}/", ready=ready or made)

    walk(model, "", ready=False)
    return found, inner


def open_ends(keras: Any, model: Any) -> list[tuple[Any, str, Any]]:
    """Return what leaves out the softmax or sigmoid at each end: (layer, attribute, value).

    Only a functional model, or a Sequential one, tells which layer gives an output.
    """
    changes: list[tuple[Any, str, Any]] = []
    for output in getattr(model, "outputs", None) or ():
        layer: Any = output._keras_history.operation  # noqa: SLF001 - no public way
        while isinstance(layer, keras.Model):
            ends = getattr(layer, "outputs", None) or ()
            one = list(ends)[:1] if len(ends) == 1 else []
            layer = one[0]._keras_history.operation if one else None  # noqa: SLF001
        activations = keras.activations
        if getattr(layer, "activation", None) in (activations.softmax, activations.sigmoid):
            changes.append((layer, "activation", activations.linear))
        elif isinstance(layer, keras.layers.Softmax):
            changes.append((layer, "call", lambda given, *_, **__: given))
    return changes


def channels_last(keras: Any, model: Any) -> bool:
    """Tell whether maps have their channels last, by the first layer that says so."""
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - no public way
        said = getattr(layer, "data_format", None)
        if said is not None:
            return bool(said == "channels_last")
    return bool(keras.config.image_data_format() == "channels_last")


def is_one_dimensional(model: Any) -> bool:
    """Tell whether what it takes is a sequence of channels, read by convolutions."""
    inputs = getattr(model, "inputs", None)
    kinds = {type(each).__name__ for each in model._flatten_layers(include_self=False)}  # noqa: SLF001
    one = bool(kinds & set(_ONE_DIMENSIONAL))
    return one and (not inputs or len(inputs[0].shape) == 3)


def picture_dtype(model: Any) -> torch.dtype:
    """Return the dtype of the pictures it takes: whole numbers, where it says so."""
    inputs = getattr(model, "inputs", None)
    said = str(inputs[0].dtype) if inputs else "float32"
    found = getattr(torch, said, torch.float32)
    return torch.float32 if found.is_floating_point else found
