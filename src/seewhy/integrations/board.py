"""TensorBoard: pictures and numbers by epoch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seewhy.errors import MethodError, MissingDependencyError

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

    def __getstate__(self) -> dict[str, Any]:
        """Return it without a writer of its own, which is open and opens again."""
        return self.__dict__ | ({} if self._folder is None else {"_writer": None})

    def image(self, tag: str, picture: Image.Image, step: int) -> None:
        """Write a picture."""
        pixels = np.asarray(picture.convert("RGB"))
        self.writer.add_image(f"{ROOM}/{tag}", pixels, step, dataformats="HWC")

    def numbers(self, group: str, values: Iterable[tuple[str, float]], step: int) -> None:
        """Write numbers by tag; those that are NaN are left out."""
        for tag, value in values:
            if not math.isnan(value):
                self.writer.add_scalar(f"{ROOM}/{group}/{tag}", value, step)

    def flush(self) -> None:
        """Bring to disk what was written."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Close a writer that is our own; it opens again when more is written."""
        if self._writer is not None and self._folder is not None:
            self._writer.close()
            self._writer = None
