"""What is wanted: an objective for each target, near the means of classes where those are given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import Failure, MethodError, TargetError
from seewhy.model.prepare import Prepared, is_model_input
from seewhy.model.tape.record import record
from seewhy.model.tape.trees import select_rows
from seewhy.prototypes.image import Units
from seewhy.prototypes.means import means_of
from seewhy.prototypes.objective import Distance, Objective, is_class, likely, objective
from seewhy.run import Run
from seewhy.targets.classes import Class, class_number, class_scores

if TYPE_CHECKING:
    from seewhy.model.model import Model

Mean = Any
"""Model input (1, ...) or (targets, ...), a number, pictures; None for no mean."""

MOST_CLASSES = 100  # that are taken where none is named


@dataclass(frozen=True)
class Wanted:
    """An objective for each target; near: whether a mean was given, and like: model input, then.

    failures: pictures for the means that could not be read.
    """

    objectives: list[Objective]
    near: bool
    like: Tensor | None
    failures: list[Failure] = field(default_factory=list)


def wanted(
    model: Model,
    target: Any,
    mean: Mean,
    classes: Sequence[int | str] | None,
    distance: float,
    begin: Prepared | None,
    others: dict[str, Any] | None,
    run: Run,
) -> Wanted:
    """Return what is wanted of the targets; see `seewhy.prototype`."""
    if isinstance(target, Tensor) or hasattr(target, "tolist"):
        target = target.tolist()
    specs = list(target) if isinstance(target, list | tuple | range) else [target]
    if not specs:
        raise TargetError("the list of targets is empty: give one at least, or None for all")
    if target is None:
        specs = list(range(_class_count(model, begin, mean, others)))
    near = mean is not None
    if not near:
        return Wanted([objective(spec) for spec in specs], near=False, like=None)
    if not distance >= 0:
        raise MethodError(f"distance is {distance!r}: give a weight from 0")
    goals = [likely(spec) for spec in specs]
    failures: list[Failure] = []
    points = _points(model, goals, mean, classes, others, run, failures)
    near_them = [
        goal - distance * objective(Distance(point))
        for goal, point in zip(goals, points, strict=True)
    ]
    like = points[0][None] if isinstance(points[0], Tensor) else None
    return Wanted(near_them, near=True, like=like, failures=failures)


def rows_of(
    goals: list[Objective], begin: Prepared | None, each: int
) -> tuple[list[Objective], Tensor]:
    """Return the objective of each row, and which picture it begins with.

    One target is pursued from every picture; several targets from one, or each from its own.
    """
    count = len(begin) if begin is not None else 1
    if count not in (1, len(goals)) and len(goals) > 1:
        raise MethodError(
            f"{count} pictures to start from for {len(goals)} targets: give one for each target, "
            "one picture for all, or one target"
        )
    longest = max(count, len(goals))
    pairs = [(i % len(goals), i % count) for i in range(longest) for _ in range(each)]
    return [goals[goal] for goal, _ in pairs], torch.tensor([first for _, first in pairs])


def _points(
    model: Model,
    goals: list[Objective],
    mean: Any,
    classes: Sequence[int | str] | None,
    others: dict[str, Any] | None,
    run: Run,
    failures: list[Failure],
) -> list[Any]:
    """The mean of each target: model input of one picture, or a number."""
    if isinstance(mean, int | float) and not isinstance(mean, bool):
        return [float(mean)] * len(goals)
    if is_model_input(mean) and mean.ndim == 0:
        return [float(mean)] * len(goals)
    if is_model_input(mean):
        given = torch.as_tensor(mean)
        if len(given) not in (1, len(goals)) or given.ndim < 2:
            raise MethodError(
                f"the mean has the shape {tuple(given.shape)}: give model input with a batch axis, "
                f"one for all or one for each of {len(goals)} targets, or pictures"
            )
        points = list(given.expand(len(goals), *given.shape[1:]))
    else:
        means = means_of(model, mean, classes, others, run, failures)
        points = [means[_number(goal, means, model)] for goal in goals]
    for goal, point in zip(goals, points, strict=True):
        if not bool(torch.isfinite(point).all()):
            raise MethodError(
                f"the mean of {goal!r} is not finite: none of the pictures is of that class; give "
                "some, or say with classes= which they are of"
            )
    return points


def _number(goal: Objective, means: Tensor, model: Model) -> int:
    """The class number of an objective that is one class."""
    target = goal.parts[0][1]
    if len(goal.parts) != 1 or not isinstance(target, Class) or not is_class(target.spec):
        raise MethodError(
            f"{goal!r} is no single class, so pictures do not say what its mean is: give the mean "
            "as model input, (1, ...)"
        )
    scores = means.reshape(len(means), -1)[:, :1].mT
    return int(class_number(target.spec, scores, model.labels))


def _class_count(
    model: Model, begin: Prepared | None, mean: Any, others: dict[str, Any] | None
) -> int:
    """How many classes there are; TargetError where they are too many to show."""
    if model.labels is not None:
        count = len(model.labels)
    else:
        if begin is None:
            near = is_model_input(mean) and mean.ndim > 1
            units = Units.of(model, torch.as_tensor(mean) if near else None)
            begin = blank(units, 1, others)
        count = class_scores(record(model, model.at_home(begin)).outcome).shape[1]
    if count > MOST_CLASSES:
        raise TargetError(
            f"{model.name} has {count} classes, too many to be shown at once: name some, such as "
            "target=[0, 1, 2]"
        )
    return count


def blank(units: Units, rows: int, others: dict[str, Any] | None) -> Prepared:
    """Return model input of zeros, each row with the further inputs of the first."""
    flat = units.flat or len(units.shape) == 1
    shape = (torch.Size(units.shape).numel(),) if flat else units.shape
    rest = None if others is None else select_rows(others, torch.zeros(rows, dtype=torch.long))
    return Prepared(torch.zeros(rows, *shape), rest)
