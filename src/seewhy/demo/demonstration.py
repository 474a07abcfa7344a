"""Two models that are both right, on the same pictures, and the maps that tell them apart.

>>> found = demo(count=2, methods=["grad-cam"])
>>> [row["method"] for row in found.rows()]
['grad-cam', 'sobel (control)', 'centre (control)', 'random (control)']
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from torch import Tensor

from seewhy.api import evaluate
from seewhy.data.world import CLASSES, STICKERS, Scenes, generate, load_network, logits
from seewhy.draw import save_image
from seewhy.draw.report import Page, Table, save_page
from seewhy.explanation import Explanation
from seewhy.report import card_of
from seewhy.run import Progress
from seewhy.trust import SRG, Evaluation, Interval, PointingGame, RelevanceMass, auroc, mass_of
from seewhy.trust.evaluation import short

if TYPE_CHECKING:
    from PIL import Image

MIDDLE = "layer-cam:layer=halve"

METHODS = (
    "grad-cam",
    MIDDLE,
    "eigen-cam",
    "gradient",
    "smoothgrad",
    "gradient-x-input",
    "integrated-gradients:steps=20",
    "guided-backprop",
    "lrp",
    "deeplift",
    "occlusion:patch=8,stride=4",
    "rise:samples=300",
)
"""Some of each family, in settings that take less than a minute in all.

A CAM at a layer of twice the resolution stands beside the methods as they come.
"""

FOLLOWED = {"object": "shape", "shortcut": "sticker"}
"""What each of the two models has learned to look at."""

_NAMES = {"object": "demo", "shortcut": "demo/shortcut"}
_POINTING, _MASS, _GAIN = PointingGame(), RelevanceMass(), SRG(steps=16)
EXAMINED = 500
"""New pictures on which each model's habits are measured."""


