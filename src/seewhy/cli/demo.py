"""`seewhy demo`: what an explanation is worth, where the truth is known; `seewhy demo digits`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen


@opt.examples("seewhy demo", "seewhy demo --count 100 --seed 1 --out elsewhere")
def demo(
    context: typer.Context,
    out: opt.Out = opt.OUT,
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, help="How many pictures are measured.")
    ] = 24,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every method there is, not some of each family: minutes."),
    ] = False,
    seed: opt.Seed = 0,
) -> None:
    """Explain two models of which it is known what they look at, and see which maps tell.

    Saves a page to open in a browser, and a picture of some of it.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    from seewhy.demo import METHODS
    from seewhy.demo import demo as demonstrate
    from seewhy.methods import methods

    screen: Screen = context.obj
    asked = tuple(methods()) if everything else METHODS
    found = demonstrate(count, methods=asked, seed=seed, progress=screen.progress)
    for failure in found.found["object"].failures:
        screen.error(f"does not apply: {failure}", "warning")
    for paragraph in found.introduction():
        screen.paragraph(paragraph)
        screen.line()
    rows = found.brief_rows()
    screen.table(tuple(rows[0]), rows, right=tuple(rows[0])[1:])
    screen.line()
    screen.paragraph(
        "shape, sticker: how often a map of the object model points at the shape, of the shortcut "
        "model at the sticker. told apart: how often maps of the shortcut model lie more on the "
        "sticker; 0.5 is chance. gain: what the order of removal gains, 0 by chance. The page says "
        "more, and has every map."
    )
    for name in ("demo.html", "demo.png"):
        screen.line(f"saved: {found.save(out.expanduser() / name)}")


@opt.examples("seewhy demo digits", "seewhy demo digits --data mnist/ --seed 1 --out elsewhere")
def digits(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="A folder with MNIST, as torchvision lays it down. By itself: scikit-learn's "
            "digits, enlarged.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", min=1, help="Of each prototype.")
    ] = 200,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            metavar="N",
            min=1,
            help="Of training. By itself: as many as each network needs.",
            show_default=False,
        ),
    ] = None,
    seed: opt.Seed = 0,
    out: opt.Out = opt.OUT,
) -> None:
    """Train two small networks on handwritten digits, and see what they see: under two minutes.

    Prototypes of the ten digits, an 8 that becomes a 3 and a 1, sensitivity, class activation maps,
    Grad-CAM at every layer. Saves a page to open in a browser, and each figure as a picture.
    """
    from seewhy.demo.digits import demo as demonstrate

    screen: Screen = context.obj
    found = demonstrate(data, seed=seed, steps=steps, epochs=epochs, progress=screen.progress)
    for paragraph in found.introduction():
        screen.paragraph(paragraph)
        screen.line()
    for rows in (found.rows(), found.agreement_rows()):
        screen.table(tuple(rows[0]), rows, right=tuple(rows[0])[1:])
        screen.line()
    for path in found.save(out):
        screen.line(f"saved: {path}")


def _refuse_options(context: typer.Context) -> None:
    """Raise UsageError for options before the name of another demonstration, which is not told."""
    for parameter in context.command.params:
        name = parameter.name or ""
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(
                f"it belongs to `seewhy demo` alone: give options after "
                f"{context.invoked_subcommand!r}",
                param_hint=parameter.opts[0],
            )


app = typer.Typer(rich_markup_mode="rich")
app.callback(invoke_without_command=True, epilog=demo.examples)(demo)  # type: ignore[attr-defined]
app.command(epilog=digits.examples)(digits)  # type: ignore[attr-defined]
