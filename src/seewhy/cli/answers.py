"""Explanations on stdout: in words, or as one JSON document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seewhy.cli.screen import Screen
from seewhy.cli.work import as_data, as_json, failure_data
from seewhy.errors import Failure
from seewhy.explanation import Explanation
from seewhy.report import check_in_words
from seewhy.trial import in_words


class Answers:
    """Prints explanations for people as they come."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._before: tuple[Any, ...] | None = None

    def add(self, why: Explanation, files: list[Path]) -> None:
        """Print what was predicted and explained, the checks, and where the files are."""
        screen, picture = self._screen, (why.source, why.prediction)
        if picture != self._before:  # with several targets, once for all of them
            screen.line(why.source, "bold")
            _print_prediction(screen, why)
        self._before = picture
        where = f" at {', '.join(why.layers)}" if why.layers else ""
        screen.line(f"  explained: {why.target} (score {why.score:.4g}) by {why.method}{where}")
        for name, value in why.checks.items():
            screen.line(f"  check: {check_in_words(name, value)}")
        for sentence in in_words(why.trials):
            screen.paragraph(f"check: {sentence}", indent=2)
        for file in files:
            screen.line(f"  saved: {file}")

    def add_page(self, file: Path) -> None:
        """Say where the page of all of them is."""
        self._screen.line(f"saved: {file}")

    def close(self, failures: list[Failure], problem: str = "") -> None:
        """Print nothing more: what failed is told on stderr."""


class Document(Answers):
    """Writes explanations as one JSON document, each as it comes: none is kept."""

    _begun = False
    _page: Path | None = None

    def add(self, why: Explanation, files: list[Path]) -> None:
        """Write one object, in one piece: an interrupt must not leave a comma without one."""
        text = as_json(as_data(why, files), indent=None)
        start = "," if self._begun else '{"explanations": ['
        self._begun = True
        self._screen.raw(f"{start}\n{text}")

    def add_page(self, file: Path) -> None:
        """Note where the page is."""
        self._page = file

    def close(self, failures: list[Failure], problem: str = "") -> None:
        """End the document with what failed; problem: what ended the work before its time.

        Where a problem came before the first explanation, nothing is written.
        """
        if problem and not self._begun:
            return
        rest: dict[str, Any] = {"failures": [failure_data(each) for each in failures]}
        rest |= {"report": str(self._page)} if self._page else {}
        rest |= {"error": problem} if problem else {}
        start = "\n], " if self._begun else '{"explanations": [], '
        self._screen.raw(start + as_json(rest, indent=None)[1:] + "\n")


def _print_prediction(screen: Screen, why: Explanation) -> None:
    rows = [
        {
            "predicted": each.label,
            "id": str(each.number),
            "probability": f"{each.probability:.1%}",
        }
        for each in why.prediction
    ]
    if rows:
        screen.table(tuple(rows[0]), rows, right=("id", "probability"), indent=2)
