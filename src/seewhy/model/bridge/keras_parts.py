"""What a Keras model is made of: its layers, its ends, what it takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from seewhy.model.bridge.foreign import safe_name

COLOURS = (1, 3, 4)
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


def ends(keras: Any, model: Any) -> list[tuple[str, Any, str, Any]]:
    """Return what each output ends in that can be left out: (what, layer, attribute, instead).

    What is "softmax" or "sigmoid". Only a functional model, or a Sequential one, tells which layer
    gives an output; one that is called within the network too cannot be left out.
    """
    found: list[tuple[str, Any, str, Any]] = []
    for output in getattr(model, "outputs", None) or ():
        owner, layer = model, output._keras_history.operation  # noqa: SLF001 - no public way
        while isinstance(layer, keras.Model):
            owner, inner = layer, list(getattr(layer, "outputs", None) or ())
            layer = inner[0]._keras_history.operation if len(inner) == 1 else None  # noqa: SLF001
        graph = getattr(owner, "_functional", owner)
        nodes = chain.from_iterable(getattr(graph, "_nodes_by_depth", {}).values())
        if sum(node.operation is layer for node in nodes) != 1:
            continue
        activations = keras.activations
        kinds = {activations.softmax: "softmax", activations.sigmoid: "sigmoid"}
        if isinstance(layer, keras.layers.Softmax):
            found.append(("softmax", layer, "call", lambda given, *_, **__: given))
        elif (what := kinds.get(getattr(layer, "activation", None))) is not None:
            found.append((what, layer, "activation", activations.linear))
    return found


def channels_last(keras: Any, model: Any) -> bool:
    """Tell whether maps have their channels last, by the first layer that says so."""
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - no public way
        said = getattr(layer, "data_format", None)
        if said is not None:
            return bool(said == "channels_last")
    return bool(keras.config.image_data_format() == "channels_last")


@dataclass(frozen=True)
class PictureInput:
    """The input that is the picture: its number, shape without the batch, dtype, fixed batch.

    channels_last: whether it comes so. one_dimensional: it is a sequence of channels, read by
    convolutions. shape is None where the model does not say.
    """

    number: int
    shape: tuple[int | None, ...] | None
    dtype: torch.dtype
    batch: int | None
    channels_last: bool
    one_dimensional: bool


def picture_input(model: Any, *, maps_last: bool) -> PictureInput:
    """Return what is known of the picture: the first input with two axes of space, else the first.

    maps_last: whether maps have their channels last; the picture has too, unless its sizes say
    otherwise, as where a network that was ported turns it round first.
    """
    inputs = getattr(model, "inputs", None) or ()
    shapes: list[tuple[Any, ...]] = [tuple(each.shape) for each in inputs]
    number = next((n for n, shape in enumerate(shapes) if len(shape) >= 4), 0)
    kinds = {type(each).__name__ for each in model._flatten_layers(include_self=False)}  # noqa: SLF001
    one = bool(kinds & set(_ONE_DIMENSIONAL)) and (not shapes or len(shapes[number]) == 3)
    if not shapes:
        return PictureInput(0, None, torch.float32, None, maps_last, one)
    batch, *shape = shapes[number]
    last = maps_last
    if len(shape) == 3 and (shape[0] in COLOURS) != (shape[-1] in COLOURS):
        last = shape[-1] in COLOURS
    dtype = getattr(torch, str(inputs[number].dtype), torch.float32)
    whole = torch.float32 if dtype.is_floating_point else dtype
    return PictureInput(number, tuple(shape), whole, batch, last, one)
