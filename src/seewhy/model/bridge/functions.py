"""Functions of TensorFlow and of JAX: networks without layers, of which gradients are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.foreign import Foreign
from seewhy.model.bridge.jax import JaxEngine
from seewhy.model.bridge.tensorflow import TensorFlowEngine, as_torch
from seewhy.model.bridge.visit import Note, Place, Visit

CHANNELS = (1, 3, 4)


class FunctionProgram:
    """A function of a batch under a visit: nothing within it is seen.

    flatten: from what it gives to all tensors of it, in order, and to what puts them back.
    """

    least_axes = 4
    form: Any = None
    names: Sequence[str] = ()

    def __init__(
        self,
        function: Callable[..., Any],
        flatten: Callable[[Any], tuple[list[Any], Callable[[list[Any]], Any]]],
        *,
        channels_last: bool = True,
        dtype: torch.dtype = torch.float32,
        variables: Sequence[Any] = (),
        inputs: Sequence[str] = (),
    ) -> None:
        self._function, self._flatten = function, flatten
        self.channels_last, self.dtype = channels_last, dtype
        self._variables, self._inputs = variables, inputs
        self._pack: Callable[[list[Any]], Any] = tuple

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return the outputs, flat."""
        del weights  # a function brings them along

        def run() -> list[Any]:
            if self._inputs:
                found = self._function(**dict(zip(self._inputs, inputs, strict=True)))
            else:
                found = self._function(*inputs)
            flat, self._pack = self._flatten(found)
            return flat

        return visit.results(run)

    def parameters(self) -> Any:
        """Return nothing: a function brings its weights along."""
        return ()

    def note(self, place: Place, shape: tuple[int, ...]) -> Note:
        """Describe a place; there is none."""
        return Note(place, shape)

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order, those with a name where the function has it."""
        if not named:
            return [picture, *others]
        unknown = set(named) - set(self._inputs)
        if unknown or not self._inputs:
            raise ModelError(f"this function has no input {min(unknown or named)!r}")
        rest = iter([picture, *others])
        return [named[name] if name in named else next(rest) for name in self._inputs]

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return the outputs in the structure in which the function gives them."""
        return self._pack(outputs)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by name, as far as the function tells."""
        for each in self._variables:
            yield each.name, as_torch(each)


def tensorflow_function(function: Any, *, channels_last: bool | None = None) -> Adopted:
    """Return a tf.function, or what tf.saved_model.load gave, as a torch module.

    channels_last: how it takes pictures; None: as its signature says, else with channels last.
    Raises ModelError for a saved object without a function to call.
    """
    import tensorflow as tf

    owner = function
    if hasattr(function, "signatures"):
        function = function.signatures.get("serving_default") or _called(function)
    elif isinstance(function, tf.Module) and not hasattr(function, "structured_input_signature"):
        function = _called(function)
    shape, names, said = _signature(function)
    dtype: torch.dtype = getattr(torch, said, torch.float32)
    dtype = torch.float32 if dtype.is_floating_point else dtype

    def flatten(found: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
        return tf.nest.flatten(found), lambda flat: tf.nest.pack_sequence_as(found, flat)

    last = channels_last if channels_last is not None else _last(shape)
    program = FunctionProgram(
        function,
        flatten,
        channels_last=last,
        dtype=dtype,
        variables=getattr(owner, "variables", ()),
        inputs=names,
    )
    return _adopted(Foreign(TensorFlowEngine(program)), function, shape, last=last)


def saved_model(path: Path) -> Adopted:
    """Return the network of a SavedModel folder."""
    import tensorflow as tf

    try:
        found = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path} is no readable SavedModel ({reason}): save it again") from error
    adopted = tensorflow_function(found)
    return Adopted(adopted.module, path.name, None, None, adopted.input_shape, adopted.offers)


def jax_function(function: Callable[..., Any], *, channels_last: bool = True) -> Adopted:
    """Return a function of JAX as a torch module; it takes a batch and gives scores."""
    import jax

    def flatten(found: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
        flat, structure = jax.tree.flatten(found)
        return flat, lambda leaves: jax.tree.unflatten(structure, leaves)

    program = FunctionProgram(function, flatten, channels_last=channels_last)
    return _adopted(Foreign(JaxEngine(program)), function, None, last=channels_last)


def _adopted(module: Foreign, function: Any, shape: Any, *, last: bool) -> Adopted:
    batch, own = None, None
    if shape is not None and len(shape) > 1:
        batch, *own = shape
        own = [own[-1], *own[:-1]] if last and len(own) > 2 else own
    known = tuple(own) if own and None not in own else None
    whole = not module.engine.program.dtype.is_floating_point
    offers = Offers(gradient=not whole, layers=False, operations=False, batch=batch)
    name = getattr(function, "__name__", None) or getattr(function, "name", None) or "function"
    name = name.decode() if isinstance(name, bytes) else str(name)
    return Adopted(module, name, input_shape=known, offers=offers)


def _called(found: Any) -> Any:
    if callable(found):
        return found
    raise ModelError(
        "this SavedModel has no signature 'serving_default' and cannot be called: save it with "
        "signatures={'serving_default': function}"
    )


def _signature(function: Any) -> tuple[list[int | None] | None, list[str], str]:
    """The shape of the picture, with its batch, the inputs' names, its dtype, where known."""
    named = getattr(function, "structured_input_signature", None)
    if named is not None and named[1]:
        specs = named[1]
        picture = max(specs, key=lambda name: specs[name].shape.rank or 0)
        order = [picture, *(name for name in specs if name != picture)]
        spec = specs[picture]
    else:
        fixed = named[0] if named is not None else getattr(function, "input_signature", None)
        if not fixed:
            return None, [], "float32"
        order, spec = [], fixed[0]
    shape = spec.shape.as_list() if spec.shape.rank is not None else None
    return shape, order, spec.dtype.name


def _last(shape: Sequence[int | None] | None) -> bool:
    """Whether a picture's channels come last, by its shape; they do in TensorFlow where unknown."""
    if shape is None or len(shape) < 4:
        return True
    return shape[-1] in CHANNELS or shape[1] not in CHANNELS
