"""Adopted: a network of another framework with what belongs to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Offers:
    """What methods may count on: gradients, layers, operations of torch's own.

    batch: the fixed number of rows, if it is. end: "softmax" or "sigmoid" where its outputs are
    known to be that of the scores; "" where nothing is known.
    """

    gradient: bool = True
    layers: bool = True
    operations: bool = True
    batch: int | None = None
    end: str = ""


@dataclass(frozen=True)
class Adopted:
    """A network as a torch module; what is known of its pictures, labels and name."""

    module: nn.Module
    name: str
    preprocess: Any = None
    labels: Any = None
    input_shape: tuple[int, ...] | None = None
    offers: Offers = Offers()
