"""Predictions: what the model says about a picture, as names, numbers and probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.labels import Labels


@dataclass(frozen=True)
class Prediction:
    """One class of a picture: its name ("class 3" where names are unknown), number, probability."""

    label: str
    number: int
    probability: float

    def __str__(self) -> str:
        return f"{self.label} {self.probability:.1%}"


class Predictions(Sequence[tuple[Prediction, ...]]):
    """The most probable classes of each picture, the most probable first."""

    def __init__(self, rows: Sequence[tuple[Prediction, ...]]) -> None:
        self._rows = tuple(rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        return self._rows[index]

    def __iter__(self) -> Iterator[tuple[Prediction, ...]]:
        return iter(self._rows)

    def __repr__(self) -> str:
        return "\n".join(", ".join(str(one) for one in row) for row in self._rows)


def probabilities(scores: Tensor, end: str = "") -> Tensor:
    """Return class probabilities (N, K) of class scores (N, K), (N, 1) or (N,).

    One output is the logit of class 1 against class 0, or its probability where the network is
    known to end in a sigmoid (end). Rows that already are probabilities (not negative, sum one, or
    by the network's end) stay as they are; after a sigmoid each class has one of its own.
    """
    scores = scores.detach().reshape(len(scores), -1)
    known, scores = already_probabilities(scores, end), scores.double()
    if scores.shape[1] == 1:
        one = scores if known else scores.sigmoid()
        return torch.cat([1 - one, one], dim=1)
    return scores if known else scores.softmax(1)


def already_probabilities(scores: Tensor, end: str = "") -> bool:
    """Tell whether scores (N, K) are probabilities already: none negative, all rows of sum one.

    One output between 0 and 1 may be either, and is taken for what networks give: a logit; unless
    the network is known to end in a softmax or a sigmoid (end).
    """
    if end:
        return True
    if scores.shape[1] == 1:
        return False
    rounding = max(1e-3, 4 * torch.finfo(scores.dtype).eps * scores.shape[1] ** 0.5)
    gap = (scores.detach().double().sum(1) - 1).abs().max()
    return bool((scores >= 0).all()) and float(gap) <= rounding


def predictions(
    scores: Tensor, labels: Labels | None, top: int = 5, *, end: str = ""
) -> Predictions:
    """Return the `top` most probable classes of class scores (N, K), (N, 1) or (N,).

    end: as for `probabilities`.
    Raises ModelError where there are labels, but not one for each class.
    """
    likely = probabilities(scores, end)
    if labels is not None and len(labels) != likely.shape[1]:
        raise ModelError(
            f"there are {len(labels)} labels for {likely.shape[1]} classes: give one for each, in "
            "the order of the network's outputs (a background class comes first or last)"
        )
    values, numbers = likely.topk(min(top, likely.shape[1]), dim=1)
    rows = []
    for each_value, each_number in zip(values.tolist(), numbers.tolist(), strict=True):
        rows.append(
            tuple(
                Prediction(name_of(number, labels), number, value)
                for value, number in zip(each_value, each_number, strict=True)
            )
        )
    return Predictions(rows)


def name_of(number: int, labels: Sequence[str] | None) -> str:
    """Return the name of a class, its number where there is no name."""
    if labels is not None and number < len(labels):
        return str(labels[number])
    return f"class {number}"
