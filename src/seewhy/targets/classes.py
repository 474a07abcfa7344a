"""Targets of a classifier or a regression: a class, a margin, a sum, a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seewhy.errors import TargetError
from seewhy.model.labels import Labels
from seewhy.model.outputs import detects, has_class_head, tell_of_others
from seewhy.model.predictions import already_probabilities, name_of
from seewhy.model.tape.record import Outcome
from seewhy.targets.base import Bound, Target


@dataclass(frozen=True)
class Class(Target):
    """The score of a class before any softmax (the logit).

    spec: class number, name, or None for the predicted class. A network with one output has the
    classes 1 (its logit) and 0 (the negative logit). Where the network itself ends in a softmax,
    or is known to end in a sigmoid, its probability is what is read, and the name says so.

    Raises TargetError when bound, where there is no such class or no class head.
    """

    spec: int | str | None = None

    pair: ClassVar[float] = 1.0
    """What one logit z is as two: (-z, z), or (-z/2, z/2), whose softmax is its sigmoid."""

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        """Bind to the pictures; see the class."""
        tell_of_others(outcome.outputs)
        scores = class_scores(outcome)
        numbers = class_number(self.spec, scores, labels)
        end = outcome.end  # what is found here holds as long as the question stands
        if not end and already_probabilities(scores.detach()):
            end = "softmax"

        def read(later: Outcome, rows: Tensor) -> Tensor:
            chosen = numbers.to(later.main.device)[rows.to(later.main.device)]
            scores = self.transform(class_scores(later, self.pair), bool(end))
            return scores.gather(1, chosen[:, None])[:, 0]

        names = tuple(self.describe(name_of(n, labels), end) for n in numbers.tolist())
        return Bound(read, names)

    def transform(self, scores: Tensor, softmaxed: bool) -> Tensor:  # noqa: ARG002
        """What is read, for all classes (N, K); softmaxed: whether they are probabilities."""
        return scores

    def describe(self, label: str, end: str) -> str:
        """What the number is called."""
        return f"{label} (probability: the network ends in a {end})" if end else label


@dataclass(frozen=True)
class Probability(Class):
    """The probability of a class, after the softmax; of one output its sigmoid."""

    pair: ClassVar[float] = 0.5

    def transform(self, scores: Tensor, softmaxed: bool) -> Tensor:
        """Softmax, unless the network has done it."""
        return scores if softmaxed else scores.softmax(1)

    def describe(self, label: str, end: str) -> str:  # noqa: ARG002
        """What the number is called."""
        return f"probability of {label}"


@dataclass(frozen=True)
class LogProbability(Class):
    """The logarithm of the probability of a class."""

    pair: ClassVar[float] = 0.5

    def transform(self, scores: Tensor, softmaxed: bool) -> Tensor:
        """Log-softmax, of probabilities where the network gives those."""
        return scores.clamp(min=1e-30).log() if softmaxed else scores.log_softmax(1)

    def describe(self, label: str, end: str) -> str:  # noqa: ARG002
        """What the number is called."""
        return f"log-probability of {label}"


@dataclass(frozen=True)
class Margin(Target):
    """The score of one class minus that of another: why this and not that.

    label: None is the predicted class; against: None is the most likely other class.
    """

    label: int | str | None = None
    against: int | str | None = None

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:
        """Bind to the pictures; see the class."""
        tell_of_others(outcome.outputs)
        scores = class_scores(outcome).detach()
        one = class_number(self.label, scores, labels)
        rest = scores.scatter(1, one.to(scores.device)[:, None], float("-inf"))
        two = class_number(self.against, rest, labels)
        if bool((one == two).any()):
            raise TargetError(f"the margin of {self.label!r} against itself is zero: name another")

        def read(later: Outcome, rows: Tensor) -> Tensor:
            found = class_scores(later)
            place = rows.to(found.device)
            first, second = (numbers.to(found.device)[place][:, None] for numbers in (one, two))
            return (found.gather(1, first) - found.gather(1, second))[:, 0]

        pairs = zip(one.tolist(), two.tolist(), strict=True)
        names = tuple(f"{name_of(a, labels)} rather than {name_of(b, labels)}" for a, b in pairs)
        return Bound(read, names)


@dataclass(frozen=True)
class LogitSum(Target):
    """The sum of all logits: what the network responds to at all."""

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        count = len(class_scores(outcome))
        return Bound(lambda later, _: class_scores(later).sum(1), ("sum of all logits",) * count)


@dataclass(frozen=True)
class Regression(Target):
    """One number of the output, as it is: for regression models, or any output of a network.

    output: which number of the flattened main output.
    """

    output: int = 0

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        main = outcome.main
        numbers = main[0].numel()
        if not -numbers <= self.output < numbers:
            raise TargetError(
                f"there is no output {self.output}: the model gives {numbers} for each picture, "
                f"0 to {numbers - 1}"
            )

        def read(later: Outcome, rows: Tensor) -> Tensor:
            return later.main.reshape(len(rows), -1)[:, self.output]

        return Bound(read, (f"output {self.output}",) * len(main))


def class_scores(outcome: Outcome, pair: float = 1.0) -> Tensor:
    """Return the class scores (N, K) of an outcome; one logit z becomes (-z, z) times `pair`.

    One probability p, of a network that is known to end in a sigmoid, becomes (1 - p, p).
    Raises TargetError where the model has no class head.
    """
    main = outcome.main
    if not has_class_head(outcome.outputs):
        shape = f"its output has the shape {tuple(main.shape)}"
        what = "it gives boxes" if detects(outcome.outputs) else shape
        raise TargetError(f"this model has no class scores: {what}. {_fitting(outcome)}")
    scores = main.reshape(len(main), -1)
    if scores.shape[1] > 1:
        return scores
    if outcome.end:
        return torch.cat([1 - scores, scores], dim=1)
    return torch.cat([-scores, scores], dim=1) * pair


def _fitting(outcome: Outcome) -> str:
    """Which targets fit an output that is no class scores."""
    main = outcome.main
    if main.ndim == 4:
        return "For a segmentation use targets.Region(label, mask), else a Neuron or a callable"
    if main.ndim == 3 or detects(outcome.outputs):
        return "For a detector use targets.Box(), else a Neuron or a callable"
    return "For an embedding use targets.Similarity.of(model, pictures), Difference or Neuron"


def class_number(spec: int | str | None, scores: Tensor, labels: Labels | None) -> Tensor:
    """Return the class of each picture (N,): the highest score for None, else the one named.

    Raises TargetError that says which classes there are.
    """
    if spec is None:
        return scores.detach().argmax(1)
    classes = scores.shape[1]
    if isinstance(spec, str):
        if labels is None:
            raise TargetError(
                f"class {spec!r} has no number: this model came without labels. Give "
                f"Model(..., labels=[...]), or a class number from 0 to {classes - 1}"
            )
        number = labels.number(spec)
    else:
        number = int(spec)
    if not 0 <= number < classes:
        raise TargetError(
            f"there is no class {spec!r}: the model has {classes} classes, 0 to {classes - 1}"
        )
    return torch.full((len(scores),), number, dtype=torch.long)
