"""Evaluation: a table of methods and metrics, with means and how sure they are."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from seewhy.draw import markdown, write_whole
from seewhy.draw.report import Page, Table, save_page
from seewhy.errors import Failure, MethodError, SaveError
from seewhy.explanation import Explanation
from seewhy.report import of_methods
from seewhy.trust.statistics import Interval, bootstrap, bootstrap_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ENDINGS = (".md", ".csv", ".json", ".html")
CONTROL = " (control)"
ARROWS = {"higher": "↑", "lower": "↓"}
INTRODUCTION = (
    "Each method explained the same pictures, and each map was judged by the metrics below. The "
    "controls know nothing of the model: a method that cannot be told from them has not shown that "
    "it knows anything of it."
)


@dataclass(frozen=True)
class Cost:
    """What one picture cost: passes through the network (means) and milliseconds (the median)."""

    forwards: float
    backwards: float
    replays: float
    milliseconds: float

    def __str__(self) -> str:
        parts = (
            (self.forwards, "forward"),
            (self.backwards, "backward"),
            (self.replays, "replay"),
        )
        said = [
            f"{number:g} {word}{'s' if number != 1 else ''}" for number, word in parts if number
        ]
        return ", ".join(said) or "none"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How methods did on pictures, beside controls that know nothing of the model.

    values: by method and metric a number for each picture, float64 (N,), NaN where there is none.
    better: by metric, which way is better; words: what it measures. costs: by method. names: of the
    pictures, in the order of the values. controls: the methods that are none.
    failures: methods that do not apply. left_out: pictures that could not be read, or for which a
    method had no answer. examples: by method its explanations of the first pictures, None where
    there is none, and truths, their masks. level: of the intervals, which come from so many draws
    of the bootstrap.
    """

    values: Mapping[str, Mapping[str, Tensor]]
    better: Mapping[str, Literal["higher", "lower"]]
    costs: Mapping[str, Cost]
    words: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    left_out: tuple[Failure, ...] = ()
    examples: Mapping[str, Sequence[Explanation | None]] = field(default_factory=dict, repr=False)
    truths: tuple[NDArray[np.bool_], ...] = field(default=(), repr=False)
    model: str = "model"
    level: float = 0.9
    draws: int = 1000
    seed: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in the order of the table, controls last."""
        return tuple(self.values)

    @property
    def pictures(self) -> int:
        """How many pictures were measured."""
        return max(len(each) for found in self.values.values() for each in found.values())

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics in the order of the table."""
        return tuple(self.better)

    def interval(self, method: str, metric: str) -> Interval:
        """Return the mean of a metric over the pictures, and its interval."""
        return bootstrap(self._of(method, metric), self.draws, self.level, self.seed)

    def difference(self, method: str, other: str, metric: str) -> Interval:
        """Return the mean of method - other, picture by picture, and its interval."""
        one, two = self._of(method, metric), self._of(other, metric)
        return bootstrap_difference(one, two, self.draws, self.level, self.seed)

    def beats_controls(self, method: str, metric: str) -> bool:
        """Tell whether the interval of the difference to every control lies on the better side.

        Without controls, and without intervals, nothing is told: False.
        """
        if not self.controls:
            return False
        sign = 1 if self.better[metric] == "higher" else -1
        for control in self.controls:
            found = self.difference(method, control, metric)
            worst = min(sign * found.low, sign * found.high)
            if not worst > 0:  # NaN says nothing either
                return False
        return True

    def rows(self, *, brief: bool = False) -> list[dict[str, str]]:
        """Return one row a method, in words: mean and interval of each metric, what it cost.

        brief: half the width of the interval after a ±.
        """
        rows = []
        for name in self.values:
            row = {"method": f"{name}{CONTROL}" if name in self.controls else name}
            row |= {metric: _said(self.interval(name, metric), brief) for metric in self.metrics}
            cost = self.costs[name]
            rows.append(row | {"passes": str(cost), "ms": short(cost.milliseconds)})
        empty = dict.fromkeys(self.columns, "")
        return rows + [
            {**empty, "method": name, "passes": "does not apply: " + " ".join(str(error).split())}
            for name, error in ((each.source, each.error) for each in self.failures)
        ]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `rows`."""
        return ("method", *self.metrics, "passes", "ms")

    def markdown(self) -> str:
        """Return the table as Markdown; an arrow says which way is better."""
        rows = [dict(zip(self._headed(row), row.values(), strict=True)) for row in self.rows()]
        return markdown(tuple(self._headed(self.columns)), rows)

    def csv(self) -> str:
        """Return the table as CSV: of each metric mean, ends of the interval, pictures counted."""
        columns = ["method", "control"]
        for metric in self.metrics:
            columns += [metric, f"{metric} low", f"{metric} high", f"{metric} pictures"]
        columns += ["forwards", "backwards", "replays", "milliseconds"]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        for name in self.values:
            row: dict[str, Any] = {"method": name, "control": name in self.controls}
            for metric in self.metrics:
                found = self.interval(name, metric)
                row |= {metric: found.mean, f"{metric} low": found.low}
                row |= {
                    f"{metric} high": found.high,
                    f"{metric} pictures": self._count(name, metric),
                }
            writer.writerow(row | asdict(self.costs[name]))
        return stream.getvalue()

    def json(self) -> str:
        """Return everything as JSON, the number of every picture too; NaN becomes null."""
        table = {
            name: {
                "control": name in self.controls,
                "cost": asdict(self.costs[name]),
                "metrics": {
                    metric: {
                        **{k: _null(v) for k, v in self.interval(name, metric)._asdict().items()},
                        "pictures": self._count(name, metric),
                        "values": [_null(v) for v in self._of(name, metric).tolist()],
                    }
                    for metric in self.metrics
                },
            }
            for name in self.values
        }
        data = {"methods": table, "better": dict(self.better), "level": self.level}
        data |= {"draws": self.draws, "seed": self.seed, "model": self.model}
        data |= {"pictures": self.pictures}
        data |= {"failures": {each.source: str(each.error) for each in self.failures}}
        data |= {"names": self.names}
        data |= {"left out": [[each.source, str(each.error)] for each in self.left_out]}
        return json.dumps(data, indent=2, allow_nan=False) + "\n"

    def page(self, title: str = "") -> Page:
        """Return the table as a page with the maps of the examples, which have a picture."""
        beaten = ("beats the controls by",) if self.controls else ()
        columns = ("method", *self._headed(self.metrics), *beaten, "passes", "ms")
        rows = []
        for row in self.rows()[: len(self.values)]:
            better = [name for name in self.metrics if self._better(row["method"], name)]
            said = "all" if len(better) == len(self.metrics) else ", ".join(better) or "nothing"
            beats = "" if row["method"].endswith(CONTROL) else said
            measured = [row[name] for name in self.metrics]
            found = [beats] if self.controls else []
            rows.append([row["method"], *measured, *found, row["passes"], row["ms"]])
        several = self.pictures > 1
        caption = f"Means over {self.pictures} pictures" if several else "One picture"
        caption += f" [{self.level:.0%} interval]" if several else ""
        words = [
            f"{name}: {self.words.get(name) or name}; {way} is better."
            for name, way in self.better.items()
        ]
        tables = [Table(columns, rows, caption, words)]
        for heading, failed in (("Does not apply", self.failures), ("Left out", self.left_out)):
            if failed:
                lines = [(each.source, " ".join(str(each.error).split())) for each in failed]
                tables.append(Table(("what", "reason"), lines, heading))
        maps = {
            name + (CONTROL if name in self.controls else ""): found
            for name, found in self.examples.items()
            if any(found)
        }
        return of_methods(
            maps,
            title=title or f"How far can maps of the model {self.model} be trusted?",
            introduction=[INTRODUCTION],
            tables=tables,
            truths=self.truths or None,
            facts=[("model", self.model), ("seed", str(self.seed))],
        )

    def save(self, path: str | Path) -> list[Path]:
        """Write the table (.md, .csv), all of it (.json), a page (.html), or all into a folder.

        Returns what was written; raises SaveError for other endings.
        """
        path = Path(path).expanduser()
        ending = path.suffix.lower()
        if not ending:
            return [one for each in ENDINGS for one in self.save(path / f"evaluation{each}")]
        if ending not in ENDINGS:
            raise SaveError(f"{path} ends in {ending}: an evaluation ends in {', '.join(ENDINGS)}")
        if ending == ".html":
            return [save_page(self.page(), path)]
        text = {".md": self.markdown, ".csv": self.csv, ".json": self.json}[ending]()
        return [write_whole(path, text.encode(errors="backslashreplace"))]

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _better(self, method: str, metric: str) -> bool:
        return method in self.values and self.beats_controls(method, metric)

    def _headed(self, columns: Iterable[str]) -> Iterator[str]:
        for name in columns:
            yield f"{name} {ARROWS[self.better[name]]}" if name in self.better else name

    def _of(self, method: str, metric: str) -> Tensor:
        if method not in self.values or metric not in self.better:
            raise MethodError(
                f"{method!r} was not measured by {metric!r}: there are {', '.join(self.values)}, "
                f"and {', '.join(self.metrics)}"
            )
        return self.values[method][metric]

    def _count(self, method: str, metric: str) -> int:
        return int((~self._of(method, metric).isnan()).sum())


def _said(found: Interval, brief: bool) -> str:
    if math.isnan(found.mean):
        return "–"
    if math.isnan(found.low):
        return f"{found.mean:.3f}"
    if brief:
        return f"{found.mean:.3f} ±{(found.high - found.low) / 2:.3f}"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def short(milliseconds: float) -> str:
    """Return milliseconds with three digits, and never as a power of ten."""
    return f"{milliseconds:.0f}" if milliseconds >= 100 else f"{milliseconds:.3g}"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
