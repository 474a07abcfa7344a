"""Score: the targets of a batch of pictures as one function of what the network gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, get_type_hints

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import NoAnswerError, TargetError
from seewhy.model.layers import Layer
from seewhy.model.tape.record import Outcome, record
from seewhy.targets.base import Bound, Custom, Target
from seewhy.targets.boxes import Box
from seewhy.targets.classes import Class, LogitSum, LogProbability, Margin, Probability, Regression
from seewhy.targets.places import Neuron, Region

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

TargetSpec = Target | int | str | Callable[[Any], Tensor] | None

KINDS: dict[str, type[Target]] = {
    "class": Class,
    "probability": Probability,
    "log-probability": LogProbability,
    "margin": Margin,
    "logit-sum": LogitSum,
    "regression": Regression,
    "neuron": Neuron,
    "region": Region,
    "box": Box,
}
"""Targets that can be written as a string: "margin:label=tabby,against=lynx"."""


def as_target(spec: TargetSpec) -> Target:
    """Return the target that is meant by None, a class number or name, a string or a function."""
    if isinstance(spec, Target):
        return spec
    if spec is None:
        return Class(None)
    if isinstance(spec, bool):
        raise TargetError(f"{spec} is no target: give a class number, a name or a Target")
    if isinstance(spec, int | np.integer):
        return Class(int(spec))
    if isinstance(spec, str):
        kind, colon, rest = spec.partition(":")
        if (colon or kind in ("logit-sum", "box")) and kind in KINDS:
            return _parsed(kind, rest)
        return Class(int(spec)) if spec.isdigit() else Class(spec)
    if callable(spec):
        return Custom(spec)
    raise TargetError(
        f"{type(spec).__name__} is no target: give a class number or name, a Target from "
        "seewhy.targets, a function of the outputs, or None for what is predicted"
    )


def _parsed(kind: str, options: str) -> Target:
    """Read "margin:label=tabby,against=lynx"; a single value without a name is the first field."""
    target = KINDS[kind]
    hints = get_type_hints(target, include_extras=True)
    names = [f.name for f in fields(target) if hints[f.name] is not Any]  # type: ignore[arg-type]
    given: dict[str, Any] = {}
    for position, part in enumerate(filter(None, options.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            name, value = names[position] if position < len(names) else "", part
        if name.strip() not in names:
            raise TargetError(f"target {kind!r} has no {part!r}: it has {', '.join(names)}")
        given[name.strip()] = _value(value.strip(), str(hints[name.strip()]))
    try:
        return target(**given)
    except TypeError as error:
        raise TargetError(f"target {kind!r} needs {', '.join(names)} ({error})") from error


def _value(text: str, hint: str) -> Any:
    """Read a setting the way its type is written: "3" a number, "3+4" several."""
    try:
        numbers = tuple(map(int, text.split("+")))
    except ValueError:
        return text
    if "tuple" in hint:
        return numbers
    return numbers[0] if "int" in hint and len(numbers) == 1 else text


class Score:
    """What is explained in each picture of a batch, a number a row.

    It binds itself the first time it is given the outcome of the unchanged pictures, so that no
    forward is spent on finding out what is predicted. `names` says what each number is, `values`
    what it was for the unchanged pictures, `clean` what the network gave for them.
    """

    def __init__(self, targets: Sequence[Target], model: Model, prepared: Prepared) -> None:
        located = {id(each): each.located(model, prepared) for each in targets}
        groups: dict[int, list[int]] = {}
        for row, each in enumerate(targets):
            groups.setdefault(id(each), []).append(row)
        self._groups = [(located[key], torch.tensor(rows)) for key, rows in groups.items()]
        self._labels = model.labels
        self._bound: list[Bound] = []
        self.layers: tuple[Layer, ...] = tuple(
            dict.fromkeys(layer for target, _ in self._groups for layer in target.layers)
        )
        self.count = len(targets)
        self.names: tuple[str, ...] = ()
        self.values: Tensor | None = None
        self.clean: Outcome | None = None

    def bind(self, model: Model, prepared: Prepared) -> Score:
        """Bind to the pictures with a forward of their own, if that has not happened yet."""
        if not self._bound:
            with torch.no_grad():
                record(model, prepared, self)
        return self

    @property
    def answered(self) -> tuple[Outcome, Tensor]:
        """What the network gave for the unchanged pictures, and their scores (N,), once bound."""
        if self.clean is None or self.values is None:
            raise TargetError("the score is not bound to pictures yet: call score.bind(...)")
        return self.clean, self.values

    def of(self, rows: Tensor) -> Score:
        """Return the score for pictures of which row i belongs to the bound picture rows[i]."""
        return _OfRows(self, rows)

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        """Return (len(rows),); row i of the outcome belongs to the picture rows[i].

        Raises TargetError where a score is not finite.
        """
        if not self._bound:
            if not outcome.clean:
                raise TargetError(
                    "a score has to be bound to the unchanged pictures first: score.bind(...)"
                )
            self._bind(outcome)
        found = self._read(outcome, rows)
        if not bool(torch.isfinite(found.detach()).all()):
            raise NoAnswerError(
                f"the score of {self.names[0]!r} is not a finite number: the network's output has "
                "NaN or infinity; check its weights, its precision and the pictures"
            )
        if outcome.clean and self.values is None:
            self.values = found.detach()
        return found

    def _read(self, outcome: Outcome, rows: Tensor) -> Tensor:
        if len(self._groups) == 1:
            return self._bound[0].read(outcome, rows)
        parts, places = [], []
        for (_, members), bound in zip(self._groups, self._bound, strict=True):
            where = {int(row): place for place, row in enumerate(members)}
            mine = torch.tensor([i for i, row in enumerate(rows.tolist()) if row in where])
            if len(mine):
                own = torch.tensor([where[int(rows[i])] for i in mine])
                parts.append(bound.read(outcome.rows(mine), own))
                places.append(mine)
        order = torch.cat(places).argsort()
        joined = torch.cat(parts)
        return joined[order.to(joined.device)]

    def _bind(self, outcome: Outcome) -> None:
        names = [""] * self.count
        single = len(self._groups) == 1
        for target, members in self._groups:
            bound = target.bind(outcome if single else outcome.rows(members), self._labels)
            self._bound.append(bound)
            if len(bound.names) != len(members):
                raise TargetError(
                    f"the network answered {len(bound.names)} times for {len(members)} pictures: "
                    "its output must keep the batch axis in front (a squeeze() may remove it)"
                )
            for row, name in zip(members.tolist(), bound.names, strict=True):
                names[row] = name
        self.names, self.clean = tuple(names), outcome


class Seen(Score):
    """A bound score, seen from elsewhere: from other rows, or from changed pictures."""

    def __init__(self, score: Score) -> None:
        vars(self).update(vars(score))
        self.score = score


class _OfRows(Seen):
    """A bound score for pictures of which row i belongs to the bound picture rows[i]."""

    def __init__(self, score: Score, rows: Tensor) -> None:
        super().__init__(score)
        self.rows, self.count = rows, len(rows)

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        return self.score(outcome, self.rows[rows])

    @property
    def answered(self) -> tuple[Outcome, Tensor]:
        clean, values = self.score.answered
        return clean.rows(self.rows), values[self.rows.to(values.device)]
