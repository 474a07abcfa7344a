"""The target of a detector: one of its boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seewhy.errors import NoAnswerError, TargetError
from seewhy.model.labels import Labels
from seewhy.model.predictions import name_of
from seewhy.model.tape.record import Outcome
from seewhy.targets.base import Bound, Target
from seewhy.targets.classes import class_number


@dataclass(frozen=True)
class Box(Target):
    """The score of one detection.

    query: its number among the detector's queries (DETR, YOLOS) or detections (a list of dicts),
    None for the most confident. label: class number or name, None for the detection's own.
    Detectors with queries keep their query when the picture changes (its class score is read);
    with a list of dicts the detection is found again: the highest class score x overlap with the
    bound box (Petsiuk et al. 2021, eq. 2), zero where nothing is left.
    """

    query: int | None = None
    label: int | str | None = None

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        """Bind to the pictures; see the class."""
        if isinstance(outcome.outputs, list):
            return _bind_detections(self, outcome.outputs, labels)
        return _bind_queries(self, outcome, labels)


def _bind_queries(box: Box, outcome: Outcome, labels: Labels | None) -> Bound:
    """Bind to class scores (N, queries, classes).

    The last class is "no object", unless there is a label for it as well: such detectors
    (RT-DETR, Deformable DETR) decide on each class by itself.
    """
    scores = outcome.main.detach()
    if scores.ndim != 3:
        raise TargetError(
            f"a box needs a detector's output, and this model gives {tuple(scores.shape)}: "
            "use a class or another target"
        )
    queries = scores.shape[1]
    if box.query is not None and not 0 <= box.query < queries:
        raise NoAnswerError(f"there is no query {box.query}: the detector has 0 to {queries - 1}")
    each_by_itself = labels is not None and len(labels) == scores.shape[2]
    objects = scores.sigmoid() if each_by_itself else scores.softmax(2)[:, :, :-1]
    if box.query is not None:
        chosen = torch.full((len(scores),), box.query, device=scores.device)
    elif box.label is not None:
        wanted = class_number(box.label, objects[:, 0], labels).to(scores.device)
        chosen = objects[torch.arange(len(scores)), :, wanted].argmax(1)
    else:
        chosen = objects.amax(2).argmax(1)
    own = objects[torch.arange(len(scores)), chosen]
    numbers = class_number(box.label, own, labels).to(scores.device)

    def read(later: Outcome, rows: Tensor) -> Tensor:
        found = later.main
        place = rows.to(found.device)
        return found[torch.arange(len(found)), chosen[place], numbers[place]]

    pairs = zip(numbers.tolist(), chosen.tolist(), strict=True)
    return Bound(read, tuple(f"{name_of(n, labels)} in box {q}" for n, q in pairs))


def _bind_detections(box: Box, outputs: list[Mapping[str, Any]], labels: Labels | None) -> Bound:
    """Bind to one dict a picture with "boxes" (D, 4), "labels" (D,), "scores" (D,)."""
    wanted: list[tuple[Tensor, int]] = []
    for each in outputs:
        scores, numbers = each["scores"].detach(), each["labels"]
        if not len(scores):
            raise NoAnswerError("nothing was detected in the picture: there is no box to explain")
        if box.query is not None:
            if not 0 <= box.query < len(scores):
                raise NoAnswerError(
                    f"there is no detection {box.query}: the picture has {len(scores)}, from 0 on"
                )
            place = box.query
        else:
            fits = torch.ones(len(scores), dtype=torch.bool, device=scores.device)
            if box.label is not None:
                fits = numbers == _number(box.label, labels)
                if not bool(fits.any()):
                    raise NoAnswerError(
                        f"no {box.label!r} was detected in the picture: choose a label that was"
                    )
            place = int(torch.where(fits, scores, -1).argmax())
        wanted.append((each["boxes"][place].detach(), int(numbers[place])))

    def read(later: Outcome, rows: Tensor) -> Tensor:
        found = []
        for each, row in zip(later.outputs, rows.tolist(), strict=True):
            bound, number = wanted[row]
            match = each["scores"] * _overlap(each["boxes"].detach(), bound)
            match = match[each["labels"] == number]
            found.append(match.max() if len(match) else each["scores"].new_zeros(()))
        return torch.stack(found)

    return Bound(read, tuple(f"{name_of(n, labels)} in its box" for _, n in wanted))


def _number(label: int | str, labels: Labels | None) -> int:
    if not isinstance(label, str):
        return int(label)
    if labels is None:
        raise TargetError(
            f"class {label!r} has no number: this model came without labels. Give "
            "Model(..., labels=[...]), or a class number"
        )
    return labels.number(label)


def _overlap(boxes: Tensor, box: Tensor) -> Tensor:
    """Intersection over union of boxes (D, 4) with one box (4,), as x0, y0, x1, y1."""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    shared = (high - low).clamp(min=0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
    return shared / (areas - shared).clamp(min=1e-9)
