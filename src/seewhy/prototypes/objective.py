"""Objectives: what is made large. They add, subtract and scale: a - 0.5 * b.

>>> objective("disk") - 0.5 * objective("cross")
disk - 0.5 x cross
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import MethodError, TargetError
from seewhy.model.labels import Labels
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.tape.record import Outcome
from seewhy.targets import Direction, LogProbability, Target, TargetSpec, as_target
from seewhy.targets.base import Bound, Read

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


class OfPicture:
    """What is read of the pictures themselves, before they are transformed."""

    def of(self, pictures: Tensor, inputs: Tensor) -> Tensor:
        """Return (N,) of pictures (N, C, *space) that are the model input `inputs`."""
        raise NotImplementedError


Part = Target | OfPicture


@dataclass(frozen=True, eq=False, repr=False)
class Objective:
    """A sum of parts, each with its weight: targets, and what is read of the pictures."""

    parts: tuple[tuple[float, Part], ...]

    def __add__(self, other: Any) -> Objective:
        return Objective(self.parts + objective(other).parts)

    __radd__ = __add__

    def __sub__(self, other: Any) -> Objective:
        return self + -1.0 * objective(other)

    def __rsub__(self, other: Any) -> Objective:
        return objective(other) - self

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __mul__(self, weight: float) -> Objective:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise MethodError(f"an objective times {weight!r}: multiply by a number")
        return Objective(tuple((float(weight) * each, part) for each, part in self.parts))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return joined([(weight, _name(part)) for weight, part in self.parts])

    @property
    def target(self) -> Target:
        """What is asked of the network, as one target; MethodError where nothing is."""
        asked = [(weight, part) for weight, part in self.parts if isinstance(part, Target)]
        if not asked:
            raise MethodError(f"{self!r} asks the network nothing: add a class or another target")
        return asked[0][1] if asked == [(1.0, asked[0][1])] else _Sum(tuple(asked))

    @property
    def of_picture(self) -> tuple[tuple[float, OfPicture], ...]:
        """What is read of the pictures themselves."""
        return tuple((weight, part) for weight, part in self.parts if isinstance(part, OfPicture))

    @property
    def couples(self) -> bool:
        """Whether one picture's number depends on the others."""
        return any(isinstance(part, Diversity) for _, part in self.parts)


def objective(spec: Objective | OfPicture | TargetSpec) -> Objective:
    """Return an objective of a target (a class number or name, a Target, a function), or itself."""
    if isinstance(spec, Objective):
        return spec
    if isinstance(spec, OfPicture):
        return Objective(((1.0, spec),))
    return Objective(((1.0, as_target(spec)),))


@dataclass(frozen=True)
class _Likely(LogProbability):
    """The log-probability of a class, called as the class is."""

    def describe(self, label: str, end: str) -> str:  # noqa: ARG002
        return label


def likely(spec: Any) -> Objective:
    """Return the log-probability of a class where a class is meant: minus the cross-entropy."""
    named = isinstance(spec, str) and ":" not in spec
    if named or (not isinstance(spec, bool) and not isinstance(spec, Target) and is_class(spec)):
        return objective(_Likely(int(spec) if str(spec).isdigit() else spec))
    return objective(spec)


def is_class(spec: Any) -> bool:
    """Tell whether a class is meant by its number or name."""
    return isinstance(spec, str) or (hasattr(spec, "__index__") and not isinstance(spec, bool))


