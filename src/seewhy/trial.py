"""Trial: what became of the score when what a map points at was removed, and as much elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

GAPS = {"blur": "blurred", "noisy-linear": "filled in from its surroundings"}
"""What is done to a place, by fill."""

Verdict = Literal["more", "not more", "unclear"]

SAID = {
    "more": "What it points at counts more than other places",
    "not more": "What it points at counts less than other places",
    "unclear": "It is unclear whether what it points at counts more than other places",
    "depends": "Whether what it points at counts more depends on what fills the gap",
}
"""What follows, by verdict."""


@dataclass(frozen=True)
class Trial:
    """One map, tried by removal from its picture.

    fill: what stood where something was removed. share: of the picture that was removed, 0..1.
    measured: the name of the score. whole: the score of the picture as it is; pointed: without
    what the map points at; elsewhere: with as much removed in other places, the mean of several
    draws. low, high: the least and the most by which it falls further than in another place.
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
        """Whether it falls further than in every other place; "unclear" where 0 is between."""
        if self.low > 0:
            return "more"
        return "not more" if self.high < 0 else "unclear"


def in_words(trials: Sequence[Trial]) -> list[str]:
    """Say what follows from the trials of a map, and then what each found; nothing of none.

    >>> found = Trial("blur", 0.1, "probability of cat", 0.98, 0.03, 0.95, 0.9, 0.94)
    >>> for sentence in in_words([found]):  # doctest: +ELLIPSIS
    ...     print(sentence)
    What it points at counts more than other places: 10% of the picture was removed there, ...
    With that part blurred, the probability of cat goes from 98% to 3%; with an equal part ...
    """
    if not trials:
        return []
    removed = f"{_share(trials[0].share)} of the picture was removed there, and as much elsewhere"
    return [f"{SAID[verdict_of(trials)]}: {removed}", *(_found(each) for each in trials)]


def verdict_of(trials: Sequence[Trial]) -> Verdict | Literal["depends"]:
    """Return what all trials of a map say together; "depends" where it is the fill that decides."""
    verdicts = {each.verdict for each in trials}
    if len(verdicts) == 1:
        return verdicts.pop()
    return "depends" if "more" in verdicts else "unclear"


def _found(trial: Trial) -> str:
    gap = GAPS.get(trial.fill, f"replaced ({trial.fill})")
    percent = trial.measured.startswith("probability of")

    def said(value: float) -> str:
        return f"{100 * value:.3g}%" if percent else f"{value:.3g}"

    low, high = (
        f"{100 * each:.2g}" if percent else f"{each:.2g}" for each in (trial.low, trial.high)
    )
    return (
        f"With that part {gap}, the {trial.measured} goes from {said(trial.whole)} to "
        f"{said(trial.pointed)}; with an equal part elsewhere {gap}, to {said(trial.elsewhere)} on "
        f"average. Against each other place that is {low} to {high}"
        f"{' points' if percent else ''} lower"
    )


def _share(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "less than 1%"
