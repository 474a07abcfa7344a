"""Keras 3 models: on TensorFlow and JAX as foreign networks, on torch nearly as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.errors import ModelError
from seewhy.model.bridge import applications, jax, tensorflow
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.foreign import Foreign, not_built
from seewhy.model.bridge.keras_torch import KerasOnTorch
from seewhy.model.bridge.visit import Note, Place, Visit, patched

MOVES = ("Pooling", "Padding", "Cropping", "Dropout", "Flatten", "Reshape", "Permute", "Input")
"""In the names of layers that only move, thin out or leave out what they are given."""


class KerasProgram:
    """A Keras model under a visit: its layers by path, "outer/inner" within nested models."""

    def __init__(self, model: Any) -> None:
        import keras

        if not model.built:
            raise not_built(model.name)
        self._keras, self.model = keras, model
        self.layers, self._inner = _by_path(model)
        self.channels_last = _channels_last(keras, model)
        self.dtype = torch.float32
        self._keys: list[str] = []  # of the outputs, where they are a dict

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers."""
        return list(self.layers)

    @property
    def ends_in_probabilities(self) -> bool:
        """Whether it ends in a softmax or a sigmoid that can be left out."""
        return bool(self._open_end())

    @property
    def input_shape(self) -> tuple[tuple[int, ...] | None, int | None]:
        """The shape of one picture, (C, *space), where it is fixed; the batch, where that is."""
        inputs = getattr(self.model, "inputs", None)
        if not inputs:
            return None, None
        batch, *shape = inputs[0].shape
        if self.channels_last and len(shape) > 2:
            shape = [shape[-1], *shape[:-1]]
        return (None if None in shape else tuple(shape)), batch

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return what was read, then the outputs, flat."""
        names = self.layers if visit.names is None else visit.names
        changes = [(self.layers[n], "call", self._seen(visit, n)) for n in names]
        if visit.wanted.logits:
            changes += self._open_end()
        given = self._structured(inputs)

        def run() -> list[Any]:
            if weights is None:
                found = self.model(given, training=False)
            else:
                found, _ = self.model.stateless_call(*weights, given, training=False)
            self._keys = sorted(found) if isinstance(found, dict) else []  # as tree flattens it
            return list(self._keras.tree.flatten(found))

        with patched(changes):
            return visit.results(run)

    def note(self, place: Place, shape: tuple[int, ...]) -> Note:
        """Describe a place that gives an output of this shape."""
        layer = self.layers[place.name]
        kind, kernel = type(layer).__name__, getattr(layer, "kernel", None)
        channels = None
        if kernel is not None and len(kernel.shape) > 1:
            made = getattr(layer, "filters", None) or kernel.shape[-1]
            channels = (int(kernel.shape[-2]), int(made))
        return Note(
            place,
            (shape[-1], *shape[1:-1]) if self.channels_last and len(shape) > 3 else shape[1:],
            kind,
            tuple(getattr(layer, "kernel_size", ())),
            channels,
            sum(int(np.prod(weight.shape)) for weight in layer.weights),
            moves=any(each in kind for each in MOVES),
            inner=place.name in self._inner,
        )

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order, those with a name where the model has it."""
        names = [each.name for each in getattr(self.model, "inputs", None) or ()]
        unknown = set(named) - set(names)
        if unknown:
            raise ModelError(
                f"{self.model.name} has no input {min(unknown)!r}: it has {', '.join(names)}"
            )
        rest = iter([picture, *others])
        if not named:
            return list(rest)
        return [named[name] if name in named else next(rest) for name in names]

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return the outputs in the structure in which the model gives them."""
        if self._keys:
            return dict(zip(self._keys, outputs, strict=True))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def parameters(self) -> Any:
        """Return the weights as they are handed in; on TensorFlow nothing flows back to them.

        Otherwise its compiled functions compute their gradients too, which nobody asked for.
        """
        lists = self.model.trainable_variables, self.model.non_trainable_variables
        if self._keras.config.backend() != "tensorflow":
            return tuple([each.value for each in some] for some in lists)
        stop = self._keras.ops.stop_gradient
        return tuple([stop(each.value) for each in some] for some in lists)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by its path, in the framework's own memory."""
        backend = self._keras.config.backend()
        convert = {"tensorflow": tensorflow.as_torch, "jax": jax.as_torch}.get(backend)
        for each in self.model.weights:
            yield each.path, convert(each.value) if convert else each.value.detach()

    def _seen(self, visit: Visit, name: str) -> Any:
        """The layer's call, with the visit in between; what is no single tensor goes by."""
        call, tensor = self.layers[name].call, self._keras.ops.is_tensor

        def seen(*args: Any, **kwargs: Any) -> Any:
            made = call(*args, **kwargs)
            return made if not tensor(made) else visit.layer(name, lambda: made)

        def lazy(*args: Any, **kwargs: Any) -> Any:
            return visit.layer(name, lambda: call(*args, **kwargs))

        return seen if visit.noting else lazy

    def _open_end(self) -> list[tuple[Any, str, Any]]:
        """What leaves out the softmax or sigmoid in which the model ends."""
        last = list(self.layers.values())[-1:]
        while last and not hasattr(last[0], "activation") and getattr(last[0], "layers", None):
            last = last[0].layers[-1:]
        if not last:
            return []
        layer, activations = last[0], self._keras.activations
        if getattr(layer, "activation", None) in (activations.softmax, activations.sigmoid):
            return [(layer, "activation", activations.linear)]
        if isinstance(layer, self._keras.layers.Softmax):
            return [(layer, "call", lambda given, *_, **__: given)]
        return []

    def _structured(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure that the model was built with."""
        struct = getattr(self.model, "_inputs_struct", None)
        if struct is not None:
            return self._keras.tree.pack_sequence_as(struct, list(inputs))
        return inputs[0] if len(inputs) == 1 else list(inputs)


def _by_path(model: Any, prefix: str = "") -> tuple[dict[str, Any], set[str]]:
    """Every layer by its path, and which are parts of ready-made ones; one that is shared once."""
    found: dict[str, Any] = {}
    inner: set[str] = set()
    seen: set[int] = set()

    def walk(owner: Any, prefix: str, *, ready: bool) -> None:
        parts = getattr(owner, "layers", None)
        for layer in owner._layers if parts is None else parts:  # noqa: SLF001 - no public way
            if id(layer) in seen or _begins(layer):
                continue
            seen.add(id(layer))
            path = prefix + layer.name
            while path in found:
                path += "_"
            found[path] = layer
            if ready:
                inner.add(path)
            made = type(layer).__module__.startswith("keras.") and not hasattr(layer, "layers")
            walk(layer, f"{path}/", ready=ready or made)

    walk(model, prefix, ready=False)
    return found, inner


def _begins(layer: Any) -> bool:
    return type(layer).__name__ == "InputLayer"


def _channels_last(keras: Any, model: Any) -> bool:
    """Whether maps have their channels last, by the first layer that says so."""
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - no public way
        said = getattr(layer, "data_format", None)
        if said is not None:
            return bool(said == "channels_last")
    return bool(keras.config.image_data_format() == "channels_last")


def keras_model(model: Any, *, logits: bool = False) -> Adopted:
    """Return a Keras model as a torch module, with what is known of it.

    logits: leave out the softmax or the sigmoid in which it ends.
    """
    import keras

    program, backend = KerasProgram(model), keras.config.backend()
    if logits and not program.ends_in_probabilities:
        raise ModelError(
            f"{model.name} does not end in a softmax or a sigmoid that could be left out: its "
            "outputs are explained as they are, without logits=True"
        )
    engines: dict[str, Callable[..., Any]] = {
        "tensorflow": tensorflow.TensorFlowEngine,
        "jax": jax.JaxEngine,
    }
    if backend in engines:
        module: nn.Module = Foreign(engines[backend](program, logits=logits))
    elif backend == "torch":
        module = KerasOnTorch(program, logits=logits)
    else:
        raise ModelError(
            f"Keras runs on {backend} here, which computes no gradients: set the environment "
            "variable KERAS_BACKEND to tensorflow, jax or torch before Keras is imported"
        )
    shape, batch = program.input_shape
    preprocess, labels = applications.known(keras, model, shape)
    return Adopted(
        module,
        name=model.name,
        preprocess=preprocess,
        labels=labels,
        input_shape=shape,
        offers=Offers(operations=backend == "torch", batch=batch),
    )
