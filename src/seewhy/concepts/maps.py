"""ConceptMaps: where given concepts are in pictures, and where their absence is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from seewhy.draw import Cell, overlay, panel
from seewhy.draw.text import font, line_height, wrap
from seewhy.errors import PictureError
from seewhy.result import ORIGIN, Traceable
from seewhy.shown import Shown, canvas_of, packed, unpacked

if TYPE_CHECKING:
    from seewhy.draw.report import Page

View = Literal["panel", "overlay"]
MOST_SHOWN = 4  # pictures of a reference that is made of several


@dataclass(frozen=True, eq=False)
class ConceptMaps(Traceable):
    """Where each of k concepts is in pictures.

    names: of the concepts. maps: for each picture (k, *space), raw; what is positive speaks for the
    concept. absent: likewise for the opposite question, empty where it was not asked. scores:
    (N, k), each picture as a whole, in the unit that `question` says. references: for each
    concept the pictures that it was given as, reduced; none for words and embeddings. question:
    what a map answers; method: how, and `layers` where. failures: what could not be read.
    """

    names: tuple[str, ...]
    maps: tuple[Tensor, ...]
    shown: tuple[Shown, ...]
    scores: Tensor
    absent: tuple[Tensor, ...] = ()
    references: tuple[tuple[Image.Image, ...], ...] = ()
    question: str = ""
    method: str = ""
    layers: tuple[str, ...] = ()
    seconds: float = 0.0

    kind = "concept maps"

    def __len__(self) -> int:
        return len(self.names)

    def heatmaps(self, picture: int = 0, *, absence: bool = False) -> np.ndarray:
        """Return the concepts' maps on an original picture: float32 (k, H, W), 0..1.

        absence: of where they are not. Each concept is divided by its largest value in all
        pictures, presence and absence together, so that a concept that is not there stays pale;
        NaN where the model did not see the picture. Raises PictureError where there is no such map.
        """
        positive = self.scaled(picture, absence=absence)
        laid: np.ndarray = self.shown[picture].laid(positive).clamp(0, 1).numpy()
        return laid

    def scaled(self, picture: int = 0, *, absence: bool = False) -> Tensor:
        """Return the concepts' maps (k, *space), 0..1 as for `heatmaps`."""
        kept = self.absent if absence else self.maps
        if absence and not kept:
            raise PictureError(
                f"there are no maps of absence ({self.method}): ask with absence=True, and a "
                "method whose maps have a sign"
            )
        sizes = [each.flatten(1).amax(1) for each in (*self.maps, *self.absent)]
        largest = torch.stack(sizes).amax(0).clamp(min=1e-12)
        positive = kept[picture].clamp(min=0)
        return positive / largest.reshape(-1, *(1,) * (positive.ndim - 1))

    def page(self) -> Page:
        """Return a page of the pictures with where each concept is, under a legend."""
        from seewhy.concepts.page import of_concept_maps

        return of_concept_maps(self)

    def overlay(
        self,
        concept: int | str = 0,
        picture: int = 0,
        *,
        absence: bool = False,
        colormap: Any = None,
        opacity: float = 0.6,
    ) -> Image.Image:
        """Return the map of one concept, by number or name, over an original picture."""
        heat = self.heatmaps(picture, absence=absence)[self._number(concept)]
        return overlay(canvas_of(self.shown, picture), heat, colormap=colormap, opacity=opacity)

    def draw(  # type: ignore[override]
        self,
        view: View = "panel",
        picture: int | None = None,
        *,
        concept: int | str = 0,
        colormap: Any = None,
        opacity: float = 0.6,
        width: int = 256,
    ) -> Image.Image:
        """Return one view: a "panel", or the "overlay" of one concept on one picture.

        panel: a row for each concept in each picture: reference, picture, where the concept is, and
        where it is not. picture: which one, by number; None is the first, and all in a panel.
        """
        look = {"colormap": colormap, "opacity": opacity}
        if view == "overlay":
            return self.overlay(concept, picture or 0, **look)
        if view != "panel":
            raise PictureError(f"there is no view {view!r}: use 'panel' or 'overlay'")
        cells = []
        for number in range(len(self.shown)) if picture is None else [picture]:
            canvas, called = canvas_of(self.shown, number), self.shown[number].name
            for place, name in enumerate(self.names):
                score = float(self.scores[number, place])
                cells += [
                    Cell(self._reference(place, width), name),
                    Cell(canvas, called, f"{score:.2f}"),
                    Cell(self.overlay(place, number, **look), f"{name}: here"),
                ]
                if self.absent:
                    away = self.overlay(place, number, absence=True, **look)
                    cells.append(Cell(away, f"{name}: not here"))
        columns = 4 if self.absent else 3
        return panel(cells, columns=columns, title=self.question, width=width)

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without maps."""
        return {
            "model": self.model,
            "method": self.method,
            "layers": list(self.layers),
            "question": self.question,
            "pictures": [
                {
                    "source": shown.source,
                    "concepts": [
                        {"name": name, "score": float(score)}
                        for name, score in zip(self.names, scores, strict=True)
                    ],
                }
                for shown, scores in zip(self.shown, self.scores, strict=True)
            ],
        }

    def __str__(self) -> str:
        at = f" at {', '.join(self.layers)}" if self.layers else ""
        lines = [f"{self.question}: {self.method}{at} of {self.model}"]
        for shown, scores in zip(self.shown, self.scores.tolist(), strict=True):
            said = ", ".join(
                f"{name} {score:.2f}" for name, score in zip(self.names, scores, strict=True)
            )
            lines.append(f"{shown.source}: {said}")
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays, shown = packed(self.shown)
        arrays["scores"] = self.scores.numpy()
        for kind, kept in (("maps", self.maps), ("absent", self.absent)):
            arrays |= {f"{kind}{number}": maps.numpy() for number, maps in enumerate(kept)}
        for number, pictures in enumerate(self.references):
            arrays |= {
                f"reference{number}.{place}": np.asarray(each)
                for place, each in enumerate(pictures)
            }
        plain = ("names", "question", "method", "layers", "seconds", *ORIGIN)
        data: dict[str, Any] = {name: getattr(self, name) for name in plain}
        data["references"] = [len(each) for each in self.references]
        return arrays, data | {"shown": shown}

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        shown = unpacked(arrays, data.pop("shown"))
        maps, absent = (
            tuple(
                torch.from_numpy(arrays[f"{kind}{number}"])
                for number in range(len(shown))
                if f"{kind}{number}" in arrays
            )
            for kind in ("maps", "absent")
        )
        references = tuple(
            tuple(Image.fromarray(arrays[f"reference{number}.{place}"]) for place in range(count))
            for number, count in enumerate(data.pop("references"))
        )
        data["names"], data["layers"] = tuple(data["names"]), tuple(data["layers"])
        scores = torch.from_numpy(arrays["scores"])
        return cls(
            maps=maps, absent=absent, shown=shown, scores=scores, references=references, **data
        )

    # ------------------------------------------------------------------ helpers

    def _number(self, concept: int | str) -> int:
        if isinstance(concept, str):
            if concept not in self.names:
                raise PictureError(f"there is no concept {concept!r}: {', '.join(self.names)}")
            return self.names.index(concept)
        if not -len(self) <= concept < len(self):
            raise PictureError(f"there is no concept {concept}: there are {len(self)}")
        return concept

    def _reference(self, concept: int, width: int) -> Image.Image:
        """What a concept was given as: its pictures side by side, or its name."""
        pictures = self.references[concept] if self.references else ()
        if len(pictures) == 1:
            return pictures[0]
        sheet = Image.new("RGB", (width, width), "white")
        if not pictures:
            face, pen = font(max(12, width // 12)), ImageDraw.Draw(sheet)
            lines = wrap(self.names[concept], face, width - 8, 5)
            top = (width - len(lines) * line_height(face)) // 2
            for line in lines:
                left = (width - face.getlength(line)) / 2
                pen.text((left, top), line, fill=(32, 32, 32), font=face)
                top += line_height(face)
            return sheet
        half = width // 2
        for place, each in enumerate(pictures):
            small = each.convert("RGB").resize((half - 2, half - 2))
            sheet.paste(small, (place % 2 * half, place // 2 * half))
        return sheet
