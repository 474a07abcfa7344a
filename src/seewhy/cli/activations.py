"""`seewhy activations`: what layers make of pictures, as the maps of their channels."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


class Scale(StrEnum):
    """What the end of the colours of a map is: its own largest value, or that of its layer."""

    map = "map"
    layer = "layer"


@opt.examples(
    "seewhy activations cat.jpg -m torchvision/resnet50 --layer layer1 --layer layer4",
    "seewhy activations cat.jpg -m demo --layer all --top 8",
    "seewhy activations photos/ -m demo --channels 3,17 --out maps.npz",
)
@opt.asks
def activations(
    context: typer.Context,
    images: opt.Images,
    *,
    asked: opt.Asked,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            "--layer",
            metavar="LAYER",
            help="Repeat it, or write A+B, for several; all for all with space; "
            "`seewhy summary` lists them. By itself: the default layer.",
            show_default=False,
        ),
    ] = None,
    channels: Annotated[
        str,
        typer.Option(
            "--channels",
            metavar="WHICH",
            help="top (those that vary most over places), all, mean, or numbers: 3,17.",
        ),
    ] = "top",
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="How many channels of each layer.")
    ] = 16,
    scale: Annotated[
        Scale,
        typer.Option(
            "--scale",
            help="Each map on a scale of its own, or all maps of a layer on one.",
            rich_help_panel=opt.SAVED,
        ),
    ] = Scale.map,
    colormap: opt.Colormap = None,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Where to save: a folder, or one file, .png or .npz (read back).",
            rich_help_panel=opt.SAVED,
        ),
    ] = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Show what layers make of pictures: the maps of their channels beside each picture.

    Saves a sheet of each picture, layer after layer, and what can be read back (.npz).
    """
    from seewhy import api
    from seewhy.cli.results import pictures_of, save, tell
    from seewhy.cli.work import Names, check_colormap

    screen: Screen = context.obj
    wanted = _channels(channels)
    check_colormap(colormap)
    network = asked.load()
    sources, failures = pictures_of(images)
    layers: Any = [part for each in layer or () for part in each.split("+")]
    layers = "all" if layers == ["all"] else layers or None
    found = api.activations(network, sources, layers, wanted, top=top, **asked.how(screen))

    def everything(folder: Path) -> Iterator[Path]:
        names, look = Names(), {"scale": scale.value, "colormap": colormap}
        for number, each in enumerate(found.shown):
            name = names.next(each.source, "activations")
            yield found.save(folder / f"{name}.png", picture=number, **look)
        yield found.save(folder / "activations.npz")

    files = save(found, out, everything)
    tell(screen, found, files, (*failures, *found.failures), json=json)


def _channels(text: str) -> Any:
    """Read "top", "all", "mean" or "3,17"; BadParameter for anything else."""
    if text in ("top", "all", "mean"):
        return text
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise typer.BadParameter(
            f"{text!r}: write top, all, mean, or numbers such as 3,17", param_hint="--channels"
        )
    return [int(part) for part in parts]
