"""Crops of pictures, each enlarged to an input of its own, and what layers make of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from seewhy.concepts.seen import Seen
from seewhy.errors import MethodError, NoSpaceError
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import Prepared
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.model.tape.trees import select_rows
from seewhy.run import Run
from seewhy.shown import Shown, reduced
from seewhy.targets import Score

if TYPE_CHECKING:
    from seewhy.model.model import Model


@dataclass(frozen=True)
class Crops:
    """Crops of pictures of one or several input shapes.

    seen: the pictures. layers: by name, the first being that of the concepts, each before the one
    before it. batch, row: (n,), which picture of which batch. boxes: (n, 4), top, left, height and
    width in the input. pooled: for each layer (n, C), its channels averaged over places.
    """

    seen: Sequence[Seen]
    layers: tuple[str, ...]
    specs: tuple[LayerSpec, ...]
    batch: Tensor
    row: Tensor
    boxes: Tensor
    pooled: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.boxes)

    def best(self, members: Tensor, weights: Tensor, count: int) -> list[int]:
        """Return the members with the largest weights (n,), at first only one of each picture."""
        order = members[weights.argsort(descending=True, stable=True)].tolist()
        met: dict[tuple[int, int], int] = {}
        ranked = []
        for each in order:
            picture = int(self.batch[each]), int(self.row[each])
            met[picture] = met.get(picture, 0) + 1
            ranked.append((met[picture], each))
        return [each for _, each in sorted(ranked, key=lambda pair: pair[0])][:count]

    def images(self, numbers: Sequence[int]) -> tuple[Image.Image, ...]:
        """Return crops as pictures, cut out of the originals; those that are no pictures not."""
        found = (self._image(each) for each in numbers)
        return tuple(each for each in found if each is not None)

    def agreement(self, weights: Tensor, maps: Sequence[Tensor]) -> tuple[float, ...]:
        """Return how well what crops show agrees with where it is, a correlation for each concept.

        weights: (n, k), of the enlarged crops; maps: by batch (N, k, *space), of the whole
        pictures, of which the mean over each crop's box is taken. 0 where either is constant.
        """
        means = torch.zeros_like(weights)
        for number, box in enumerate(self.boxes.tolist()):
            batch = int(self.batch[number])
            own = maps[batch][int(self.row[number])]
            size = self.seen[batch].prepared.tensor.shape[2:]
            for axis in (0, 1):
                scale = own.shape[1 + axis] / size[axis]
                first, last = box[axis] * scale, (box[axis] + box[2 + axis]) * scale
                start = math.floor(first)
                own = own.narrow(1 + axis, start, math.ceil(last) - start)
            means[number] = own.flatten(1).mean(1).cpu()
        one, other = (each - each.mean(0) for each in (weights.double(), means.double()))
        length = (one.norm(dim=0) * other.norm(dim=0)).clamp(min=1e-12)
        return tuple(((one * other).sum(0) / length).tolist())

    def seen_at(
        self,
        model: Model,
        level: int,
        members: Tensor,
        scored: Callable[[Prepared], Score],
        run: Run,
    ) -> list[Seen]:
        """Return what a layer makes of some crops, with their scores; the model is held."""
        found = []
        for number in self.batch[members].unique().tolist():
            seen = self.seen[number]
            fit = model.rows_at_once(seen.prepared, run, gradient=False)
            for own in members[self.batch[members] == number].split(fit):
                prepared = _enlarged(seen, self.row[own], self.boxes[own])
                where = model.layer(self.specs[level], prepared)
                score = scored(prepared)
                recording = record(model, prepared, score, watch=[where])
                made, outputs = recording.activations[where], recording.outcome.outputs
                found.append(Seen([], prepared, where, made, outputs, recording, score))
        return found

    def _image(self, number: int) -> Image.Image | None:
        shown = Shown.of(self.seen[int(self.batch[number])].pictures[int(self.row[number])])
        if shown.picture is None:
            return None
        box = self.boxes[number].tolist()
        ends = []
        for axis, length in enumerate((shown.picture.height, shown.picture.width)):
            first, last = float(box[axis]), float(box[axis] + box[2 + axis])
            if shown.geometry is not None:
                scale, offset = shown.geometry.scale[axis], shown.geometry.offset[axis]
                first, last = (first - offset) / scale, (last - offset) / scale
            start = min(max(0, round(first)), length - 1)
            ends.append((start, min(max(start + 1, round(last)), length)))
        (top, low), (left, right) = ends
        return reduced(shown.picture.crop((left, top, right, low)))


def cut(
    model: Model,
    seen: Sequence[Seen],
    earlier: Sequence[LayerSpec],
    side: float,
    overlap: float,
    run: Run,
) -> Crops:
    """Cut overlapping crops out of pictures, and record what layers make of them.

    side: of a crop, as a share of the picture's; overlap: with the next, as a share of a crop. The
    model is held. Raises NoSpaceError for inputs that are no pictures.
    """
    batch, row, boxes = [], [], []
    for number, each in enumerate(seen):
        if each.prepared.tensor.ndim != 4:
            raise NoSpaceError(
                "crops are cut out of pictures (N, C, H, W), and an input of the shape "
                f"{tuple(each.prepared.tensor.shape)} came: use factorize"
            )
        own = _boxes(each.prepared.tensor.shape[2:], side, overlap)
        for one in range(len(each.prepared)):
            boxes.append(own)
            batch += [number] * len(own)
            row += [one] * len(own)
    batches, rows, every = torch.tensor(batch), torch.tensor(row), torch.cat(boxes)
    pooled: list[list[Tensor]] = []
    done, names = 0, [""]
    for number, each in enumerate(seen):
        where = [each.layer, *(model.layer(spec, each.prepared) for spec in earlier)]
        names = [str(layer) for layer in where]
        if len(set(names)) < len(names):
            raise MethodError(f"a layer came twice in {names}: leave one out of earlier=")
        own = torch.nonzero(batches == number)[:, 0]
        for count, made in _looked_at(model, each, rows[own], every[own], where, run):
            pooled.append(made)
            done += count
            run.report(done, len(every), "crops")
    together = tuple(torch.cat(each) for each in zip(*pooled, strict=True))
    return Crops(seen, tuple(names), (seen[0].layer, *earlier), batches, rows, every, together)


def _looked_at(
    model: Model, seen: Seen, rows: Tensor, boxes: Tensor, layers: Sequence[Layer], run: Run
) -> Iterator[tuple[int, list[Tensor]]]:
    """Yield for some crops at a time what each layer makes of them, (m, C), and their count."""
    at_once = model.rows_at_once(seen.prepared, run, gradient=False)

    def look(start: int, stop: int) -> list[Tensor]:
        crops = _enlarged(seen, rows[start:stop], boxes[start:stop])
        found = record(model, crops, watch=layers).activations
        return [found[layer].float().flatten(2).mean(2).cpu() for layer in layers]

    for start, stop, made in in_parts(len(boxes), at_once, look):
        yield stop - start, made


def _boxes(size: Sequence[int], side: float, overlap: float) -> Tensor:
    """Squares in the picture's proportions that cover it evenly, (n, 4)."""
    axes = []
    for length in size:
        own = max(1, round(side * length))
        step = max(1.0, own * (1 - overlap))
        count = math.ceil((length - own) / step) + 1
        axes.append(
            [(round(each), own) for each in torch.linspace(0, length - own, count).tolist()]
        )
    return torch.tensor(
        [(top, left, high, wide) for top, high in axes[0] for left, wide in axes[1]]
    )


def _enlarged(seen: Seen, rows: Tensor, boxes: Tensor) -> Prepared:
    """Crops as inputs of the pictures' size, with the pictures' further inputs."""
    whole = seen.prepared.tensor
    made = [
        F.interpolate(
            whole[row : row + 1, :, top : top + high, left : left + wide],
            whole.shape[2:],
            mode="bilinear",
        )
        for row, (top, left, high, wide) in zip(rows.tolist(), boxes.tolist(), strict=True)
    ]
    return Prepared(torch.cat(made), select_rows(seen.prepared.others, rows))
