"""Keras 3 models: on TensorFlow and JAX as foreign networks, on torch nearly as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from torch import Tensor, nn

from seewhy.errors import ModelError, warn
from seewhy.model.bridge import applications, jax, tensorflow
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.foreign import Foreign, not_built
from seewhy.model.bridge.keras_parts import (
    by_path,
    channels_last,
    ends,
    picture_input,
)
from seewhy.model.bridge.keras_torch import KerasOnTorch
from seewhy.model.bridge.visit import Note, Place, Visit, patched

MOVES = ("Pooling", "Padding", "Cropping", "Dropout", "Flatten", "Reshape", "Permute", "Input")
"""In the names of layers that only move, thin out or leave out what they are given."""

TIMED = ("LSTM", "GRU", "RNN", "Bidirectional", "TimeDistributed")
"""In the names of layers whose axis is time, and no place."""


class KerasProgram:
    """A Keras model under a visit: its layers by path, "outer/inner" within nested models."""

    def __init__(self, model: Any) -> None:
        import keras

        if not model.built:
            raise not_built(model.name)
        self._keras, self.model = keras, model
        self.layers, self._inner = by_path(keras, model)
        self.channels_last = channels_last(keras, model)
        self.picture = picture_input(model, maps_last=self.channels_last)
        self.picture_last, self.dtype = self.picture.channels_last, self.picture.dtype
        self.least_axes = 3 if self.channels_last and self.picture.one_dimensional else 4
        self._ran = False
        self._structure: Any = None  # of the outputs: which are there, and their tree

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers."""
        return list(self.layers)

    @property
    def end(self) -> str:
        """What it ends in that can be left out: "softmax" or "sigmoid", for all its outputs."""
        found = [what for what, *_ in ends(self._keras, self.model)]
        outputs = getattr(self.model, "outputs", None) or ()
        return found[0] if len(set(found)) == 1 and len(found) == len(outputs) else ""

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of one picture, (C, *space), where it is fixed."""
        shape = self.picture.shape
        if shape is None or None in shape:
            return None
        known = tuple(each for each in shape if each is not None)
        turned = self.picture_last and len(shape) + 1 >= self.least_axes
        return (known[-1], *known[:-1]) if turned else known

    @property
    def form(self) -> Any:
        """What a compiled run depends on beside the weights' values."""
        parts = list(self.model._flatten_layers(include_self=False))  # noqa: SLF001 - no public way
        names = "activation", "quantization_mode", "_dtype_policy"
        ids = [id(getattr(part, name, None)) for part in parts for name in names]
        return (*ids, *map(id, parts))

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return what was read, then the outputs, flat."""
        names = self.layers if visit.names is None else visit.names
        changes = [(self.layers[n], "call", self._seen(visit, n)) for n in names]
        if visit.wanted.logits:
            found = ends(self._keras, self.model)
            changes += [(layer, name, instead) for _, layer, name, instead in found]
        given = self._structured(inputs)

        def run() -> list[Any]:
            with self._with(weights) as scope:
                found = self.model(given, training=False)
            if not self._ran:
                self._ran = True
                self._tell_of_luck(scope, weights)
            tree = self._keras.tree
            flat = tree.flatten(found)
            self._structure = tree.map_structure(lambda _: 0, found), [e is None for e in flat]
            return [each for each in flat if each is not None]

        with patched(changes):
            return visit.results(run)

    def _with(self, weights: Any) -> AbstractContextManager[Any]:
        """Let the model have these weights, None for its own, and keep what it writes from them."""
        mapping = None
        if weights is not None:
            mapping = list(zip(self.model.variables, weights, strict=True))
        scope: AbstractContextManager[Any] = self._keras.StatelessScope(state_mapping=mapping)
        return scope

    def _tell_of_luck(self, scope: Any, weights: Any) -> None:
        """Warn where the model has drawn random numbers: a seed of its has moved."""
        variables = self.model.variables
        given = zip(variables, weights or [None] * len(variables), strict=True)
        seeds = [(each, value) for each, value in given if "seed_generator_state" in each.path]
        if any(scope.get_current_value(each) is not value for each, value in seeds):
            warn(
                f"{self.model.name} draws random numbers when it runs in evaluation mode: its maps "
                "are repeatable, whatever seed= is, but they depend on the batch"
            )

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
            (shape[-1], *shape[1:-1]) if self._turned(shape) else tuple(shape[1:]),
            kind,
            tuple(getattr(layer, "kernel_size", ())),
            channels,
            sum(int(np.prod(weight.shape)) for weight in layer.weights),
            moves=any(each in kind for each in MOVES),
            timed=any(each in kind for each in TIMED),
            inner=place.name in self._inner,
        )

    def _turned(self, shape: Sequence[int]) -> bool:
        return self.channels_last and len(shape) >= self.least_axes

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order, those with a name where the model has it.

        Raises ModelError where one is missing or unknown.
        """
        names = [each.name for each in getattr(self.model, "inputs", None) or ()]
        if not names and not named:
            return [picture, *others]
        wanted = [name for n, name in enumerate(names) if n != self.picture.number]
        given = dict(zip(wanted, others, strict=False)) | named
        if set(given) != set(wanted) or len(others) + len(named) != len(wanted):
            listed = ", ".join(wanted) or "none"
            raise ModelError(
                f"{self.model.name} takes further inputs: {listed}; given were {len(others)} "
                f"without a name and {', '.join(named) or 'none'} with one: give them by name, "
                "others={name: tensor}"
            )
        found = [given[name] for name in wanted]
        found.insert(self.picture.number, picture)
        return found

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return the outputs in the structure in which the model gives them."""
        structure, absent = self._structure
        each = iter(outputs)
        flat = [None if missing else next(each) for missing in absent]
        return self._keras.tree.pack_sequence_as(structure, flat)

    def parameters(self) -> Any:
        """Return the weights as they are handed in; on TensorFlow nothing flows back to them.

        Otherwise its compiled functions compute their gradients too, which nobody asked for.
        """
        values = [each.value for each in self.model.variables]
        if self._keras.config.backend() != "tensorflow":
            return values
        return [self._keras.ops.stop_gradient(each) for each in values]

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

    def _structured(self, inputs: Sequence[Any]) -> Any:
        """The inputs in the structure that the model was built with."""
        struct = getattr(self.model, "_inputs_struct", None)
        if struct is not None:
            return self._keras.tree.pack_sequence_as(struct, list(inputs))
        return inputs[0] if len(inputs) == 1 else list(inputs)


def keras_model(model: Any, *, logits: bool = False) -> Adopted:
    """Return a Keras model as a torch module, with what is known of it.

    logits: leave out the softmax or the sigmoid in which it ends.
    """
    import keras

    program, backend = KerasProgram(model), keras.config.backend()
    if logits and not ends(keras, model):
        raise ModelError(
            f"{model.name} does not end in a softmax or a sigmoid that can be told to be its end, "
            "and is called there alone (of a subclassed model it cannot): leave logits=True out, "
            "or give a model that ends before it"
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
    shape = program.input_shape
    preprocess, labels = applications.known(keras, model, program.picture, shape)
    return Adopted(
        module,
        name=model.name,
        preprocess=preprocess,
        labels=labels,
        input_shape=shape,
        offers=Offers(
            gradient=program.dtype.is_floating_point,
            operations=backend == "torch",
            batch=program.picture.batch,
            end="" if logits else program.end,
        ),
    )
