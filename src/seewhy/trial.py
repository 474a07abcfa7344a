"""Trial: what became of the score when what a map points at was removed, and as much elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAPS = {"blur": "Blurred", "noisy-linear": "Filled in from around"}
"""What is done to a place, by fill."""

Verdict = Literal["more", "not more", "unclear"]


@dataclass(frozen=True)
class Trial:
    """One map, tried by removal from its picture.

    fill: what stood where something was removed. share: of the picture that was removed, 0..1.
    measured: the name of the score. whole: the score of the picture as it is; pointed: without
    what the map points at; elsewhere: with as much removed in other places, the mean of several
    draws. low, high: between these lies what the score falls more than in nine of ten draws.
    """

    fill: str
    share: float
    measured: str
    whole: float
    pointed: float
    elsewhere: float
    low: float
    high: float

    @property
    def gain(self) -> float:
        """By how much more the score falls than when as much is removed elsewhere."""
        return self.elsewhere - self.pointed

    @property
    def verdict(self) -> Verdict:
        """Whether it falls more than in nearly all other places; "unclear" where 0 is between."""
        if self.low > 0:
            return "more"
        return "not more" if self.high < 0 else "unclear"


def in_words(trials: Sequence[Trial]) -> list[str]:
    """Say what follows from the trials of a map, and then what each found; nothing of none.

    >>> found = Trial("blur", 0.1, "probability of cat", 0.98, 0.03, 0.95, 0.9, 0.94)
    >>> for sentence in in_words([found]):  # doctest: +ELLIPSIS
    ...     print(sentence)
    It points at what counts: 10% of the picture was removed there, and as much elsewhere
    Blurred there, the probability of cat goes from 0.98 to 0.03, elsewhere to 0.95; in 9 of 10...
    """
    if not trials:
        return []
    removed = f"{_share(trials[0].share)} of the picture was removed there, and as much elsewhere"
    verdicts = {each.verdict for each in trials}
    if verdicts == {"more"}:
        said = f"It points at what counts: {removed}"
    elif "more" in verdicts:
        said = f"Whether it points at what counts depends on what fills the gap: {removed}"
    else:
        said = f"It does not point at what counts: {removed}"
    return [said, *(_found(each) for each in trials)]


def _found(trial: Trial) -> str:
    gap = GAPS.get(trial.fill, f"Replaced ({trial.fill})")
    return (
        f"{gap} there, the {trial.measured} goes from {trial.whole:.3g} to {trial.pointed:.3g}, "
        f"elsewhere to {trial.elsewhere:.3g}; in 9 of 10 places the difference is {trial.low:.3g} "
        f"to {trial.high:.3g}"
    )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"
