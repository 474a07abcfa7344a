"""From explanations to pages: what each map says, in words and in one HTML file.

>>> from seewhy.api import explain
>>> why = explain("demo", Image.effect_noise((64, 64), 50), target="disk", method="gradient")
>>> of_explanations([why]).title
'Why disk?'
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seewhy.draw.report import Card, Layer, Page, Table
from seewhy.errors import PictureError
from seewhy.trial import in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from seewhy.comparison import Comparison
    from seewhy.errors import Failure
    from seewhy.explanation import Explanation

CHECKS = {
    "completeness gap": "the map's values add up to the change of the score, within {:.2%} of it",
    "conservation gap": "all of the score but {:.2%} is in the map or was taken by biases",
    "absorbed": "biases and stabilisers took {:.2%} of the score, which is not in the map",
    "samples": "{:.0f} samples were used",
    "steps": "{:.0f} steps were used",
    "fit": "the linear model explains {:.0%} of how the score varied",
}
ENDS = {
    "signed": ("against it", "for it"),
    "positive": ("little", "for it"),
    "absolute": ("little", "for or against it"),
}
"""What the ends of a map's scale mean, by what the map shows."""

NUMBERS = ("probability of", "log-probability of", "sum of", "similarity")
"""How targets begin that are amounts, not things."""


def of_explanations(explanations: Iterable[Explanation], title: str = "") -> Page:
    """Return a page with a card for each picture, and its maps in the order they come.

    Pictures that could not be explained (`explanations.failures`, where it has some) are listed
    in a table. title: empty, it says what was explained. Raises PictureError where there is
    nothing to show, and for maps without a plane.
    """
    failures: Sequence[Failure] = getattr(explanations, "failures", ())
    groups = _by_picture(explanations)
    if not groups:
        raise PictureError("there is nothing to show on a page: give at least one explanation")
    cards = [_card(group) for group in groups]
    everything = [each for group in groups for each in group]
    tables = []
    if failures:
        rows = [(_name(each.source), _line(each.error)) for each in failures]
        tables = [Table(("picture", "reason"), rows, "Could not be explained")]
    return Page(
        title or _title(cards),
        _introduction(everything, cards),
        cards,
        tables,
        _facts(everything),
    )


def of_comparison(comparison: Comparison) -> Page:
    """Return a page with one picture, a switch between its methods, and their table."""
    page = of_explanations(comparison)
    rows = [[row[name] for name in comparison.columns] for row in comparison.rows()]
    table = Table(comparison.columns, rows, "What each method found, and what it cost")
    return replace(page, tables=[table])


def of_methods(
    maps: Mapping[str, Sequence[Explanation | None]],
    *,
    title: str,
    introduction: Sequence[str] = (),
    tables: Sequence[Table] = (),
    truths: Sequence[NDArray[np.bool_]] | None = None,
    truth: str = "the marked region",
    facts: Sequence[tuple[str, str]] = (),
) -> Page:
    """Return a page of pictures, each with the maps of several methods, under measured tables.

    maps: by a method's title, its explanations of the same pictures in the same order, None where
    there is none. truths: for each picture a mask of where the truth is; truth: what that is
    called. facts: at the foot, where there are no explanations that have some.
    """
    cards = []
    for number, row in enumerate(zip(*maps.values(), strict=True)):
        shown = {name: why for name, why in zip(maps, row, strict=True) if why is not None}
        if shown:
            mask = None if truths is None else truths[number]
            cards.append(card_of(shown, mask, truth))
    everything = [each for found in maps.values() for each in found if each is not None]
    known = _facts(everything) if everything else facts
    return Page(title, introduction, cards, tables, known, truth=truth)


def card_of(
    maps: Mapping[str, Explanation],
    mask: NDArray[np.bool_] | None = None,
    truth: str = "the marked region",
    title: str = "",
) -> Card:
    """Return one picture with its maps by name; with a mask, whether each points into it."""
    card = _card(list(maps.values()), list(maps))
    if mask is not None:
        layers = [
            replace(layer, words=[*layer.words, *_verdict(why, mask, truth)])
            for layer, why in zip(card.layers, maps.values(), strict=True)
        ]
        card = replace(card, layers=layers, truth=mask if mask.any() else None)
    return replace(card, title=title or card.title)


def check_in_words(name: str, value: float) -> str:
    """Say what a method's check found.

    >>> check_in_words("completeness gap", 0.0012)
    "the map's values add up to the change of the score, within 0.12% of it"
    """
    return CHECKS[name].format(value) if name in CHECKS else f"{name} {value:.3g}"


