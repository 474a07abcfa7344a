"""What parts examples of a concept from other pictures: directions of a layer's channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import MethodError

Classifier = Literal["ridge", "mean"]

RIDGE = 0.1  # of the mean variance of a channel


def ridge(one: Tensor, other: Tensor) -> Tensor:
    """Return the unit normal (C,) of the ridge regression that parts (N, C) from (M, C)."""
    values = torch.cat([one, other])
    signs = torch.cat([values.new_ones(len(one)), -values.new_ones(len(other))])
    centred, signs = values - values.mean(0), signs - signs.mean()
    strength = RIDGE * centred.square().sum() / centred.shape[1]
    # as many equations as pictures: there are fewer of them than channels
    gram = centred @ centred.T + strength.clamp(min=1e-12) * torch.eye(len(values)).to(values)
    return _unit(centred.T @ torch.linalg.solve(gram, signs))


def mean_difference(one: Tensor, other: Tensor) -> Tensor:
    """Return the direction (C,) from the mean of (M, C) to that of (N, C)."""
    return _unit(one.mean(0) - other.mean(0))


CLASSIFIERS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ridge": ridge,
    "mean": mean_difference,
}


def classifier_of(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the classifier of that name; MethodError where there is none."""
    if name not in CLASSIFIERS:
        raise MethodError(f"classifier {name!r} is not known: use {' or '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def accuracy(vector: Tensor, fitted: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> float:
    """Return the share of pictures that a direction puts on their side of the middle, 0..1."""
    middle = sum(each.mean(0) @ vector for each in fitted) / 2
    one, other = (each @ vector > middle for each in asked)
    return float((one.double().mean() + (~other).double().mean()) / 2)


def _unit(vector: Tensor) -> Tensor:
    if not bool(vector.norm() > 0):
        raise MethodError(
            "the layer gives the same for the examples and for random pictures: there is no "
            "direction between them; give other examples, or another layer"
        )
    return F.normalize(vector, dim=0)
