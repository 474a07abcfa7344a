"""TensorBoard: pictures and numbers by epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seewhy.errors import MethodError, MissingDependencyError
from seewhy.integrations.fixed import safe

ROOM = "explanations"
"""What all tags begin with."""


class Board:
    """A SummaryWriter: the caller's, or one for a folder, opened when something is written.

    Raises MissingDependencyError where a folder is given and tensorboard is not installed,
    MethodError for what is neither.
    """

    def __init__(self, target: Any) -> None:
        self._writer: Any = None
        self._folder: Path | None = None
        if isinstance(target, str | os.PathLike):
            if find_spec("tensorboard") is None:
                raise MissingDependencyError("tensorboard", "writing event files", "tensorboard")
            self._folder = Path(target).expanduser()
        elif hasattr(target, "add_image") and hasattr(target, "add_scalar"):
            self._writer = target
        else:
            raise MethodError(
                f"tensorboard is {target!r}: give a folder for event files, or a SummaryWriter"
            )

    @property
    def writer(self) -> Any:
        """The SummaryWriter."""
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer

    def image(self, name: str, picture: Image.Image, step: int) -> None:
        """Write a picture."""
        pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(f"{ROOM}/{safe(name)}", pixels, step, dataformats="HWC")

    def numbers(self, what: Sequence[str], values: Iterable[tuple[str, float]], step: int) -> None:
        """Write numbers by name, in groups within groups; those that are NaN are left out."""
        for name, value in values:
            if not math.isnan(value):
                tag = "/".join((ROOM, *map(safe, what), safe(name)))
                self.writer.add_scalar(tag, value, step)

    def flush(self) -> None:
        """Bring to disk what was written."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close a writer that is our own; it opens again when more is written."""
        if self._writer is not None and self._folder is not None:
            self._writer.close()
            self._writer = None
