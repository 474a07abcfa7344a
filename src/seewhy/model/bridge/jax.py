"""JAX in torch: a network's runs as compiled functions, their gradients by its own pullbacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import dlpack

from seewhy.model.bridge.foreign import (
    Carried,
    Engine,
    Program,
    Pull,
    carried_through,
    dtype_name,
)
from seewhy.model.bridge.visit import Place, Visit, Wanted, patching

MOST_FILLED = 2  # times the rows: up to that a run takes rows more rather than be compiled again


class _Compiled(NamedTuple):
    """One run: forward; forward with its pullback; the pullback."""

    run: Any
    linearized: Any
    pull: Any


class JaxEngine(Engine):
    """Runs a program in JAX; its weights are arguments, so that new ones are seen."""

    framework = "JAX"

    def __init__(self, program: Program, **how: Any) -> None:
        super().__init__(program, **how)
        import jax

        self._jax = jax
        self._functions: dict[Wanted, _Compiled] = {}
        self._rows: dict[Any, list[int]] = {}

    def forget(self) -> None:
        """Forget what was compiled."""
        self._functions.clear()
        self._rows.clear()

    def carried(self, places: Sequence[Place], output: int) -> list[Carried]:
        """Tell of each place how much of what an output knows of the picture goes through it."""
        wanted = Wanted(tuple(places), logits=self.logits)
        specs = [self._jax.ShapeDtypeStruct(e.shape, dtype_name(e.dtype)) for e in self.inputs]

        def run(given: Any, weights: Any) -> Any:
            return self.program(Visit(wanted, ()), given, weights)

        with patching:
            graph = self._jax.make_jaxpr(run)(specs, self.program.parameters()).jaxpr
        made = {id(out): step for step in graph.eqns for out in step.outvars}
        begin, end = graph.invars[self.picture], graph.outvars[len(places) + output]
        return [
            carried_through(_reaches(at, begin, made), _reaches(end, begin, made, around=at))
            for at in graph.outvars[: len(places)]
        ]

    def trace(self, visit: Visit, inputs: Sequence[tuple[tuple[int, ...], str]]) -> None:
        """Run the visit on symbols of these shapes and dtypes: nothing is computed."""
        specs = [self._jax.ShapeDtypeStruct(*each) for each in inputs]

        def run(weights: Any, given: Any) -> Any:
            return self.program(visit, given, weights)

        self._jax.eval_shape(run, self.program.parameters(), specs)

    def run(
        self, wanted: Wanted, given: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[list[Tensor], Pull | None]:
        """Run on the inputs, then the values of places; needed: of which gradients are wanted."""
        rows = len(given[0])
        filled = self._filled(wanted, given, keep=any(needed))
        values = [self._to(_fill(each, rows, filled)) for each in given]
        function, weights = self._function(wanted), self.program.parameters()
        wrt = [value for value, is_needed in zip(values, needed, strict=True) if is_needed]
        rest = [
            None if is_needed else value for value, is_needed in zip(values, needed, strict=True)
        ]
        with patching:
            if not wrt:
                found = function.run(weights, wrt, rest)
                return [_back(each, rows, filled) for each in found], None
            found, pullback = function.linearized(weights, wrt, rest)
        shapes = [(each.shape, each.dtype) for each in found]

        def pull(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
            zeros = self._jax.numpy.zeros
            back = [
                zeros(shape, dtype)
                if each is None
                else self._to(_fill(each, rows, filled, zero=True))
                for each, (shape, dtype) in zip(gradients, shapes, strict=True)
            ]
            pulled = iter(function.pull(pullback, back))
            return [_back(next(pulled), rows, filled) if each else None for each in needed]

        return [_back(each, rows, filled) for each in found], pull

    def _function(self, wanted: Wanted) -> _Compiled:
        """The run as compiled functions; what does not lead to what is wanted is left out."""
        if wanted not in self._functions:
            jax, count = self._jax, len(wanted.sets)

            def run(weights: Any, wrt: Sequence[Any], rest: Sequence[Any]) -> list[Any]:
                fill = iter(wrt)
                given = [next(fill) if each is None else each for each in rest]
                split = len(given) - count
                return list(self.program(Visit(wanted, given[split:]), given[:split], weights))

            def linearized(weights: Any, wrt: Sequence[Any], rest: Sequence[Any]) -> Any:
                return jax.vjp(lambda some: run(weights, some, rest), wrt)

            self._functions[wanted] = _Compiled(
                jax.jit(run), jax.jit(linearized), jax.jit(lambda pullback, back: pullback(back)[0])
            )
        return self._functions[wanted]

    def _filled(self, wanted: Wanted, given: Sequence[Tensor], *, keep: bool) -> int:
        """How many rows to run: those of a run that is compiled already, if they are not many."""
        rows = len(given[0])
        key = (wanted, keep, *(each.shape[1:] for each in given))
        known = self._rows.setdefault(key, [])
        fit = min((each for each in known if rows <= each <= MOST_FILLED * rows), default=None)
        if fit is None:
            known.append(rows)
        return fit or rows

    def _to(self, tensor: Tensor) -> Any:
        return self._jax.dlpack.from_dlpack(tensor.detach().contiguous())


def _fill(tensor: Tensor, rows: int, filled: int, *, zero: bool = False) -> Tensor:
    """Add rows at the end that repeat the last one, or are zero."""
    if rows == filled or not tensor.ndim or len(tensor) != rows:
        return tensor
    more = tensor[-1:].expand(filled - rows, *tensor.shape[1:])
    return torch.cat([tensor, torch.zeros_like(more) if zero else more])


def _reaches(end: Any, begin: Any, made: dict[int, Any], around: Any = None) -> bool:
    """Whether a walk back from the end comes to the beginning, by a way around one value."""
    seen, pending = {id(around)}, [end]
    while pending:
        value = pending.pop()
        if value is begin:
            return True
        if id(value) not in seen:
            seen.add(id(value))
            step = made.get(id(value))
            pending.extend(step.invars if step is not None else ())
    return False


def as_torch(array: Any) -> Tensor:
    """Return an array of JAX in torch, in the same memory."""
    found: Tensor = dlpack.from_dlpack(array)
    return found


def _back(array: Any, rows: int, filled: int) -> Tensor:
    found = as_torch(array)
    return found[:rows] if found.ndim and len(found) == filled else found
