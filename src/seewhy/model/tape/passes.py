"""Counts passes through a network where they happen: no method can misstate its cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace


@dataclass
class Passes:
    """Rows sent through a network: forwards and backwards (whole or from a layer on), replays."""

    forwards: int = 0
    backwards: int = 0
    replays: int = 0

    def __str__(self) -> str:
        parts = [(self.forwards, "forward"), (self.backwards, "backward"), (self.replays, "replay")]
        shown = [f"{n} {word}{'s' if n != 1 else ''}" for n, word in parts if n]
        return ", ".join(shown) or "none"


_counter: ContextVar[Passes | None] = ContextVar("seewhy_passes", default=None)


@contextmanager
def counted() -> Iterator[Passes]:
    """Count what is spent inside the block; blocks nest, and the outer one counts the inner too."""
    outer, inner = _counter.get(), Passes()
    token = _counter.set(inner)
    try:
        yield inner
    finally:
        _counter.reset(token)
        if outer is not None:
            outer.forwards += inner.forwards
            outer.backwards += inner.backwards
            outer.replays += inner.replays


@contextmanager
def uncounted() -> Iterator[None]:
    """Count nothing inside the block: getting to know a network is no cost of a method."""
    token = _counter.set(None)
    try:
        yield
    finally:
        _counter.reset(token)


@contextmanager
def unless_failed() -> Iterator[None]:
    """Count what is spent inside only where the block succeeds: what failed has run no row."""
    counter = _counter.get()
    before = None if counter is None else replace(counter)
    try:
        yield
    except BaseException:
        if counter is not None and before is not None:
            vars(counter).update(vars(before))
        raise


def spend(*, forwards: int = 0, backwards: int = 0, replays: int = 0) -> None:
    """Add rows to the innermost counter, if there is one."""
    counter = _counter.get()
    if counter is not None:
        counter.forwards += forwards
        counter.backwards += backwards
        counter.replays += replays
