"""Explanation: what came out, for which score, by which method; shows and saves itself."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.draw import (
    Cell,
    colorbar,
    heatmap_image,
    markdown,
    mask_out,
    overlay,
    panel,
    save_image,
    to_png_bytes,
)
from seewhy.errors import Failure, PictureError, SaveError, warn
from seewhy.model.geometry import Geometry
from seewhy.model.predictions import Prediction
from seewhy.model.tape.passes import Passes
from seewhy.result import Result
from seewhy.trial import Trial, in_words

if TYPE_CHECKING:
    from seewhy.draw.report import Page

SATURATED = 0.005

Sign = Literal["positive", "signed", "absolute"]
View = Literal["overlay", "heatmap", "mask", "panel"]


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """Why the model gave one picture its score.

    relevance: (C', *space'), raw and signed, as the method computed it. method: as a string that
    `seewhy.explain` takes. target: what was explained; score: its value for the picture.
    prediction: the model's most probable classes. picture: the original, None for tensors.
    geometry: where the input's places are in it. size: spatial shape of the model's input. layers:
    where the map was computed. checks: the method's own, by name; trials: what came of removing
    what the map points at, where that was asked. passes, seconds: what it cost.
    model, weights: the model's name and the hash of its weights. seed, versions: to repeat it.
    """

    relevance: Tensor
    method: str
    target: str
    score: float
    prediction: tuple[Prediction, ...] = ()
    picture: Image.Image | None = None
    source: str = "picture"
    geometry: Geometry | None = None
    size: tuple[int, ...] = ()
    layers: tuple[str, ...] = ()
    display: Sign = "signed"
    checks: dict[str, float] = field(default_factory=dict)
    trials: tuple[Trial, ...] = ()
    passes: Passes = field(default_factory=Passes)
    seconds: float = 0.0
    model: str = "model"
    weights: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    kind = "explanation"

    def heatmap(self, sign: Sign | None = None) -> np.ndarray:
        """Return the map on the original picture: float32 (H, W).

        sign: "positive" is what speaks for the target, 0..1; "absolute" the magnitude, 0..1;
        "signed" both, -1..1. None is "absolute" where the method's map is a magnitude, else
        "positive". The largest value becomes 1; places that the model did not see are 0. Videos
        give (T, H, W). Raises PictureError where the map has no space.
        """
        sign = sign or self._without_sign(self.display)
        seen: np.ndarray = np.nan_to_num(self.drawn(sign, saturated=0.0), nan=0.0)
        return seen

    def overlay(
        self, colormap: Any = None, opacity: float = 0.6, sign: Sign | None = None
    ) -> Image.Image:
        """Return the map over the original picture, at the picture's size.

        colormap: any of matplotlib's. opacity: of the strongest relevance, 0..1; the picture keeps
        its brightness where nothing is relevant. sign: as for `heatmap`; None is what the method's
        own map shows, and signed maps are drawn in a diverging map centred on zero. In pictures
        the strongest half percent of a map's places share the end of the scale: a few pixels of a
        gradient would otherwise dim all the rest.
        """
        sign = sign or self.display
        return overlay(
            self._canvas(),
            self.drawn(sign),
            colormap=colormap,
            opacity=opacity,
            signed=sign == "signed",
        )

    def draw(  # type: ignore[override]
        self,
        view: View = "overlay",
        *,
        colormap: Any = None,
        opacity: float = 0.6,
        sign: Sign | None = None,
        keep: float | None = None,
    ) -> Image.Image:
        """Return one view: "overlay", "heatmap", "mask" (only what counts is seen), "panel".

        keep: for the mask, the share of pixels that stay; None fades by relevance. The panel has
        the picture, the map, the prediction and what was explained, in words.
        """
        if view == "overlay":
            return self.overlay(colormap, opacity, sign)
        sign = sign or self.display
        if self.relevance.ndim > 3:
            raise PictureError(
                f"the map of {self.source} has time as well as space: draw one moment of "
                "why.heatmap(), which is (T, H, W)"
            )
        if view == "heatmap":
            return heatmap_image(self.drawn(sign), colormap=colormap, signed=sign == "signed")
        if view == "mask":
            return mask_out(self._canvas(), self.heatmap(self._without_sign(sign)), keep=keep)
        if view == "panel":
            return Explanations([self]).draw(colormap=colormap, opacity=opacity, sign=sign)
        raise PictureError(
            f"there is no view {view!r}: use 'overlay', 'heatmap', 'mask' or 'panel'"
        )

    def page(self) -> Page:
        """Return a page of the picture and its map."""
        from seewhy.report import of_explanations

        return of_explanations([self])

    def table(self) -> str:
        """Return the prediction as a Markdown table: rank, class, number, probability."""
        rows = [
            {
                "rank": str(rank),
                "class": each.label,
                "id": str(each.number),
                "probability": f"{each.probability:.4f}",
            }
            for rank, each in enumerate(self.prediction, 1)
        ]
        return markdown(("rank", "class", "id", "probability"), rows)

    def __str__(self) -> str:
        lines = [f"{self.source}: {self.target} (score {self.score:.4g}), {self.method}"]
        if self.prediction:
            lines.append("predicted: " + ", ".join(str(each) for each in self.prediction))
        lines += [f"{name}: {value:.3g}" for name, value in self.checks.items()]
        lines += in_words(self.trials)
        return "\n".join(lines)

    __repr__ = __str__

    # ------------------------------------------------------------------ helpers

    @staticmethod
    def _without_sign(sign: Sign) -> Sign:
        """What is shown of a map where only the amount counts."""
        return "positive" if sign == "signed" else sign

    def _flat(self, sign: Sign) -> Tensor:
        """The relevance as one map (*space'): channels summed."""
        relevance = self.relevance
        if relevance.ndim == 1 and self.geometry is not None and self.geometry.shape is not None:
            relevance = relevance.reshape(self.geometry.shape)
        if relevance.ndim < 2 or relevance[0].numel() < 2:
            raise PictureError(
                f"this map has no space to be drawn on (its shape is {tuple(relevance.shape)}): "
                "read why.relevance, or explain an earlier layer"
            )
        return (relevance.abs() if sign == "absolute" else relevance).sum(0)

    def drawn(self, sign: Sign, saturated: float = SATURATED) -> np.ndarray:
        """Return the map as it is drawn: on the original, 0..1 or -1..1, NaN where unseen.

        saturated: the share of the map's own places that may reach the end of the scale together.
        """
        flat = self._flat(sign)
        if self.geometry is not None and flat.ndim == 2:
            laid = self.geometry.on_original(flat)
        else:
            size = self.size if len(self.size) == flat.ndim else tuple(flat.shape)
            mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[flat.ndim]
            grown = torch.nn.functional.interpolate(flat[None, None], size, mode=mode)
            laid = grown[0, 0]
        laid = laid.clamp(min=0) if sign == "positive" else laid
        largest = laid.abs().nan_to_num().max()
        if largest <= 0:
            hint = "sign='signed' shows what speaks against it" if sign == "positive" else "it is 0"
            warn(
                f"{self.method}: nothing in {self.source} speaks for {self.target}, and the map is "
                f"empty: {hint}"
            )
            return laid.to(torch.float32).numpy()
        sizes = flat.clamp(min=0).flatten() if sign == "positive" else flat.abs().flatten()
        rank = max(1, math.ceil((1 - saturated) * len(sizes)))
        strong = sizes.kthvalue(rank).values
        scale = torch.minimum(largest, strong) if strong > 0 else largest
        return (laid / scale).clamp(-1, 1).to(torch.float32).numpy()

    def _canvas(self) -> Image.Image:
        if self.picture is None:
            raise PictureError(
                f"{self.source} was given as a tensor that is no picture: there is nothing to draw "
                "on; use why.heatmap() or draw('heatmap')"
            )
        return self.picture

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the explanation."""
        arrays = {"relevance": self.relevance.numpy()}
        if self.picture is not None:
            arrays["picture"] = np.asarray(self.picture)
        data = {
            name: getattr(self, name)
            for name in ("method", "target", "score", "source", "size", "layers", "display")
        }
        data |= {name: getattr(self, name) for name in ("checks", "seconds", "model", "weights")}
        data |= {"seed": self.seed, "versions": self.versions, "passes": asdict(self.passes)}
        data["prediction"] = [asdict(each) for each in self.prediction]
        data["trials"] = [asdict(each) for each in self.trials]
        data["geometry"] = None if self.geometry is None else asdict(self.geometry)
        return arrays, data

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the explanation that was packed."""
        picture = Image.fromarray(arrays["picture"]) if "picture" in arrays else None
        geometry = data.pop("geometry")
        if geometry is not None:
            lists = {k: tuple(v) if isinstance(v, list) else v for k, v in geometry.items()}
            geometry = Geometry(**lists)
        data["size"], data["layers"] = tuple(data["size"]), tuple(data["layers"])
        data["prediction"] = tuple(Prediction(**each) for each in data["prediction"])
        data["trials"] = tuple(Trial(**each) for each in data.get("trials", ()))
        data["passes"] = Passes(**data["passes"])
        relevance = torch.from_numpy(arrays["relevance"])
        return cls(relevance=relevance, picture=picture, geometry=geometry, **data)


class Explanations(Sequence[Explanation]):
    """Several explanations in the order of the pictures; `failures` are those that failed."""

    def __init__(
        self, explanations: Iterable[Explanation], failures: Iterable[Failure] = ()
    ) -> None:
        self._all = tuple(explanations)
        self.failures = tuple(failures)

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        found = self._all[index]
        return Explanations(found) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        failed = "".join(f"\nfailed: {each}" for each in self.failures)
        return "\n".join(str(each) for each in self._all) + failed

    def draw(
        self,
        *,
        columns: int | None = None,
        title: str = "",
        width: int = 256,
        colormap: Any = None,
        opacity: float = 0.6,
        sign: Sign | None = None,
    ) -> Image.Image:
        """Return a panel: each picture once, followed by its maps with target and method."""
        cells, before = [], None
        for each in self._all:
            own = (each.source, each.picture)  # equal, not the same: a file may be read again
            if each.picture is not None and own != before:
                said = str(each.prediction[0]) if each.prediction else ""
                cells.append(Cell(each.picture, Path(each.source).name, said))
                before = own
            way = sign or each.display
            look = {"colormap": colormap, "sign": way}
            image = (
                each.draw("heatmap", **look)
                if each.picture is None
                else each.draw("overlay", opacity=opacity, **look)
            )
            cells.append(Cell(image, each.target, each.method))
        sheet = panel(cells, columns=columns, title=title, width=width)
        ways = sorted({(sign or each.display) == "signed" for each in self._all})
        room = sheet.width // len(ways)
        scales = [colorbar(colormap, signed=way, width=min(max(width, 256), room)) for way in ways]
        joined = Image.new("RGB", (sheet.width, sheet.height + scales[0].height), "white")
        joined.paste(sheet)
        for place, scale in enumerate(scales):
            joined.paste(scale, (place * room + (room - scale.width) // 2, sheet.height))
        return joined

    def save(self, path: str | Path, **options: Any) -> list[Path]:
        """Write a panel (as a picture), a page (.html), or each into a folder as .png and .npz.

        Names come from the pictures; equal names are numbered. Returns what was written.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() == ".html":
            from seewhy.draw.report import save_page
            from seewhy.report import of_explanations

            return [save_page(of_explanations(self), path)]
        if path.suffix:
            if path.suffix.lower() in (".npz", ".json"):
                raise SaveError(
                    f"{path} can hold one explanation, and there are {len(self)}: give a folder, "
                    "or save each with why[i].save(...)"
                )
            return [save_image(self.draw(**options), path)]
        written: list[Path] = []
        for each, name in zip(self._all, file_names(self._all), strict=True):
            written += [each.save(path / f"{name}.png", **options), each.save(path / f"{name}.npz")]
        return written

    def _repr_png_(self) -> bytes | None:
        try:
            return to_png_bytes(self.draw())
        except PictureError:
            return None  # no picture: the notebook shows the text


def file_names(explanations: Iterable[Explanation]) -> list[str]:
    """Return a file name without ending for each explanation; no two are equal."""
    names: list[str] = []
    for each in explanations:
        stem = Path(each.source.partition("?")[0]).stem or "picture"
        method = each.method.partition(":")[0]
        base = "".join(c if c.isalnum() or c in "-_." else "_" for c in f"{stem}.{method}")
        name, number = base, 2
        while name in names:
            name, number = f"{base}.{number}", number + 1
        names.append(name)
    return names
