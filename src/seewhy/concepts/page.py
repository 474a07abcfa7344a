"""From concepts to pages: pictures in the colours of concepts, under a legend of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from seewhy.draw.concepts import palette
from seewhy.draw.report import Chart, Concept, Gallery, Page, Row, Rows, Scene, Table
from seewhy.shown import Shown, canvas_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from seewhy.concepts.cav_results import TCAV
    from seewhy.concepts.found import Factorization
    from seewhy.concepts.maps import ConceptMaps
    from seewhy.errors import Failure

LARGEST = 512  # pixels of the longer side that a map is laid on
MOST = 48  # pictures of a page: of photographs with 10 concepts, 3 to 6 MB
POINT = "Point at a concept, or choose it in the legend, to see it alone."


def of_factorization(found: Factorization, meant: str) -> Page:
    """Return a page of the pictures in the colours of their concepts.

    meant: how the concepts were asked what they speak for. Raises PictureError where there is no
    picture, or no map of two axes.
    """
    share = found.shares
    legend = [
        Concept(
            found.names[number] if found.names else f"concept {number + 1}",
            color,
            [
                (label, f"{value:.0%}" if share else f"{value:.2f}", value if share else None)
                for label, value in found.tops(number)
            ],
        )
        for number, color in enumerate(palette(len(found)))
    ]
    scenes = [
        Scene(shown.name, canvas_of(found.shown, number), [_laid(shown, found.scaled(number))])
        for number, shown in enumerate(found.shown[:MOST])
    ]
    kept = f"{len(found)} concepts explain {1 - found.error**2:.0%} of what {found.layer} holds"
    first = (
        f"{found.model} looked at {_counted(found.shown, found.looked)}, and {kept}. Each has a "
        "colour, and a place has that of the concept which is strongest there, each measured by "
        f"its own largest value. {POINT}"
    )
    said = [first + _more(found.shown, found.looked)]
    if found.scores is not None:
        said.append(f"Beside each are the classes that it speaks for ({meant}).")
    curve = []
    if len(found.curve) > 1:
        lines = [
            ("error", [(number, error) for number, error, _ in found.curve]),
            ("found again", [(number, stability) for number, _, stability in found.curve]),
        ]
        words = (
            "The error is what the concepts leave unexplained, of the activations' length. Found "
            "again: how alike the concepts of two random halves of the places are, as the mean "
            "cosine of the best pairs. Chosen is where more concepts explain little more, and are "
            "found again."
        )
        chosen = f"{len(found)} concepts were chosen"
        caption = "How many concepts there are"
        curve = [Chart(lines, "concepts", "", len(found), chosen, caption, [words])]
    facts = [
        ("layer", found.layer),
        ("concepts", str(len(found))),
        ("solver", found.solver),
        ("error", f"{found.error:.3f}"),
        ("classes by", found.meaning or "none"),
    ]
    return Page(
        f"What {found.model} sees in {_counted(found.shown, found.looked, some=True)}",
        said,
        tables=_left_out(found.failures),
        facts=_facts(found, facts),
        blocks=[Gallery(legend, scenes), *curve],
        opacity=0.75,
    )


def of_concept_maps(found: ConceptMaps) -> Page:
    """Return a page of pictures with where given concepts are, and where they are not.

    Raises PictureError where there is no picture, or no map of two axes.
    """
    references = found.references or ((),) * len(found)
    legend = [
        Concept(name, color, (), examples)
        for name, color, examples in zip(found.names, palette(len(found)), references, strict=True)
    ]
    scenes = []
    for number, shown in enumerate(found.shown[:MOST]):
        maps = [_laid(shown, found.scaled(number))]
        if found.absent:
            maps.append(_laid(shown, found.scaled(number, absence=True)))
        told = [_short(score) for score in found.scores[number].tolist()]
        scenes.append(Scene(shown.name, canvas_of(found.shown, number), maps, told))
    sides = ("Where they are", "Where they are not") if found.absent else ("Where they are",)
    names = list(found.names)
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    many = len(names) > 1
    at = f" at {', '.join(found.layers)}" if found.layers else ""
    said = (
        f"The map of a concept answers: {found.question}; by {found.method}{at} of {found.model}. "
        "The number beside a concept is the picture's as a whole. Maps are divided by the "
        "concept's largest value in all pictures, so what is not there stays pale"
        + (f", and a place has the colour of the concept that is strongest there. {POINT}"
           if many else ".")
    ) + _more(found.shown)  # fmt: skip
    facts = [("method", found.method), ("layer", ", ".join(found.layers))]
    return Page(
        f"Where {'are' if many else 'is'} {listed}?" if len(listed) < 60 else "Where is what?",
        [said],
        tables=_left_out(found.failures),
        facts=_facts(found, facts),
        blocks=[Gallery(legend, scenes, sides)],
        opacity=0.75,
    )


def of_tcav(found: TCAV) -> Page:
    """Return a page of the scores of every set, and the table of the tests."""
    rows = [
        Row(
            f"{test.concept} for {test.target}",
            test.layer,
            test.scores,
            f"{row['score']}, p {row['p']}: {row['says']}",
            strong=real,
        )
        for test, row, real in zip(found.tests, found.rows(), found.significant, strict=True)
    ]
    words = (
        f"A dot is the vector of one of {found.sets} sets of {found.size} examples: the share of "
        "the class's pictures whose score grows along it. The bar is their mean; a half, in the "
        "middle, says nothing. Grey: not told from chance."
    )
    told = [name for name, real in zip(rows, found.significant, strict=True) if real]
    count = f"{len(told)} of {len(rows)}" if len(rows) > 1 else ("It" if told else "None")
    said = (
        f"A concept is a direction of a layer of {found.model}, made from example pictures; the "
        "question is whether the score of a class grows along it. "
        f"{count} {'are' if len(told) != 1 else 'is'} told from chance at p < {found.level:g}, by "
        "a two-sided t-test against a half, corrected for the number of tests. A score says in "
        "which direction, not how much."
    )
    columns = tuple(found.rows()[0])
    table = Table(columns, [[row[name] for name in columns] for row in found.rows()], "The tests")
    facts = [
        ("sets", f"{found.sets} of {found.size} examples"),
        ("sets share examples", "no" if found.disjoint else "yes"),
        ("classifier", found.classifier),
        ("pictures of the class", ", ".join(sorted({str(each.pictures) for each in found.tests}))),
    ]
    concepts = list(dict.fromkeys(each.concept for each in found.tests))
    targets = list(dict.fromkeys(each.target for each in found.tests))
    title = f"Does {found.model} use {_either(concepts)} for {_either(targets)}?"
    return Page(
        title if len(title) < 90 else f"Which concepts does {found.model} use?",
        [said],
        tables=[replace(table, below=True), *_left_out(found.failures)],
        facts=_facts(found, facts),
        blocks=[Rows(rows, "The scores", [words], ("0: always against", "always for: 1"))],
    )


def _laid(shown: Shown, maps: Tensor) -> NDArray[np.floating]:
    """Maps (k, h, w) on the picture, reduced: pages are not larger, and photographs may be."""
    geometry = shown.geometry
    if geometry is not None and max(geometry.original) > LARGEST:
        height, width = geometry.original
        fit = LARGEST / max(height, width)
        small = max(1, round(height * fit)), max(1, round(width * fit))
        scale = (geometry.scale[0] * height / small[0], geometry.scale[1] * width / small[1])
        shown = replace(shown, geometry=replace(geometry, original=small, scale=scale))
    laid: NDArray[np.floating] = shown.laid(maps).clamp(0, 1).numpy()
    return laid


def _counted(shown: Sequence[Shown], looked: int, *, some: bool = False) -> str:
    count = max(len(shown), looked)
    if count == 1:
        return shown[0].name
    return f"{count} pictures" if some else f"{count} pictures together"


def _more(shown: Sequence[Shown], looked: int = 0) -> str:
    count, laid = max(len(shown), looked), min(len(shown), MOST)
    return f" The first {laid} of {count} pictures are shown." if laid < count else ""


def _short(score: float) -> str:
    told = f"{score:.2f}" if abs(score) >= 0.005 or not score else f"{score:.1g}"
    return told.replace("-", "−")


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _left_out(failures: Sequence[Failure]) -> list[Table]:
    rows = [
        (each.source.rpartition("/")[2], " ".join(str(each.error).split())) for each in failures
    ]
    return [Table(("picture", "reason"), rows, "Could not be read", below=True)] if rows else []


def _facts(
    found: Factorization | ConceptMaps | TCAV, own: Sequence[tuple[str, str]]
) -> list[tuple[str, str]]:
    """What is needed to get the same again."""
    facts = [("model", found.model), ("weights", found.weights), *own, ("seed", str(found.seed))]
    took = getattr(found, "seconds", math.nan)
    facts += [("seconds", f"{took:.2f}")] if took > 0 else []
    return [(name, value) for name, value in [*facts, *found.versions.items()] if value]
