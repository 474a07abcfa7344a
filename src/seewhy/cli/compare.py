"""`seewhy compare`: one picture, several methods."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen
from seewhy.errors import LayerError

if TYPE_CHECKING:
    from seewhy.comparison import Comparison
    from seewhy.methods import Method


@opt.examples(
    "seewhy compare cat.jpg --model torchvision/resnet50",
    "seewhy compare cat.jpg -m torchvision/resnet50 --methods grad-cam "
    "--methods integrated-gradients:steps=100 --target tabby",
)
def compare(
    context: typer.Context,
    image: opt.Image,
    *,
    model: opt.ModelReference,
    methods: opt.SeveralMethods = None,
    target: opt.Target = None,
    layer: opt.Layer = None,
    check: opt.Check = False,
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    compile: opt.Compile = False,  # noqa: A002 - as torch calls it
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    colormap: opt.Colormap = None,
    opacity: opt.Opacity = opt.OPACITY,
    json: opt.Json = False,
) -> None:
    """Explain one picture by several methods, side by side.

    Prints a table of what each explained and cost, and saves it (.md, .csv) with a panel (.png)
    and a page (.html).
    """
    from seewhy import api
    from seewhy.cli.work import (
        STDIN,
        Names,
        as_data,
        as_json,
        check_colormap,
        failure_data,
        read_stdin,
        split_layers,
    )
    from seewhy.methods import as_method
    from seewhy.model.load import load
    from seewhy.run import Run
    from seewhy.targets import as_target

    screen: Screen = context.obj
    check_colormap(colormap)
    wanted = as_target(target)
    Run(device, precision, memory, seed)  # says at once what is wrong with these
    chosen = [as_method(each) for each in methods or api.COMPARED]
    chosen = [_at(each, split_layers(layer)) for each in chosen]
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    found = api.compare(
        network,
        read_stdin() if image == "-" else image,
        chosen,
        wanted,
        device=device,
        precision=precision,
        memory=memory,
        compile=compile,
        seed=seed,
        progress=screen.progress,
        check=check,
    )
    _refuse_wrong_layer(found, layer)
    name = Names().next(STDIN if image == "-" else image, "comparison")
    files = [out.expanduser() / f"{name}{ending}" for ending in (".png", ".html", ".md", ".csv")]
    found.save(files[0], colormap=colormap, opacity=opacity)
    for file in files[1:]:
        found.save(file)
    if json:
        data = {
            "explanations": [as_data(each) for each in found],
            "failures": [failure_data(each) for each in found.failures],
            "files": [str(file) for file in files],
        }
        screen.raw(as_json(data) + "\n")
        return
    screen.line(found[0].source, "bold")
    if found[0].prediction:
        screen.line("  predicted: " + ", ".join(str(each) for each in found[0].prediction))
    screen.table(found.columns, found.rows())
    for file in files:
        screen.line(f"saved: {file}")


def _at(how: Method, layer: str | tuple[str, ...] | None) -> Method:
    """Return the method at the layer, where it has one and none of its own is given."""
    has = any(each.name == "layer" for each in fields(how))
    if layer is None or not has or getattr(how, "layer", None) is not None:
        return how
    return replace(how, layer=layer)  # type: ignore[call-arg]


def _refuse_wrong_layer(found: Comparison, layer: str | None) -> None:
    """Raise what methods say about --layer: a wrong option, not a method that does not apply."""
    for failure in found.failures:
        if layer is not None and isinstance(failure.error, LayerError):
            raise failure.error
