"""Gradient CAMs that ask a question of their own: against similar classes, curvature, noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, positive
from seewhy.methods.cam import GradientCAM, LayerMaps, mapped, over_space, weighted_by
from seewhy.methods.copies import in_copies, noisy
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer
from seewhy.model.predictions import already_probabilities
from seewhy.model.tape.passes import spend
from seewhy.model.tape.record import Outcome, Recording, Scoring, record
from seewhy.model.tape.replay import replay
from seewhy.run import Run
from seewhy.targets.classes import class_scores

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

NOISE_STREAM = 102
EXACT = 1e-6  # of the largest class score: the target is that class's score, not one near it


@method(
    "finer-cam",
    paper="Zhang et al. 2025",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class FinerCAM(GradientCAM):
    """Grad-CAM of what sets a class apart from those most like it.

    The score is y - alpha sum_j p_j y_j / sum_j p_j over the classes whose scores are closest to
    the target's, each weighted by its probability. The weights are numbers of the picture: unlike
    in the package grad-cam they are not differentiated. alpha: how strongly the others are
    subtracted; 0 is Grad-CAM. similar: how many classes are compared with. The target must be a
    class.
    The map is (N, 1, *space) and signed.
    """

    alpha: float = 1.0
    similar: int = 3

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.similar, "finer-cam: similar")
        if not 0 <= self.alpha < float("inf"):
            raise MethodError(f"finer-cam: alpha is {self.alpha!r}: give a number, 0 or more")

    def question(self, score: Score) -> Scoring:
        """Return the difference from similar classes."""
        return _Finer(score, self)

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Grad-CAM."""
        return over_space(torch.mean, gradients) * activations


