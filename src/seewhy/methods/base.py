"""What a method is, and how it is run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar, Literal, get_type_hints

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoAnswerError
from seewhy.methods import settings
from seewhy.model.layers import Layer
from seewhy.model.tape.passes import Passes, counted
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

Display = Literal["signed", "positive", "absolute"]

_NEEDS = {
    "gradient": "gradients",
    "layers": "layers that can be read",
    "operations": "operations of torch's own, to see them or to give them rules",
}


@dataclass(frozen=True)
class Attribution:
    """What a method found for a batch of pictures.

    relevance: (N, C', *space'), raw and signed, at the resolution at which it was computed. checks:
    one number a picture, by name (completeness gap). layers: where it was computed. passes: rows
    sent through the network, filled in by whoever ran the method.
    """

    relevance: Tensor
    checks: dict[str, Tensor] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    passes: Passes = field(default_factory=Passes)


@dataclass(frozen=True)
class Method:
    """A way to explain: a value with its settings as fields, and `attribute`.

    Derive a frozen dataclass, decorate it with `method(...)`, and write `attribute`.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    cost: ClassVar[str] = ""
    family: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    one_pass: ClassVar[bool] = False
    """Whether it is one forward and one backward to the picture, in whatever batches."""
    display: ClassVar[Display] = "signed"
    """What is drawn: both signs, the positive part (a CAM's rectification), or the magnitude."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            if isinstance(getattr(self, each.name), list):  # a value can be compared and hashed
                object.__setattr__(self, each.name, tuple(getattr(self, each.name)))
            settings.check(getattr(self, each.name), hints[each.name], f"{self.name}: {each.name}")
        self.check()

    def check(self) -> None:
        """Raise MethodError where a setting of the right type has no sense."""

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Return the relevance of every place of every picture for its score.

        The model is held, the pictures are where it is, and the score may not be bound yet.
        """
        raise NotImplementedError

    def __str__(self) -> str:
        given = [
            f"{each.name}={settings.written(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != settings.default(each)
        ]
        return self.name + (":" + ",".join(given) if given else "")

    def written(self) -> str:
        """Return the method as it stands within another: in brackets where it has settings."""
        return f"({self})" if ":" in str(self) else str(self)


def perform(how: Method, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
    """Run a method on a batch: check what it needs, hold the model, count passes, check the map.

    Every method is run through here. Raises MethodError where the model does not offer what the
    method needs or the map is not finite.
    """
    for need in needs_of(how):
        if not getattr(model.offers, need):
            raise MethodError(
                f"{how.name} needs {_NEEDS[need]}, which {model.name} does not offer: choose a "
                "method without it (seewhy methods lists what each needs)"
                + getattr(model.module, "advice", "")
            )
    if not prepared.tensor.numel():
        raise MethodError(f"the input has the shape {tuple(prepared.tensor.shape)}: it is empty")
    with model.held(run), torch.no_grad(), counted() as passes:
        found = how.attribute(model, model.at_home(prepared), score, run)
    if len(found.relevance) != len(prepared):
        raise MethodError(
            f"{how.name} gave {len(found.relevance)} maps for {len(prepared)} pictures: a method "
            "must give one for each"
        )
    if not bool(torch.isfinite(found.relevance).all()):
        raise NoAnswerError(
            f"{how.name} gave a map with NaN or infinity on {model.name}: its weights or "
            "activations overflow; try precision='float32' or another layer"
        )
    return replace(found, passes=passes)


def needs_of(how: Method) -> tuple[str, ...]:
    """Return what a method asks of a model, with what the method within it asks."""
    inner = getattr(how, "method", None)
    more = needs_of(inner) if isinstance(inner, Method) else ()
    return tuple(dict.fromkeys((*how.needs, *more)))


def positive(value: float, name: str) -> None:
    """Raise MethodError unless a setting is a finite number above zero."""
    if not (value > 0 and math.isfinite(value)):
        raise MethodError(f"{name} is {value!r}: give a number above zero")
