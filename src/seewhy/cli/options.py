"""The options that commands share."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from seewhy.cli.screen import Screen
    from seewhy.model.model import Model

HOW, SAVED = "How it runs", "What comes out"


class Precision(StrEnum):
    """Floating-point types that a model can run in."""

    float16 = "float16"
    bfloat16 = "bfloat16"
    float32 = "float32"
    float64 = "float64"


class View(StrEnum):
    """Ways to draw an explanation."""

    panel = "panel"
    overlay = "overlay"
    heatmap = "heatmap"
    mask = "mask"


class Format(StrEnum):
    """Endings of picture files."""

    png = "png"
    jpg = "jpg"
    webp = "webp"
    tif = "tif"


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_memory(text: str) -> int:
    """Return the bytes in "2GB", "512MiB" or "1000000"; BadParameter for anything else."""
    found = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    unit = found[2].upper() if found else ""
    size = 0
    if found and not (found[3] and not unit):
        size = int(float(found[1]) * (_BINARY if found[3] else _UNITS)[unit])
    if size < 1:
        raise typer.BadParameter(f"{text!r} is no size in memory: write 2GB, 512MiB or a number")
    return size


Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGES",
        help="Paths, folders, patterns, http(s) addresses; - reads one picture from stdin.",
        show_default=False,
    ),
]
Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="A path or an http(s) address; - reads it from stdin.",
        show_default=False,
    ),
]
ModelReference = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="REF",
        help=(
            "demo, torchvision/NAME, timm/NAME, hf/NAME (@FILE for weights of your own, "
            "?weights=none for none), package.module:callable, or a file."
        ),
        show_default=False,
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="A name with settings, smoothgrad:samples=50; `seewhy methods` lists them. "
        "By itself: grad-cam, or integrated-gradients where no layer has space.",
        show_default=False,
    ),
]
SeveralMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--methods",
        "--method",
        metavar="METHOD",
        help="A method with settings; repeat it. By itself: a choice of five.",
        show_default=False,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check",
        help="Remove what a map points at, and as much elsewhere: does the score fall more?",
    ),
]
Layer = Annotated[
    str | None,
    typer.Option(
        "--layer",
        metavar="LAYER",
        help="Where the map is computed; A+B for several; `seewhy summary` lists them.",
        show_default=False,
    ),
]
TARGET = (
    "A class name or number, or margin:label=tabby,against=lynx and the like. "
    "By itself: what is predicted."
)
Target = Annotated[
    str | None,
    typer.Option("--target", "-t", metavar="TARGET", help=TARGET, show_default=False),
]
SeveralTargets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="TARGET",
        help=TARGET + " Repeat it to explain several in each picture.",
        show_default=False,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, mps.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
PrecisionChoice = Annotated[
    Precision | None,
    typer.Option(
        "--precision",
        help="By itself the model's own.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        parser=read_memory,
        help="What the work may take beside model and pictures: 2GB, 512MiB.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Run changed pictures through torch.compile: worth it for thousands of them.",
        rich_help_panel=HOW,
    ),
]
Batch = Annotated[
    int | None,
    typer.Option(
        "--batch",
        metavar="N",
        min=1,
        help="Pictures at a time.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        metavar="N",
        min=0,
        help="Makes everything random repeatable.",
        rich_help_panel=HOW,
    ),
]
LabelFile = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        metavar="FILE",
        help="Names of the classes, one on each line, or JSON.",
        show_default=False,
    ),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Read pickled models, which runs code from the file.",
        rich_help_panel=HOW,
    ),
]
Out = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="DIR", help="Where to save.", rich_help_panel=SAVED),
]
FolderOrFile = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Where to save: a folder, or one file, .html (a page), .npz (read back), .png.",
        rich_help_panel=SAVED,
    ),
]
Colormap = Annotated[
    str | None,
    typer.Option(
        "--colormap",
        metavar="NAME",
        help="Any of matplotlib's.",
        show_default=False,
        rich_help_panel=SAVED,
    ),
]
Opacity = Annotated[
    float,
    typer.Option(
        "--opacity",
        metavar="X",
        min=0.0,
        max=1.0,
        help="Of the strongest relevance, from 0 to 1.",
        rich_help_panel=SAVED,
    ),
]
FormatChoice = Annotated[
    Format, typer.Option("--format", help="Of saved pictures.", rich_help_panel=SAVED)
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document.", rich_help_panel=SAVED),
]
Markdown = Annotated[
    bool,
    typer.Option("--markdown", help="Print Markdown.", rich_help_panel=SAVED),
]

OUT = Path("seewhy-out")
OPACITY = 0.6

C = TypeVar("C", bound=Callable[..., None])


@dataclass(frozen=True)
class Asked:
    """The model that is asked, and how it runs: what an argument `asked` of a command becomes."""

    model: ModelReference
    labels: LabelFile = None
    device: Device = None
    precision: PrecisionChoice = None
    memory: Memory = None
    seed: Seed = 0
    allow_pickle: AllowPickle = False

    def load(self) -> Model:
        """Return the model; raises first what is wrong with how it is to run."""
        from seewhy.model.load import load
        from seewhy.run import Run

        Run(self.device, self.precision, self.memory, self.seed)
        return load(self.model, labels=self.labels, allow_pickle=self.allow_pickle)

    def how(self, screen: Screen) -> dict[str, Any]:
        """Return what the verbs take on how to run."""
        names = ("device", "precision", "memory", "seed")
        return {name: getattr(self, name) for name in names} | {"progress": screen.progress}


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its argument `asked`, the options that `Asked` is made of."""
    options = inspect.signature(Asked, eval_str=True).parameters
    known = inspect.signature(command, eval_str=True).parameters

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(asked=Asked(**{name: given.pop(name) for name in options}), **given)

    shown = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for own in known.values()
        for option in (options.values() if own.annotation is Asked else [own])
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


def examples(*lines: str) -> Callable[[C], C]:
    """Give a command the examples that its help ends with."""

    def attach(command: C) -> C:
        shown = [f"[cyan]{line.replace('[', chr(92) + '[')}[/]" for line in lines]
        command.examples = "\n\n".join(["Examples:", *shown])  # type: ignore[attr-defined]
        return command

    return attach


def only_one(**flags: bool) -> None:
    """Raise UsageError where more than one of these options is given."""
    given = [f"--{name}" for name, value in flags.items() if value]
    if len(given) > 1:
        raise typer.BadParameter(
            "they exclude each other: give one", param_hint=" and ".join(given)
        )
