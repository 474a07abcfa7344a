"""Sweep: the same activations taken apart into few concepts and into many, side by side."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.concepts.factorization import (
    CONCEPTS,
    SOLVERS,
    Solver,
    check,
    check_size,
    described,
    values_of,
)
from seewhy.concepts.found import Factorization
from seewhy.concepts.meaning import Head, How
from seewhy.concepts.number import Curve, knee
from seewhy.concepts.seen import Seen, seen_by
from seewhy.draw import Cell, figure_image, panel
from seewhy.draw.colors import RGB
from seewhy.draw.concepts import concept_legend, concept_overlay, palette
from seewhy.errors import Failure, MethodError
from seewhy.model.layers import LayerSpec
from seewhy.result import Result
from seewhy.run import Run, generator, is_number
from seewhy.shown import canvas_of

if TYPE_CHECKING:
    from seewhy.model.model import Model

NUMBERS = (2, 4, 6, 8, 12)
SAME = 0.8  # the cosine from which on two vectors are one concept, and have one colour
NARROWEST = 200  # pixels of a chart
MOST_DRAWN = 6  # pictures of a panel, where none is named


@dataclass(frozen=True, eq=False)
class Sweep(Result):
    """One layer's activations, taken apart into several numbers of concepts.

    columns: a Factorization for each number, the fewest first, of the same pictures. knee: the
    number that `concepts="auto"` takes, 0 where it was not asked for; curve: (number, error,
    stability) of what was tried for it. seconds: all of it.
    """

    columns: tuple[Factorization, ...]
    knee: int = 0
    curve: Curve = ()
    seconds: float = 0.0

    kind = "sweep"

    def __len__(self) -> int:
        return len(self.columns)

    def __getitem__(self, place: int) -> Factorization:
        return self.columns[place]

    @property
    def numbers(self) -> tuple[int, ...]:
        """How many concepts each column has."""
        return tuple(len(each) for each in self.columns)

    @property
    def errors(self) -> tuple[float, ...]:
        """The error of each column, ||V - W H|| / ||V||, 0..1."""
        return tuple(each.error for each in self.columns)

    @property
    def concepts(self) -> tuple[tuple[int, ...], ...]:
        """Which concept each vector of each column is, numbered as they first appear.

        It is one with the vector in earlier columns that it pairs best with, each with one only,
        where their cosine is at least .8; else it is new.
        """
        return same([each.vectors for each in self.columns])

    def draw(  # type: ignore[override]
        self,
        *,
        picture: int | None = None,
        opacity: float = 0.7,
        photo: float = 1.0,
        width: int = 224,
    ) -> Image.Image:
        """Return the panel: a row a picture, a column a number, a colour a concept.

        Below each column its error and its concepts, and on the left the curve of the error.
        picture: which one, by number; None is the first six. width: of a cell in pixels.
        """
        shown, kept = self.columns[0].shown, self.concepts
        colors = palette(max(map(max, kept)) + 1)
        chosen = range(min(len(shown), MOST_DRAWN)) if picture is None else [picture]
        cells = []
        for row, number in enumerate(chosen):
            canvas, last = canvas_of(shown, number), row == len(chosen) - 1
            cells.append(Cell(canvas, shown[number].name))
            for each, own in zip(self.columns, kept, strict=True):
                laid = concept_overlay(
                    canvas,
                    each.heatmaps(number),
                    colors=[colors[concept] for concept in own],
                    opacity=opacity,
                    photo=photo,
                )
                title = "" if row else f"{len(each)} concept{'s' * (len(each) > 1)}"
                cells.append(Cell(laid, title, f"error {each.error:.2f}" if last else ""))
        sheet = panel(cells, columns=len(self) + 1, width=width)
        return self._with_legends(sheet, colors, width)

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without vectors and maps."""
        return {
            "knee": self.knee or None,
            "curve": [
                {"concepts": number, "error": error, "stability": stability}
                for number, error, stability in self.curve
            ],
            "columns": [
                each.plain() | {"same": list(own)}
                for each, own in zip(self.columns, self.concepts, strict=True)
            ],
        }

    def __str__(self) -> str:
        first = self.columns[0]
        where = f"{len(first.shown)} pictures at {first.layer} of {first.model}"
        lines = [f"{' / '.join(map(str, self.numbers))} concepts of {where} ({first.solver})"]
        for each, own in zip(self.columns, self.concepts, strict=True):
            said = ", ".join(text.replace("\n", " / ") for _, text in _listed(each, own))
            lines.append(f"{len(each)}: error {each.error:.2f}; {said}")
        return "\n".join([*lines, f"knee of the error: {self.knee}"] if self.knee else lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays: dict[str, np.ndarray] = {}
        columns = []
        for place, each in enumerate(self.columns):
            own, data = each.pack()
            pictures = {name for name in own if name.startswith("picture")}
            arrays |= {name: own[name] for name in pictures}  # the same for all
            arrays |= {f"{place}.{name}": own[name] for name in own.keys() - pictures}
            columns.append(data)
        data = {"knee": self.knee, "curve": self.curve, "seconds": self.seconds}
        return arrays, data | {"columns": columns}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        pictures = {name: each for name, each in arrays.items() if name.startswith("picture")}
        columns = []
        for place, each in enumerate(data.pop("columns")):
            start = f"{place}."
            own = {
                name.removeprefix(start): array
                for name, array in arrays.items()
                if name.startswith(start)
            }
            columns.append(Factorization.unpack(own | pictures, each))
        data["curve"] = tuple(tuple(each) for each in data["curve"])
        return cls(columns=tuple(columns), **data)

    # ------------------------------------------------------------------ helpers

    def _with_legends(self, sheet: Image.Image, colors: Sequence[RGB], width: int) -> Image.Image:
        """The panel, with the curve below its first column and a legend below each other."""
        legends = []
        for each, own in zip(self.columns, self.concepts, strict=True):
            listed = _listed(each, own)
            table = [colors[concept] for concept, _ in listed]
            legends.append(concept_legend([text for _, text in listed], colors=table, width=width))
        below = max(width * 3 // 4, *(each.height for each in legends))
        joined = Image.new("RGB", (sheet.width, sheet.height + below), "white")
        joined.paste(sheet, (0, 0))
        gap = (sheet.width - (len(self) + 1) * width) // (len(self) + 2)
        for place, part in enumerate([self._chart(width, width * 3 // 4), *legends]):
            joined.paste(part, (gap + place * (width + gap), sheet.height))
        return joined

    def _chart(self, width: int, height: int) -> Image.Image:
        """The error of each number, and the knee, where the curve was asked for."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        larger = max(1.0, NARROWEST / width)  # text does not fit on less, and is reduced
        size = (width * larger / 100, height * larger / 100)
        figure = Figure(figsize=size, dpi=100, layout="constrained")
        axes = figure.subplots()
        if self.curve:
            tried, errors, stable = zip(*self.curve, strict=True)
            axes.axvline(self.knee, color="#d55e00", linewidth=1)
            axes.plot(tried, stable, color="#777777", linestyle="--")
            axes.plot(tried, errors, color="#0072b2")
            end: dict[str, Any] = {"ha": "right", "fontsize": 8}
            axes.text(tried[-1], stable[-1] - 0.06, "stability", va="top", color="#555555", **end)
            axes.text(tried[-1], errors[-1] + 0.06, "error", color="#0072b2", **end)
            axes.text(self.knee + 0.3, 0.03, f"knee: {self.knee}", color="#b34f00", fontsize=8)
        else:
            axes.set_ylabel("error", fontsize=8)
        axes.plot(self.numbers, self.errors, "o" if self.curve else "o-", color="#0072b2", ms=4)
        axes.set(ylim=(0, 1.05))
        axes.set_xlabel("concepts", fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.tick_params(labelsize=8)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        return figure_image(figure).resize((width, height))


def sweep(
    model: Model,
    pictures: Any,
    numbers: Iterable[int] = NUMBERS,
    *,
    layer: LayerSpec = None,
    head: Head | None = None,
    meaning: How | Literal["auto"] = "auto",
    solver: Solver = "nmf",
    curve: bool = True,
    top_k: int = 1,
    probabilities: bool = True,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Sweep:
    """Take pictures apart into several numbers of concepts; see `seewhy.sweep`."""
    run, began = run or Run(), time.perf_counter()
    numbers = _distinct(numbers)
    for number in numbers:
        check(number, solver, meaning, top_k, ())
    with model.held(run):
        seen: list[Seen] = []
        failures: list[Failure] = []
        for some in seen_by(model, pictures, layer, run, others):
            if isinstance(some, Failure):
                failures.append(some)
            else:
                seen.append(some)
        values = values_of(seen, failures)
        check_size(max(numbers), values.shape[2], values.shape[1])
        columns: list[Factorization] = []
        for number in numbers:
            # each as `factorize` finds it by itself
            found = SOLVERS[solver](values, number, generator(run.seed, 0, CONCEPTS))
            columns.append(
                replace(
                    described(model, seen, found, head, meaning, run),
                    solver=solver,
                    top_k=int(top_k),
                    probabilities=probabilities,
                    failures=tuple(failures),
                )
            )
            run.report(len(columns), len(numbers), "factorizations")
        chosen = 0
        tried: Curve = ()
        if curve:
            chosen, tried = knee(values, generator(run.seed, 0, CONCEPTS), SOLVERS[solver])
    return Sweep(tuple(columns), chosen, tried, time.perf_counter() - began)


def _distinct(numbers: Iterable[int]) -> tuple[int, ...]:
    """The numbers in order; MethodError where they are none, or come twice."""
    found = tuple(numbers) if isinstance(numbers, Iterable) else (numbers,)
    for each in found:
        if not is_number(each):
            raise MethodError(f"numbers has {each!r}: give numbers, and see .knee for 'auto'")
    if not found or len(set(found)) < len(found):
        raise MethodError(f"numbers are {found!r}: give one or more that differ, as (2, 4, 8)")
    return tuple(sorted(map(int, found)))


def same(vectors: Sequence[Tensor]) -> tuple[tuple[int, ...], ...]:
    """Return which concept each row of each (k, C) is: one that was there before, or a new one.

    Rows are of length 1, and are paired with the last vectors of the concepts so far.
    """
    from scipy.optimize import linear_sum_assignment  # which takes long to import

    latest: list[Tensor] = []
    found = []
    for each in vectors:
        own = [-1] * len(each)
        if latest:
            cosines = (each.double() @ torch.stack(latest).double().mT).numpy()
            cosines = np.where(cosines < SAME, 0, cosines)
            for row, concept in zip(*linear_sum_assignment(-cosines), strict=True):
                if cosines[row, concept] > 0:
                    own[row], latest[concept] = int(concept), each[row]
        for row, concept in enumerate(own):
            if concept < 0:
                own[row] = len(latest)
                latest.append(each[row])
        found.append(tuple(own))
    return tuple(found)


def _listed(found: Factorization, concepts: Sequence[int]) -> list[tuple[int, str]]:
    """What each concept speaks for, in the order of the concepts of all columns."""
    texts = found.legend() if found.scores is not None else [f"concept {c + 1}" for c in concepts]
    return sorted(zip(concepts, texts, strict=True))
