"""`seewhy find`: where in pictures is what is like a reference, or like words."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples(
    "seewhy find street.jpg -m torchvision/resnet50 --reference car.jpg --reference tree.jpg",
    "seewhy find photos/ -m torchvision/resnet50 --reference cars/ --against streets/",
    "seewhy find street.jpg -m hf/openai/clip-vit-base-patch32 --words 'a car' --words 'a tree'",
)
def find(
    context: typer.Context,
    images: opt.Images,
    *,
    model: opt.ModelReference,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            "-r",
            metavar="PICTURE",
            help="A picture, or a folder whose mean counts; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    words: Annotated[
        list[str] | None,
        typer.Option(
            "--words",
            "-w",
            metavar="TEXT",
            help="For a model with a text tower; repeat it for several.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="WHAT",
            help="What each is held against: rest, the others; none; a picture or a folder.",
        ),
    ] = "rest",
    method: opt.Method = None,
    layer: opt.Layer = None,
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    colormap: opt.Colormap = None,
    opacity: opt.Opacity = opt.OPACITY,
    json: opt.Json = False,
) -> None:
    """Find where in pictures is what is like a reference picture or words, and where it is not.

    Saves a panel of each picture, and what can be read back (.npz).
    """
    if not reference and not words:
        raise typer.BadParameter(
            "there is nothing to find: give --reference PICTURE, or --words TEXT",
            param_hint="--reference",
        )
    from seewhy import api
    from seewhy.cli.group import FAILED
    from seewhy.cli.work import (
        Names,
        as_json,
        check_colormap,
        described,
        find_sources,
        split_layers,
    )
    from seewhy.errors import PictureError
    from seewhy.model.load import load
    from seewhy.run import Run

    screen: Screen = context.obj
    check_colormap(colormap)
    Run(device, precision, memory, seed)  # says at once what is wrong with these
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    sources, failures = find_sources(images)
    if not sources:
        raise PictureError(described(failures[0]))
    held: Any = None if against == "none" else against
    found = api.find(
        network,
        sources,
        reference or (),
        words=words or (),
        against=held,
        method=method,
        layer=split_layers(layer),
        device=device,
        precision=precision,
        memory=memory,
        seed=seed,
        progress=screen.progress,
    )
    folder, names = out.expanduser(), Names()
    files = [found.save(folder / "found.npz")]
    for number, each in enumerate(found.shown):
        name = names.next(each.source, "found")
        look = {"picture": number, "colormap": colormap, "opacity": opacity}
        files.append(found.save(folder / f"{name}.png", **look))
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
