"""Evaluating: methods and controls on the same pictures, by every metric, with what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from seewhy.errors import (
    LayerError,
    MethodError,
    NoAnswerError,
    NoSpaceError,
    PictureError,
    SeewhyError,
)
from seewhy.methods import Method, as_method, perform
from seewhy.model.model import BATCH, Model
from seewhy.model.prepare import Prepared, batched
from seewhy.model.tape.passes import Passes, uncounted
from seewhy.run import Run
from seewhy.targets import Score, Target, TargetSpec
from seewhy.trust.controls import CONTROLS
from seewhy.trust.evaluation import Cost, Evaluation
from seewhy.trust.grid import GridPG
from seewhy.trust.metrics import Case, Maps, Metric, masks_of, measured, targets_of
from seewhy.trust.pointing import PointingGame, RelevanceMass, RelevanceRank
from seewhy.trust.removal import SRG, Deletion, Insertion

WITH_MODEL: tuple[Metric, ...] = (SRG(), SRG(fill="noisy-linear"), Insertion(), Deletion())
WITH_MASKS: tuple[Metric, ...] = (PointingGame(), RelevanceMass(), RelevanceRank())


def evaluate(
    model: Model,
    pictures: Any,
    methods: Sequence[Method | type[Method] | str],
    masks: Sequence[Any] | Tensor | None = None,
    metrics: Sequence[Metric | GridPG] | None = None,
    *,
    target: TargetSpec | Sequence[TargetSpec] = None,
    controls: Sequence[Method] = CONTROLS,
    batch: int | None = None,
    run: Run | None = None,
) -> Evaluation:
    """Judge methods on pictures, beside controls that know nothing of the model.

    pictures: what `Model.prepare_each` takes, or a Prepared. masks: bool (H, W) of each original
    picture, where the answer should be. metrics: None is SRG with two fills, insertion and
    deletion; and with masks pointing game, relevance mass and rank. target: as for `explain`, one
    for all pictures or a list with one for each; of a class the probability is what is measured.
    batch: pictures at a time.

    A method that does not apply is named in `.failures` and left out; a picture for which a method
    has no answer counts as NaN there. Raises MethodError where nothing is left to evaluate, where
    a metric needs masks and there are none, and where two methods are written alike.
    """
    run = run or Run()
    if isinstance(pictures, Prepared):
        prepared = [pictures.rows([row]) for row in range(len(pictures))]
    else:
        prepared = model.prepare_each(pictures)
    metrics = metrics or (*WITH_MODEL, *(WITH_MASKS if masks is not None else ()))
    columns = [_Column(as_method(each), control=False) for each in methods]
    columns += [_Column(each, control=True) for each in controls]
    _check(columns, metrics, masks)
    targets = targets_of(target, len(prepared))
    truth = [] if masks is None else list(masks)
    if truth and len(truth) != len(prepared):
        raise PictureError(
            f"{len(truth)} masks for {len(prepared)} pictures: give one for each picture"
        )
    single = [each for each in metrics if not isinstance(each, GridPG)]
    done = 0
    with model.held(run):
        for rows in _groups(prepared, min(batch or BATCH, model.offers.batch or BATCH)):
            part = batched([prepared[row] for row in rows])
            own = [targets[row] for row in rows]
            found = masks_of([truth[row] for row in rows], part) if truth else ()
            case = Case(model, part, Score(measured(own), model, part), found, run)
            _get_to_know(case)
            for column in columns:
                column.judge(case, own, single)
            done += len(rows)
            run.report(done, len(prepared), "pictures")
        for grid in (each for each in metrics if isinstance(each, GridPG)):
            together = _of_one_shape(prepared, grid)
            for column in (each for each in columns if each.error is None):
                column.values[str(grid)] = [grid.measure(model, together, column.method, run)]
    return _evaluation(columns, metrics, run)


def _get_to_know(case: Case) -> None:
    """Find out what is found out once about a model, so that no method's time has it."""
    model = case.model
    with model.held(case.run), uncounted():
        case.score.bind(model, model.at_home(case.prepared))
        with suppress(SeewhyError):  # whoever needs it will say so
            if model.offers.layers:
                model.layers(case.prepared)
            if model.offers.gradient:
                model.rows_at_once(case.prepared, case.run)