@method(
    "shapley-cam",
    paper="Cai 2025",
    cost="2 forwards, 1 replay from the layer, 2 backwards to it",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class ShapleyCAM(LayerMaps):
    """Channels weighted by the mean of g - H A / 2: their Shapley values to the second order.

    H A is the product of the Hessian after the layer with the activations. residual: explain the
    class score plus its log-probability (the paper's residual softmax target), which must be a
    class; False explains the target as it is, and is Grad-CAM where the network after the layer is
    piecewise linear.
    The map is (N, 1, *space) and signed.
    """

    residual: bool = True

    def at_layers(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,  # noqa: ARG002
        layers: list[Layer],
    ) -> list[Attribution]:
        """Weight each layer's channels."""
        question = _Residual(score) if self.residual else score
        recording = record(model, prepared, question, watch=layers)
        rows = torch.arange(len(prepared), device=prepared.tensor.device)
        maps = []
        for layer in layers:
            activations = recording.activations[layer]
            gradient, curved = _curvature(recording, layer, question, rows)
            weights = over_space(torch.mean, gradient - curved / 2).flatten(1)
            maps.append(mapped(weighted_by(weights, activations), layer))
        return maps


@method(
    "smooth-grad-cam-plus-plus",
    paper="Omeiza et al. 2019",
    cost="samples + 1 forwards, samples backwards to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class SmoothGradCAMPlusPlus(LayerMaps):
    """Grad-CAM++ with the powers of the gradient averaged over noisy copies of the picture.

    w = sum alpha relu(<g>), alpha = <g^2> / (2 <g^2> + <g^3> sum A), on the picture's own
    activations A (the package torchcam takes those of the last noisy copy). Without noise it is
    Grad-CAM++, and like it takes a negative <g^3> sum A as 0. samples: copies; noise: standard
    deviation, as a share of the picture's range as the model sees it.
    The map is (N, 1, *space). The noise of a picture follows from the seed and the picture alone.
    """

    samples: int = 25
    noise: float = 0.15

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.samples, "smooth-grad-cam-plus-plus: samples")
        positive(self.noise, "smooth-grad-cam-plus-plus: noise")

    def at_layers(
        self, model: Model, prepared: Prepared, score: Score, run: Run, layers: list[Layer]
    ) -> list[Attribution]:
        """Average the powers, then weight the channels."""
        activations = record(model, prepared, score, watch=layers).activations
        # in double precision: the third power of a small gradient is not 0
        powers = {
            each: [torch.zeros_like(activations[each], dtype=torch.float64) for _ in range(3)]
            for each in layers
        }

        def gradients(copies: Prepared, rows: Tensor, _: Tensor) -> dict[Layer, Tensor]:
            return record(model, copies, score.of(rows), layers).gradients

        change = noisy(prepared, self.noise, run, NOISE_STREAM)
        for rows, found in in_copies(model, prepared, run, self.samples, change, gradients):
            for layer, gradient in found.items():
                own = rows.to(gradient.device)
                for power, total in enumerate(powers[layer], 1):
                    total.index_add_(0, own, gradient.double() ** power, alpha=1 / self.samples)
        maps = []
        for layer in layers:
            first, second, third = powers[layer]
            whole = over_space(torch.sum, activations[layer].double())
            below = 2 * second + (third * whole).relu()
            alpha = second / torch.where(below > 0, below, 1)
            weights = over_space(torch.sum, alpha * first.relu()).flatten(1)
            maps.append(mapped(weighted_by(weights, activations[layer]), layer))
        return maps


@dataclass(frozen=True)
class _Finer:
    """A class's score less the weighted mean of the classes that score most like it."""

    score: Scoring
    how: FinerCAM

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.score.layers

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        found = self.score(outcome, rows)
        classes = class_scores(outcome)
        own = class_of(found, classes, self.how.name)[:, None]
        gaps = (classes.detach() - found.detach()[:, None]).abs()
        others = gaps.scatter(1, own, float("inf"))
        near = others.topk(min(self.how.similar, classes.shape[1] - 1), 1, largest=False).indices
        weights = _probabilities(outcome).detach().gather(1, near).double()
        # the least number keeps classes of no probability at all equal
        weights = weights + torch.finfo(torch.float64).tiny
        shares = (weights / weights.sum(1, keepdim=True)).to(classes)
        return found - self.how.alpha * (shares * classes.gather(1, near)).sum(1)


@dataclass(frozen=True)
class _Residual:
    """A class's score plus the logarithm of its probability."""

    score: Scoring

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.score.layers

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        found = self.score(outcome, rows)
        own = class_of(found, class_scores(outcome), ShapleyCAM.name)[:, None]
        return found + _log_probabilities(outcome).gather(1, own)[:, 0]


def class_of(found: Tensor, classes: Tensor, name: str) -> Tensor:
    """Return the class (N,) of which these are the scores; MethodError where it is none."""
    gaps, own = (classes.detach() - found.detach()[:, None]).abs().min(1)
    scale = classes.detach().abs().amax(1)
    if classes.shape[1] < 2 or not bool((gaps <= EXACT * scale).all()):
        hint = ", or set residual=false" if name == ShapleyCAM.name else ""
        raise MethodError(
            f"{name} compares the score of a class with those of the others, and this target is no "
            f"class: give a class number or name{hint}, or use grad-cam"
        )
    return own


def _log_probabilities(outcome: Outcome) -> Tensor:
    scores = class_scores(outcome, 0.5)
    if already_probabilities(scores.detach(), outcome.end):
        return scores.clamp(min=1e-30).log()
    return scores.log_softmax(1)


def _probabilities(outcome: Outcome) -> Tensor:
    scores = class_scores(outcome, 0.5)
    known = already_probabilities(scores.detach(), outcome.end)
    return scores if known else scores.softmax(1)


def _curvature(
    recording: Recording, layer: Layer, question: Scoring, rows: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of a score at a layer, and its Hessian times the activations there."""
    if layer == INPUT:
        raise MethodError(
            "shapley-cam differentiates what follows a layer within the network, and 'input' is "
            "before it: name another layer, or use grad-cam there"
        )
    # attention is differentiated twice by its plain form alone
    plain = sdpa_kernel(SDPBackend.MATH)
    with torch.inference_mode(mode=False), torch.enable_grad(), plain:
        leaf = recording.activations[layer].detach().clone().requires_grad_()
        outcome = replay(recording, layer, leaf, rows)
        scores = question(outcome, rows.cpu())
        (gradient,) = torch.autograd.grad(scores.sum(), leaf, create_graph=True)
        curved = None
        if gradient.requires_grad:
            along = (gradient * leaf.detach()).sum()
            (curved,) = torch.autograd.grad(along, leaf, allow_unused=True)
    spend(backwards=2 * len(rows))
    return gradient.detach(), torch.zeros_like(gradient) if curved is None else curved
