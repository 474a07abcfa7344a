"""DeepLIFT: differences from a baseline, handed back operation by operation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from seewhy.errors import warn
from seewhy.methods.base import Attribution, Method, positive
from seewhy.methods.baselines import Baseline, baselines_of, check_baseline, noise
from seewhy.methods.propagation import listed, parts
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.intercept import propagate
from seewhy.model.tape.record import Scoring
from seewhy.model.tape.rules.secant import Secant
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "deeplift",
    paper="Shrikumar et al. 2017, rescale rule",
    cost="1 forward, and 1 forward, 1 backward for each baseline",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class DeepLIFT(Method):
    """How far the score is from a baseline's, handed back by the slope of each operation's secant.

    baseline: a number in the model's units (0 is the mean colour after the usual normalisation),
    "black", "white", "mean", "blur:0.1", "noise", a picture's path; several joined by "+" are
    averaged over.
    Functions of one element have the rescale rule; max pooling gives the whole difference to the
    higher of both maxima; products, softmax and norms are taken apart without remainder. The map
    has the input's shape, (N, C, *space); it sums to score(picture) - score(baseline), and
    checks["completeness gap"] is how far it is from that, as a share of the difference. A warning
    names operations that no rule covers.
    """

    baseline: Baseline = 0.0

    family: ClassVar[str] = "propagation"

    def check(self) -> None:
        """Raise MethodError where the baseline is none."""
        check_baseline(self.baseline, "deeplift: baseline")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The mean over the baselines."""
        baselines = baselines_of(model, prepared, self.baseline, run)
        return from_baselines(self, model, prepared, score, run, baselines)


@method(
    "deeplift-shap",
    paper="Lundberg & Lee 2017",
    cost="1 + samples forwards, samples backwards",
    needs=("gradient", "operations"),
)
@dataclass(frozen=True)
class DeepLIFTSHAP(Method):
    """The mean of DeepLIFT over several baselines, which approaches Shapley values.

    baseline: the distribution of what stands for nothing, several joined by "+" as in `DeepLIFT`;
    None is noise between the picture's least and largest value. samples: how many draws of it.
    The map has the input's shape, (N, C, *space), and sums to score(picture) minus the mean score
    of the baselines; checks as for `DeepLIFT`.
    """

    baseline: Baseline | None = None
    samples: int = 10

    family: ClassVar[str] = "propagation"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.samples, "deeplift-shap: samples")
        if self.baseline is not None:
            check_baseline(self.baseline, "deeplift-shap: baseline")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The mean over the baselines."""
        if self.baseline is not None:
            baselines = baselines_of(model, prepared, self.baseline, run)
        else:
            rows = torch.arange(len(prepared))
            draws = [
                noise(prepared, rows, torch.full_like(rows, draw), run)
                for draw in range(self.samples)
            ]
            baselines = torch.stack(draws)
        return from_baselines(self, model, prepared, score, run, baselines)


def from_baselines(
    how: Method, model: Model, prepared: Prepared, score: Score, run: Run, baselines: Tensor
) -> Attribution:
    """Return the mean of DeepLIFT over baselines (K, N, C, *space), with the gap that is left."""
    full = torch.promote_types(prepared.tensor.dtype, torch.float32)
    total = len(baselines) * len(prepared)

    def handed(some: Prepared, own: Scoring, rows: Tensor) -> tuple[Tensor, ...]:
        rules, start = Secant(), int(rows[0])
        picture = propagate(model, some, own, rules, backward=False)
        relevance = torch.zeros_like(some.tensor, dtype=full)
        difference = torch.zeros_like(picture.scores, dtype=torch.float64)
        for number, baseline in enumerate(baselines):
            own_baseline = baseline[rows.to(baseline.device)]
            again = rules.second(last=number == len(baselines) - 1)
            empty = propagate(model, some.changed(own_baseline), own, again)
            way = some.tensor.to(full) - own_baseline.to(full)
            relevance += empty.multipliers[INPUT] * way / len(baselines)
            difference += (picture.scores.double() - empty.scores.double()) / len(baselines)
            others.update(empty.unruled)
            run.report(start * len(baselines) + (number + 1) * len(rows), total, "baselines")
        return relevance, difference, picture.scores.double().abs()

    others: Counter[str] = Counter()
    found = [each for *_, each in parts(model, prepared, score, run, Secant.kept, handed)]
    relevance, difference, scale = (torch.cat(each) for each in zip(*found, strict=True))
    if others:
        warn(
            f"{how.name} has no rule for {listed(others)} in {model.name}: what flows through is "
            "the plain gradient; see checks['completeness gap'], or use 'integrated-gradients'"
        )
    gap = (relevance.flatten(1).sum(1, dtype=torch.float64) - difference).abs()
    gap /= torch.maximum(difference.abs(), 1e-6 * scale).clamp(min=1e-12)
    return Attribution(relevance, {"completeness gap": gap}, (INPUT,))