@dataclass
class _Column:
    """A method, and what has been found of it so far."""

    method: Method
    control: bool
    values: dict[str, list[Tensor]] = field(default_factory=dict)
    passes: Passes = field(default_factory=Passes)
    seconds: list[float] = field(default_factory=list)  # of a picture, batch by batch
    explained: int = 0
    error: SeewhyError | None = None

    def judge(self, case: Case, targets: Sequence[Target], metrics: Sequence[Metric]) -> None:
        """Explain a batch and measure its maps; where the method does not apply, that ends it."""
        if self.error is not None:
            return
        began = time.perf_counter()
        try:
            relevance, answered = self._relevance(case, targets)
        except (MethodError, LayerError) as error:
            self.error = error
            return
        self.seconds.append((time.perf_counter() - began) / len(case))
        self.explained += len(case)
        maps = Maps(relevance, self.method.display)
        for metric in metrics:
            values = metric.measure(case, maps).where(answered, torch.nan)
            self.values.setdefault(str(metric), []).append(values)

    def _relevance(self, case: Case, targets: Sequence[Target]) -> tuple[Tensor, Tensor]:
        """The maps of a batch, and which pictures have one; one by one where the batch fails."""
        try:
            return self._explain(case, case.prepared, targets), torch.ones(len(case)).bool()
        except (NoAnswerError, NoSpaceError):
            maps: dict[int, Tensor] = {}
            for row in range(len(case)):
                try:
                    maps[row] = self._explain(case, case.prepared.rows([row]), [targets[row]])
                except (NoAnswerError, NoSpaceError):
                    continue
            if not maps:
                raise
            missing = torch.zeros_like(next(iter(maps.values())))
            found = torch.cat([maps.get(row, missing) for row in range(len(case))])
            return found, torch.tensor([row in maps for row in range(len(case))])

    def _explain(self, case: Case, pictures: Prepared, targets: Sequence[Target]) -> Tensor:
        score = Score(targets, case.model, pictures)
        found = perform(self.method, case.model, pictures, score, case.run)
        relevance = found.relevance.detach().cpu()  # a GPU is done when this is
        self.passes.forwards += found.passes.forwards
        self.passes.backwards += found.passes.backwards
        self.passes.replays += found.passes.replays
        return relevance

    @property
    def cost(self) -> Cost:
        """What one picture cost: the mean of the passes, the median of the time."""
        count = max(1, self.explained)
        return Cost(
            self.passes.forwards / count,
            self.passes.backwards / count,
            self.passes.replays / count,
            1000 * statistics.median(self.seconds),
        )


def _evaluation(
    columns: Sequence[_Column], metrics: Sequence[Metric | GridPG], run: Run
) -> Evaluation:
    judged = [each for each in columns if each.error is None]
    failures = tuple((str(each.method), each.error) for each in columns if each.error is not None)
    if not any(not each.control for each in judged):
        raise next(error for _, error in failures)
    return Evaluation(
        values={
            str(each.method): {name: torch.cat(parts) for name, parts in each.values.items()}
            for each in judged
        },
        better={str(each): each.better for each in metrics},
        costs={str(each.method): each.cost for each in judged},
        controls=tuple(str(each.method) for each in judged if each.control),
        failures=failures,
        seed=run.seed,
    )


def _check(
    columns: Sequence[_Column],
    metrics: Sequence[Metric | GridPG],
    masks: Sequence[Any] | Tensor | None,
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
        if "masks" in each.needs and masks is None:
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


def _groups(prepared: Sequence[Prepared], limit: int) -> list[list[int]]:
    """Neighbours of one input shape, so many at a time; the order stays."""
    groups: list[list[int]] = []
    for row, each in enumerate(prepared):
        last = groups[-1] if groups else []
        fits = last and prepared[last[0]].tensor.shape == each.tensor.shape
        if fits and len(last) < limit:
            last.append(row)
        else:
            groups.append([row])
    return groups
