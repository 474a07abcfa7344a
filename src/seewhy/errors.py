"""What can go wrong, and what to do about it: every message ends with the next step."""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class SeewhyError(Exception):
    """Anything that seewhy refuses; its message says what came, what was expected, what to do."""


class PictureError(SeewhyError, ValueError):
    """A picture that cannot be read, or that the model cannot take."""


class ModelError(SeewhyError):
    """A model that cannot be loaded, run or understood."""


class LayerError(SeewhyError, ValueError):
    """A layer that does not exist, was not reached, or has no place for a map."""


class NoSpaceError(LayerError):
    """A layer that exists, but has no places for a map with this input."""


class TargetError(SeewhyError, ValueError):
    """A target that the model's output does not have."""


class NoAnswerError(TargetError):
    """A target that exists, but not in this one picture: nothing detected, a score that is NaN."""


class MethodError(SeewhyError, ValueError):
    """A method that does not exist, has no such option, or does not apply to this model."""


class NoMemoryError(SeewhyError, MemoryError):
    """Memory that does not suffice for a single picture, or for one pass of the network."""


class SaveError(SeewhyError, ValueError):
    """A file that cannot be written or read back."""


class MissingDependencyError(SeewhyError, ImportError):
    """An optional dependency that is not installed; the message has the pip command for it."""

    def __init__(self, package: str, purpose: str, extra: str | None = None) -> None:
        wanted = f"'seewhy[{extra}]'" if extra else package
        super().__init__(f"{purpose} needs {package}, which is not installed: pip install {wanted}")


class CancelledError(SeewhyError):
    """The work was cancelled by its caller."""


@dataclass(frozen=True)
class Failure:
    """One of several, such as a picture or a method, that failed where the others did not."""

    source: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.source}: {self.error}"


class SeewhyWarning(UserWarning):
    """Something a reader of the answer has to know, named with what to do about it."""


def tell_of(failures: Sequence[Failure], *, left: bool, what: str = "could not be read") -> None:
    """Raise the last failure's error where no picture is left beside them, else warn of them.

    Raises PictureError where there was no picture at all.
    """
    if not left:
        raise failures[-1].error if failures else PictureError("there are no pictures: give some")
    if failures:
        warn(f"{len(failures)} of the pictures {what}: {failures[0]}")


def warn(message: str) -> None:
    """Give a SeewhyWarning at the line outside this package that led to it."""
    here, depth = str(Path(__file__).parent), 2  # 1 would be this function
    frame = sys._getframe(1)  # noqa: SLF001 - warnings itself finds lines this way
    while frame.f_back is not None and (
        frame.f_code.co_filename.startswith(here) or "contextlib" in frame.f_code.co_filename
    ):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, SeewhyWarning, stacklevel=depth)
