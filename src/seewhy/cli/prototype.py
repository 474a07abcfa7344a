"""`seewhy prototype`: what classes, channels and concepts look like to a model."""

from __future__ import annotations

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
def prototype(
    context: typer.Context,
    *,
    model: opt.ModelReference,
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
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Make pictures of what a class, a channel or a concept looks like to a model.

    Saves a panel, how each came to be, and what can be read back (.npz). Interrupted, it saves the
    best until then.
    """
    from seewhy import api
    from seewhy.cli.group import FAILED, INTERRUPTED
    from seewhy.cli.work import as_json, described, find_sources
    from seewhy.errors import PictureError
    from seewhy.model.load import load
    from seewhy.run import Run

    screen: Screen = context.obj
    Run(device, precision, memory, seed)  # says at once what is wrong with these
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    targets: list[Any] = [*(target or ()), *(_concepts(concepts) if concepts else ())]
    sources, failures = find_sources(mean or ())
    if failures and not sources:
        raise PictureError(described(failures[0]))
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
        device=device,
        precision=precision,
        memory=memory,
        seed=seed,
        progress=screen.progress,
    )
    folder = out.expanduser()
    files = [
        found.save(folder / "prototypes.png"),
        found.save(folder / "prototypes.trajectory.png", view="trajectory"),
        found.save(folder / "prototypes.npz"),
    ]
    if json:
        screen.raw(as_json(found.plain() | {"files": [str(file) for file in files]}) + "\n")
    else:
        for line in str(found).splitlines():
            screen.paragraph(line)
        for file in files:
            screen.line(f"saved: {file}")
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
