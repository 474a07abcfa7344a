"""`seewhy tcav`: whether a class depends on concepts that examples show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples(
    "seewhy tcav zebras/ -m torchvision/resnet50 --target zebra --concept striped/ "
    "--concept dots=dotted/ --random anything/ --layer layer3+layer4",
    "seewhy tcav zebras/ -m torchvision/resnet50 -t zebra --concept striped/ --random anything/ "
    "--out tcav.html",
)
@opt.asks
def tcav(
    context: typer.Context,
    images: opt.Images,
    *,
    asked: opt.Asked,
    concept: Annotated[
        list[str],
        typer.Option(
            "--concept",
            "-c",
            metavar="[NAME=]PICTURES",
            help="A folder or pattern of examples, by itself called as the folder; repeat it.",
            show_default=False,
        ),
    ],
    random: Annotated[
        list[str],
        typer.Option(
            "--random",
            "-r",
            metavar="PICTURES",
            help="Pictures of anything, to tell the examples from; repeat it for more.",
            show_default=False,
        ),
    ],
    target: opt.Target = None,
    layer: opt.Layer = None,
    sets: Annotated[
        int, typer.Option("--sets", metavar="N", min=2, help="How often vectors are made anew.")
    ] = 30,
    size: Annotated[
        int, typer.Option("--size", metavar="N", min=2, help="Examples of a set.")
    ] = 10,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="All vectors of a concept share its examples, as in the paper; what is peculiar "
            "to the examples can then pass for significant.",
        ),
    ] = False,
    classifier: Annotated[
        str, typer.Option("--classifier", metavar="NAME", help="ridge or mean.")
    ] = "ridge",
    out: opt.FolderOrFile = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Test whether the score of a class grows along concepts that example pictures show (TCAV).

    IMAGES are pictures of the class. Prints a table, and saves a page to open in a browser, the
    scores as bars, and what can be read back (.npz).
    """
    from seewhy import api
    from seewhy.cli.results import pictures_of, save, tell
    from seewhy.cli.work import split_layers

    screen: Screen = context.obj
    named = _named(concept)
    network = asked.load()
    sources, failures = pictures_of(images)
    rest, more = pictures_of(random)
    failures += more
    examples: dict[str, Any] = {}
    for name, place in named.items():
        examples[name], more = pictures_of([place])
        failures += more
    where = split_layers(layer)
    how: dict[str, Any] = {"classifier": classifier, **asked.how(screen)}
    found = api.tcav(
        network,
        examples,
        rest,
        sources,
        target,
        layers=list(where) if isinstance(where, tuple) else where,
        sets=sets,
        size=size,
        disjoint=not shared,
        **how,
    )

    def everything(folder: Path) -> Iterator[Path]:
        for ending in (".html", ".png", ".npz"):
            yield found.save(folder / f"tcav{ending}")

    def say() -> None:
        screen.paragraph(str(found).partition("\n")[0])
        rows = found.rows()
        screen.table(tuple(rows[0]), rows, right=("score", "p", "accuracy"))

    left_out = (*failures, *found.failures)
    tell(screen, found, save(found, out, everything), left_out, json=json, say=say)


def _named(concepts: Sequence[str]) -> dict[str, str]:
    """The places of examples by the names of their concepts; BadParameter for two of one name."""
    found: dict[str, str] = {}
    for each in concepts:
        name, equals, place = each.partition("=")
        if not equals or Path(each).exists():
            place, name = each, Path(each).stem
        if not name or not place or name in found:
            problem = f"{name!r} is there twice" if name in found else f"{each!r} lacks a part"
            raise typer.BadParameter(
                f"{problem}: give NAME=FOLDER, each with a name of its own", param_hint="--concept"
            )
        found[name] = place
    return found
