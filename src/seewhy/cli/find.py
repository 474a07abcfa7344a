"""`seewhy find`: where in pictures is what is like a reference, or like words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples(
    "seewhy find street.jpg -m torchvision/resnet50 --reference car.jpg --reference tree.jpg",
    "seewhy find photos/ -m torchvision/resnet50 --reference cars/ --against streets/",
    "seewhy find street.jpg -m hf/openai/clip-vit-base-patch32 --words 'a car' --words 'a tree'",
)
@opt.asks
def find(
    context: typer.Context,
    images: opt.Images,
    *,
    asked: opt.Asked,
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
    out: opt.FolderOrFile = opt.OUT,
    colormap: opt.Colormap = None,
    opacity: opt.Opacity = opt.OPACITY,
    json: opt.Json = False,
) -> None:
    """Find where in pictures is what is like a reference picture or words, and where it is not.

    Saves a page to open in a browser, a panel of each picture, and what can be read back (.npz).
    """
    if not reference and not words:
        raise typer.BadParameter(
            "there is nothing to find: give --reference PICTURE, or --words TEXT",
            param_hint="--reference",
        )
    from seewhy import api
    from seewhy.cli.results import pictures_of, save, tell
    from seewhy.cli.work import Names, check_colormap, split_layers

    screen: Screen = context.obj
    check_colormap(colormap)
    network = asked.load()
    sources, failures = pictures_of(images)
    held: Any = None if against == "none" else against
    found = api.find(
        network,
        sources,
        reference or (),
        words=words or (),
        against=held,
        method=method,
        layer=split_layers(layer),
        **asked.how(screen),
    )

    def everything(folder: Path) -> Iterator[Path]:
        names = Names()
        for ending in (".html", ".npz"):
            yield found.save(folder / f"found{ending}")
        for number, each in enumerate(found.shown):
            name = names.next(each.source, "found")
            look = {"picture": number, "colormap": colormap, "opacity": opacity}
            yield found.save(folder / f"{name}.png", **look)

    files = save(found, out, everything)
    tell(screen, found, files, (*failures, *found.failures), json=json)
