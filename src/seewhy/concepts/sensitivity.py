"""Sensitivity: which pixels a class score, or all logits together, respond to (squared gradients).

One example of each class, and below it how strongly the score would change with each pixel: what
makes it more or less of the class, not what makes it the class.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, heatmap_image, panel
from seewhy.errors import Failure, MethodError, PictureError, tell_of
from seewhy.methods import Gradient
from seewhy.model.predictions import name_of
from seewhy.model.prepare import batched
from seewhy.model.reading import Ready, read_each, read_stream, sources_of
from seewhy.model.tape.record import record
from seewhy.result import ORIGIN, Traceable, origin
from seewhy.run import Run, is_number
from seewhy.shown import Shown, canvas_of, packed, unpacked
from seewhy.stream import Order, Row, as_pictures, batch_of, explain_rows
from seewhy.targets import Class, LogitSum, Target, as_target
from seewhy.targets.classes import class_scores

if TYPE_CHECKING:
    from seewhy.explanation import Explanation
    from seewhy.model.model import Model

Of = Literal["class", "all"]
SAID: dict[Of, str] = {"class": "the class score", "all": "the sum of all logits"}
SHORT: dict[Of, str] = {"class": "class score", "all": "all logits"}
SATURATED = 0.005  # the share of a map's places that reach the end of the scale together
COLUMNS = 10  # of a grid, before it goes on below
RAMP = "Reds"  # white is where nothing would change


@dataclass(frozen=True, eq=False)
class SensitivityMaps(Traceable):
    """Squared gradients over one picture of each class, summed over channels.

    classes: the class of each picture. of: whose gradients, "class" or "all". maps: for each
    picture (len(of), *space), raw, per squared unit of the model's input. scores: (N, len(of)).
    failures: what could not be read.
    """

    classes: tuple[str, ...]
    of: tuple[Of, ...]
    maps: tuple[Tensor, ...]
    shown: tuple[Shown, ...]
    scores: Tensor
    seconds: float = 0.0

    kind = "sensitivity"

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def alike(self) -> tuple[float, ...]:
        """How alike the two maps of each picture are, as their cosine, 0..1; empty for one map."""
        if len(self.of) < 2:
            return ()
        both = [each.double().flatten(1) for each in self.maps]
        return tuple(float(F.cosine_similarity(one, other, dim=0)) for one, other in both)

    def heatmaps(self, picture: int = 0) -> np.ndarray:
        """Return the maps on an original picture: float32 (len(of), H, W), 0..1, NaN where unseen.

        Each is divided by what half a percent of its places exceed. Raises PictureError where the
        pictures have no two axes of space.
        """
        maps, shown = self.maps[picture], self.shown[picture]
        places = maps.flatten(1)
        rank = max(1, math.ceil((1 - SATURATED) * places.shape[1]))
        most, strong = places.amax(1), places.kthvalue(rank, dim=1).values
        scale = torch.where(strong > 0, strong, most).clamp(min=torch.finfo(maps.dtype).tiny)
        scaled = (maps / scale.reshape(-1, *(1,) * (maps.ndim - 1))).clamp(max=1)
        laid: np.ndarray = shown.laid(scaled).clamp(0, 1).numpy()
        return laid

    def draw(  # type: ignore[override]
        self, *, colormap: Any = RAMP, width: int = 128
    ) -> Image.Image:
        """Return the grid: a row of pictures, and below each a row of maps for each score.

        colormap: any of matplotlib's. width: of a cell in pixels.
        """
        rows: list[Image.Image] = []
        bands = math.ceil(len(self) / COLUMNS)
        columns = math.ceil(len(self) / bands)
        for start in range(0, len(self), columns):
            chosen = range(start, min(start + columns, len(self)))
            cells = [Cell(canvas_of(self.shown, each), self.classes[each]) for each in chosen]
            rows.append(panel(cells, columns=columns, width=width))
            for place, of in enumerate(self.of):
                cells = [
                    Cell(
                        heatmap_image(self.heatmaps(each)[place], colormap=colormap),
                        caption=f"{float(self.scores[each, place]):.3g}",
                    )
                    for each in chosen
                ]
                title = f"gradient² of {SHORT[of]}"
                rows.append(panel(cells, columns=columns, title=title, width=width))
        sheet = Image.new("RGB", (max(r.width for r in rows), sum(r.height for r in rows)), "white")
        top = 0
        for row in rows:
            sheet.paste(row, (0, top))
            top += row.height
        return sheet

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without maps."""
        return {
            "model": self.model,
            "of": list(self.of),
            "pictures": [
                {
                    "class": name,
                    "source": shown.source,
                    "scores": dict(zip(self.of, scores, strict=True)),
                }
                for name, shown, scores in zip(
                    self.classes, self.shown, self.scores.tolist(), strict=True
                )
            ],
        }

    def __str__(self) -> str:
        whose = " and ".join(SAID[each] for each in self.of)
        lines = [f"squared gradients of {whose} of {self.model}, an example of each class"]
        for number, name in enumerate(self.classes):
            scores = self.scores[number].tolist()
            said = [f"{SAID[of]} {score:.3g}" for of, score in zip(self.of, scores, strict=True)]
            said += [f"the maps' cosine {self.alike[number]:.2f}"] if self.alike else []
            lines.append(f"{name}: {self.shown[number].source}, {', '.join(said)}")
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays, shown = packed(self.shown)
        arrays["scores"] = self.scores.numpy()
        arrays |= {f"maps{number}": maps.numpy() for number, maps in enumerate(self.maps)}
        plain = ("classes", "of", "seconds", *ORIGIN)
        return arrays, {name: getattr(self, name) for name in plain} | {"shown": shown}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        shown = unpacked(arrays, data.pop("shown"))
        maps = tuple(torch.from_numpy(arrays[f"maps{number}"]) for number in range(len(shown)))
        data |= {name: tuple(data[name]) for name in ("classes", "of")}
        return cls(maps=maps, shown=shown, scores=torch.from_numpy(arrays["scores"]), **data)


