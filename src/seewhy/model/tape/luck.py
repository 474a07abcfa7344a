"""Luck: what a network draws at random while it runs in evaluation mode, if it does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from seewhy.errors import warn

_state = threading.RLock()


class Luck:
    """Whether a network draws random numbers: found out in its first forward.

    A network that does is seeded in every forward, and the caller's generator put back. The random
    state belongs to the whole process, so that of all other networks is not touched at all, and
    threads take turns: one would put back what another has seeded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.draws: bool | None = None

    @contextmanager
    def seeded(self, seed: int, device: torch.device) -> Iterator[None]:
        """Run one forward inside; the first one tells whether the network draws."""
        if self.draws is False:
            yield
            return
        watch = _Watch(device) if self.draws is None else nullcontext()
        devices = [device] if device.type == "cuda" else []
        with _state, torch.random.fork_rng(devices=devices), watch:
            torch.manual_seed(seed)
            yield
        if isinstance(watch, _Watch):
            self.draws = watch.drew
            if watch.drew:
                warn(
                    f"{self.name} draws random numbers when it runs in evaluation mode: its maps "
                    "are repeatable with one seed, but they depend on the batch"
                )


class _Watch(TorchDispatchMode):
    """Notes whether an operation draws random numbers.

    Attention says that it may (for dropout) and does not, so the state has to have moved as well.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drew = False
        cuda = device.type == "cuda"
        self._state = torch.cuda.get_rng_state if cuda else torch.get_rng_state

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded not in getattr(function, "tags", ()):
            return function(*args, **(kwargs or {}))
        before = self._state()
        found = function(*args, **(kwargs or {}))
        self.drew |= not torch.equal(before, self._state())
        return found
