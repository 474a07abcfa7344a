"""`seewhy evaluate`: methods judged on pictures, beside controls."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples(
    "seewhy evaluate photos/ --model torchvision/resnet50",
    "seewhy evaluate photos/ -m torchvision/resnet50 --methods grad-cam "
    "--methods integrated-gradients:steps=100 --masks masks/",
    "seewhy evaluate photos/ -m torchvision/resnet50 --metrics srg:fill=noisy-linear --json",
)
def evaluate(
    context: typer.Context,
    images: opt.Images,
    *,
    model: opt.ModelReference,
    methods: opt.SeveralMethods = None,
    masks: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            metavar="DIR",
            help="Where the answers should be: pictures of the same names, black where not.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            "--metric",
            metavar="METRIC",
            help="srg, insertion, deletion, grid-pointing-game; with masks pointing-game, "
            "relevance-mass, relevance-rank; with settings, srg:patch=16. Repeat it.",
            show_default=False,
        ),
    ] = None,
    target: opt.Target = None,
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    compile: opt.Compile = False,  # noqa: A002 - as torch calls it
    batch: opt.Batch = None,
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    json: opt.Json = False,
) -> None:
    """Say how far the maps of methods can be believed, on pictures of your own.

    Prints a table of methods and controls by metrics, and saves it (.md, .csv, .json, .html).
    """
    from json import loads

    from seewhy import api
    from seewhy.cli.group import FAILED
    from seewhy.cli.work import as_json, described, find_sources
    from seewhy.errors import PictureError
    from seewhy.methods import as_method
    from seewhy.model.load import load
    from seewhy.run import Run
    from seewhy.targets import as_target
    from seewhy.trust import as_metric

    screen: Screen = context.obj
    wanted = as_target(target)
    Run(device, precision, memory, seed)  # says at once what is wrong with these
    chosen = [as_method(each) for each in methods or api.COMPARED]
    judges = [as_metric(each) for each in metrics] if metrics else None
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    sources, failures = find_sources(images)
    if not sources:
        raise PictureError(described(failures[0]))
    found = api.evaluate(
        network,
        sources,
        chosen,
        masks,
        judges,
        target=wanted,
        device=device,
        precision=precision,
        memory=memory,
        compile=compile,
        batch=batch,
        seed=seed,
        progress=screen.progress,
    )
    found = replace(found, left_out=(*failures, *found.left_out))
    files = [
        file
        for ending in (".md", ".csv", ".json", ".html")
        for file in found.save(out.expanduser() / f"evaluation{ending}")
    ]
    if json:
        data = loads(found.json()) | {"files": [str(file) for file in files]}
        screen.raw(as_json(data) + "\n")
    else:
        screen.line(f"{found.pictures} pictures, {found.model}", "bold")
        columns = tuple(each for each in found.columns if each != "passes")
        screen.table(columns, found.rows(brief=True), right=columns[1:])
        for file in files:
            screen.line(f"saved: {file}")
    for failure in found.failures:
        screen.error(f"does not apply: {described(failure)}", "warning")
    for failure in found.left_out:
        screen.error(f"left out: {described(failure)}", "warning")
    if found.left_out:
        raise typer.Exit(FAILED)
