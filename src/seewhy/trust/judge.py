"""Evaluating: methods and controls on the same pictures, by every metric, with what they cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.errors import (
    Failure,
    LayerError,
    MethodError,
    NoAnswerError,
    NoSpaceError,
    PictureError,
    SeewhyError,
)
from seewhy.explanation import Explanation
from seewhy.methods import Method, as_method
from seewhy.model.model import Model
from seewhy.model.prepare import Prepared, batched
from seewhy.model.reading import Ready, read_each, sources_of
from seewhy.model.tape.memory import no_memory, out_of_memory
from seewhy.model.tape.passes import Passes, uncounted
from seewhy.run import Run
from seewhy.stream import Order, Row, batch_of, explain_rows
from seewhy.targets import Target, TargetSpec
from seewhy.targets.several import target_of_each
from seewhy.trust.controls import CONTROLS, as_control
from seewhy.trust.evaluation import Cost, Evaluation
from seewhy.trust.grid import GridPG
from seewhy.trust.masks import Masks, listed_masks, mask_on
from seewhy.trust.metrics import Case, Maps, Metric
from seewhy.trust.pointing import PointingGame, RelevanceMass, RelevanceRank
from seewhy.trust.registry import MetricSpec, as_metric
from seewhy.trust.removal import SRG, Deletion, Insertion

MethodSpec = Method | type[Method] | str

WITH_MODEL: tuple[Metric, ...] = (SRG(), SRG(fill="noisy-linear"), Insertion(), Deletion())
WITH_MASKS: tuple[Metric, ...] = (PointingGame(), RelevanceMass(), RelevanceRank())


def evaluate(
    model: Model,
    pictures: Any,
    methods: Sequence[MethodSpec] | MethodSpec,
    masks: Masks = None,
    metrics: Sequence[MetricSpec] | MetricSpec | None = None,
    *,
    target: TargetSpec | Sequence[TargetSpec] = None,
    controls: Sequence[MethodSpec] = CONTROLS,
    batch: int | None = None,
    others: Any = None,
    examples: int = 12,
    run: Run | None = None,
) -> Evaluation:
    """Judge methods on pictures, beside controls that know nothing of the model.

    pictures: several, as for `explain`, read batch by batch. masks: where the answer should be, a
    bool (H, W) of each original picture; files in which it is what is not black; or a folder with
    a file of each picture's name. metrics: instances, or strings such as "srg:fill=noisy-linear";
    None is SRG with two fills, insertion and deletion, and with masks pointing game, relevance mass
    and rank. target: one for all pictures or a list with one for each; of a class the probability
    is what is measured. batch: pictures at a time. examples: pictures whose maps are kept.

    A method that does not apply is named in `.failures` and left out. A picture that cannot be
    read, or for which a method has no answer, is named in `.left_out`; the latter counts as NaN
    there. Raises MethodError where nothing is left to evaluate, where a metric needs masks and
    there are none, and where two methods are written alike; PictureError where no picture can be
    read, and where there are not as many masks as pictures.
    """
    run = run or Run()
    limit, sources = batch_of(model, batch, run), sources_of(pictures, model)
    judges = [as_metric(each) for each in _several(metrics)]
    judges = judges or [*WITH_MODEL, *(WITH_MASKS if masks is not None else ())]
    weights = model.fingerprint()
    columns = [
        _Column(how, Order(how, None, run, 5, weights), control)
        for how, control in [(_named(model, as_method(each)), False) for each in _several(methods)]
        + [(as_control(each), True) for each in controls]
    ]
    truths = listed_masks(masks, sources)
    _check(columns, judges, truths)
    targets = target_of_each(target, len(sources))
    single = [each for each in judges if not isinstance(each, GridPG)]
    grids = [each for each in judges if isinstance(each, GridPG)]
    judged = _Judged()
    with model.held(run):
        for group in read_each(model, sources, others, limit):
            for case, rows in _cases(model, group, targets, truths, judged, run):
                for column in columns:
                    column.judge(case, rows, single, examples)
                judged.add(case, rows, examples, grids=bool(grids))
                if all(each.control or each.problem for each in columns):
                    break
                run.report(rows[-1].picture.index + 1, len(sources), "pictures")
        if not judged.names:
            first = judged.left_out[0]
            said = f"none of the pictures can be judged: {first.error}"
            raise PictureError(said) from first.error
        for grid in grids:
            for column in (each for each in columns if each.problem is None):
                column.in_grids(model, judged, grid, run)
    return _evaluation(model, columns, judges, run, judged)


@dataclass
class _Judged:
    """The pictures that were judged, in order, and those that were not."""

    names: list[str] = field(default_factory=list)
    shown: list[Tensor] = field(default_factory=list)
    for_grids: list[Prepared] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)

    def add(self, case: Case, rows: Sequence[Row], examples: int, *, grids: bool) -> None:
        self.shown += case.masks[: max(0, examples - len(self.shown))]
        self.names += [each.picture.name for each in rows]
        if grids:
            some = (each.picture.prepared for each in rows)
            self.for_grids += [Prepared(each.tensor, each.others) for each in some]


def _cases(
    model: Model,
    group: Sequence[Ready] | Failure,
    targets: Sequence[Target],
    truths: Sequence[Any],
    judged: _Judged,
    run: Run,
) -> Iterator[tuple[Case, list[Row]]]:
    """Yield the case of a batch with its rows; picture by picture where one has no score.

    What is found out once about a model is found out here, so that no method's time has it.
    """
    if isinstance(group, Failure):
        judged.left_out.append(group)
        return
    try:
        rows = [
            Row(each, targets[each.index].of_picture(each.index, len(targets), each.prepared))
            for each in group
        ]
        prepared = batched([each.prepared for each in group])
        masks = tuple(mask_on(truths[e.index], e.prepared, e.name) for e in group if truths)
        case = Case.measuring(model, prepared, [each.target for each in rows], masks, run)
        with uncounted():
            case.score.bind(model, model.at_home(prepared))
            with suppress(SeewhyError):  # whoever needs it will say so
                if model.offers.layers:
                    model.layers(prepared)
                if model.offers.gradient:
                    model.rows_at_once(prepared, run)
                if run.compile:
                    model.findings.compiled(model.at_home(prepared), run)
    except (NoAnswerError, NoSpaceError, PictureError, RuntimeError, MemoryError) as error:
        memory = out_of_memory(error)
        if not (memory or isinstance(error, SeewhyError)):
            raise
        if len(group) == 1:
            problem = no_memory(error) if memory else error
            judged.left_out.append(Failure(group[0].name, problem))
            return
    else:
        yield case, rows
        return
    for each in group:  # the error is gone, and with it what it held
        yield from _cases(model, [each], targets, truths, judged, run)


def _several(given: Any) -> list[Any]:
    """One method or metric is a list of one."""
    if given is None:
        return []
    return list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]


def _named(model: Model, how: Method) -> Method:
    """The method, its layers by name: a table has nothing else to tell them by."""
    names = {module: name for name, module in model.module.named_modules()}
    layers = {
        each.name: names[getattr(how, each.name)]
        for each in fields(how)
        if isinstance(getattr(how, each.name), nn.Module) and getattr(how, each.name) in names
    }
    return replace(how, **layers) if layers else how


@dataclass
class _Column:
    """A method, and what has been found of it so far.

    problem: why it does not apply. unanswered: pictures for which it has no answer.
    """

    method: Method
    order: Order
    control: bool
    values: dict[str, list[Tensor]] = field(default_factory=dict)
    passes: list[Passes] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    kept: list[Explanation | None] = field(default_factory=list)
    unanswered: list[Failure] = field(default_factory=list)
    problem: Exception | None = None

    def judge(
        self, case: Case, rows: Sequence[Row], metrics: Sequence[Metric], examples: int
    ) -> None:
        """Explain a batch and measure its maps; where the method does not apply, that ends it."""
        if self.problem is not None:
            return
        try:
            answers = list(explain_rows(case.model, rows, self.order))
        except (MethodError, LayerError) as error:
            self.problem = error
            return
        found = [each if isinstance(each, Explanation) else None for each in answers]
        self.kept += found[: max(0, examples - len(self.kept))]
        self.unanswered += [each for each in answers if isinstance(each, Failure)]
        maps = [each.relevance for each in found if each is not None]
        values = torch.full((len(rows),), torch.nan, dtype=torch.float64)
        if maps:
            answered = torch.tensor([each is not None for each in found])
            relevance = torch.zeros(len(rows), *maps[0].shape, dtype=maps[0].dtype)
            relevance[answered] = torch.stack(maps)
            judged = Maps(relevance, self.method.display)
        for metric in metrics:
            if maps:
                values = metric.answers(case, judged).where(answered, torch.nan)
            self.values.setdefault(str(metric), []).append(values)
        self.passes += [each.passes for each in found if each is not None]
        self.seconds += [each.seconds for each in found if each is not None]

    def in_grids(self, model: Model, judged: _Judged, grid: GridPG, run: Run) -> None:
        """Measure by a grid of all pictures; where none can be made, the reason is kept."""
        try:
            found = grid.measure(model, _of_one_shape(judged.for_grids, grid), self.method, run)
        except (MethodError, LayerError, NoAnswerError) as error:
            judged.left_out.append(Failure(f"{grid}, {self.method}", error))
            found = torch.full((len(judged.for_grids),), torch.nan, dtype=torch.float64)
        self.values[str(grid)] = [found]

    @property
    def cost(self) -> Cost:
        """What one picture cost: the means of the passes, the median of the time."""
        passes = [(each.forwards, each.backwards, each.replays) for each in self.passes]
        means = [statistics.fmean(each) for each in zip(*passes, strict=True)]
        return Cost(means[0], means[1], means[2], 1000 * statistics.median(self.seconds))


def _evaluation(
    model: Model,
    columns: Sequence[_Column],
    metrics: Sequence[Metric | GridPG],
    run: Run,
    judged: _Judged,
) -> Evaluation:
    for each in columns:
        if each.problem is None and not each.seconds:
            each.problem = each.unanswered[0].error
    applied = [each for each in columns if each.problem is None]
    failures = [Failure(str(each.method), each.problem) for each in columns if each.problem]
    if all(each.control for each in applied):
        raise failures[0].error
    unanswered = [
        Failure(f"{failure.source}, {each.method}", failure.error)
        for each in applied
        for failure in each.unanswered
    ]
    return Evaluation(
        values={
            str(each.method): {str(m): torch.cat(each.values[str(m)]) for m in metrics}
            for each in applied
        },
        better={str(each): each.better for each in metrics},
        words={str(each): each.words for each in metrics},
        costs={str(each.method): each.cost for each in applied},
        names=tuple(judged.names),
        controls=tuple(str(each.method) for each in applied if each.control),
        failures=tuple(failures),
        left_out=(*judged.left_out, *unanswered),
        examples={str(each.method): tuple(each.kept) for each in applied},
        truths=tuple(each.numpy() for each in judged.shown),
        model=model.name,
        seed=run.seed,
    )


def _check(
    columns: Sequence[_Column], metrics: Sequence[Metric | GridPG], truths: Sequence[Any]
) -> None:
    if all(each.control for each in columns):
        raise MethodError("there is nothing to evaluate: give at least one method")
    for what, names in (
        ("methods", [str(each.method) for each in columns]),
        ("metrics", [str(each) for each in metrics]),
    ):
        twice = sorted({each for each in names if names.count(each) > 1})
        if twice:
            raise MethodError(f"{what} {', '.join(twice)} came twice: give each once")
    for each in metrics:
        if "masks" in each.needs and not len(truths):
            raise MethodError(
                f"{each.name} needs to know where the answer is: give masks=, a bool (H, W) of "
                "each picture, or leave the metric out"
            )


def _of_one_shape(prepared: Sequence[Prepared], grid: GridPG) -> Prepared:
    """All pictures as one batch, for grids of them."""
    shapes = {tuple(each.tensor.shape[1:]) for each in prepared}
    if len(shapes) > 1:
        raise MethodError(
            f"{grid.name} puts pictures beside each other, and these have the shapes "
            f"{sorted(shapes)}: give a preprocessing that resizes, or leave the metric out"
        )
    return batched(prepared)
