"""What it costs to begin: importing seewhy, asking the command for help."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
import sys

from benchmarks.harness import Section, interleaved, seconds_of

IMPORT = "import time, torch; t = time.perf_counter(); {}; print(time.perf_counter() - t)"
HELP = "import sys; sys.argv = ['seewhy', '--help']; from seewhy.cli import main; main()"


def measure(*, quick: bool) -> Section:
    """Return the seconds of imports beyond torch's, and of `seewhy --help`."""
    rounds = 3 if quick else 15
    section = Section(
        "startup",
        "Starting up",
        "Fresh processes, files already in the system's cache. The import is timed after "
        "`import torch`, which it cannot do without. Names are imported when they are first used: "
        "that of `seewhy.explain` is what a first line of work costs.",
    )
    plain = statistics.median(_inside("import seewhy") for _ in range(rounds))
    first = statistics.median(_inside("import seewhy; seewhy.explain") for _ in range(rounds))
    section.at_most("import seewhy, beyond torch", plain * 1000, 100, "ms")
    section.measured(
        "import seewhy and name seewhy.explain, beyond torch", f"{first * 1000:.0f} ms"
    )
    if importlib.util.find_spec("seewhy.cli") is None:
        section.measured("seewhy --help", "there is no command in this version")
        return section
    sides = {"help": lambda: seconds_of(HELP), "torch": lambda: seconds_of("import torch")}
    times = interleaved(sides, rounds)
    section.at_most("seewhy --help, the whole process", times.median("help"), 0.5, "s")
    section.measured(
        "python -c 'import torch', the whole process", f"{times.median('torch'):.3g} s"
    )
    return section


def _inside(statement: str) -> float:
    done = subprocess.run(  # noqa: S603 - a statement of this file
        [sys.executable, "-c", IMPORT.format(statement)], check=True, capture_output=True, text=True
    )
    return float(done.stdout)
