"""`seewhy concepts`: what a model finds in pictures, as a few concepts with a legend."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen

MOST_ALONE = 16  # pictures of which each concept is drawn by itself


@opt.examples(
    "seewhy concepts photos/ --model torchvision/resnet50",
    "seewhy concepts cat.jpg -m torchvision/resnet50 --concepts 8 --layer layer3",
    "seewhy concepts photos/ -m demo --concepts auto --meaning removal --json",
)
def concepts(
    context: typer.Context,
    images: opt.Images,
    *,
    model: opt.ModelReference,
    concepts: Annotated[
        str, typer.Option("--concepts", metavar="N", help="How many, or 'auto'.")
    ] = "5",
    layer: opt.Layer = None,
    meaning: Annotated[
        str,
        typer.Option(
            "--meaning",
            metavar="HOW",
            help="How a concept is asked what it speaks for: head, replay, removal, or auto.",
        ),
    ] = "auto",
    solver: Annotated[
        str, typer.Option("--solver", metavar="NAME", help="nmf, pca or k-means.")
    ] = "nmf",
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Classes that are named of each.")
    ] = 2,
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Find all that a layer sees in pictures, and what each of it speaks for.

    Saves a panel with a legend, each concept alone, and what can be read back (.npz).
    """
    from seewhy import api
    from seewhy.cli.group import FAILED
    from seewhy.cli.work import Names, as_json, described, find_sources
    from seewhy.errors import PictureError
    from seewhy.model.load import load
    from seewhy.run import Run

    screen: Screen = context.obj
    if concepts != "auto" and not concepts.isdecimal():
        raise typer.BadParameter(f"{concepts!r}: give a number, or auto", param_hint="--concepts")
    Run(device, precision, memory, seed)  # says at once what is wrong with these
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    sources, failures = find_sources(images)
    if not sources:
        raise PictureError(described(failures[0]))
    how: dict[str, Any] = {"meaning": meaning, "solver": solver}
    found = api.factorize(
        network,
        sources,
        "auto" if concepts == "auto" else int(concepts),
        layer=layer,
        top_k=top,
        **how,
        device=device,
        precision=precision,
        memory=memory,
        seed=seed,
        progress=screen.progress,
    )
    folder, names = out.expanduser(), Names()
    files = [found.save(folder / "concepts.png"), found.save(folder / "concepts.npz")]
    for number, each in enumerate(found.shown[:MOST_ALONE]):
        name = names.next(each.source, "concepts")
        files.append(found.save(folder / f"{name}.png", view="concepts", picture=number))
    if json:
        screen.raw(as_json(found.plain() | {"files": [str(file) for file in files]}) + "\n")
    else:
        for line in str(found).splitlines():
            screen.paragraph(line)
        for file in files:
            screen.line(f"saved: {file}")
    left_out = (*failures, *found.failures)
    for failure in left_out:
        screen.error(f"left out: {described(failure)}", "warning")
    if left_out:
        raise typer.Exit(FAILED)
