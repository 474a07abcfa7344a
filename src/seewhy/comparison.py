"""Comparison: one picture, several methods, one panel and one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seewhy.draw import markdown, write_whole
from seewhy.errors import Failure
from seewhy.explanation import Explanation, Explanations
from seewhy.trial import verdict_of


class Comparison(Explanations):
    """Explanations of one picture; `rows`, `markdown` and `csv` are its table."""

    columns = ("method", "layer", "target", "score", "seconds", "passes", "checks")

    def __init__(self, found: Sequence[Explanation], failures: Sequence[Failure] = ()) -> None:
        super().__init__(found, failures)

    def rows(self) -> list[dict[str, str]]:
        """Return one row a method: what it explained, at which layer, what it cost, its checks."""
        rows = [
            {
                "method": each.method,
                "layer": ", ".join(each.layers),
                "target": each.target,
                "score": f"{each.score:.4g}",
                "seconds": f"{each.seconds:.3f}",
                "passes": str(each.passes),
                "checks": ", ".join(
                    [f"{name} {value:.2g}" for name, value in each.checks.items()]
                    + [f"counts {verdict_of(each.trials)}" for _ in each.trials[:1]]
                ),
            }
            for each in self
        ]
        empty = dict.fromkeys(self.columns, "")
        return rows + [
            {**empty, "method": each.source, "checks": f"does not apply: {_line(each.error)}"}
            for each in self.failures
        ]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return markdown(self.columns, self.rows())

    def csv(self) -> str:
        """Return the table as CSV with a header."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        return stream.getvalue()

    def save(self, path: str | Path, **options: Any) -> list[Path]:
        """Write the panel (as a picture), table (.md, .csv), page (.html), or all into a folder."""
        path = Path(path).expanduser()
        text = {".md": self.markdown, ".csv": self.csv}.get(path.suffix.lower())
        if path.suffix.lower() == ".html":
            from seewhy.draw.report import save_page
            from seewhy.report import of_comparison

            return [save_page(of_comparison(self), path)]
        if text is not None:
            return [write_whole(path, text().encode())]
        written = super().save(path, **options)
        if not path.suffix:
            written += super().save(path / "comparison.png", **options)
            written += self.save(path / "comparison.md") + self.save(path / "comparison.csv")
        return written

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return self.markdown()


def _line(error: Exception) -> str:
    """An error as one line: a row of a table has no more."""
    return " ".join(str(error).split())
