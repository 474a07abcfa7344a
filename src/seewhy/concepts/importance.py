"""Which concepts a score depends on, asked of the network itself from the layer on.

A picture's activations at a layer are nearly a sum of concepts, each with its weights. The weights
of each concept are scaled by a number in 0..1, and what follows the layer is run on: how much of
the score's variance a concept takes part in is its total Sobol index (Fel et al. 2023).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.concepts.found import Factorization
from seewhy.concepts.seen import Seen, named, scorer, seen_by
from seewhy.concepts.solvers import weights_of
from seewhy.draw import figure_image
from seewhy.draw import plain as aligned
from seewhy.draw.concepts import palette
from seewhy.errors import Failure, MethodError, tell_of, warn
from seewhy.methods.perturbation_masks import Sobol
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.replay import replay
from seewhy.result import ORIGIN, Traceable, origin
from seewhy.run import Run, generator, is_number
from seewhy.targets import TargetSpec

if TYPE_CHECKING:
    from seewhy.model.model import Model

DESIGNS = 510  # tells this use of a picture's random numbers from others
LEAST_SHARE = 0.4  # of a score, and importance speaks of it
SAME = 1e-5  # of a score: two answers differ by rounding alone
ALONE = 2  # questions about the concepts alone, the first of each picture


@dataclass(frozen=True, eq=False)
class Importance(Traceable):
    """How much a score depends on each of k concepts, in each of N pictures.

    total: (N, k), total Sobol indices, 0 and up: the share of the score's variance that a concept
    takes part in, alone or with others; they say nothing of for or against. drops: (N, k), what the
    score loses where one concept is removed and all others stay; negative where it gains. scores:
    (N,), of the pictures; rebuilt: (N,), of what the concepts alone make of the layer; emptied:
    (N,), where the layer holds nothing. All float64. targets: what each score is. residual: whether
    what the concepts leave out of the activations was kept while they were scaled and removed.
    """

    total: Tensor
    drops: Tensor
    scores: Tensor
    rebuilt: Tensor
    emptied: Tensor
    targets: tuple[str, ...]
    names: tuple[str, ...]
    sources: tuple[str, ...] = ()
    designs: int = 32
    residual: bool = False
    layer: str = ""
    seconds: float = 0.0

    kind = "importance"

    def __len__(self) -> int:
        return self.total.shape[1]

    @property
    def mean(self) -> Tensor:
        """The total indices, averaged over the pictures, (k,)."""
        return self.total.mean(0)

    @property
    def share(self) -> float:
        """How much of the scores the concepts rebuild, 0..1, picture by picture.

        1 minus how far the rebuilt scores are from the pictures' own, above or below, over how far
        those of an empty layer are; 0 where the concepts come no nearer.
        """
        missed, whole = (
            float((self.scores - each).abs().mean()) for each in (self.rebuilt, self.emptied)
        )
        return max(0.0, 1 - missed / whole) if whole else float(not missed)

    @property
    def order(self) -> list[int]:
        """The concepts by number, the most important first."""
        return self.mean.argsort(descending=True, stable=True).tolist()

    @property
    def explained(self) -> str:
        """How much of the score the concepts stand for, in words."""
        score, rebuilt, emptied = (
            float(each.mean()) for each in (self.scores, self.rebuilt, self.emptied)
        )
        rest = "kept beside them" if self.residual else "left out"
        return (
            f"mean score {score:.2f}, {emptied:.2f} of an empty layer; the concepts alone give "
            f"{rebuilt:.2f}, and rebuild {self.share:.0%} of what the layer adds (importance is "
            f"measured with the rest {rest})"
        )

    def rows(self) -> list[dict[str, str]]:
        """Return a row for each concept as text, the most important first."""
        spread = self.total.std(0, correction=0)
        return [
            {
                "concept": self.names[each],
                "importance": f"{float(self.mean[each]):.3f} ±{float(spread[each]):.3f}",
                "drop": f"{float(self.drops[:, each].mean()):+.2f}",
            }
            for each in self.order
        ]

    def draw(self, *, width: int = 640, **_: Any) -> Image.Image:
        """Return the concepts as bars, the most important on top, a dot for each picture."""
        from matplotlib.figure import Figure

        order, colors = self.order, palette(len(self))
        names = [self.names[each].replace("\n", ", ") for each in order]
        figure = Figure(figsize=(width / 100, 1.0 + 0.34 * len(self)), dpi=100)
        axes = figure.subplots(1, 2, sharey=True)
        asked = ((self.total, "total Sobol index"), (self.drops, "what the score loses without it"))
        for axis, (values, said) in zip(axes, asked, strict=True):
            shades = [tuple(part / 255 for part in colors[each]) for each in order]
            axis.barh(range(len(self)), values.mean(0)[order].tolist(), color=shades)
            for place, each in enumerate(order):
                axis.plot(values[:, each].tolist(), [place] * len(values), ".", color="#00000055")
            axis.axvline(0, color="black", linewidth=1)
            axis.set_xlabel(said)
        axes[0].set_yticks(range(len(self)), [each[:24] for each in names])
        axes[0].invert_yaxis()
        figure.tight_layout()
        return figure_image(figure)

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data."""
        return {
            "model": self.model,
            "layer": self.layer,
            "targets": list(dict.fromkeys(self.targets)),
            "concepts": [
                {
                    "name": name,
                    "importance": float(self.mean[number]),
                    "drop": float(self.drops[:, number].mean()),
                }
                for number, name in enumerate(self.names)
            ],
            "pictures": list(self.sources),
            "score": float(self.scores.mean()),
            "rebuilt": float(self.rebuilt.mean()),
            "emptied": float(self.emptied.mean()),
        }

    def __str__(self) -> str:
        asked = f"{named(self.targets)} in {len(self.total)} pictures"
        lines = [
            f"{len(self)} concepts at {self.layer} of {self.model}, for {asked}",
            self.explained,
            aligned(("concept", "importance", "drop"), self.rows()),
        ]
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays = {name: getattr(self, name).numpy() for name in _TENSORS}
        plain = (
            "targets", "names", "sources", "designs", "residual", "layer", "seconds", *ORIGIN,
        )  # fmt: skip
        return arrays, {name: getattr(self, name) for name in plain}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        for name in ("targets", "names", "sources"):
            data[name] = tuple(data[name])
        data |= {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
        return cls(**data)


_TENSORS = ("total", "drops", "scores", "rebuilt", "emptied")


def concept_importance(
    model: Model,
    found: Factorization,
    pictures: Any,
    target: TargetSpec = None,
    *,
    designs: int = 32,
    residual: bool = False,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Importance:
    """Measure how much a score depends on each concept; see `seewhy.concept_importance`."""
    run, began = run or Run(), time.perf_counter()
    check_designs(designs)
    if found.weights != model.fingerprint():
        raise MethodError(
            f"these are concepts of {found.model} with other weights: factorize with {model.name}"
        )
    asked: list[Measured] = []
    shown: list[str] = []
    names: list[str] = []
    failures: list[Failure] = []
    with model.held(run):
        for each in seen_by(model, pictures, found.layer, run, others, scorer(model, target)):
            if isinstance(each, Failure):
                failures.append(each)
                continue
            values = each.places[None]
            vectors = found.vectors.to(values)
            if found.solver == "pca":
                own = values @ vectors.mT
            else:
                own = weights_of(values, vectors[None])[0]
            asked.append(measure(model, each, vectors, each.maps(own[0]), run, designs, residual))
            shown += [ready.name for ready in each.pictures]
            names += each.score.names if each.score else ()
    tell_of(failures, left=bool(asked))
    measured = together(asked)
    check_read(measured, names, found.layer)
    made = Importance(
        **measured._asdict(),
        targets=tuple(names),
        names=tuple(text.replace("\n", ", ") for text in found.legend()),
        sources=tuple(shown),
        designs=designs,
        residual=residual,
        layer=found.layer,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
        **origin(model, run),
    )
    check_share(made, "more concepts, or an earlier layer")
    return made


class Measured(NamedTuple):
    """total, drops (N, k), scores, rebuilt and emptied (N,), as an `Importance` has them."""

    total: Tensor
    drops: Tensor
    scores: Tensor
    rebuilt: Tensor
    emptied: Tensor


def together(parts: Sequence[Measured]) -> Measured:
    """Join what was measured of several batches."""
    return Measured(*(torch.cat(each) for each in zip(*parts, strict=True)))


def measure(
    model: Model,
    seen: Seen,
    vectors: Tensor,
    maps: Tensor,
    run: Run,
    designs: int,
    residual: bool,
) -> Measured:
    """Return how much the score of pictures depends on concepts, by replay from the layer.

    seen: with a score. vectors: (k, C); maps: (N, k, *space), the weights. The model is held.
    """
    recording, score = seen.recording, seen.score
    if recording is None or score is None:
        raise MethodError("no score is known of these pictures: see them with one")
    design, parts = Sobol(designs=designs), len(vectors)
    still = torch.ones(3 + parts, parts)  # all alone, none alone, all, and all but each
    still[1], still[ALONE + 1 :] = 0, 1 - torch.eye(parts)
    draws = [generator(run.seed, key, DESIGNS) for key in seen.prepared.keys]
    masks = torch.stack([torch.cat([still, design.masks(draw, parts)]) for draw in draws])
    device, each = maps.device, masks.shape[1]
    weights, shares = maps.flatten(2), masks.to(maps)
    rest = seen.activations.flatten(2).to(maps) - vectors.mT @ weights if residual else None
    at_once = model.rows_at_once(seen.prepared, run, gradient=False)

    def answer(start: int, stop: int) -> Tensor:
        number = torch.arange(start, stop)
        rows, asked = (number // each).to(device), (number % each).to(device)
        given = vectors.mT @ (shares[rows, asked][..., None] * weights[rows])
        if rest is not None:
            given = given + rest[rows] * (asked >= ALONE)[:, None, None]
        given = given.reshape(len(rows), -1, *maps.shape[2:])
        outcome = replay(recording, seen.layer, given, rows)
        return score.of(rows.cpu())(outcome, torch.arange(len(rows))).double().cpu()

    found = []
    with torch.no_grad():
        for _, done, part in in_parts(len(maps) * each, at_once, answer):
            found.append(part)
            run.report(done, len(maps) * each, "masks")
    recording.captures.clear()  # of many batches they would add up
    answers = torch.cat(found).reshape(len(maps), each)
    alone, removed, sampled = answers.split([ALONE, 1 + parts, each - len(still)], 1)
    total = [
        design.indices(own[len(still) :], scores)[0]
        for own, scores in zip(masks, sampled, strict=True)
    ]
    return Measured(
        total=torch.stack(total),
        drops=removed[:, :1] - removed[:, 1:],
        scores=score.answered[1].double().cpu(),
        rebuilt=alone[:, 0],
        emptied=alone[:, 1],
    )


def check_read(measured: Measured, targets: Sequence[str], layer: str) -> None:
    """Raise MethodError where the score is the same whatever the concepts weigh."""
    rebuilt, emptied, drops = measured.rebuilt, measured.emptied, measured.drops
    largest = torch.stack([rebuilt - emptied, *drops.T]).abs().max()
    if largest <= SAME * torch.stack([rebuilt, emptied]).abs().max():
        raise MethodError(
            f"the score of {named(targets)} is the same whatever the concepts weigh at {layer!r}: "
            "nothing reads the layer's places after it (as where a class token alone is read), or "
            "the concepts are nowhere in these pictures; name an earlier layer"
        )


def check_share(made: Importance, advice: str) -> None:
    """Warn where the concepts do not stand for the score that they are asked about."""
    if made.share < LEAST_SHARE:
        warn(
            f"the concepts rebuild {made.share:.0%} of the score of {named(made.targets)} (alone "
            f"they give {float(made.rebuilt.mean()):.2f}, the pictures "
            f"{float(made.scores.mean()):.2f}, an empty layer {float(made.emptied.mean()):.2f}): "
            f"what it depends on is not among them; try {advice}"
        )


def check_designs(designs: Any) -> None:
    """Raise MethodError where there are too few."""
    if not (is_number(designs) and designs >= 2):
        raise MethodError(f"designs is {designs!r}: give a number from 2, such as 32")