def _by_picture(explanations: Iterable[Explanation]) -> list[list[Explanation]]:
    """Group explanations of the same picture that follow each other."""
    groups: list[list[Explanation]] = []
    for each in explanations:
        last = groups[-1][0] if groups else None
        same = last is not None and (last.source, last.picture) == (each.source, each.picture)
        if same and each.picture is not None:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _card(group: Sequence[Explanation], names: Sequence[str] | None = None) -> Card:
    names = names or _names(group)
    first = group[0]
    layers = [_layer(each, name) for each, name in zip(group, names, strict=True)]
    prediction = [(each.label, each.number, each.probability) for each in first.prediction]
    return Card(_name(first.source), first.picture, layers, prediction)


def _layer(why: Explanation, name: str) -> Layer:
    heat = why.drawn(why.display)
    if heat.ndim != 2:
        raise PictureError(
            f"the map of {why.source} has the shape {heat.shape} and a page shows pictures: save "
            "it as .npz, or draw one moment of why.heatmap()"
        )
    at = f" at {', '.join(why.layers)}" if why.layers and why.layers != ("input",) else ""
    words = [check_in_words(*each) for each in why.checks.items()]
    words += in_words(why.trials)
    return Layer(
        name=name,
        heat=heat,
        target=_question(why),
        details=why.method + at,
        words=[each[:1].upper() + each[1:].rstrip(".") + "." for each in words],
        signed=why.display == "signed",
        ends=ENDS[why.display],
    )


def _verdict(why: Explanation, mask: NDArray[np.bool_], truth: str) -> list[str]:
    """Say whether a map's largest value lies in the truth; nothing where there is neither."""
    heat = why.heatmap()
    if not mask.any() or not heat.max() > 0:
        return []
    hit = bool(mask[np.unravel_index(heat.argmax(), heat.shape)])
    return [f"Its strongest point lies {'in' if hit else 'outside'} {truth}."]


def _names(group: Sequence[Explanation]) -> list[str]:
    """Return what tells a picture's maps apart: method, target, or both; no two are equal."""
    short = [each.method.partition(":")[0] for each in group]
    options = (
        short,
        [each.method for each in group],
        [each.target for each in group],
        [f"{each.target}, {name}" for each, name in zip(group, short, strict=True)],
        [f"{each.target}, {each.method}" for each in group],
    )
    for names in options:
        if len(set(names)) == len(names):
            return names
    return [f"{number}. {name}" for number, name in enumerate(options[-1], 1)]


def _question(why: Explanation) -> str:
    """Return what was explained as a question."""
    this = "this " if why.target.startswith(NUMBERS) else ""
    target, mark, remark = why.target.partition(" (probability:")
    return f"Why {this}{target}?{mark}{remark}"


def _title(cards: Sequence[Card]) -> str:
    questions = {layer.target for card in cards for layer in card.layers}
    if len(questions) == 1:
        return questions.pop()
    return "Why did the model decide so?"


def _introduction(explanations: Sequence[Explanation], cards: Sequence[Card]) -> list[str]:
    first = explanations[0]
    seen = f"{len(cards)} pictures" if len(cards) > 1 else _name(first.source)
    methods = len({each.method for each in explanations})
    asked = f"{methods} methods answer" if methods > 1 else f"{first.method} answers"
    ways = {each.display for each in explanations}
    means = {
        "positive": "the warmer a place, the more it spoke for the decision",
        "absolute": "the warmer a place, the more it counted, for or against",
        "signed": "red places spoke for the decision, and blue ones against it",
    }
    how = means[ways.pop()] if len(ways) == 1 else "the scale beside it says what its colours mean"
    said = (
        f"The model {first.model} looked at {seen}, and {asked} with a map over the picture: "
        f"{how}. Where the picture is clear, it counted little."
    )
    if any(np.isnan(layer.heat).any() for card in cards for layer in card.layers):
        said += " What lies under grey, the model did not see."
    return [said]


def _facts(explanations: Sequence[Explanation]) -> list[tuple[str, str]]:
    """Return what is needed to get the same maps again."""
    first = explanations[0]
    facts = [("model", first.model), ("weights", first.weights), ("seed", str(first.seed))]
    facts += first.versions.items()
    return [(name, value) for name, value in facts if value]


def _name(source: str) -> str:
    """Return a picture's name without its folders: pages are given away."""
    return Path(source.partition("?")[0] if "://" in source else source).name or source


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
