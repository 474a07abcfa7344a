"""Exciting: which pictures of many excite a channel, a class or a direction most, and where."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import (
    CancelledError,
    Failure,
    LayerError,
    MethodError,
    ModelError,
    NoAnswerError,
    TargetError,
    tell_of,
    warn,
)
from seewhy.inside.examples import Example, Exciting
from seewhy.inside.field import Box, Field, receptive_field
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import Prepared, batched
from seewhy.model.reading import Ready, read_stream
from seewhy.model.tape.memory import no_memory, out_of_memory, release
from seewhy.model.tape.record import Outcome, record
from seewhy.result import origin
from seewhy.run import Run, is_number
from seewhy.shown import Shown, reduced
from seewhy.stream import batch_of
from seewhy.targets import Direction, Neuron, Score, Target, as_target

if TYPE_CHECKING:
    from seewhy.model.model import Model

By = Literal["max", "mean"]
KEPT = 320  # pixels of the longer side of a picture that is kept


def exciting(
    model: Model,
    pictures: Any,
    unit: Any,
    top: int = 9,
    *,
    layer: LayerSpec = None,
    by: By = "max",
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Exciting:
    """Find the pictures that excite a unit most; see `seewhy.exciting`."""
    run, began = run or Run(), time.perf_counter()
    if not (is_number(top) and top >= 1):
        raise MethodError(f"top is {top!r}: give a number of pictures, at least 1")
    if by not in ("max", "mean"):
        raise MethodError(f"by is {by!r}: use 'max' or 'mean'")
    units = _units(unit, layer, by)
    search = _Search(model, units, int(top), layer, run)
    with model.held(run):
        for group, total in read_stream(model, pictures, others, batch_of(model, None, run)):
            if isinstance(group, Failure):
                search.failures.append(group)
            else:
                search.look(group)
            done = search.seen + len(search.failures)
            run.report(done, max(done, total), "pictures")
    tell_of(search.failures, left=search.seen > 0, what="could not be looked at")
    search.warn_of_dead_units()
    return Exciting(
        units=tuple(search.names),
        examples=tuple(tuple(own) for own in search.best),
        seen=search.seen,
        by=by,
        seconds=time.perf_counter() - began,
        failures=tuple(search.failures),
        **origin(model, run),
    )


@dataclass(frozen=True)
class Unit:
    """What is excited: a target, and how a picture's value comes of the places of its layer."""

    target: Target
    by: By

    def located(self, model: Model, like: Prepared) -> Unit:
        """Return the unit with its layer found in the model."""
        return replace(self, target=self.target.located(model, like))

    def maps(self, outcome: Outcome) -> Tensor | None:
        """Return its value in each place (N, *space), None for what is no part of a layer."""
        target = self.target
        if not isinstance(target, Neuron | Direction):
            return None
        found = outcome.activations[target.layers[0]]
        if isinstance(target, Direction):
            return target.along(found)
        channel = found[:, target.channel]
        if target.position is None:
            return channel
        alone = torch.full_like(channel, -math.inf)
        place: Any = (slice(None), *target.position)
        alone[place] = channel[place]
        return alone

    def values(self, outcome: Outcome, score: Score, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the value of each picture (N,), and its map where there is one.

        Raises NoAnswerError where one is not a finite number.
        """
        value = score(outcome, rows)  # refuses what the layer does not have
        maps = self.maps(outcome)
        if maps is not None and self.by == "max":
            value = maps.flatten(1).amax(1) if maps.ndim > 1 else maps
        return value, maps


def _units(unit: Any, layer: LayerSpec, by: By) -> list[Unit]:
    """The units that are meant; with a layer, numbers are its channels."""
    if isinstance(unit, Tensor | np.ndarray):
        unit = unit.tolist()
    listed = list(unit) if isinstance(unit, list | tuple | range) else [unit]
    if not listed or any(each is None for each in listed):
        raise TargetError(
            "there is no unit: give a channel's number and its layer, a class, a concept of a "
            "factorization, or a target of seewhy.targets"
        )
    found = []
    for each in listed:
        channel = layer is not None and is_number(each)
        target = Neuron(layer, int(each)) if channel else as_target(each)
        found.append(Unit(target, by))
    return found


class _Search:
    """The best pictures of each unit until now; of the others nothing is kept."""

    def __init__(
        self, model: Model, units: list[Unit], top: int, layer: LayerSpec, run: Run
    ) -> None:
        self.model, self.units, self.top, self.layer, self.run = model, units, top, layer, run
        self.best: list[list[Example]] = [[] for _ in units]
        self.names = [""] * len(units)
        self.least = [math.inf] * len(units)
        self.failures: list[Failure] = []
        self.seen = 0
        self._fields: dict[Any, Field | None] = {}

    def look(self, group: list[Ready]) -> None:
        """Look at pictures of one input shape, as many at a time as memory allows."""
        first = self.model.at_home(group[0].prepared)
        at_once = self.model.rows_at_once(first, self.run, gradient=False)
        for start in range(0, len(group), at_once):
            self._tried(group[start : start + at_once])

    def _tried(self, group: list[Ready]) -> None:
        """Look at pictures; where that fails, at each half by itself."""
        try:
            self._look(group)
        except Exception as error:
            of_all = isinstance(error, MethodError | LayerError | TargetError | CancelledError)
            if of_all and not isinstance(error, NoAnswerError):
                raise
            memory = out_of_memory(error)
            if len(group) == 1:
                known = no_memory(error) if memory else error
                self.failures.append(Failure(group[0].name, known))
                return
        else:
            return
        if memory:  # the error is gone, and with it what it held
            release()
        half = (len(group) + 1) // 2
        self._tried(group[:half])
        self._tried(group[half:])

    def _look(self, group: list[Ready]) -> None:
        model, rows = self.model, torch.arange(len(group))
        prepared = model.at_home(batched([each.prepared for each in group]))
        units = [each.located(model, prepared) for each in self.units]
        scores = [Score([each.target] * len(group), model, prepared) for each in units]
        layers = dict.fromkeys(layer for each in scores for layer in each.layers)
        recording = record(model, prepared, watch=layers)
        outcome = replace(recording.outcome, activations=recording.activations)
        best, least = [], []
        for unit, score, known in zip(units, scores, self.best, strict=True):
            values, maps = unit.values(outcome, score, rows)
            listed = values.detach().double().cpu().tolist()
            found = list(known)
            for row in entering(known, listed, [each.index for each in group], self.top):
                one = prepared.rows([row])
                where: tuple[Layer | None, Tensor | None]
                if maps is None:
                    where = self._where(unit.target, one)
                else:
                    where = unit.target.layers[0], maps[row]
                found.append(self._example(group[row], listed[row], *where, one))
            best.append(sorted(found, key=lambda each: (-each.value, each.index))[: self.top])
            least.append(min(listed))
        self.best, self.names = best, [each.names[0] for each in scores]
        self.least = [min(two) for two in zip(self.least, least, strict=True)]
        self.seen += len(group)

    def _where(self, target: Target, one: Prepared) -> tuple[Layer | None, Tensor | None]:
        """What each place of the layer contributes to a score: its gradient x activation."""
        try:
            layer = self.model.layer(self.layer, one)
            recording = record(self.model, one, Score([target], self.model, one), [layer])
        except (LayerError, ModelError):
            if self.layer is not None:
                raise
            return None, None  # a network without places, or without gradients
        found = recording.gradients[layer] * recording.activations[layer]
        return layer, found[0].sum(0)

    def _example(
        self, ready: Ready, value: float, layer: Layer | None, own: Tensor | None, one: Prepared
    ) -> Example:
        """A picture, and what the strongest place of its map sees; all of it where none is."""
        shown, place, box = Shown.of(ready), None, None
        if layer is not None and own is not None and own.ndim and bool((own != own.max()).any()):
            place = tuple(int(each) for each in torch.unravel_index(own.argmax(), own.shape))
            field = self._field(layer, one)
            box = on_original(field.at(place), shown) if field is not None else None
        found = Example(ready.name, ready.index, value, place, box)
        if shown.picture is None:
            return found
        whole = shown.picture.convert("RGB")
        part = whole
        if box is not None:
            left, top, right, bottom = box
            part = whole.crop(
                (math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom))
            )
        return replace(
            found, size=whole.size, crop=reduced(part, KEPT), picture=reduced(whole, KEPT)
        )

    def _field(self, layer: Layer, one: Prepared) -> Field | None:
        key = (layer, tuple(one.tensor.shape[1:]))
        if key not in self._fields:
            self._fields[key] = receptive_field(self.model, layer, one)
        return self._fields[key]

    def warn_of_dead_units(self) -> None:
        """Say which units are the same for all pictures: what is shown of them is arbitrary."""
        dead = [
            name
            for name, own, least in zip(self.names, self.best, self.least, strict=True)
            if own[0].value == least
        ]
        if dead and self.seen > 1:
            warn(
                f"{', '.join(dead[:3])}: the same for all of {self.seen} pictures, so that the "
                "first are shown; give other pictures, or another unit"
            )


def entering(
    known: Sequence[Example], values: Sequence[float], indices: Sequence[int], top: int
) -> list[int]:
    """Return which of new values are among the `top` largest; of equal ones the earlier picture."""
    keys = [(-each.value, each.index, -1) for each in known]
    keys += [
        (-value, index, row) for row, (value, index) in enumerate(zip(values, indices, strict=True))
    ]
    return [row for _, _, row in sorted(keys)[:top] if row >= 0]


def on_original(box: Box, shown: Shown) -> Box | None:
    """Return a box of the input on the original picture, up to its edge; None where it is beyond.

    Inputs that came as tensors are their own picture.
    """
    if shown.geometry is None or shown.picture is None:
        return box
    found = []
    for axis, length in ((1, shown.picture.width), (0, shown.picture.height)):
        start = 0 if axis == 1 else 1
        scale, offset = shown.geometry.scale[axis], shown.geometry.offset[axis]
        ends = sorted((end - offset) / scale for end in box[start::2])
        found.append([min(max(0.0, end), float(length)) for end in ends])
    (left, right), (top, bottom) = found
    return (left, top, right, bottom) if right > left and bottom > top else None
