"""`seewhy prototype`: what classes, channels and concepts look like to a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples(
    "seewhy prototype -m demo",
    "seewhy prototype -m torchvision/resnet50 --target tabby --target 'neuron:layer3,17'",
    "seewhy prototype -m demo --mean photos/ --start eight.png --target cross --target disk",
    "seewhy prototype -m demo --concepts seewhy-out/concepts.npz",
)
@opt.asks
def prototype(
    context: typer.Context,
    *,
    asked: opt.Asked,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="TARGET",
            help="A class name or number, neuron:LAYER,CHANNEL and the like; repeat it. "
            "By itself: every class.",
            show_default=False,
        ),
    ] = None,
    concepts: Annotated[
        Path | None,
        typer.Option(
            "--concepts",
            metavar="FILE",
            help="What `seewhy concepts` saved (.npz): a prototype of each.",
            show_default=False,
        ),
    ] = None,
    mean: Annotated[
        list[str] | None,
        typer.Option(
            "--mean",
            metavar="PICTURES",
            help="Pictures whose means, of each class as predicted, prototypes stay near.",
            show_default=False,
        ),
    ] = None,
    distance: Annotated[
        float,
        typer.Option(
            "--distance", metavar="X", min=0.0, help="Weight of the distance to the mean."
        ),
    ] = 0.1,
    start: Annotated[
        str | None,
        typer.Option(
            "--start", metavar="WHAT", help="zeros, noise, or a picture.", show_default=False
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(
            "--image", metavar="NAME", help="pixels, fourier or maco.", show_default=False
        ),
    ] = None,
    steps: Annotated[int, typer.Option("--steps", metavar="N", min=1)] = 256,
    rate: Annotated[float, typer.Option("--rate", metavar="X", help="Of Adam, at first.")] = 0.05,
    each: Annotated[
        int, typer.Option("--each", metavar="N", min=1, help="Pictures of each target.")
    ] = 1,
    diversity: Annotated[
        float, typer.Option("--diversity", metavar="X", help="How much these are to differ.")
    ] = 0.0,
    variation: Annotated[
        float, typer.Option("--variation", metavar="X", help="Weight against noise.")
    ] = 0.0,
    out: opt.FolderOrFile = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Make pictures of what a class, a channel or a concept looks like to a model.

    Saves a page to open in a browser, a panel, how each came to be, and what can be read back
    (.npz). Interrupted, it saves the best until then.
    """
    from seewhy import api
    from seewhy.cli.group import FAILED, INTERRUPTED
    from seewhy.cli.results import pictures_of, save, tell
    from seewhy.cli.work import described

    screen: Screen = context.obj
    network = asked.load()
    targets: list[Any] = [*(target or ()), *(_concepts(concepts) if concepts else ())]
    sources, failures = pictures_of(mean) if mean else ([], [])
    found = api.prototype(
        network,
        targets or None,
        mean=sources or None,
        distance=distance,
        start=start,
        image=image,
        steps=steps,
        rate=rate,
        each=each,
        diversity=diversity,
        variation=variation,
        **asked.how(screen),
    )

    def everything(folder: Path) -> Iterator[Path]:
        for ending in (".html", ".png", ".npz"):
            yield found.save(folder / f"prototypes{ending}")
        yield found.save(folder / "prototypes.trajectory.png", view="trajectory")

    tell(screen, found, save(found, out, everything), json=json)
    failures += found.failures
    for failure in failures:
        screen.error(f"left out: {described(failure)}", "warning")
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)
    if failures:
        raise typer.Exit(FAILED)


def _concepts(path: Path) -> list[Any]:
    """An objective for each concept of a saved factorization."""
    from seewhy.concepts.found import Factorization
    from seewhy.prototypes import concept
    from seewhy.result import read

    found = read(path)
    if not isinstance(found, Factorization):
        raise typer.BadParameter(f"{path} holds no concepts", param_hint="--concepts")
    return [concept(found, number) for number in range(len(found))]
