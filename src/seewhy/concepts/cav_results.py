"""What comes of concept activation vectors: the vector, and the test of its use."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, figure_image, markdown, panel
from seewhy.errors import MethodError, PictureError
from seewhy.result import ORIGIN, Traceable

if TYPE_CHECKING:
    from seewhy.draw.report import Page

LEVEL = 0.01
CANCELLED = 1e-6  # the length of a sum of vectors of which nothing is left


@dataclass(frozen=True, eq=False)
class ConceptVector(Traceable):
    """A direction of a layer's channels that stands for a concept.

    vector: (C,), of length 1 where it was made from examples. zero: the mean projection of random
    pictures. accuracy: 0..1, of pictures that the direction was not made with. counts: examples,
    random pictures. Vectors of one layer add, subtract and are scaled: a - 0.5 * b. failures: what
    could not be read. Raises MethodError where the vector is zero or not finite.
    """

    vector: Tensor
    zero: float
    name: str
    layer: str
    accuracy: float = math.nan
    counts: tuple[int, int] = (0, 0)
    classifier: str = "ridge"
    examples: tuple[Image.Image, ...] = ()

    kind = "concept vector"

    def __post_init__(self) -> None:
        if not 0 < float(self.vector.norm()) < math.inf:
            raise MethodError(
                f"no direction is left in {self.name!r}: its vector is zero or not finite; "
                "combine others, or scale it by another number"
            )

    def project(self, activations: Tensor) -> Tensor:
        """Return how far activations (C, *space) go along the vector, beyond random ones."""
        found: Tensor = torch.tensordot(self.vector.to(activations), activations, dims=1)
        return found - self.zero

    def __neg__(self) -> Self:
        return -1.0 * self

    def __mul__(self, factor: float) -> Self:
        size = "" if abs(factor) == 1 else f"{abs(factor):g} "
        name = f"{'-' if factor < 0 else ''}{size}{_bracketed(self.name)}"
        factor = float(factor)
        return replace(self, vector=factor * self.vector, zero=factor * self.zero, name=name)

    __rmul__ = __mul__

    def __add__(self, other: ConceptVector) -> Self:
        if (self.layer, self.weights) != (other.layer, other.weights):
            raise MethodError(
                f"{self.name!r} is of {self.layer} of {self.model}, {other.name!r} of "
                f"{other.layer} of {other.model}: combine vectors of one layer of one model"
            )
        vector, zero = self.vector + other.vector, self.zero + other.zero
        if float(vector.norm()) < CANCELLED:
            raise MethodError(f"{self.name!r} and {other.name!r} cancel: no direction is left")
        minus = other.name.startswith("-")
        name = f"{self.name} - {other.name[1:]}" if minus else f"{self.name} + {other.name}"
        counts = (self.counts[0] + other.counts[0], self.counts[1] + other.counts[1])
        examples = self.examples + other.examples
        return replace(
            self,
            vector=vector,
            zero=zero,
            name=name,
            counts=counts,
            examples=examples,
            accuracy=math.nan,
            failures=self.failures + other.failures,
        )

    def __sub__(self, other: ConceptVector) -> Self:
        return self + -other

    def draw(self, *, width: int = 128, **_: Any) -> Image.Image:
        """Return the examples that were kept, in a panel."""
        if not self.examples:
            raise PictureError(f"{self.name!r} kept no pictures: map it, concept_maps(...)")
        return panel([Cell(each) for each in self.examples], title=self.name, width=width)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the vector."""
        arrays = {"vector": self.vector.numpy()}
        arrays |= {f"example{i}": np.asarray(each) for i, each in enumerate(self.examples)}
        plain = ("zero", "name", "layer", "accuracy", "counts", "classifier", *ORIGIN)
        data: dict[str, Any] = {name: getattr(self, name) for name in plain}
        return arrays, data | {"examples": len(self.examples)}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the vector that was packed."""
        examples = tuple(
            Image.fromarray(arrays[f"example{i}"]) for i in range(data.pop("examples"))
        )
        data["counts"] = tuple(data["counts"])
        return cls(vector=torch.from_numpy(arrays["vector"]), examples=examples, **data)

    def __str__(self) -> str:
        made = f"{self.counts[0]} examples against {self.counts[1]}, {self.classifier}"
        right = "" if math.isnan(self.accuracy) else f", {self.accuracy:.0%} right on held-out ones"
        return f"{self.name}: a direction at {self.layer} of {self.model} ({made}{right})"

    __repr__ = __str__


def _bracketed(name: str) -> str:
    return f"({name})" if " + " in name or " - " in name else name


@dataclass(frozen=True)
class Sensitivity:
    """How a class depends on a concept at a layer.

    scores: for each set of examples the share of pictures, 0..1, whose score grows along the
    concept's vector; those where it stays as it is count half. accuracy: of the vectors, on
    pictures of other sets; NaN where sets share examples. pictures: of the class.
    """

    concept: str
    target: str
    layer: str
    scores: tuple[float, ...]
    accuracy: float = math.nan
    pictures: int = 0

    @property
    def score(self) -> float:
        """The TCAV score: the mean over sets, 0..1; a half says nothing."""
        return sum(self.scores) / len(self.scores)

    @property
    def spread(self) -> float:
        """The standard deviation over sets."""
        return float(np.std(self.scores, ddof=1))

    @property
    def p(self) -> float:
        """The probability of such scores where the true one is a half: two-sided t-test.

        Never less than a sign test of as many sets can give, since scores that are all alike have
        no spread to test with.
        """
        from scipy.stats import ttest_1samp  # which takes long to import

        least = 2.0 ** (1 - len(self.scores))
        if self.spread < 1e-9:
            return least if abs(self.score - 0.5) > 1e-9 else 1.0
        return max(least, float(ttest_1samp(self.scores, 0.5).pvalue))


@dataclass(frozen=True, eq=False)
class TCAV(Traceable):
    """Which classes depend on which concepts, at which layers.

    tests: one for each concept, target and layer. size: examples in each set; disjoint: whether
    the sets of a concept share none. level: below which a corrected p is called significant.
    failures: what could not be read.
    """

    tests: tuple[Sensitivity, ...]
    size: int = 0
    classifier: str = "ridge"
    disjoint: bool = True
    level: float = LEVEL

    kind = "tcav"

    def __len__(self) -> int:
        return len(self.tests)

    def __getitem__(self, index: int) -> Sensitivity:
        return self.tests[index]

    @property
    def sets(self) -> str:
        """How many sets there are of each concept: "30", or "12 to 30"."""
        counts = sorted({len(each.scores) for each in self.tests})
        return " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))

    @property
    def corrected(self) -> tuple[float, ...]:
        """The p of each test, corrected for their number (Holm 1979)."""
        return holm([each.p for each in self.tests])

    @property
    def significant(self) -> tuple[bool, ...]:
        """Whether each score differs from a half, after the correction."""
        return tuple(each < self.level for each in self.corrected)

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each test, as text."""
        found = zip(self.tests, self.corrected, self.significant, strict=True)
        return [
            {
                "concept": each.concept,
                "target": each.target,
                "layer": each.layer,
                "score": f"{each.score:.2f} ±{each.spread:.2f}",
                "p": f"{p:.2g}",
                "accuracy": "" if math.isnan(each.accuracy) else f"{each.accuracy:.0%}",
                "says": _says(each.score) if real else "not told from chance",
            }
            for each, p, real in found
        ]

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data; p is corrected."""
        found = zip(self.tests, self.corrected, self.significant, strict=True)
        plain = ("model", "size", "classifier", "disjoint", "level", "seed")
        tests = [
            {
                **{name: getattr(each, name) for name in ("concept", "target", "layer", "score")},
                "spread": each.spread,
                "p": p,
                "significant": real,
                "accuracy": None if math.isnan(each.accuracy) else each.accuracy,
                "pictures": each.pictures,
                "scores": list(each.scores),
            }
            for each, p, real in found
        ]
        return {name: getattr(self, name) for name in plain} | {"tests": tests}

    def table(self) -> str:
        """Return the tests as a Markdown table; p is corrected."""
        return markdown(tuple(self.rows()[0]), self.rows())

    def draw(self, *, width: int = 640, **_: Any) -> Image.Image:
        """Return the scores as bars, those that are not told from chance in grey."""
        from matplotlib.figure import Figure

        texts = [f"{each.concept} > {each.target}\n{each.layer}" for each in self.tests]
        figure = Figure(figsize=(width / 100, 0.8 + 0.5 * len(self)), dpi=100)
        axes = figure.subplots()
        colors = ["#0072b2" if real else "#bbbbbb" for real in self.significant]
        axes.barh(
            range(len(self)),
            [each.score for each in self.tests],
            xerr=[each.spread / math.sqrt(len(each.scores)) for each in self.tests],
            color=colors,
        )
        axes.axvline(0.5, color="black", linewidth=1)
        axes.set(xlim=(0, 1), xlabel="TCAV score (grey: not told from chance)")
        axes.set_yticks(range(len(self)), texts)
        axes.invert_yaxis()
        figure.tight_layout()
        return figure_image(figure)

    def page(self) -> Page:
        """Return a page of the scores of every set, and the table."""
        from seewhy.concepts.page import of_tcav

        return of_tcav(self)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the plain data that make up the answer."""
        plain = ("size", "classifier", "disjoint", "level", *ORIGIN)
        data = {name: getattr(self, name) for name in plain}
        return {}, data | {"tests": [asdict(each) for each in self.tests]}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:  # noqa: ARG003
        """Return the answer that was packed."""
        tests = [
            Sensitivity(**each | {"scores": tuple(each["scores"])}) for each in data.pop("tests")
        ]
        return cls(tests=tuple(tests), **data)

    def __str__(self) -> str:
        first = (
            f"{len(self)} tests of {self.model}, {self.sets} sets of {self.size} "
            f"({self.classifier}), two-sided t-test against a half, p after Holm"
        )
        lines = [
            f"{row['concept']} for {row['target']} at {row['layer']}: {row['score']}, "
            f"p {row['p']}: {row['says']}"
            for row in self.rows()
        ]
        return "\n".join([first, *lines])

    __repr__ = __str__


def _says(score: float) -> str:
    return "speaks for it" if score > 0.5 else "speaks against it"


def holm(values: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities corrected for their number (Holm 1979), in their order.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    order = sorted(range(len(values)), key=lambda each: values[each])
    found, largest = [0.0] * len(values), 0.0
    for rank, each in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[each]))
        found[each] = largest
    return tuple(found)
