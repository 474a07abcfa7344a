"""What fails in a training that goes on: told once, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from seewhy.errors import SeewhyWarning, warn


class Failures:
    """What failed, by (epoch, what): a method, "folder", "tensorboard".

    reasons: the error, its kind before its message; the first where there are several.
    """

    def __init__(self) -> None:
        self.reasons: dict[tuple[int, str], str] = {}
        self._told: set[str] = set()

    @contextmanager
    def spared(self, what: str, step: int) -> Iterator[None]:
        """Keep and tell what goes wrong inside: no error may end a training."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - networks and writers raise anything
            self.note(what, step, error)
            self._tell(what, step)

    def note(self, what: str, step: int, error: Exception) -> None:
        """Keep a reason without a word."""
        self.reasons.setdefault((step, what), f"{type(error).__name__}: {error}")

    def go_back(self, step: int) -> None:
        """Drop what failed at an epoch and later: that run is abandoned."""
        self.reasons = {key: reason for key, reason in self.reasons.items() if key[0] < step}

    def _tell(self, what: str, step: int) -> None:
        """Warn of what failed, the first time that this does."""
        if what in self._told:
            return
        self._told.add(what)
        with suppress(SeewhyWarning):  # raised where warnings are errors
            warn(
                f"{what} failed at epoch {step} ({self.reasons[step, what]}): training goes on; "
                "should it fail again, read that in .failures"
            )
