"""Visit: one run of a foreign network, during which layers are read, replaced or written down."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple


class Place(NamedTuple):
    """One call of one layer: its name and the number of the call."""

    name: str
    call: int = 0


class Wanted(NamedTuple):
    """What a run is for: places to read, places whose values are given, whether it goes to the end.

    logits: leave out the softmax in which the network ends.
    """

    gets: tuple[Place, ...] = ()
    sets: tuple[Place, ...] = ()
    outputs: bool = True
    logits: bool = False


@dataclass(frozen=True)
class Note:
    """What was seen of a place: its output's shape for one picture, and what the layer is.

    moves: whether it only pools, pads or reshapes; inner: whether it is a part of a ready-made
    layer, such as a projection within an attention; timed: whether an axis of it is time.
    """

    place: Place
    shape: tuple[int, ...]
    kind: str = ""
    kernel: tuple[int, ...] = ()
    channels: tuple[int, int] | None = None
    parameters: int = 0
    moves: bool = False
    inner: bool = False
    timed: bool = False


class Stopped(BaseException):
    """Ends a run early; frameworks wrap what is derived from Exception."""


class Visit:
    """Sees every layer of one run: `layer(name, compute)` stands in place of the layer's call."""

    def __init__(self, wanted: Wanted, given: Sequence[Any] = (), *, noting: bool = False) -> None:
        self.wanted, self.noting = wanted, noting
        self.found: dict[Place, Any] = {}
        self.noted: list[tuple[Place, Any]] = []
        self._given = dict(zip(wanted.sets, given, strict=True))
        self._numbers: dict[str, int] = {}

    @property
    def names(self) -> set[str] | None:
        """The layers to look at; None for all."""
        if self.noting:
            return None
        return {place.name for place in (*self.wanted.gets, *self.wanted.sets)}

    def layer(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return what the layer gives in this run: what is given for it, or what it computes."""
        number = self._numbers[name] = self._numbers.get(name, -1) + 1
        place = Place(name, number)
        value = self._given[place] if place in self._given else compute()
        if self.noting:
            self.noted.append((place, value))
        if place in self.wanted.gets:
            self.found[place] = value
            if not self.wanted.outputs and len(self.found) == len(self.wanted.gets):
                raise Stopped
        return value

    def results(self, run: Callable[[], Sequence[Any]]) -> list[Any]:
        """Run to the end, or as far as is wanted; return what was read, then the outputs."""
        try:
            outputs = run()
        except Stopped:
            outputs = ()
        missing = [place for place in self.wanted.gets if place not in self.found]
        if missing:
            raise LookupError(f"layer {missing[0].name!r} was not reached")
        found = [self.found[place] for place in self.wanted.gets]
        return [*found, *outputs] if self.wanted.outputs else found


patching = threading.RLock()
"""Held while layers of a foreign network have another `call`: it is the same for all threads."""

_ABSENT = object()


@contextmanager
def patched(changes: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Give objects (object, attribute, function) another function, for this thread alone."""
    me = threading.get_ident()

    def mine(other: Any, usual: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            chosen = other if threading.get_ident() == me else usual
            return chosen(*args, **kwargs)

        return call

    before: list[tuple[Any, str, Any]] = []
    with patching:
        try:
            for owner, name, value in changes:
                before.append((owner, name, vars(owner).get(name, _ABSENT)))
                object.__setattr__(owner, name, mine(value, getattr(owner, name)))
            yield
        finally:
            for owner, name, value in reversed(before):
                if value is _ABSENT:
                    object.__delattr__(owner, name)
                else:
                    object.__setattr__(owner, name, value)
