"""The command: `python -m benchmarks [name ...] [--quick]`."""

from __future__ import annotations

import argparse
from importlib import import_module

from torch.cuda import is_available as has_gpu

from benchmarks.harness import alone, write

NAMES = (
    "cam",
    "concepts",
    "evaluation",
    "frameworks",
    "gpu",
    "integrated_gradients",
    "passes",
    "perturbation",
    "propagation",
    "replay",
    "startup",
    "truth",
    "world",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; all")
    parser.add_argument("--quick", action="store_true", help="small and rough; writes nothing")
    parser.add_argument("--alone", nargs=2, metavar=("NAME", "SIDE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}: use {', '.join(NAMES)}")
    if options.alone:
        name, side = options.alone
        print(alone(import_module(f"benchmarks.{name}").work(side)))
        return
    for name in options.names or [each for each in NAMES if each != "gpu" or has_gpu()]:
        section = import_module(f"benchmarks.{name}").measure(quick=options.quick)
        print(section.markdown(), flush=True)
        if not options.quick:
            write([section])


if __name__ == "__main__":
    main()
