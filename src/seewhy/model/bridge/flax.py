"""Flax: nnx modules, and linen modules that are bound to their variables."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.foreign import Foreign
from seewhy.model.bridge.jax import JaxEngine, as_torch
from seewhy.model.bridge.visit import Note, Place, Visit

_EVALUATION = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""What arguments of a call are that tell a module whether it trains, when it does not."""
_ANY = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class _FlaxProgram:
    """What nnx and linen have in common: pictures with channels last, one output or several."""

    channels_last = picture_last = True
    least_axes = 4
    dtype = torch.float32
    form: Any = None

    def __init__(self, module: Any) -> None:
        name = type(module).__name__
        if not callable(module):
            raise ModelError(
                f"{name} cannot be called: wrap the method that gives the scores, "
                "sw.load(jax.jit(lambda pictures: module.method(pictures)))"
            )
        known = list(inspect.signature(type(module).__call__).parameters.values())[1:]
        self._name = name
        self._flags = {e.name: _EVALUATION[e.name] for e in known if e.name in _EVALUATION}
        named = [e for e in known if e.kind not in _ANY and e.name not in _EVALUATION][1:]
        required = [each.name for each in named if each.default is each.empty]
        self._further = required + [each.name for each in named if each.name not in required]
        self._least = len(required)
        self._open = any(each.kind is each.VAR_POSITIONAL for each in known)

    def note(self, place: Place, shape: tuple[int, ...]) -> Note:
        """Describe a place that gives an output of this shape."""
        kind, kernel, count = self.described(place.name)
        channels = (int(kernel[-2]), int(kernel[-1])) if len(kernel) > 1 else None
        axes = (shape[-1], *shape[1:-1]) if len(shape) > 3 else shape[1:]
        return Note(place, axes, kind, kernel[:-2] if len(kernel) > 2 else (), channels, count)

    def described(self, name: str) -> tuple[str, tuple[int, ...], int]:
        """Return a layer's kind, the shape of its kernel, its number of parameters."""
        raise NotImplementedError

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order.

        Raises ModelError where one is missing or unknown.
        """
        given = {**dict(zip(self._further, others, strict=False)), **named}
        wanted = self._further[: max(len(given), self._least)]
        more = others[len(self._further) :]
        if set(given) != set(wanted) or (more and not self._open):
            raise ModelError(
                f"the call of {self._name} takes, beside the picture, "
                f"{', '.join(self._further) or 'nothing'}; given were "
                f"{', '.join(given) or 'none'}: "
                "give tensors in this order or by name, others={name: tensor}; else wrap the "
                "module in a function with the rest filled in, "
                "sw.load(jax.jit(lambda pictures: module(pictures, name=value)))"
            )
        return [picture, *(given[name] for name in wanted), *more]

    def called(self, call: Any, inputs: Sequence[Any]) -> list[Any]:
        """Call with the inputs in order, as in evaluation; return the outputs, flat."""
        import jax

        picture, *others = inputs
        named = dict(zip(self._further, others, strict=False))
        found = call(picture, *others[len(named) :], **named, **self._flags)
        return list(jax.tree.leaves(found))

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return one output as it is, several as a tuple."""
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class NnxProgram(_FlaxProgram):
    """An nnx module under a visit; layers are seen on a copy, by the class they have there."""

    def __init__(self, model: Any) -> None:
        import jax
        from flax import nnx

        super().__init__(model)
        self._jax, self._nnx, self._model = jax, nnx, model
        self._layers = {
            "/".join(map(str, path)): part for path, part in nnx.iter_modules(model) if path
        }

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers."""
        return [name for name, part in self._layers.items() if callable(part)]

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return what was read, then the outputs, flat."""
        definition = self._nnx.graphdef(self._model)
        copy = self._nnx.merge(definition, weights, copy=True)  # what it writes stays in it
        copy.eval()
        for path, part in list(self._nnx.iter_modules(copy)):
            name = "/".join(map(str, path))
            if path and callable(part) and (visit.names is None or name in visit.names):
                part.__class__ = _seen(type(part), name, visit)
        return visit.results(lambda: self.called(copy, inputs))

    def parameters(self) -> Any:
        """Return the state of the module, as it is now."""
        return self._nnx.state(self._model)

    def described(self, name: str) -> tuple[str, tuple[int, ...], int]:
        """Return a layer's kind, the shape of its kernel, its number of parameters."""
        layer = self._layers[name]
        kernel = getattr(layer, "kernel", None)
        values = self._jax.tree.leaves(self._nnx.state(layer, self._nnx.Param))
        shape = tuple(kernel.shape) if kernel is not None else ()
        return type(layer).__name__, shape, sum(each.size for each in values)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by its path."""
        yield from _leaves(self._jax, self.parameters())


class LinenProgram(_FlaxProgram):
    """A bound linen module under a visit, which intercepts its methods."""

    def __init__(self, bound: Any) -> None:
        import jax
        from flax import linen

        self._jax, self._linen = jax, linen
        self._module, self._variables = bound.unbind()
        super().__init__(self._module)
        self._kinds: dict[str, str] = {}

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers with parameters, and of those that hold such layers."""
        found: dict[str, None] = {}
        for path, _ in self._jax.tree_util.tree_flatten_with_path(self._variables["params"])[0]:
            keys = [str(each.key) for each in path[:-1]]
            for end in range(1, len(keys) + 1):
                found["/".join(keys[:end])] = None
        return list(found)

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return what was read, then the outputs, flat."""

        def seen(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            name = "/".join(context.module.path)
            asked = visit.names is None or name in visit.names
            if not asked or name not in known or context.method_name != "__call__":
                return call(*args, **kwargs)
            self._kinds[name] = type(context.module).__name__
            return visit.layer(name, lambda: call(*args, **kwargs))

        known = set(self.names)

        def run() -> list[Any]:
            with self._linen.intercept_methods(seen):
                return self.called(partial(self._module.apply, weights), inputs)

        return visit.results(run)

    def parameters(self) -> Any:
        """Return the variables that the module is bound to."""
        return self._variables

    def described(self, name: str) -> tuple[str, tuple[int, ...], int]:
        """Return a layer's kind, the shape of its kernel, its number of parameters."""
        own = self._variables["params"]
        for key in name.split("/"):
            own = own[key]
        kernel = own.get("kernel")
        shape = tuple(kernel.shape) if hasattr(kernel, "shape") else ()
        count = sum(each.size for each in self._jax.tree.leaves(own))
        return self._kinds.get(name, ""), shape, count

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by its path."""
        yield from _leaves(self._jax, self._variables)


def flax_module(module: Any) -> Adopted:
    """Return an nnx module, or a linen module bound to its variables, as a torch module.

    Raises ModelError for a linen module that is not bound.
    """
    from flax import linen

    name = type(module).__name__
    if isinstance(module, linen.Module):
        if module.scope is None:
            raise ModelError(
                f"{name} is a linen module without its variables: give module.bind(variables)"
            )
        program: Any = LinenProgram(module)
    else:
        program = NnxProgram(module)
    return Adopted(Foreign(JaxEngine(program)), name, offers=Offers(operations=False))


def _seen(kind: type, name: str, visit: Visit) -> type:
    """A class whose call goes through the visit."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return visit.layer(name, lambda: kind.__call__(self, *args, **kwargs))

    return type(kind.__name__, (kind,), {"__call__": call})


def _leaves(jax: Any, tree: Any) -> Iterator[tuple[str, Tensor]]:
    for path, value in jax.tree_util.tree_flatten_with_path(tree)[0]:
        if not jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            yield jax.tree_util.keystr(path), as_torch(value)
