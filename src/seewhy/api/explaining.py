"""The verbs on explanations: explain, compare, evaluate; and the summary of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from seewhy.api.models import ModelSpec, as_model
from seewhy.comparison import Comparison
from seewhy.data.images import find_pictures
from seewhy.errors import (
    CancelledError,
    Failure,
    MethodError,
    PictureError,
    SeewhyError,
    TargetError,
    warn,
)
from seewhy.explanation import Explanation, Explanations
from seewhy.methods import Method, as_method
from seewhy.model.layers import LayerSpec
from seewhy.model.model import Model
from seewhy.model.prepare import is_model_input
from seewhy.overview import Summary
from seewhy.run import Progress, Run
from seewhy.stream import explain_each
from seewhy.targets import TargetSpec
from seewhy.targets.several import Targets
from seewhy.trust import CONTROLS, Evaluation, Masks, MetricSpec, checked
from seewhy.trust import evaluate as judged

T = TypeVar("T")
COMPARED = ("grad-cam", "layer-cam", "gradient", "smoothgrad", "integrated-gradients")


def explain(
    model: ModelSpec,
    pictures: Any,
    target: Targets = None,
    method: Method | type[Method] | str | None = None,
    *,
    layer: LayerSpec | tuple[LayerSpec, ...] = None,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    check: bool = False,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    compile: bool | str = False,  # noqa: A002 - as torch calls it
) -> Explanation | Explanations:
    """Say which parts of pictures made the model decide as it did.

    model: a Model, a torch module, or what `load` takes. pictures: one gives an Explanation; a
    list, a folder or a tensor (N, C, *space) gives Explanations. target: None for what is
    predicted, a class number or name, a Target, a function of the outputs; a list with one for
    each picture, or several for one picture (nested for several pictures). method: its name, a
    string with settings, or an instance; None is Grad-CAM, integrated gradients where no layer
    has space, occlusion where there are no gradients. layer: the method's, in short. others: the
    model's further inputs by name. batch: pictures at a time. check: remove what the map points at
    and as much elsewhere, and say in `.trials` and in words whether the score falls more (see
    `seewhy.trust.RemovalCheck`); it takes 41 forwards. The rest is as for `Run`.

    In a list, pictures that fail are left out, warned of, and listed in `.failures`; the errors of
    a single picture are raised: PictureError, TargetError, LayerError, MethodError. Where `cancel`
    answers True, what is explained already is returned with a warning; CancelledError where nothing
    is.

    >>> why = explain("demo", Image.new("RGB", (64, 64), "gray"), target="disk")
    >>> why.heatmap().shape
    (64, 64)
    """
    run = Run(device, precision, memory, seed, progress, cancel, compile)
    model = as_model(model)
    single = _is_single(pictures)
    found: list[Explanation] = []
    failures: list[Failure] = []
    stream = explain_each(
        model,
        pictures,
        target,
        method,
        layer=layer,
        batch=batch,
        run=run,
        others=others,
        check=checked if check else None,
    )
    try:
        for each in _held(model, run, stream):
            if isinstance(each, Failure):
                if single:
                    raise each.error
                failures.append(each)
            else:
                found.append(each)
    except CancelledError as error:
        if not found:
            raise
        warn(f"{error}: {len(found)} explained until then are returned")
    if single and len(found) == 1 and not isinstance(target, list | tuple):
        return found[0]
    if failures:
        if len({str(each.error) for each in failures}) == 1 and not found:
            raise failures[0].error
        if not found:
            raise PictureError("none of the pictures could be explained: " + _listed(failures))
        warn(f"{len(failures)} of the pictures could not be explained: {_listed(failures)}")
    return Explanations(found, failures)


def compare(
    model: ModelSpec,
    picture: Any,
    methods: Sequence[Method | type[Method] | str] = COMPARED,
    target: TargetSpec = None,
    **options: Any,
) -> Comparison:
    """Explain one picture by several methods, for one panel and one table.

    options: as for `explain`. A method that does not apply is left out of the panel and named,
    with the reason, in `.failures`. Raises the first error where no method applies.

    >>> found = compare("demo", Image.new("RGB", (64, 64), "gray"), ["grad-cam", "hires-cam"], 0)
    >>> [row["layer"] for row in found.rows()]
    ['block4', 'block4']
    """
    model = as_model(model)
    if not methods:
        raise MethodError("there is nothing to compare: give at least one method")
    found: list[Explanation] = []
    failures: list[Failure] = []
    for each in methods:
        how = as_method(each)
        try:
            answer = explain(model, picture, target, how, **options)
        except SeewhyError as error:
            if isinstance(error, CancelledError | PictureError | TargetError):
                raise
            failures.append(Failure(str(how), error))
            continue
        if not isinstance(answer, Explanation):
            raise PictureError("compare takes one picture: call it for each")
        found.append(answer)
    if not found:
        raise failures[0].error
    return Comparison(found, failures)


def evaluate(
    model: ModelSpec,
    pictures: Any,
    methods: Sequence[Method | type[Method] | str] = COMPARED,
    masks: Masks = None,
    metrics: Sequence[MetricSpec] | None = None,
    *,
    target: TargetSpec | Sequence[TargetSpec] = None,
    controls: Sequence[Method] = CONTROLS,
    examples: int = 12,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    batch: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    compile: bool | str = False,  # noqa: A002 - as torch calls it
) -> Evaluation:
    """Judge how far maps can be believed: a table of methods and controls by metrics.

    pictures: several, as for `explain`. masks: where the answer should be, a bool (H, W) of each
    original picture, or files or a folder of files that are not black there; with masks the
    pointing game, relevance mass and rank are measured too. metrics: as strings such as
    "srg:fill=noisy-linear,steps=16" or from `seewhy.trust`; None is SRG with two fills, insertion
    and deletion. examples: pictures whose maps are kept for the page. The rest is as for `explain`,
    and `seewhy.trust.evaluate` says what is raised.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60)]
    >>> found = evaluate("demo", pictures, ["grad-cam"], metrics=["srg:patch=32"])
    >>> found.methods
    ('grad-cam', 'sobel', 'centre', 'random')
    """
    return judged(
        as_model(model),
        pictures,
        methods,
        masks,
        metrics,
        target=target,
        controls=controls,
        batch=batch,
        others=others,
        examples=examples,
        run=Run(device, precision, memory, seed, progress, cancel, compile),
    )


def summary(model: ModelSpec, picture: Any = None) -> Summary:
    """List the model's layers in order of execution, with shapes, kernels, channels, parameters.

    picture: needed where the model's input shape is not known. The layer that methods use by
    default is marked. `.svg()` is a diagram of the model; `.save("model.svg")` writes it, and the
    table as .md or .txt.

    >>> found = summary("demo")
    >>> str(found.default), found.output, found.svg().startswith("<svg")
    ('block4', (5,), True)
    """
    model = as_model(model)
    like = model.prepare(picture) if picture is not None else None
    return Summary.of(model, like)


def _held(model: Model, run: Run, stream: Iterator[T]) -> Iterator[T]:
    """Hold the model for the whole of a stream that is taken at once."""
    with model.held(run):
        yield from stream


def _is_single(pictures: Any) -> bool:
    if isinstance(pictures, str | Path):
        return find_pictures(pictures) == [pictures]  # folders and patterns are several
    if hasattr(pictures, "dtype"):
        return not is_model_input(pictures) and pictures.ndim < 4
    whole = isinstance(pictures, bytes | bytearray | memoryview) or hasattr(pictures, "read")
    return whole or not isinstance(pictures, Iterable)


def _listed(failures: Sequence[Failure]) -> str:
    more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
    return "; ".join(str(each) for each in failures[:3]) + more
