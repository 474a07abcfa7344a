"""How the maps of one method change: kept small for each epoch, drawn side by side, on disk."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, colorbar, panel, save_image, to_png_bytes, write_whole
from seewhy.explanation import Explanation
from seewhy.integrations.fixed import Fixed
from seewhy.methods import Method
from seewhy.shown import SMALL, reduced

COLUMNS = 12
"""Epochs in a panel, at most."""
PLACES = 64
"""Of a map that is kept, along each axis: a finer one is averaged."""
BLANK = (236, 236, 236)


@dataclass(frozen=True, eq=False)
class Moment:
    """What one picture's explanation was at one epoch.

    png: the map over the picture, small, as a file, which takes less memory. map: float32, what is
    compared with the epoch before. empty: there is nothing in it to be seen. similarity: the rank
    correlation with the map of the epoch before, NaN where there is none.
    """

    png: bytes
    map: np.ndarray
    score: float
    target: str
    empty: bool = False
    similarity: float = math.nan

    @property
    def image(self) -> Image.Image:
        """The map over the picture."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")

    @property
    def remark(self) -> str:
        """What is said below the map."""
        return "nothing speaks for it" if self.empty else ""

    @classmethod
    def of(cls, why: Explanation) -> Moment:
        """Return what is kept of an explanation."""
        why = _reduced(why)
        flat = why.relevance.float()
        flat = flat.abs().sum(0) if why.display == "absolute" else flat.sum(0)
        empty = _nothing(why, flat)
        if why.picture is None:
            image = reduced(why.draw("heatmap"))
        else:
            image = reduced(why.picture if empty else why.overlay())
        return cls(to_png_bytes(image), _small(flat), why.score, why.target, empty)


class History:
    """One method's explanations of fixed pictures, by epoch.

    fixed: the pictures. folder: where they are written, and were written by a run that this one
    resumes; or None. file: what its files are called there.
    """

    def __init__(self, how: Method, fixed: Fixed, folder: Path | None, file: str) -> None:
        self.method, self.names = str(how), fixed.names
        self.moments: dict[int, list[Moment | None]] = {}
        self.photos: list[Image.Image | None] = [None] * len(self.names)
        self._contents, self._signed = fixed.contents, how.display == "signed"
        self._folder, self._file = folder, file
        self._gone: list[int] = []

    @property
    def steps(self) -> list[int]:
        """The epochs there are, in order."""
        return sorted(self.moments)

    def resume(self) -> None:
        """Take up what an earlier run has written of these very pictures."""
        if self._folder is not None:
            for path in self._folder.glob(f"step-*/{self._file}.npz"):
                self._read(path)

    def go_back(self, step: int) -> None:
        """Drop an epoch and all later ones: they were of a run that is abandoned here."""
        for old in [each for each in self.moments if each >= step]:
            del self.moments[old]
            self._gone.append(old)

    def add(self, step: int, answers: Sequence[Explanation | None]) -> None:
        """Keep an epoch's answers, one for each picture, None where there is none.

        It is the last epoch: `go_back` has dropped what came later.
        """
        before = self.moments[self.steps[-1]] if self.moments else [None] * len(answers)
        row: list[Moment | None] = []
        for place, (why, last) in enumerate(zip(answers, before, strict=True)):
            if why is None:
                row.append(None)
                continue
            if why.picture is not None:
                self.photos[place] = reduced(why.picture)
            now = Moment.of(why)
            row.append(now if last is None else replace(now, similarity=_alike(now.map, last.map)))
        self.moments[step] = row

    def panel(self) -> Image.Image:
        """Draw a row for each picture: itself, then its map at each epoch, with the score above.

        Beyond a dozen epochs some are left out evenly; the first and the last are always there.
        """
        steps, cells = thinned(self.steps), []
        with_photo = any(self.photos)
        for place, name in enumerate(self.names):
            if with_photo:
                cells.append(Cell(self.photos[place] or _blank(), name))
            for step in steps:
                image, said, remark = _words(self.moments[step][place])
                cells.append(Cell(image, f"epoch {step}: {said}", remark))
        columns = with_photo + len(steps)
        drawn = panel(cells, columns=columns, title=self.method, width=SMALL)
        return self._with_scale(drawn)

    def sheet(self, step: int) -> Image.Image:
        """Draw the maps of one epoch, a picture beside the other."""
        cells = []
        for name, moment in zip(self.names, self.moments[step], strict=True):
            image, said, remark = _words(moment)
            cells.append(Cell(image, name, f"{said}\n{remark}".strip()))
        return self._with_scale(panel(cells, width=SMALL))

    def save(self, step: int) -> None:
        """Write an epoch's sheet and numbers, and the panel; remove what was dropped.

        Raises SaveError or OSError where that fails.
        """
        if self._folder is None:
            self._gone.clear()
        if self._folder is None or not (self._gone or step in self.moments):
            return
        while self._gone:
            for suffix in (".png", ".npz"):
                self._path(self._gone[-1], suffix).unlink(missing_ok=True)
            self._gone.pop()
        if step in self.moments:
            save_image(self.sheet(step), self._path(step, ".png"))
            write_whole(self._path(step, ".npz"), self._packed(step))
        if self.moments:
            save_image(self.panel(), self._folder / f"{self._file}.png")
        else:
            (self._folder / f"{self._file}.png").unlink(missing_ok=True)

    def _with_scale(self, drawn: Image.Image) -> Image.Image:
        """The drawing, and below it what the method's colours mean."""
        scale = colorbar(signed=self._signed, width=min(drawn.width, 256))
        sheet = Image.new("RGB", (drawn.width, drawn.height + scale.height + 4), "white")
        sheet.paste(drawn)
        sheet.paste(scale, ((drawn.width - scale.width) // 2, drawn.height))
        return sheet

    def _path(self, step: int, suffix: str) -> Path:
        assert self._folder is not None  # noqa: S101 - callers have asked
        return self._folder / f"step-{step:04d}" / f"{self._file}{suffix}"

    def _packed(self, step: int) -> bytes:
        """An epoch as the bytes of an .npz of plain arrays."""
        row = self.moments[step]
        known = [place for place, each in enumerate(row) if each is not None]
        given = [each for each in row if each is not None]
        arrays: dict[str, np.ndarray] = {
            "method": np.array(self.method),
            "names": np.array(self.names),
            "contents": np.array(self._contents),
            "known": np.array(known, dtype=np.int64),
            "scores": np.array([each.score for each in given]),
            "targets": np.array([each.target for each in given], dtype=np.str_),
            "empty": np.array([each.empty for each in given], dtype=np.bool_),
            "similarities": np.array([each.similarity for each in given]),
        }
        for place, each in zip(known, given, strict=True):
            arrays |= {f"map{place}": each.map, f"image{place}": np.asarray(each.image)}
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        return stream.getvalue()

    def _read(self, path: Path) -> None:
        """Take up an epoch that was written; one of other pictures, or damaged, is passed over."""
        own = (self.method, list(self.names), list(self._contents))
        try:
            step = int(path.parent.name.removeprefix("step-"))
            with np.load(path, allow_pickle=False) as stored:
                if tuple(stored[key].tolist() for key in ("method", "names", "contents")) != own:
                    return
                row: list[Moment | None] = [None] * len(self.names)
                for index, place in enumerate(stored["known"].tolist()):
                    row[place] = Moment(
                        to_png_bytes(Image.fromarray(stored[f"image{place}"])),
                        stored[f"map{place}"],
                        float(stored["scores"][index]),
                        str(stored["targets"][index]),
                        bool(stored["empty"][index]),
                        float(stored["similarities"][index]),
                    )
        except Exception:  # noqa: BLE001 - zipfile, zlib and NumPy raise anything
            return
        self.moments[step] = row


def thinned(steps: Sequence[int], most: int = COLUMNS) -> list[int]:
    """Return at most so many of the steps, evenly spaced, with the first and the last.

    >>> thinned(range(1, 101), 4)
    [1, 34, 67, 100]
    """
    if len(steps) <= most:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (most - 1))] for place in range(most)]


