"""Evaluation: a table of methods and metrics, with means and how sure they are."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from seewhy.draw import markdown
from seewhy.errors import MethodError
from seewhy.trust.statistics import Interval, bootstrap, bootstrap_difference


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
    better: by metric, which way is better. costs: by method. controls: the methods that are none.
    failures: methods that do not apply, with their errors. level: of the intervals, which come
    from so many draws of the bootstrap.
    """

    values: Mapping[str, Mapping[str, Tensor]]
    better: Mapping[str, Literal["higher", "lower"]]
    costs: Mapping[str, Cost]
    controls: tuple[str, ...] = ()
    failures: tuple[tuple[str, Exception], ...] = ()
    level: float = 0.9
    draws: int = 1000
    seed: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in the order of the table, controls last."""
        return tuple(self.values)

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
        """Tell whether the interval of the difference to every control lies on the better side."""
        sign = 1 if self.better[metric] == "higher" else -1
        for control in self.controls:
            found = self.difference(method, control, metric)
            worst = min(sign * found.low, sign * found.high)
            if not worst > 0:  # NaN says nothing either
                return False
        return True

    def rows(self) -> list[dict[str, str]]:
        """Return one row a method, in words: mean and interval of each metric, what it cost."""
        rows = []
        for name in self.values:
            row = {"method": f"{name} (control)" if name in self.controls else name}
            row |= {metric: _said(self.interval(name, metric)) for metric in self.metrics}
            cost = self.costs[name]
            rows.append(row | {"passes": str(cost), "ms": f"{cost.milliseconds:.3g}"})
        empty = dict.fromkeys(self.columns, "")
        return rows + [
            {**empty, "method": name, "passes": "does not apply: " + " ".join(str(error).split())}
            for name, error in self.failures
        ]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `rows`."""
        return ("method", *self.metrics, "passes", "ms")

    def markdown(self) -> str:
        """Return the table as Markdown; an arrow says which way is better."""
        arrows = {"higher": "↑", "lower": "↓"}
        heads = {name: f"{name} {arrows[way]}" for name, way in self.better.items()}
        columns = tuple(heads.get(name, name) for name in self.columns)
        rows = [{heads.get(k, k): v for k, v in row.items()} for row in self.rows()]
        return markdown(columns, rows)

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
        data |= {"draws": self.draws, "seed": self.seed}
        data |= {"failures": {name: str(error) for name, error in self.failures}}
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def __repr__(self) -> str:
        return self.markdown()

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _of(self, method: str, metric: str) -> Tensor:
        if method not in self.values or metric not in self.better:
            raise MethodError(
                f"{method!r} was not measured by {metric!r}: there are {', '.join(self.values)}, "
                f"and {', '.join(self.metrics)}"
            )
        return self.values[method][metric]

    def _count(self, method: str, metric: str) -> int:
        return int((~self._of(method, metric).isnan()).sum())


def _said(found: Interval) -> str:
    if math.isnan(found.mean):
        return "-"
    if math.isnan(found.low):
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value
