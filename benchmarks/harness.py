"""How to measure fairly on a machine that others use too."""

from __future__ import annotations

import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MIB = 1 << 20

Work = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Seconds of every side in every round; in a round each side runs once, after one another."""

    rounds: list[dict[str, float]]

    def median(self, side: str) -> float:
        """Return the median seconds of a side."""
        return statistics.median(each[side] for each in self.rounds)

    def ratio(self, side: str, other: str) -> float:
        """Return the median over the rounds of side / other: what slows both cancels out."""
        return statistics.median(each[side] / each[other] for each in self.rounds)

    def spread(self, side: str, other: str) -> str:
        """Return the middle half of these ratios, in words."""
        if len(self.rounds) < 4:
            return "too few rounds"
        low, _, high = statistics.quantiles((r[side] / r[other] for r in self.rounds), n=4)
        return f"{low:.3g} to {high:.3g}"


@dataclass
class Section:
    """One table of the document. A row says what, its bar, what was measured, and if it is met."""

    name: str
    title: str
    text: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def measured(self, what: str, value: str) -> None:
        """Add a number that no bar belongs to."""
        self.rows.append((what, "", value, ""))

    def at_most(self, what: str, value: float, bar: float, unit: str, note: str = "") -> None:
        """Add a number that must not be larger than its bar."""
        self._row(what, f"at most {bar:g} {unit}", value, unit, note, met=value <= bar)

    def at_least(self, what: str, value: float, bar: float, unit: str, note: str = "") -> None:
        """Add a number that must not be smaller than its bar."""
        self._row(what, f"at least {bar:g} {unit}", value, unit, note, met=value >= bar)

    def _row(self, what: str, bar: str, value: float, unit: str, note: str, *, met: bool) -> None:
        number = f"{value:.3g}" if value < 100 else f"{value:.0f}"
        measured = f"{number} {unit}" + (f" ({note})" if note else "")
        self.rows.append((what, bar, measured, "yes" if met else "**no**"))

    def markdown(self) -> str:
        """Return the section with its heading, the machine and the command."""
        lines = [f"## {self.title}", "", self.text, "", machine(self.name), ""]
        lines += ["| what | bar | measured | met |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join(lines) + "\n"


def interleaved(sides: dict[str, Work], rounds: int) -> Times:
    """Run all sides once to warm up, then A B C, B C A, ...: what disturbs one disturbs them all.

    Every round begins with another side, so that none always comes after the same one: a side that
    frees much memory makes the next one slower.
    """
    for work in sides.values():
        work()
    names, found = list(sides), []
    for turn in range(rounds):
        seconds = {}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            sides[name]()
            seconds[name] = time.perf_counter() - began
        found.append(seconds)
    return Times(found)


def peak_memory(benchmark: str, side: str) -> float:
    """Return the MiB that a side takes beyond its loaded model, alone in a process of its own.

    side: a name that `work` of the benchmark takes. It runs once, so that what seewhy finds out
    about a model before its first answer is in it.
    """
    command = [sys.executable, "-m", "benchmarks", "--alone", benchmark, side]
    done = subprocess.run(  # noqa: S603 - this very package
        command, capture_output=True, text=True, check=False, cwd=DOCUMENT.parents[1]
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def alone(work: Work) -> float:
    """Return by how many MiB the process grows at its largest while the work runs."""
    before = _resident()
    work()
    return (_largest() - before) / MIB


def seconds_of(code: str) -> float:
    """Return the wall time of a fresh Python process that runs the code."""
    began = time.perf_counter()
    subprocess.run(  # noqa: S603 - code of this package
        [sys.executable, "-c", code], check=True, capture_output=True
    )
    return time.perf_counter() - began


def ratio_rows(section: Section, times: Times, what: str, sides: Sequence[str]) -> None:
    """Add the median seconds of the sides."""
    listed = ", ".join(f"{side} {times.median(side):.3g} s" for side in sides)
    section.measured(f"{what}: medians of {len(times.rounds)} rounds", listed)


def machine(name: str) -> str:
    """Say when, on what and how it was measured."""
    today = datetime.now(UTC).date().isoformat()
    return (
        f"{today}; {platform.system()} {platform.machine()}, {_processor()}; "
        f"Python {platform.python_version()}, torch {torch.__version__} with "
        f"{torch.get_num_threads()} threads. `python -m benchmarks {name}`"
    )


def write(sections: Sequence[Section]) -> None:
    """Put the sections into the document; those that were not measured stay as they are."""
    known: dict[str, str] = {}
    if DOCUMENT.exists():
        for part in DOCUMENT.read_text().split("\n## ")[1:]:
            known[part.partition("\n")[0]] = f"## {part.rstrip()}\n"
    for section in sections:
        known[section.title] = section.markdown()
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text("\n".join([_HEAD, *known.values()]))


_HEAD = """# Benchmarks

Sides run interleaved in one process (A B, B A, A B, ...); a ratio is the median of the ratios of
the rounds, with the middle half of them in brackets, so that what slows the whole machine cancels
out. Peak memory is how far a fresh process that does only this grows beyond its loaded model.
Weights are untrained: they do not change the amount of work. `make bench` measures everything
again.
"""


def _processor() -> str:
    """Its kind as the system tells it, and how many of it there are."""
    import os

    kind = ""
    told = Path("/proc/cpuinfo")
    if told.exists():
        names = [line for line in told.read_text().splitlines() if line.startswith("model name")]
        kind = names[0].partition(":")[2].strip() + ", " if names else ""
    return f"{kind}{os.cpu_count()} cores"


def _resident() -> int:
    """Bytes that are in memory now; where the system does not tell, the largest so far."""
    told = _status("VmRSS")
    return _largest() if told is None else told


def _largest() -> int:
    """Bytes in memory at the largest.

    On Linux ru_maxrss begins with what the process that started this one had.
    """
    told = _status("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit if told is None else told


def _status(name: str) -> int | None:
    told = Path("/proc/self/status")
    lines = told.read_text().splitlines() if told.exists() else []
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
