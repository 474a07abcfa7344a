"""`seewhy explain`: which parts of pictures made the model decide as it did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seewhy.cli import options as opt
from seewhy.cli.screen import Screen

if TYPE_CHECKING:
    from seewhy.cli.answers import Answers
    from seewhy.errors import Failure
    from seewhy.explanation import Explanation

REPORTED = 100
"""Pictures on a page, at most: they are kept in memory, and a page is there to be read."""


@opt.examples(
    "seewhy explain cat.jpg --model torchvision/resnet50",
    "seewhy explain photos/ 'more/*.png' --model timm/resnet18.a1_in1k --method layer-cam",
    "seewhy explain cat.jpg -m torchvision/resnet50 -t tabby -t lynx --view overlay",
    "seewhy explain photos/ -m torchvision/resnet50 --check --report",
    "curl -s https://example.org/cat.jpg | seewhy explain - -m torchvision/resnet50 --json",
)
def explain(
    context: typer.Context,
    images: opt.Images,
    *,
    model: opt.ModelReference,
    method: opt.Method = None,
    target: opt.SeveralTargets = None,
    layer: opt.Layer = None,
    check: opt.Check = False,
    labels: opt.LabelFile = None,
    device: opt.Device = None,
    precision: opt.PrecisionChoice = None,
    memory: opt.Memory = None,
    compile: opt.Compile = False,  # noqa: A002 - as torch calls it
    batch: opt.Batch = None,
    seed: opt.Seed = 0,
    allow_pickle: opt.AllowPickle = False,
    out: opt.Out = opt.OUT,
    view: Annotated[
        opt.View, typer.Option("--view", help="What to draw.", rich_help_panel=opt.SAVED)
    ] = opt.View.panel,
    colormap: opt.Colormap = None,
    opacity: opt.Opacity = opt.OPACITY,
    format: opt.FormatChoice = opt.Format.png,  # noqa: A002 - as the option is called
    data: Annotated[
        bool,
        typer.Option(
            "--data",
            help="Save the maps too, as .npz that seewhy.read takes.",
            rich_help_panel=opt.SAVED,
        ),
    ] = False,
    report: Annotated[
        bool,
        typer.Option(
            "--report",
            help="Save a page too, report.html: a file to open, to mail or to print.",
            rich_help_panel=opt.SAVED,
        ),
    ] = False,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            metavar="K",
            min=1,
            help="How many predicted classes to list.",
            rich_help_panel=opt.SAVED,
        ),
    ] = 5,
    json: opt.Json = False,
) -> None:
    """Show which parts of pictures made the model decide as it did.

    Says what was explained and what was predicted, and saves a picture for each.
    """
    from seewhy.cli.answers import Answers, Document
    from seewhy.cli.work import check_colormap, find_sources, split_layers
    from seewhy.methods import as_method
    from seewhy.model.load import load
    from seewhy.run import Run
    from seewhy.stream import explain_each
    from seewhy.targets import as_target
    from seewhy.trust import checked

    screen: Screen = context.obj
    check_colormap(colormap)
    how = as_method(method) if method else None
    wanted = [as_target(each) for each in target or ()]
    run = Run(device, precision, memory, seed, screen.progress, compile=compile)
    network = load(model, labels=labels, allow_pickle=allow_pickle)
    sources, failures = find_sources(images)
    found: Iterator[Explanation | Failure] = iter(failures)
    if sources:
        targets = [wanted] * len(sources) if wanted else None
        found = _both(
            failures,
            explain_each(
                network,
                sources,
                targets,
                how,
                layer=split_layers(layer),
                batch=batch,
                run=run,
                top=top,
                check=checked if check else None,
            ),
        )
    saving = _Saving(
        out,
        format.value,
        {"view": view.value, "colormap": colormap, "opacity": opacity},
        data=data,
        report=report,
        by_target=len(wanted) > 1,
    )
    answers = Document(screen) if json else Answers(screen)
    _tell(found, saving, answers, screen)


def _both(
    failures: list[Failure], stream: Iterator[Explanation | Failure]
) -> Iterator[Explanation | Failure]:
    yield from failures
    yield from stream


def _tell(
    found: Iterator[Explanation | Failure], saving: _Saving, answers: Answers, screen: Screen
) -> None:
    """Save and print each explanation as it comes, then what failed."""
    from seewhy.cli.group import FAILED, INTERRUPTED
    from seewhy.cli.work import described
    from seewhy.errors import Failure, PictureError, SeewhyError

    failures: list[Failure] = []
    count, problem = 0, ""
    try:
        for each in found:
            if isinstance(each, Failure):
                failures.append(each)
                continue
            try:
                files = saving.save(each)
            except PictureError as error:  # a map without space cannot be drawn
                failures.append(Failure(each.source, error))
                continue
            count += 1
            answers.add(each, files)
        page = saving.save_report(failures)
        if page is not None:
            answers.add_page(page)
    except KeyboardInterrupt:
        problem = "interrupted"
        where = f"{count} explained and saved in {saving.folder}" if count else "nothing was saved"
        screen.aside(f"interrupted: {where}")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        problem = str(error) or type(error).__name__
        raise
    finally:
        answers.close(failures, problem)
    if failures:
        several = f"{len(failures)} pictures" if len(failures) > 1 else "1 picture"
        screen.error(f"{several} could not be explained (saved: {count})")
        for failure in failures:
            screen.aside(f"  {described(failure)}")
        unforeseen = [each.error for each in failures if not isinstance(each.error, SeewhyError)]
        if unforeseen:
            raise unforeseen[0]  # to be shown with its trace where --debug asks for it
        raise typer.Exit(FAILED)


class _Saving:
    """Writes explanations into a folder, under names that differ."""

    def __init__(
        self,
        folder: Path,
        ending: str,
        look: dict[str, Any],
        *,
        data: bool,
        report: bool,
        by_target: bool,
    ) -> None:
        from seewhy.cli.work import Names

        self.folder, self._ending, self._look = folder.expanduser(), ending, look
        self._data, self._by_target, self._names = data, by_target, Names()
        self._report = report
        self._kept: list[Explanation] = []
        self._pictures: set[str] = set()

    def save(self, why: Explanation) -> list[Path]:
        """Write a picture and, where it is wanted, the data; return the files."""
        targets = (why.target,) if self._by_target else ()
        name = self._names.next(why.source, *targets, why.method.partition(":")[0])
        files = [self.folder / f"{name}.npz"] if self._data else []
        files.insert(0, self.folder / f"{name}.{self._ending}")
        for file in files[1:]:
            why.save(file)
        why.save(files[0], **self._look)
        if self._report and len(self._pictures | {why.source}) <= REPORTED:
            self._kept.append(why)
        self._pictures.add(why.source)
        return files

    def save_report(self, failures: list[Failure]) -> Path | None:
        """Write the page of what was saved, where it is wanted; return the file."""
        from seewhy.errors import warn
        from seewhy.explanation import Explanations

        if not self._kept:
            return None
        if len(self._pictures) > REPORTED:
            warn(f"the page shows the first {REPORTED} of {len(self._pictures)} pictures")
        return Explanations(self._kept, failures).save(self.folder / "report.html")[0]
