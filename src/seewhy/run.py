"""Run: how a piece of work is done, as opposed to what it computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral

import torch

from seewhy.errors import CancelledError, MethodError

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what), for example (25, 50, "steps")."""

PRECISIONS = {
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "float64": torch.float64,
}


@dataclass(frozen=True)
class Run:
    """Where and how a computation runs; an argument of every method, never one of its settings.

    device: a torch device such as "cuda:0"; None is wherever the model is.
    precision: "float16", "bfloat16", "float32" or "float64"; None is the model's own.
    memory: bytes that the working set may take beside model and pictures; None is 512 MiB on a
        CPU, where larger batches are no faster (for networks of other frameworks, 4 GiB), and half
        of what is free on a GPU.
    seed: makes everything random repeatable, picture by picture.
    progress: called with (done, total, what). cancel: asked between steps; True stops the work.
    compile: run changed pictures, of which only the scores are wanted, through torch.compile; a
        string names another backend than torch's own. The first run takes the time to compile.

    Raises MethodError where a setting is not one of these.
    """

    device: str | None = None
    precision: str | None = None
    memory: int | None = None
    seed: int = 0
    progress: Progress | None = None
    cancel: Callable[[], bool] | None = None
    compile: bool | str = False

    def __post_init__(self) -> None:
        if self.precision is not None and self.precision not in PRECISIONS:
            known = ", ".join(PRECISIONS)
            raise MethodError(f"precision {self.precision!r} is not known: use one of {known}")
        if self.memory is not None and not (is_number(self.memory) and self.memory > 0):
            raise MethodError(f"memory is {self.memory!r}: give bytes, a positive number, or None")
        if not is_number(self.seed):
            raise MethodError(f"seed is {self.seed!r}: give a whole number")
        if self.device is not None:
            check_device(self.device)
        if not isinstance(self.compile, bool):
            check_backend(self.compile)

    @property
    def dtype(self) -> torch.dtype | None:
        """The torch dtype of `precision`, None for the model's own."""
        return None if self.precision is None else PRECISIONS[self.precision]

    def rows_at_once(self, bytes_per_row: int, device: torch.device, fixed: int = 0) -> int:
        """How many rows fit into the memory at once beside a fixed cost; at least one."""
        budget = self.memory
        if budget is None:
            budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else 1 << 29
        return max(1, (budget - fixed) // max(1, bytes_per_row))

    def report(self, done: int, total: int, what: str) -> None:
        """Say how far the work is, and stop it where the caller asked for that.

        Raises CancelledError when `cancel` answers True.
        """
        if self.cancel is not None and self.cancel():
            raise CancelledError(f"cancelled after {done} of {total} {what}")
        if self.progress is not None:
            self.progress(done, total, what)


def is_number(value: object) -> bool:
    """Tell whether a value is a whole number, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_device(device: str) -> torch.device:
    """Return the torch device of that name; MethodError where this machine does not have it."""
    try:
        found = torch.empty(0, device=device).device  # with its number, "cuda" being "cuda:0"
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise MethodError(f"device {device!r} cannot be used here ({reason}): try 'cpu'") from error
    return found


def check_backend(name: str) -> None:
    """Raise MethodError where torch.compile has no such backend."""
    known = torch.compiler.list_backends(exclude_tags=())
    if name not in known:
        raise MethodError(
            f"compile is {name!r}: give True, False, or a backend of torch.compile: "
            + ", ".join(known)
        )


def generator(seed: int, key: int, stream: int = 0) -> torch.Generator:
    """Return a CPU random generator for one picture.

    seed: the run's; key: the picture's own number (from its content, so that a picture meets the
    same numbers in any batch and at any place); stream: tells several uses of one picture apart.
    """
    mixed = seed * 0x9E3779B97F4A7C15 + key * 0xC2B2AE3D27D4EB4F + stream * 0x165667B19E3779F9
    return torch.Generator().manual_seed(mixed % (1 << 63))
