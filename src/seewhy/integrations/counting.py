"""The number of an epoch where one callback sees several fits."""

from __future__ import annotations


class Count:
    """Epochs of all fits together: each fit counts its own from 1, and explanations go on.

    done: the last number that was given, 0 before the first.
    """

    def __init__(self) -> None:
        self.done = 0
        self._before = 0

    def begin(self, own: float) -> None:
        """Begin a fit after so many epochs of its own, 0 unless it resumes another.

        One that begins with 0 goes on after the last number; one that resumes has numbers of its
        own, unless it resumes just where the last fit ended.
        """
        if not own:
            self._before = self.done
        elif own + self._before != self.done:
            self._before = 0

    def step(self, own: int) -> int:
        """Return the number of a fit's epoch, that fit's own counted from 1."""
        self.done = self._before + own
        return self.done
