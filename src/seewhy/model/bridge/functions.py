"""Functions of TensorFlow and of JAX: networks without layers, of which gradients are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.foreign import Foreign
from seewhy.model.bridge.jax import JaxEngine
from seewhy.model.bridge.onnx_graph import CHANNELS, Input, Signature, preprocess_of
from seewhy.model.bridge.tensorflow import TensorFlowEngine, as_torch
from seewhy.model.bridge.visit import Note, Place, Visit

Pack = Callable[[list[Any]], Any]


class FunctionProgram:
    """A function of a batch under a visit: nothing within it is seen.

    flatten: from what it gives to all tensors of it, in order, and to what puts them back.
    signature: its inputs, where they are known. variables: gives its weights, where it tells them.
    """

    least_axes = 4
    dtype = torch.float32  # a function that takes another one casts its inputs itself
    form: Any = None
    names: Sequence[str] = ()

    def __init__(
        self,
        function: Callable[..., Any],
        flatten: Callable[[Any], tuple[list[Any], Pack]],
        *,
        channels_last: bool = True,
        signature: Signature | None = None,
        variables: Callable[[], Sequence[Any]] = tuple,
    ) -> None:
        self._function, self._flatten = function, flatten
        self.channels_last = self.picture_last = channels_last
        self._signature = signature
        self._variables = variables
        self._pack: Pack = tuple

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return the outputs, flat."""
        del weights  # a function brings them along

        def run() -> list[Any]:
            flat, self._pack = self._flatten(self._function(*inputs))
            return flat

        return visit.results(run)

    def parameters(self) -> Any:
        """Return nothing: a function brings its weights along."""
        return ()

    def note(self, place: Place, shape: tuple[int, ...]) -> Note:
        """Describe a place; there is none."""
        return Note(place, shape)

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order; the further ones come in order or by name.

        Raises ModelError where one is missing or unknown.
        """
        known = self._signature
        if known is None:
            if named:
                raise ModelError(
                    f"the inputs of this function have no names, and {min(named)!r} came: give "
                    "the further ones in order, others=(tensor, ...)"
                )
            return [picture, *others]
        wanted = [each.name for each in known.inputs if each is not known.picture]
        given = {**dict(zip(wanted, others, strict=False)), **named}
        if set(given) != set(wanted) or len(others) > len(wanted):
            raise ModelError(
                f"{known.name} takes further inputs: {', '.join(wanted) or 'none'}; given were "
                f"{', '.join(given) or 'none'}: give them by name, others={{name: tensor}}"
            )
        return [picture if each is known.picture else given[each.name] for each in known.inputs]

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return the outputs in the structure in which the function gives them."""
        return self._pack(outputs)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by name, as far as the function tells."""
        for each in self._variables():
            if _is_numeric(each.dtype):
                yield each.name, as_torch(each)


def tensorflow_function(
    function: Any, *, channels_last: bool | None = None, name: str | None = None
) -> Adopted:
    """Return a tf.function, a tf.Module, or what tf.saved_model.load gave, as a torch module.

    Of a saved object it is the signature "serving_default", the only one there is, or the object
    called; of several inputs the one of most axes is the picture. channels_last: how it takes
    pictures; None: as its signature says, else with channels last. Raises ModelError for a saved
    object without a function to call, and for inputs that are no numbers.
    """
    owner, function = function, _called(function)
    name = name or _name(owner)
    in_order, named = _inputs(function, name)
    inputs = [*in_order, *named]
    picture = max(inputs, key=lambda each: len(each.shape), default=None)
    last = channels_last if channels_last is not None else _last(picture)
    signature = None
    if picture is not None:
        turned = last and len(picture.shape) >= FunctionProgram.least_axes
        signature = Signature(name, tuple(inputs), (), picture, turned)

    def run(*given: Any) -> Any:
        known = [_cast(value, each.dtype) for value, each in zip(given, inputs, strict=False)]
        values = known or given
        count = len(values) - len(named)
        names = [each.name for each in named]
        try:
            return function(*values[:count], **dict(zip(names, values[count:], strict=True)))
        except TypeError as error:
            if "Binding inputs" not in str(error):
                raise
            raise ModelError(
                f"{name} does not take what it gets ({str(error).splitlines()[0]}): prepare the "
                "pictures for its signature, or fill in its other arguments, "
                "sw.load(tf.function(lambda pictures: function(pictures, name=value)))"
            ) from error

    def variables() -> Sequence[Any]:  # holds the owner too, whose variables die with it
        found = getattr(_concrete(function), "variables", None)
        return getattr(owner, "variables", ()) if found is None else found

    program = FunctionProgram(
        run, _flat, channels_last=last, signature=signature, variables=variables
    )
    return _adopted(Foreign(TensorFlowEngine(program)), name, signature)


def saved_model(path: Path) -> Adopted:
    """Return the network of a SavedModel folder."""
    import tensorflow as tf

    try:
        found = tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"{path} is no readable SavedModel ({reason}): save it again") from error
    return tensorflow_function(found, name=path.name)


def jax_function(function: Callable[..., Any], *, channels_last: bool = True) -> Adopted:
    """Return a function of JAX as a torch module; it takes a batch and gives scores."""
    import jax

    def flatten(found: Any) -> tuple[list[Any], Pack]:
        flat, structure = jax.tree.flatten(found)
        return flat, lambda leaves: jax.tree.unflatten(structure, leaves)

    program = FunctionProgram(function, flatten, channels_last=channels_last)
    return _adopted(Foreign(JaxEngine(program)), _name(function), None)


def _adopted(module: Foreign, name: str, signature: Signature | None) -> Adopted:
    offers = Offers(layers=False, operations=False)
    if signature is None:
        return Adopted(module, name, offers=offers)
    picture = signature.picture
    whole = not picture.dtype.is_floating_point
    offers = replace(offers, gradient=not whole, batch=signature.batch)
    if whole:  # of any size they hold what bytes hold
        signature = replace(signature, picture=replace(picture, dtype=torch.uint8))
    return Adopted(
        module,
        name,
        preprocess=preprocess_of(signature),
        input_shape=signature.picture_shape,
        offers=offers,
    )


def _name(found: Any) -> str:
    if hasattr(found, "signatures"):
        return "the SavedModel"
    name = getattr(found, "__name__", None) or getattr(found, "name", None) or type(found).__name__
    return name.decode() if isinstance(name, bytes) else str(name)


def _called(found: Any) -> Any:
    """The function of TensorFlow that is meant by an object."""
    signatures = getattr(found, "signatures", {})
    if "serving_default" in signatures:
        return signatures["serving_default"]
    if len(signatures) == 1:
        return next(iter(signatures.values()))
    if hasattr(found, "get_concrete_function") or hasattr(found, "structured_input_signature"):
        return found
    if not callable(found):
        listed = ", ".join(signatures) or "none"
        raise ModelError(
            f"this object has no signature 'serving_default' (it has {listed}) and cannot be "
            "called: give one of its functions, such as sw.load(loaded.signatures['name'])"
        )
    call = found.__call__
    return call if hasattr(call, "get_concrete_function") else found


def _concrete(function: Any) -> Any:
    """The only function of fixed inputs behind a tf.function, None where it is open."""
    if hasattr(function, "structured_input_signature"):
        return function
    known = getattr(function, "concrete_functions", None) or []
    if getattr(function, "input_signature", None) and not known:
        return function.get_concrete_function()
    return known[0] if len(known) == 1 else None


def _inputs(function: Any, name: str) -> tuple[list[Input], list[Input]]:
    """The inputs that go in order, then those that go by name; none where they are not known."""
    import tensorflow as tf

    concrete = _concrete(function)
    in_order, named = concrete.structured_input_signature if concrete is not None else ((), {})
    if not all(isinstance(each, tf.TensorSpec) for each in (*in_order, *named.values())):
        return [], []  # structures, or arguments that are no tensors
    first = [
        _input(each.name or f"input_{number}", each, name) for number, each in enumerate(in_order)
    ]
    return first, [_input(key, each, name) for key, each in named.items()]


def _input(key: str, spec: Any, name: str) -> Input:
    dtype = getattr(torch, spec.dtype.name, None)
    if not isinstance(dtype, torch.dtype):
        raise ModelError(
            f"the input {key!r} of {name} is of type {spec.dtype.name}, which seewhy cannot give: "
            "give a function that takes the decoded pictures as numbers, (N, height, width, C)"
        )
    shape = spec.shape.as_list() if spec.shape.rank is not None else [None] * 4
    return Input(key, tuple(shape), dtype)


def _last(picture: Input | None) -> bool:
    """Whether a picture's channels come last, by its shape; they do in TensorFlow where unknown."""
    if picture is None or len(picture.shape) < FunctionProgram.least_axes:
        return True
    return picture.shape[-1] in CHANNELS or picture.shape[1] not in CHANNELS


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """The value in an input's dtype; whole numbers are rounded, and kept within their limits."""
    import tensorflow as tf

    wanted = tf.as_dtype(str(dtype).removeprefix("torch."))
    if value.dtype == wanted:
        return value
    if value.dtype.is_floating and wanted.is_integer:
        value = tf.round(value)
    return tf.cast(value, wanted) if wanted.is_bool else tf.saturate_cast(value, wanted)


def _flat(found: Any) -> tuple[list[Any], Pack]:
    """The tensors of numbers that a function gives, in float32 at least, and their structure."""
    import tensorflow as tf

    leaves = tf.nest.flatten(found)
    kept = [isinstance(each, tf.Tensor) and _is_numeric(each.dtype) for each in leaves]
    if not any(kept):
        raise ModelError(
            "this function gives no tensor of numbers: give one that returns the scores"
        )
    numbers = [each for each, is_kept in zip(leaves, kept, strict=True) if is_kept]
    small = (tf.float16, tf.bfloat16)
    flat = [tf.cast(each, tf.float32) if each.dtype in small else each for each in numbers]

    def pack(outputs: list[Any]) -> Any:
        each = iter(outputs)
        filled = [next(each) if is_kept else None for is_kept in kept]
        return tf.nest.pack_sequence_as(found, filled)

    return flat, pack


def _is_numeric(dtype: Any) -> bool:
    return bool(dtype.is_floating or dtype.is_integer or dtype.is_complex or dtype.is_bool)