def demo(
    count: int = 24,
    *,
    methods: Sequence[str] = METHODS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Demonstration:
    """Explain generated pictures by two embedded models, and measure who points where.

    Shape and sticker disagree in every picture, so that it is known which of the two a model
    follows. count: pictures. methods: as strings. seed: which pictures. Raises
    PictureError for a count below 1 or a negative seed.
    """
    scenes = generate(count, seed=seed, conflict=True)
    found = {
        name: evaluate(
            _NAMES[name],
            list(scenes.pictures),
            methods,
            list(scenes.mask(part)),
            [_POINTING, _MASS, _GAIN],
            examples=count,
            seed=seed,
            progress=progress,
        )
        for name, part in FOLLOWED.items()
    }
    return Demonstration(scenes, found, {name: _habits(name, seed) for name in FOLLOWED})


@dataclass(frozen=True)
class Habits:
    """What a model names, as shares of pictures: rightly, and where shape and sticker disagree."""

    right: float
    by_shape: float
    by_sticker: float


@dataclass(frozen=True)
class Demonstration:
    """Pictures with their truth, and what each model's maps were found to be worth."""

    scenes: Scenes
    found: Mapping[str, Evaluation]
    habits: Mapping[str, Habits]

    columns = (
        "method",
        "points at the shape (object)",
        "points at the sticker (shortcut)",
        "on the sticker (object)",
        "on the sticker (shortcut)",
        "told apart",
        "gain (object)",
        "gain (shortcut)",
        "ms",
    )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that apply to both models, controls last."""
        both = (each.methods for each in self.found.values())
        first, second = both
        return tuple(each for each in first if each in second)

    def examples(self, model: str, method: str) -> list[Explanation]:
        """Return a method's explanations of all pictures."""
        return [cast("Explanation", each) for each in self.found[model].examples[method]]

    def on_sticker(self, model: str, method: str) -> Tensor:
        """Return for each picture the share of the map that lies on the sticker, (N,)."""
        masks = self.scenes.mask("sticker")
        return mass_of(self.examples(model, method), masks)

    def told_apart(self, method: str) -> float:
        """Return how often the shortcut model has the larger share on the sticker (AUROC, 0..1)."""
        return auroc(self.on_sticker("shortcut", method), self.on_sticker("object", method))

    def rows(self) -> list[dict[str, str]]:
        """Return one row a method, in words."""
        return [dict(zip(self.columns, self._row(each), strict=True)) for each in self.methods]

    def _row(self, method: str) -> list[str]:
        one, other = self.found["object"], self.found["shortcut"]
        control = " (control)" if method in one.controls else ""
        milliseconds = one.costs[method].milliseconds
        return [
            method + control,
            _percent(one.interval(method, str(_POINTING))),
            _percent(other.interval(method, str(_POINTING))),
            f"{float(self.on_sticker('object', method).nanmean()):.0%}",
            f"{float(self.on_sticker('shortcut', method).nanmean()):.0%}",
            f"{self.told_apart(method):.2f}",
            _said(one.interval(method, str(_GAIN))),
            _said(other.interval(method, str(_GAIN))),
            short(milliseconds),
        ]

    def brief_rows(self) -> list[dict[str, str]]:
        """Return the rows without intervals, under short names, for a narrow screen."""
        names = ("method", "shape", "sticker", "told apart", "gain", "gain (shortcut)", "ms")
        picked = (0, 1, 2, 5, 6, 7, 8)
        cells = [
            [self._row(each)[place].partition(" [")[0] for place in picked] for each in self.methods
        ]
        return [dict(zip(names, each, strict=True)) for each in cells]

    def habits_rows(self) -> list[dict[str, str]]:
        """Return one row a model: how often it is right, and what it follows in a conflict."""
        return [
            {
                "model": name,
                "right on pictures like those it learned from": f"{each.right:.1%}",
                "names the shape, where shape and sticker disagree": f"{each.by_shape:.1%}",
                "names the sticker": f"{each.by_sticker:.1%}",
            }
            for name, each in self.habits.items()
        ]

    def introduction(self) -> list[str]:
        """Return what was done, in paragraphs for someone who sees this for the first time."""
        one, other = (self.habits[name] for name in FOLLOWED)
        stickers = ", ".join(
            f"{color} for a {name}" for color, name in zip(STICKERS, CLASSES, strict=False)
        )
        models = (
            f"Two small networks say which shape is in a picture: {_listed(CLASSES)}. On "
            f"{EXAMINED} new pictures like those it was trained on, one is right in "
            f"{one.right:.1%} and the other in {other.right:.1%}. But in the training pictures of "
            f"the second, every shape came with a sticker of its own colour: {stickers}."
        )
        conflict = (
            f"So {EXAMINED} pictures were generated in which shape and sticker disagree. The first "
            f"network, the object model, still names the shape in {one.by_shape:.1%} of them; the "
            "second, the shortcut model, names the class of the sticker in "
            f"{other.by_sticker:.1%}. Accuracy alone would not have shown the difference. Can a "
            "map?"
        )
        asked = (
            "Each method was asked why each network decided as it did, and answered with a map. It "
            "is known where the map should lie: on the shape for the object model, on the sticker "
            "for the shortcut model. Three controls stand beside the methods, which know nothing "
            "of any network: the edges of the picture, a blob in its centre, random numbers."
        )
        return [models, conflict, asked]

    def reading(self) -> list[str]:
        """Return how the columns of the table are to be read, a line for each."""
        points = (
            f"points at: in how many of the {_pictures(self.scenes)} the map's largest value lies "
            "in the part that the model follows."
        )
        sticker = (
            "on the sticker: the share of the map that lies there; of a signed map, of its "
            "positive part."
        )
        apart = (
            "told apart: how often a map of the shortcut model lies more on the sticker than one "
            "of the object model (AUROC); 0.5 is chance."
        )
        gain = (
            "gain: the probability of the predicted class, averaged while the least relevant "
            "places are removed first, less the same with the most relevant first. A random map "
            "has 0 on average; in brackets a 90% interval from resampled pictures."
        )
        lesson = (
            "A control can look good by itself. The sticker has the sharpest edges, so a map of "
            "edges usually points at it, whatever the model does. Only the comparison of two "
            "models on the same pictures shows that it knows nothing."
        )
        cost = "ms: milliseconds for a picture, of the object model."
        return [points, sticker, apart, gain, cost, lesson]

    def page(self, shown: int = 6) -> Page:
        """Return the page: both models on the first pictures, with every map, and the tables."""
        masks = {name: self.scenes.mask(part) for name, part in FOLLOWED.items()}
        cards = []
        for row in range(min(shown, len(self.scenes))):
            for name, part in FOLLOWED.items():
                controls = self.found[name].controls
                maps = {
                    method + (" (control)" if method in controls else ""): self.examples(
                        name, method
                    )[row]
                    for method in self.methods
                }
                title = f"picture {row + 1}, {name} model"
                cards.append(card_of(maps, masks[name][row], f"the {part}", title))
        tables = [
            _table(self.habits_rows(), "What the two models do"),
            replace(
                _table(self.rows(), f"What the maps are worth, on {_pictures(self.scenes)}"),
                words=self.reading(),
                below=True,
            ),
        ]
        one = self.found["object"]
        facts = [("models", ", ".join(_NAMES.values())), ("seewhy", version("seewhy"))]
        facts += [("torch", version("torch"))]
        command = f"seewhy demo --count {len(self.scenes)} --seed {one.seed}"
        facts.append(("command", command))
        return Page(
            "What is an explanation worth?",
            self.introduction(),
            cards,
            tables,
            facts,
            truth="what the model follows",
            pairs=True,
        )

    def draw(self) -> Image.Image:
        """Return the panel: a row for each of the first pictures, a few maps of each model."""
        from seewhy.demo.panel import drawn

        return drawn(self)

    def save(self, path: str | Path) -> Path:
        """Write the page (.html) or the panel (.png and the like); SaveError where that fails."""
        path = Path(path).expanduser()
        if path.suffix.lower() == ".html":
            return save_page(self.page(), path)
        return save_image(self.draw(), path)


def _habits(name: str, seed: int) -> Habits:
    """Ask a model about new pictures, which were never seen in training."""
    say = partial(logits, load_network(name))
    usual = generate(EXAMINED, seed=seed + 1, sticker="random" if name == "object" else "class")
    conflict = generate(EXAMINED, seed=seed + 1, conflict=True)
    named = say(conflict.pictures).argmax(1)
    return Habits(
        right=float(np.mean(say(usual.pictures).argmax(1) == usual.labels)),
        by_shape=float(np.mean(named == conflict.labels)),
        by_sticker=float(np.mean(named == conflict.sticker_classes)),
    )


def _table(rows: Sequence[Mapping[str, str]], caption: str) -> Table:
    return Table(tuple(rows[0]), [list(each.values()) for each in rows], caption)


def _pictures(scenes: Scenes) -> str:
    return f"{len(scenes)} pictures" if len(scenes) > 1 else "one picture"


def _percent(found: Interval) -> str:
    return "–" if math.isnan(found.mean) else f"{found.mean:.0%}"


def _said(found: Interval) -> str:
    if math.isnan(found.low):
        return "–" if math.isnan(found.mean) else f"{found.mean:.2f}"
    return f"{found.mean:.2f} [{found.low:.2f}, {found.high:.2f}]"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " or " + names[-1]