class Found(Protocol):
    """Directions of a layer's channels (k, C), such as a `seewhy.Factorization`."""

    @property
    def vectors(self) -> Tensor:
        """The directions."""

    @property
    def layer(self) -> str:
        """Where they were found."""

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called, if they are."""


def concept(found: Found, number: int, power: float = 1.0) -> Objective:
    """Return the objective of a concept of a factorization, from 0, at the layer it is of.

    power: of the cosine, see `seewhy.targets.Direction`.
    """
    count = len(found.vectors)
    if not 0 <= number < count:
        raise TargetError(f"there is no concept {number}: there are {count}, from 0")
    name = found.names[number] if found.names else f"concept {number + 1} of {found.layer}"
    return objective(Direction(found.layer, found.vectors[number], power, name))


@dataclass(frozen=True)
class TotalVariation(OfPicture):
    """The sum of all differences between neighbours, of pictures 0..1 where that is known."""

    def of(self, pictures: Tensor, inputs: Tensor) -> Tensor:  # noqa: ARG002
        """Return (N,); 0 for inputs without space."""
        total = pictures.new_zeros(len(pictures))
        for axis in range(2, pictures.ndim):
            total = total + pictures.diff(dim=axis).abs().flatten(1).sum(1)
        return total


@dataclass(frozen=True, eq=False)
class Distance(OfPicture):
    """The squared distance of the model input to a point: the sum over all its numbers.

    to: model input of one picture, (C, *space) or (D,), or a number for all its places.
    """

    to: Any = 0.0

    def of(self, pictures: Tensor, inputs: Tensor) -> Tensor:  # noqa: ARG002
        """Return (N,)."""
        point = torch.as_tensor(self.to).to(inputs)
        if point.ndim and point.shape != inputs.shape[1:]:
            raise MethodError(
                f"the point has the shape {tuple(point.shape)} and the model's input "
                f"{tuple(inputs.shape[1:])}: give one of that shape"
            )
        return (inputs - point).square().flatten(1).sum(1)


@dataclass(frozen=True)
class Diversity(Target):
    """How different the pictures of one target are (Olah et al. 2017).

    Minus the mean cosine of each picture with the others, between the products of a layer's
    channels with each other: -1 where all are alike. layer: None is the default.
    """

    layer: LayerSpec = None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layer, once it has been found."""
        return (self.layer,) if isinstance(self.layer, Layer) else ()

    def located(self, model: Model, like: Prepared) -> Target:
        """Return the target with its layer found in the model."""
        return replace(self, layer=model.layer(self.layer, like))

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        (layer,) = self.layers

        def read(later: Outcome, rows: Tensor) -> Tensor:
            values = later.activations[layer].reshape(
                len(rows), len(later.activations[layer][0]), -1
            )
            grams = F.normalize((values @ values.mT).flatten(1), dim=1)
            cosines = grams @ grams.mT
            others = cosines.sum(1) - cosines.diagonal()
            return -others / max(1, len(rows) - 1)

        return Bound(read, ("diversity",) * len(outcome.activations[layer]))


@dataclass(frozen=True, eq=False)
class _Sum(Target):
    """Several targets of one picture, weighted and added."""

    parts: tuple[tuple[float, Target], ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(layer for _, part in self.parts for layer in part.layers)

    def located(self, model: Model, like: Prepared) -> Target:
        return _Sum(tuple((weight, part.located(model, like)) for weight, part in self.parts))

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        bound = [(weight, part.bind(outcome, labels)) for weight, part in self.parts]

        def read(later: Outcome, rows: Tensor) -> Tensor:
            return torch.stack([weight * each.read(later, rows) for weight, each in bound]).sum(0)

        reads: Read = read
        named = [
            (weight, each.names)
            for (weight, each), (_, part) in zip(bound, self.parts, strict=True)
            if not isinstance(part, Diversity)  # which says of all what it says of each
        ]
        rows = zip(*(names for _, names in named), strict=True)
        weights = [weight for weight, _ in named]
        return Bound(reads, tuple(joined(list(zip(weights, row, strict=True))) for row in rows))


def joined(parts: list[tuple[float, str]]) -> str:
    """Return weighted names as a sum: "disk - 0.5 x cross"."""
    text = ""
    for weight, name in parts:
        size = "" if abs(weight) == 1 else f"{abs(weight):g} x "
        sign = (" - " if text else "-") if weight < 0 else (" + " if text else "")
        text += sign + size + name
    return text


def _name(part: Part) -> str:
    for field in ("name", "spec"):
        own = getattr(part, field, None)
        if isinstance(own, str | int) and own != "":
            return str(own)
    function: Callable[..., Any] | None = getattr(part, "function", None)
    if function is not None:
        return getattr(function, "__name__", "a function")
    return repr(part) if isinstance(part, Target) else type(part).__name__
