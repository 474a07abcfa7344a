"""Factorization: the concepts that were found, where they are and what each speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, panel
from seewhy.draw.concepts import concept_legend, concept_overlay, palette
from seewhy.errors import PictureError
from seewhy.model.predictions import name_of, probabilities
from seewhy.result import ORIGIN, Traceable
from seewhy.shown import Shown, canvas_of, packed, unpacked

if TYPE_CHECKING:
    from seewhy.draw.report import Page

View = Literal["panel", "overlay", "concepts"]
MEANT = {
    "head": "the network's classifier on the concept alone",
    "own": "the head given, on the concept alone",
    "replay": "the network from the layer on, where it holds the concept alone",
    "removal": "what the class loses where the concept is removed",
    "": "no classes",
}


@dataclass(frozen=True, eq=False)
class Factorization(Traceable):
    """What a layer finds in pictures, taken apart into concepts.

    vectors: (k, C), of length 1. maps: for each picture (k, *space), how strongly each concept is
    in each place, in units of the activations. error: ||V - W H|| / ||V||, 0..1. scores: (k, K),
    what each concept speaks for, asked as `meaning` says, NaN for one that is nowhere; None where
    there are no classes. labels: the names of the K classes (of both, where K is 1). names: the
    caller's own for the concepts. curve: for a number that was chosen, (number, error, stability)
    of all that were tried. failures: what could not be read.
    looked: the pictures that concepts were found in; of a stream only the first are shown. largest:
    (k,), the largest value of each concept in these; of a stream in a sample, and in those shown.
    """

    vectors: Tensor
    maps: tuple[Tensor, ...]
    shown: tuple[Shown, ...]
    error: float
    scores: Tensor | None = None
    meaning: str = ""
    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    layer: str = ""
    solver: str = "nmf"
    top_k: int = 2
    probabilities: bool = True
    curve: tuple[tuple[int, float, float], ...] = ()
    seconds: float = 0.0
    looked: int = 0
    largest: tuple[float, ...] = ()

    kind = "factorization"

    def __len__(self) -> int:
        return len(self.vectors)

    def named(self, names: Sequence[str]) -> Self:
        """Return the same concepts with names of the caller's own, one for each."""
        if len(names) != len(self):
            raise PictureError(f"{len(names)} names for {len(self)} concepts: give one for each")
        return replace(self, names=tuple(names))

    def tops(self, concept: int) -> list[tuple[str, float]]:
        """Return the classes that a concept speaks for most, with its scores; none without classes.

        Scores are probabilities where `shares` says so, else as the network gives them.
        """
        if self.scores is None:
            return []
        asked = self.scores.isfinite().all(1)
        if not bool(asked[concept]):
            return []
        known = self.scores[asked]
        if self.shares:
            known = probabilities(known)
        elif known.shape[1] == 1:  # the logit of class 1 against class 0
            known = torch.cat([-known, known], 1)
        scores = known[int(asked[:concept].sum())]
        best = scores.topk(min(self.top_k, len(scores)))
        names = [name_of(number, self.labels) for number in best.indices.tolist()]
        return list(zip(names, best.values.tolist(), strict=True))

    @property
    def shares(self) -> bool:
        """Whether `tops` gives probabilities: where they are asked for, but of a removal never."""
        return self.probabilities and self.meaning != "removal"

    def heatmaps(self, picture: int = 0) -> np.ndarray:
        """Return the concepts' maps on an original picture: float32 (k, H, W), 0..1.

        Each concept is divided by its largest value in all pictures; NaN where the model did not
        see the picture. Raises PictureError where the pictures have no two axes of space.
        """
        laid: np.ndarray = self.shown[picture].laid(self.scaled(picture)).clamp(0, 1).numpy()
        return laid

    def scaled(self, picture: int = 0) -> Tensor:
        """Return the concepts' maps (k, *space), each 0..1 of its largest value in all pictures."""
        maps = self.maps[picture].clamp(min=0)
        every = torch.stack([each.flatten(1).amax(1) for each in self.maps])
        largest = torch.cat([every, every.new_tensor([self.largest or (0.0,) * len(self)])]).amax(0)
        return maps / largest.clamp(min=1e-12).reshape(-1, *(1,) * (maps.ndim - 1))

    def page(self) -> Page:
        """Return a page of the pictures in the colours of their concepts, under a legend."""
        from seewhy.concepts.page import of_factorization

        return of_factorization(self, MEANT[self.meaning])

    def overlay(self, picture: int = 0, *, opacity: float = 0.7, photo: float = 1.0) -> Image.Image:
        """Return a picture with a colour for each concept, where it is stronger than the others.

        opacity: of the colours; photo: of the photograph, 0 (white) to 1.
        """
        return concept_overlay(
            self._canvas(picture), self.heatmaps(picture), opacity=opacity, photo=photo
        )

    def draw(  # type: ignore[override]
        self,
        view: View = "panel",
        picture: int | None = None,
        *,
        opacity: float = 0.7,
        photo: float = 1.0,
        width: int = 256,
    ) -> Image.Image:
        """Return one view: "panel", "overlay", or "concepts" (each alone).

        panel: each picture beside its overlay, with the legend of all concepts. picture: which one,
        by number; None is the first, and all in a panel.
        """
        look = {"opacity": opacity, "photo": photo}
        if view == "overlay":
            return self.overlay(picture or 0, **look)
        if view == "concepts":
            return self._each(picture or 0, width, **look)
        if view != "panel":
            raise PictureError(f"there is no view {view!r}: use 'panel', 'overlay' or 'concepts'")
        cells = []
        for number in range(len(self.shown)) if picture is None else [picture]:
            cells.append(Cell(self._canvas(number), self.shown[number].source.rpartition("/")[2]))
            cells.append(Cell(self.overlay(number, **look), f"{len(self)} concepts"))
        columns = 2 if len(cells) <= 4 else 4 if len(cells) <= 16 else 8
        sheet = panel(cells, columns=columns, width=width)
        legend = concept_legend(self.legend(), width=max(width, 200), height=sheet.height)
        joined = Image.new("RGB", (sheet.width + legend.width, legend.height), "white")
        joined.paste(sheet, (0, 0))
        joined.paste(legend, (sheet.width, 0))
        return joined

    def legend(self) -> list[str]:
        """Return a text for each concept: its name, and the classes that it speaks for."""
        texts = []
        for concept in range(len(self)):
            name = [self.names[concept]] if self.names else []
            said = [
                f"{label} {value:.0%}" if self.shares else f"{label} {value:.2f}"
                for label, value in self.tops(concept)
            ]
            texts.append("\n".join(name or said or [f"concept {concept + 1}"]))
        return texts

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without vectors and maps."""
        return {
            "model": self.model,
            "layer": self.layer,
            "solver": self.solver,
            "error": self.error,
            "meaning": self.meaning,
            "concepts": [
                {
                    "name": self.names[number] if self.names else f"concept {number + 1}",
                    "classes": [
                        {"label": name, "score": value} for name, value in self.tops(number)
                    ],
                    "largest": [float(each[number].max()) for each in self.maps],
                }
                for number in range(len(self))
            ],
            "pictures": [each.source for each in self.shown],
            "curve": [
                {"concepts": number, "error": error, "stability": stability}
                for number, error, stability in self.curve
            ],
        }

    def __str__(self) -> str:
        kept = f"{1 - self.error**2:.0%} of the activations' energy ({self.solver})"
        shown = len(self.shown)
        where = f"{max(shown, self.looked)} pictures at {self.layer} of {self.model}"
        where += f" ({shown} are shown)" if shown < self.looked else ""
        lines = [f"{len(self)} concepts of {where}, {kept}"]
        if self.scores is not None:
            lines.append(f"classes: {MEANT[self.meaning]}")
        for number, text in enumerate(self.legend(), 1):
            lines.append(f"{number}: {', '.join(text.splitlines())}")
        return "\n".join(lines)

    __repr__ = __str__

    # ------------------------------------------------------------------ helpers

    def _each(self, picture: int, width: int, *, opacity: float, photo: float) -> Image.Image:
        maps, canvas, colors = self.heatmaps(picture), self._canvas(picture), palette(len(self))
        cells = [Cell(canvas, self.shown[picture].source.rpartition("/")[2])]
        for number, (own, text) in enumerate(zip(maps, self.legend(), strict=True), 1):
            alone = concept_overlay(
                canvas,
                own[None],
                colors=[colors[number - 1]],
                opacity=opacity,
                photo=photo,
            )
            cells.append(Cell(alone, f"concept {number}", ", ".join(text.splitlines())))
        return panel(cells, width=width)

    def _canvas(self, picture: int) -> Image.Image:
        return canvas_of(self.shown, picture)

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        arrays = {"vectors": self.vectors.numpy()}
        pictures, shown = packed(self.shown)
        arrays |= pictures
        arrays |= {f"maps{number}": maps.numpy() for number, maps in enumerate(self.maps)}
        if self.scores is not None:
            arrays["scores"] = self.scores.numpy()
        plain = (
            "error", "meaning", "labels", "names", "layer", "solver", "top_k", "probabilities",
            "curve", "seconds", "looked", "largest", *ORIGIN,
        )  # fmt: skip
        data = {name: getattr(self, name) for name in plain}
        data["shown"] = shown
        return arrays, data

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        shown = unpacked(arrays, data.pop("shown"))
        maps = [torch.from_numpy(arrays[f"maps{number}"]) for number in range(len(shown))]
        data["labels"], data["names"] = tuple(data["labels"]), tuple(data["names"])
        data["largest"] = tuple(data.get("largest", ()))
        data["curve"] = tuple(tuple(each) for each in data["curve"])
        scores = torch.from_numpy(arrays["scores"]) if "scores" in arrays else None
        return cls(
            vectors=torch.from_numpy(arrays["vectors"]),
            maps=tuple(maps),
            shown=shown,
            scores=scores,
            **data,
        )