def sensitivity(
    model: Model,
    pictures: Any,
    of: Of | Sequence[Of] = ("class", "all"),
    *,
    shape: Sequence[int] | None = None,
    most: int = 20,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> SensitivityMaps:
    """Return squared gradients over an example of each class; see `seewhy.sensitivity`."""
    run, began = run or Run(), time.perf_counter()
    asked = _checked(of, most)
    failures: list[Failure] = []
    found: list[tuple[str, Ready, list[Explanation]]] = []
    order = Order(Gradient("squared"), None, run, 1, model.fingerprint())
    with model.held(run):
        if isinstance(pictures, Mapping):
            examples = _given(model, pictures, others, failures)
        else:
            examples = _first_of_each(model, pictures, most, others, run, failures)
        for number, (name, ready, own) in enumerate(examples, 1):
            targets: list[Target] = [own if each == "class" else LogitSum() for each in asked]
            answers = list(explain_rows(model, [Row(ready, each) for each in targets], order))
            failed = [each for each in answers if isinstance(each, Failure)]
            if failed:
                failures.append(failed[0])
            else:
                whole = [each for each in answers if not isinstance(each, Failure)]
                found.append((name, ready, whole))
            run.report(number, len(examples), "maps")
    tell_of(failures, left=bool(found), what="failed")
    drawn = [_as_maps(ready, answers, shape) for _, ready, answers in found]
    return SensitivityMaps(
        classes=tuple(name for name, _, _ in found),
        of=asked,
        maps=tuple(maps for maps, _ in drawn),
        shown=tuple(shown for _, shown in drawn),
        scores=torch.tensor([[each.score for each in answers] for _, _, answers in found]),
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
        **origin(model, run),
    )


def _checked(of: Any, most: Any) -> tuple[Of, ...]:
    asked = (of,) if isinstance(of, str) else tuple(of)
    if not asked or len(set(asked)) < len(asked) or not set(asked) <= set(SAID):
        raise MethodError(f"of is {of!r}: give 'class' (each its own score), 'all', or both")
    if not (is_number(most) and most >= 1):
        raise MethodError(f"most is {most!r}: give a number of classes, from 1")
    return asked


def _given(
    model: Model, pictures: Mapping[Any, Any], others: Any, failures: list[Failure]
) -> list[tuple[str, Ready, Target]]:
    """The examples that were given, the first of each class: its name, picture and target."""
    names = list(pictures)
    sources = [sources_of(each, model)[0] for each in pictures.values()]
    found = []
    for group in read_each(model, sources, others, max(1, len(sources))):
        if isinstance(group, Failure):
            failures.append(group)
            continue
        for ready in group:
            spec = names[ready.index]
            target = as_target(spec)
            number = target.spec if isinstance(target, Class) else None
            label = str(spec) if not isinstance(number, int) else _label(number, model)
            found.append((label, ready, target))
    return found


def _first_of_each(
    model: Model, pictures: Any, most: int, others: Any, run: Run, failures: list[Failure]
) -> list[tuple[str, Ready, Target]]:
    """The first picture of each class that is predicted, in the order of the classes."""
    found: dict[int, Ready] = {}
    for group, count in read_stream(model, pictures, others, batch_of(model, None, run)):
        if isinstance(group, Failure):
            failures.append(group)
            continue
        prepared = model.at_home(batched([each.prepared for each in group]))
        parts = torch.arange(len(group)).split(model.rows_at_once(prepared, run, gradient=False))
        told = [class_scores(record(model, prepared.rows(rows)).outcome) for rows in parts]
        scores = torch.cat(told)
        for ready, number in zip(group, scores.argmax(1).tolist(), strict=True):
            if len(found) < most:
                found.setdefault(number, ready)
        run.report(group[-1].index + 1, count, "pictures")
        if len(found) == min(most, scores.shape[1]):
            break
    return [(_label(number, model), found[number], Class(number)) for number in sorted(found)]


def _label(number: int, model: Model) -> str:
    return name_of(number, model.labels)


def _as_maps(
    ready: Ready, answers: Sequence[Explanation], shape: Sequence[int] | None
) -> tuple[Tensor, Shown]:
    """The maps (len(answers), *space), channels summed, and the picture they lie on."""
    relevance = torch.stack([each.relevance.float() for each in answers])
    shown = Shown.of(ready)
    if relevance.ndim > 2:
        return relevance.sum(1), shown
    known = shown.geometry.shape if shown.geometry is not None else None
    given = known or shape
    if given is None:
        raise PictureError(
            f"the inputs are flat, of {relevance.shape[1]} numbers: say what picture they are, "
            "shape=(28, 28) for instance, or (3, 32, 32)"
        )
    wanted = tuple(given) if len(given) > 2 else (1, *given)
    if math.prod(wanted) != relevance.shape[1]:
        raise PictureError(
            f"shape is {tuple(given)}, and the inputs have {relevance.shape[1]} "
            "numbers: give (h, w) or (channels, h, w) of as many"
        )
    if known is None:
        picture = as_pictures(ready.prepared.tensor.reshape(1, *wanted))[0]
        shown = Shown(shown.source, picture, None, wanted[1:])
    return relevance.reshape(len(relevance), *wanted).sum(1), shown
