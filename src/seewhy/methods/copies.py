"""Copies: work on several changed copies of every picture, as many at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from seewhy.methods.base import Attribution
from seewhy.model.tape.ask import Change
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.trees import moved
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

T = TypeVar("T")


def in_copies(
    model: Model,
    prepared: Prepared,
    run: Run,
    count: int,
    changed: Change,
    work: Callable[[Prepared, Tensor, Tensor], T],
    what: str = "samples",
) -> Iterator[tuple[Tensor, T]]:
    """Yield (rows, work(copies, rows, changes)), `count` changed copies of all pictures in parts.

    rows: which picture each copy is of; changes: which change it has undergone. The first copy of
    every picture comes first. As many go at once as have room for a forward with a backward.
    """
    each = len(prepared)
    at_once = max(1, model.rows_at_once(prepared, run) // each)

    def part(start: int, stop: int) -> tuple[Tensor, T]:
        rows = torch.arange(each).repeat(stop - start)
        changes = torch.arange(start, stop).repeat_interleave(each)
        return rows, work(prepared.changed(changed(rows, changes), rows), rows, changes)

    for _, done, found in in_parts(count, at_once, part):
        yield found
        run.report(done, count, what)


def one_by_one(found: Attribution, each: int) -> Iterator[Attribution]:
    """Yield the attributions of copies of `each` pictures, the copies one after another."""
    maps = found.relevance.split(each)
    checks = {name: values.split(each) for name, values in found.checks.items()}
    for number, relevance in enumerate(maps):
        own = {name: values[number] for name, values in checks.items()}
        yield Attribution(relevance, own, found.layers)


def noisy(prepared: Prepared, share: float, run: Run, stream: int = 0) -> Change:
    """Return what adds normal noise to pictures; change i is sample i.

    share: its standard deviation, of the picture's range (max - min) as the model sees it. The
    noise follows from the seed and the picture alone: sample i is its i-th draw. Samples are asked
    for in their order, each as often as need be.
    """
    inputs = prepared.tensor
    flat = inputs.flatten(1)
    spread = share * (flat.amax(1) - flat.amin(1))
    spread = spread.reshape(-1, *(1,) * (inputs.ndim - 1))
    states = [[generator(run.seed, key, stream).get_state()] for key in prepared.keys]

    def normal(row: int, sample: int) -> Tensor:
        draw = torch.Generator().set_state(states[row][sample])
        found = torch.randn(inputs.shape[1:], generator=draw, dtype=torch.float32)
        if sample + 1 == len(states[row]):
            states[row].append(draw.get_state())
        return found

    def changed(rows: Tensor, changes: Tensor) -> Tensor:
        pairs = zip(rows.tolist(), changes.tolist(), strict=True)
        normals = torch.stack([normal(*pair) for pair in pairs])
        noise: Tensor = moved(normals, inputs.device, inputs.dtype)
        own = rows.to(inputs.device)
        return inputs[own] + spread[own] * noise

    return changed
