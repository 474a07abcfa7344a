"""Targets of several pictures: one for all, one for each, or several for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from torch import Tensor

from seewhy.errors import TargetError
from seewhy.targets.base import Target
from seewhy.targets.score import TargetSpec, as_target

Targets = TargetSpec | Sequence[TargetSpec] | Sequence[Sequence[TargetSpec]]


def targets_of_each(target: Targets, count: int) -> list[list[Target]]:
    """Return the targets of each of `count` pictures; equal ones are one object, bound together.

    Raises TargetError where their number is another.
    """
    given: Any = target
    if isinstance(given, Tensor | np.ndarray | range):
        target = list(given) if isinstance(given, range) else given.tolist()
    if not isinstance(target, list | tuple):
        return [[as_target(cast(TargetSpec, target))]] * count
    if not target:
        raise TargetError("the list of targets is empty: give one for each picture, or None")
    nested = any(isinstance(each, list | tuple) for each in target)
    if count == 1 and not nested:
        return [[as_target(each) for each in target]]
    if len(target) != count:
        raise TargetError(
            f"{len(target)} targets for {count} pictures: give one for all, or one (or a list) "
            "for each picture"
        )
    shared: dict[Any, Target] = {}

    def bound_once(spec: Any) -> Target:
        if isinstance(spec, int | str | None):
            return shared.setdefault(spec, as_target(spec))
        return as_target(spec)

    lists = [each if isinstance(each, list | tuple) else [each] for each in target]
    return [[bound_once(each) for each in own] for own in lists]


def target_of_each(target: TargetSpec | Sequence[TargetSpec], count: int) -> list[Target]:
    """Return the one target of each of `count` pictures; TargetError where there are several."""
    found = targets_of_each(target, count)
    if any(len(each) != 1 for each in found):
        raise TargetError("several targets for a picture: here each has one")
    return [each for (each,) in found]
