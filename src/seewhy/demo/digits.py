"""Handwritten digits, end to end: two small networks are trained, and what they see is shown."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seewhy.api import prototype
from seewhy.demo.digits_data import Parts, digits_of
from seewhy.demo.digits_figures import Material, figures
from seewhy.demo.digits_models import (
    CNN,
    FC,
    RECIPES,
    SECOND,
    accuracy,
    as_tensor,
    inputs_of,
    read,
    trained,
)
from seewhy.draw import save_image
from seewhy.draw.report import Page, Table, save_page
from seewhy.errors import MethodError

if TYPE_CHECKING:
    from torch import Tensor

    from seewhy.draw.report.strips import Strips
    from seewhy.model.model import Model
    from seewhy.prototypes import Prototype
    from seewhy.run import Progress

NEAR = 0.01
"""Weight of the distance to the mean of a kind: with ten times as much, hardly more is left."""

FREE, SMOOTH = 0.006, 0.001
"""Of the distance to the mean of all digits, and of the differences of neighbours."""

TURNED, SLOWLY = 0.1, 0.02
"""Of the distance to the mean of what an 8 becomes, and the rate at which it does."""

KINDS = list(range(10))
BECOMES = (3, 1)  # what an 8 is turned into


def demo(
    data: str | Path | None = None,
    *,
    seed: int = 0,
    steps: int = 200,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> Demonstration:
    """Train two networks on handwritten digits, and show what they see in them.

    data: a folder with MNIST as torchvision lays it down; None is scikit-learn's bundled digits,
    enlarged to 28 x 28. seed: of the division of the digits, the weights and all that is random.
    steps: of each prototype. epochs: of all networks; None is as many as each needs, under two
    minutes in all. Raises MissingDependencyError without scikit-learn (or torchvision),
    PictureError for a folder without MNIST, MethodError for settings without sense.
    """
    began = time.perf_counter()
    for name, value in (("steps", steps), ("epochs", epochs)):
        if value is not None and value < 1:
            raise MethodError(f"{name} is {value}: give 1 or more")
    if seed < 0:
        raise MethodError(f"seed is {seed}: give 0 or more")
    digits = digits_of(data, seed)
    models = {
        recipe.title: trained(
            recipe,
            digits.second if recipe.title == SECOND else digits.learned,
            seed=seed + number,
            epochs=epochs,
            progress=progress,
        )
        for number, recipe in enumerate(RECIPES)
    }
    learned = as_tensor(digits.learned)
    of_kind = torch.from_numpy(digits.learned.labels)
    means = torch.stack([learned[of_kind == kind].mean(0) for kind in KINDS])
    everything = means.mean(0, keepdim=True)
    eight = _eight(digits, models)
    near, free, turned = {}, {}, {}
    make = partial(prototype, steps=steps, seed=seed, progress=progress)
    for title in (FC, CNN):
        model = models[title]
        own, all_kinds = inputs_of(model, means), inputs_of(model, everything)
        near[title] = _made(make(model, KINDS, mean=own, distance=NEAR))
        free[title] = _made(make(model, KINDS, mean=all_kinds, distance=FREE, variation=SMOOTH))
        turned[title] = _made(
            make(
                model,
                BECOMES,
                mean=own[list(BECOMES)],
                distance=TURNED,
                start=inputs_of(model, eight),
                rate=SLOWLY,
            )
        )
    material = Material(digits, models, means, near, free, turned)
    drawn = figures(material, progress)
    scores = {title: accuracy(model, digits.tested) for title, model in models.items()}
    seconds = time.perf_counter() - began
    words = ["seewhy demo digits", *(["--data FOLDER"] if data is not None else [])]
    words += [f"--seed {seed}", f"--steps {steps}", *([f"--epochs {epochs}"] if epochs else [])]
    return Demonstration(material, scores, drawn, " ".join(words), seconds)


@dataclass(frozen=True, eq=False)
class Demonstration:
    """Two trained networks, how good they are, and pictures of what they see.

    accuracy: of each network, the share of new digits that it reads rightly, 0..1. figures: by
    name. command: what makes all of it again. seconds: how long it took.
    """

    material: Material
    accuracy: Mapping[str, float]
    figures: Mapping[str, Strips]
    command: str
    seconds: float

    @property
    def models(self) -> Mapping[str, Model]:
        """The trained networks, as models: "fully connected", "CNN" and "second opinion"."""
        return self.material.models

    @property
    def prototypes(self) -> Mapping[str, Prototype]:
        """The prototypes of the ten digits, near their means, of each of the two networks."""
        return self.material.near

    def agreement(self, pictures: Tensor, reader: str) -> int:
        """Return how many of ten pictures (10, 1, 28, 28) a network reads as 0, 1, ..., 9."""
        said = read(self.models[reader], pictures).argmax(1)
        return int((said == torch.tensor(KINDS)).sum())

    def rows(self) -> list[dict[str, str]]:
        """Return one row a network: what it is, and how often it is right."""
        return [
            {
                "network": title,
                "parameters": f"{sum(each.numel() for each in model.module.parameters()):,}",
                "learned from": f"{len(self._learned(title)):,} digits",
                "right on new digits": f"{self.accuracy[title]:.1%}",
            }
            for title, model in self.models.items()
        ]

    def agreement_rows(self) -> list[dict[str, str]]:
        """Return one row a set of ten pictures: how many of them the others read as meant."""
        held = {"its kind": self.material.near, "all": self.material.free}
        sets = [("the means of the ten kinds themselves", "", self.material.means)]
        sets += [
            (f"{title}, near the mean of {what}", title, made.pictures)
            for what, prototypes in held.items()
            for title, made in prototypes.items()
        ]
        return [
            {
                "prototypes, read as meant by": name,
                **{
                    reader: "itself"
                    if reader == title
                    else f"{self.agreement(pictures, reader)} of 10"
                    for reader in self.models
                },
            }
            for name, title, pictures in sets
        ]

    def introduction(self) -> list[str]:
        """Return what was done, in paragraphs."""
        parts = self.material.digits
        one, other = (self.accuracy[title] for title in (FC, CNN))
        trained_on = (
            f"Two small networks learned to read handwritten digits ({parts.learned.source}, "
            f"{len(parts.learned):,} of them, 28 x 28 pixels, each time shifted a little and under "
            f"noise). The fully connected one takes a digit as 784 numbers and does not know which "
            f"are neighbours; the CNN has four convolutions, the mean of each feature map, and one "
            f"linear layer. Of {len(parts.tested):,} digits that they had not seen they read "
            f"{one:.1%} and {other:.1%} rightly."
        )
        second = (
            "A second opinion, a network of another make, learned from "
            f"{len(parts.second):,} other digits, none of which the two have seen. It is asked to "
            "read what they make."
        )
        return [trained_on, second]

    def page(self) -> Page:
        """Return the page with all pictures and tables."""
        words = (
            "A prototype is worth more where networks that did not make it read it too. Near the "
            "mean of its kind that is no hard test: the means alone, in which no network had a "
            "part, may pass it. Near the mean of all digits only the network says which digit it "
            "is to be."
        )
        tables = [
            _table(self.rows(), "The networks"),
            _table(self.agreement_rows(), "Do others read the prototypes?", [words], below=True),
        ]
        facts = [
            ("command", self.command),
            ("seewhy", version("seewhy")),
            ("torch", version("torch")),
            ("seconds", f"{self.seconds:.0f}"),
        ]
        return Page(
            "What do two networks see in digits?",
            self.introduction(),
            tables=tables,
            facts=facts,
            blocks=list(self.figures.values()),
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Write the page and each figure as a picture; SaveError where that fails."""
        folder = Path(folder).expanduser()
        pictures = [
            save_image(each.draw(), folder / f"digits-{name}.png")
            for name, each in self.figures.items()
        ]
        return [save_page(self.page(), folder / "digits.html"), *pictures]

    def _learned(self, title: str) -> Sequence[int]:
        parts = self.material.digits
        return range(len(parts.second if title == SECOND else parts.learned))


def _eight(digits: Parts, models: Mapping[str, Model]) -> Tensor:
    """The new 8 that all networks read most surely, (1, 1, 28, 28)."""
    eights = as_tensor(digits.tested[digits.tested.labels == 8])
    sure = torch.stack([read(model, eights)[:, 8] for model in models.values()]).amin(0)
    return eights[int(sure.argmax())][None]


def _made(found: Prototype) -> Prototype:
    """What was made; KeyboardInterrupt where the user stopped it on the way."""
    if found.interrupted:
        raise KeyboardInterrupt
    return found


def _table(
    rows: Sequence[Mapping[str, str]],
    caption: str,
    words: Sequence[str] = (),
    *,
    below: bool = False,
) -> Table:
    return Table(tuple(rows[0]), [list(each.values()) for each in rows], caption, words, below)
