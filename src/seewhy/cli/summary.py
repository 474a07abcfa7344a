"""`seewhy summary`: what a model is made of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen

if TYPE_CHECKING:
    from seewhy.overview import Summary


@opt.examples(
    "seewhy summary --model torchvision/resnet50",
    "seewhy summary cat.jpg --model package.module:network --markdown",
    "seewhy summary --model torchvision/resnet50 --out model.svg",
)
def summary(
    context: typer.Context,
    *,
    model: opt.ModelReference,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE",
            help="A picture, where the model's input shape is not known.",
            show_default=False,
        ),
    ] = None,
    labels: opt.LabelFile = None,
    allow_pickle: opt.AllowPickle = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Save a diagram of the model (.svg), or the table (.md, .txt).",
            show_default=False,
            rich_help_panel=opt.SAVED,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            "--depth",
            metavar="N",
            min=1,
            help="Levels of nesting that the diagram shows; by itself as many as fit.",
            show_default=False,
            rich_help_panel=opt.SAVED,
        ),
    ] = None,
    markdown: opt.Markdown = False,
    json: opt.Json = False,
) -> None:
    """List a model's layers, or draw them; mark the one that methods use by default."""
    from seewhy import api
    from seewhy.cli.work import as_json, read_stdin
    from seewhy.model.load import load

    opt.only_one(markdown=markdown, json=json)
    screen: Screen = context.obj
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    found = api.summary(network, read_stdin() if image == "-" else image)
    saved = found.save(out, depth) if out is not None else None
    if json:
        screen.raw(as_json(_as_data(found)) + "\n")
        return
    if markdown:
        screen.raw(found.markdown())
        return
    default = (
        [str(each) for each in found.layers].index(str(found.default)) if found.default else None
    )
    screen.table(
        found.columns, found.rows(), right=("output", "kernel", "parameters"), bold=default
    )
    screen.line()
    screen.line(f"{found.model}: {found.parameters:,} parameters")
    remark = f" ({found.remark})" if found.remark else ""
    screen.line(f"default layer: {found.default or 'none'}{remark}")
    if saved is not None:
        screen.line(f"saved: {saved}")


def _as_data(found: Summary) -> dict[str, Any]:
    layers = [
        {
            "name": str(each),
            "type": each.kind,
            "output": each.shape,
            "layout": each.layout,
            "kernel": each.kernel,
            "channels": each.channels,
            "parameters": each.parameters,
        }
        for each in found.layers
    ]
    return {
        "model": found.model,
        "parameters": found.parameters,
        "default": str(found.default) if found.default else None,
        "remark": found.remark,
        "layers": layers,
    }
