"""Layer-wise relevance propagation: the score is handed back, layer by layer, and kept whole."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.errors import MethodError, warn
from seewhy.methods.base import Attribution, Method
from seewhy.methods.propagation import flows, listed, together
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.rules.linear import (
    AlphaBeta,
    Epsilon,
    Flat,
    Gamma,
    Rule,
    WSquare,
    ZBox,
)
from seewhy.model.tape.rules.relevance import Relevance
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

Composite = Literal[
    "epsilon-plus-flat",
    "epsilon-plus",
    "epsilon-gamma-box",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
    "epsilon",
]

COMPOSITES: dict[str, tuple[str, str, str | None]] = {
    "epsilon-plus-flat": ("z-plus", "epsilon", "flat"),
    "epsilon-plus": ("z-plus", "epsilon", None),
    "epsilon-gamma-box": ("gamma", "epsilon", "z-box"),
    "epsilon-alpha2-beta1": ("alpha2-beta1", "epsilon", None),
    "epsilon-alpha2-beta1-flat": ("alpha2-beta1", "epsilon", "flat"),
    "epsilon": ("epsilon", "epsilon", None),
}
"""The rule of convolutions, of dense layers, and of the first layer where it has its own."""


class _Propagation(Method):
    """Relevance handed back under rules, with the books."""

    family: ClassVar[str] = "propagation"

    def rules(self) -> Relevance:
        """Return the rules, fresh for one forward."""
        raise NotImplementedError

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One forward and one backward under the rules."""
        parts = flows(model, prepared, score, run, self.rules)
        others = sum((flow.unruled for flow, _ in parts), Counter[str]())
        if others:
            warn(
                f"{self.name} has no rule for {listed(others)} in {model.name}: what flows through "
                "is the plain gradient, and relevance may be lost or made there; see "
                "checks['conservation gap'], or use 'integrated-gradients'"
            )
        relevance = together(parts)
        scores = torch.cat([flow.scores for flow, _ in parts]).double()
        absorbed = torch.cat([own.absorbed[: len(flow.scores)] for flow, own in parts])
        mixed = any(own.mixed for _, own in parts)
        found = books(relevance, scores, absorbed, mixed=mixed)
        return Attribution(relevance, found, layers=(INPUT,))


@method(
    "lrp",
    paper="Bach et al. 2015; rules as in Montavon et al. 2019",
    cost="1 forward, 1 backward with about twice its work",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class LRP(_Propagation):
    """The score handed back layer by layer, to each input in proportion to what it contributed.

    composite: which rule at which layer; its parts can be replaced, None being the composite's.
    convolution: the rule of convolutions; dense: of dense layers; first: of the layer that first
    meets the picture. A rule is "epsilon", "gamma", "z-plus", "alpha2-beta1" (any numbers), and for
    the first layer "flat", "w-square" or "z-box" too; numbers follow a colon: "epsilon:0.01",
    "gamma:0.1", "z-box:-2:2.5" (bounds in the model's units; without, the picture's own).
    The map has the input's shape, (N, C, *space). checks: "absorbed", the share of the score that
    is not in the map, and "conservation gap", the share of which neither biases nor stabilisers
    took it, measured at each operation. A warning names operations that no rule covers.
    """

    composite: Composite = "epsilon-plus-flat"
    convolution: str | None = None
    dense: str | None = None
    first: str | None = None

    def check(self) -> None:
        """Raise MethodError for a rule that does not exist or stands where it cannot."""
        self.rules()

    def rules(self) -> Relevance:
        """Return the composite's rules, or what is given in their place."""
        convolution, dense, first = COMPOSITES[self.composite]
        first = self.first or first
        return Relevance(
            _inner(self.convolution or convolution),
            _inner(self.dense or dense),
            None if first is None else as_rule(first),
        )


@method(
    "attn-lrp",
    paper="Achtibat et al. 2024",
    cost="1 forward, 1 backward",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class AttnLRP(_Propagation):
    """LRP for transformers: relevance goes back through attention itself.

    softmax: "gradient" hands relevance on to queries and keys; "detached" takes the attention for
    constant (CP-LRP, Ali et al. 2022). convolution: the rule of convolutions; dense: of dense
    layers, as in `LRP`. Products share by halves, norms are divided by constants, activations keep
    what they get. The map has the input's shape, (N, C, *space); checks as for `LRP`.
    """

    convolution: str = "epsilon"
    dense: str = "epsilon"
    softmax: Literal["gradient", "detached"] = "gradient"

    def check(self) -> None:
        """Raise MethodError for a rule that does not exist or stands where it cannot."""
        self.rules()

    def rules(self) -> Relevance:
        """Return the rules of the linear layers; the rest is the mechanism's."""
        return Relevance(_inner(self.convolution), _inner(self.dense), softmax=self.softmax)


def books(relevance: Tensor, scores: Tensor, absorbed: Tensor, *, mixed: bool) -> dict[str, Tensor]:
    """Return what of each score is not in its map, and what of that no operation accounts for.

    absorbed: (N,), what was measured operation by operation. mixed: a network that lays tokens
    before the batch may have it under another picture's name, and only the sum over the pictures is
    sure.
    """
    summed = relevance.flatten(1).sum(1, dtype=torch.float64)
    lost = scores - summed
    gap = (lost - absorbed).abs()
    gap = torch.minimum(gap, (lost - absorbed).sum().abs()) if mixed else gap
    scale = torch.maximum(scores.abs(), summed.abs()).clamp(min=1e-12)
    return {"absorbed": lost * scores.sign() / scale, "conservation gap": gap / scale}


# ---------------------------------------------------------------------- rules by name

_SIMPLE: dict[str, type[Rule]] = {
    "epsilon": Epsilon,
    "gamma": Gamma,
    "flat": Flat,
    "w-square": WSquare,
    "z-box": ZBox,
}
_ALPHA_BETA = re.compile(r"alpha([\d.]+)-beta([\d.]+)")


def as_rule(text: str) -> Rule:
    """Return a rule by its name, with numbers after colons. Raises MethodError."""
    name, *numbers = text.split(":")
    ratio = _ALPHA_BETA.fullmatch(name)
    try:
        if ratio is not None and not numbers:
            alpha, beta = float(ratio[1]), float(ratio[2])
            if abs(alpha - beta - 1) > 1e-9:
                raise MethodError(
                    f"{text!r} keeps no relevance: alpha - beta is 1, as in alpha2-beta1"
                )
            return AlphaBeta(alpha, beta)
        if name == "z-plus" and not numbers:
            return AlphaBeta(1.0, 0.0)
        return _SIMPLE[name](*map(float, numbers))
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, MethodError):
            raise
        raise MethodError(
            f"{text!r} is no rule: there are epsilon, gamma, z-plus, alpha2-beta1, and for the "
            "first layer flat, w-square and z-box; numbers follow a colon, as in gamma:0.25"
        ) from error


def _inner(text: str) -> Rule:
    rule = as_rule(text)
    if rule.first:
        raise MethodError(
            f"{text!r} is a rule for the first layer: give it as first={text}, and elsewhere "
            "epsilon, gamma, z-plus or alpha2-beta1"
        )
    return rule