def _reduced(why: Explanation) -> Explanation:
    """The explanation of a small copy of its picture: a map on a photograph takes long to draw."""
    if why.picture is None or why.geometry is None:
        return why
    small = reduced(why.picture)
    (height, width), (down, across) = why.geometry.original, why.geometry.scale
    scale = (down * height / small.height, across * width / small.width)
    geometry = replace(why.geometry, original=(small.height, small.width), scale=scale)
    return replace(why, picture=small, geometry=geometry)


def _nothing(why: Explanation, flat: Tensor) -> bool:
    """Whether a map (*space) has nothing to be seen once it lies on its picture."""
    if why.geometry is not None and flat.ndim == 2:
        flat = why.geometry.on_original(flat)
    return bool((flat if why.display == "positive" else flat.abs()).nan_to_num().max() <= 0)


def _small(flat: Tensor) -> np.ndarray:
    """A map of any number of axes; one (h, w) that is finer than what is kept is averaged."""
    if flat.ndim == 2 and max(flat.shape) > PLACES:
        height, width = (min(PLACES, side) for side in flat.shape)
        flat = F.adaptive_avg_pool2d(flat[None], (height, width))[0]
    kept: np.ndarray = flat.to(torch.float32).numpy()
    return kept


def _alike(now: np.ndarray, before: np.ndarray) -> float:
    """Spearman's rank correlation of two maps; NaN where one is constant or of another shape."""
    from scipy.stats import rankdata

    if now.shape != before.shape or np.ptp(now) == 0 or np.ptp(before) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(now), rankdata(before))[0, 1])


def _words(moment: Moment | None) -> tuple[Image.Image, str, str]:
    """The picture of a moment, its score and target in two lines, and what else is to be said."""
    if moment is None:
        return _blank(), "no answer", ""
    return moment.image, f"{moment.score:.3g}\n{moment.target}", moment.remark


def _blank() -> Image.Image:
    return Image.new("RGB", (SMALL, SMALL), BLANK)
