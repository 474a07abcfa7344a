"""Changes: pictures of which parts are removed, and the scores that are left.

Inputs may have any number of axes of space, or none: then each number is a place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoSpaceError
from seewhy.fill import Constant, Fill, Filler, as_fill, of_rows
from seewhy.methods.base import Method, positive
from seewhy.methods.segments import Segmentation, check_segmentation, segments_of
from seewhy.model.tape.ask import ask
from seewhy.model.tape.trees import full
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

ZERO = Constant(0.0)


@dataclass(frozen=True)
class Removing(Method):
    """A method that removes parts of pictures.

    fill: what stands where something was removed, as a `seewhy.fill.Fill` or a string such as
    "constant:0", "blur" or "noisy-linear"; other than constants only in pictures.
    """

    fill: Fill | str = field(default=ZERO, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", as_fill(self.fill))
        super().__post_init__()


@dataclass(frozen=True)
class Segmented(Removing):
    """A method that takes pictures to pieces.

    segments: "slic:50" (about 50 superpixels), "patch:16" (squares of 16 pixels a side), "each"
    (every place by itself), or a function of a float32 array (C, *space) that returns whole numbers
    (*space). Of inputs without space each number is a segment.
    """

    segments: Segmentation = field(default="slic:50", kw_only=True)

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_segmentation(self.segments)


class Switches:
    """The segments of each picture as switches: on is the picture, off the fill.

    counts: segments of each picture.
    """

    def __init__(self, how: Segmented, prepared: Prepared, run: Run) -> None:
        first = {key: row for row, key in reversed(list(enumerate(prepared.keys)))}
        found = segments_of(prepared.rows(list(first.values())), how.segments)
        own = dict(zip(first, found, strict=True))
        self._numbers = torch.stack([own[key].flatten() for key in prepared.keys])
        self.counts: list[int] = (self._numbers.amax(1) + 1).tolist()
        self._filled, self._prepared = filled(how.fill, prepared, run), prepared

    def __call__(self, rows: Tensor, on: Tensor) -> Tensor:
        """Return the pictures of these rows with only some segments left; on: bool (m, most)."""
        device = self._prepared.tensor.device
        keep = on.to(device).gather(1, self._numbers[rows].to(device))
        return self._filled(rows, keep.reshape(-1, *space_of(self._prepared)))

    def spread(self, values: Tensor) -> Tensor:
        """Return the map of a number for each segment, (N, most): each place has its segment's."""
        each = values.gather(1, self._numbers)
        return as_map(each.reshape(-1, *space_of(self._prepared)), self._prepared)


def space_of(prepared: Prepared) -> tuple[int, ...]:
    """Return the axes of a map: those of space, or the only one of an input without space."""
    shape = tuple(prepared.tensor.shape[1:])
    return shape[1:] or shape


def check_space(prepared: Prepared, name: str) -> None:
    """Raise NoSpaceError for inputs without space."""
    if prepared.tensor.ndim < 3:
        raise NoSpaceError(
            f"{name} lays masks over space, and an input of the shape "
            f"{tuple(prepared.tensor.shape)} has none: use 'feature-ablation' or 'shapley-sampling'"
        )


def as_map(values: Tensor, prepared: Prepared) -> Tensor:
    """Return values (N, *space) as a map: (N, 1, *space), or (N, D) of inputs without space."""
    tensor = full(prepared.tensor)
    found = values.to(tensor.dtype)
    return found if tensor.ndim == 2 else found[:, None]


def filled(fill: Fill | str, prepared: Prepared, run: Run) -> Filler:
    """Return what removes parts of these pictures: (rows (m,), kept bool (m, *space)) -> pictures.

    Raises MethodError for a fill that reads the neighbours of pixels, where there is no picture.
    """
    fill, pictures = as_fill(fill), prepared.tensor
    if pictures.ndim == 4:
        return fill.bind(pictures, prepared.keys, run.seed)
    if not isinstance(fill, Constant):
        raise MethodError(
            f"the fill {str(fill)!r} reads pixels of pictures (N, C, H, W), and an input of the "
            f"shape {tuple(pictures.shape)} came: use a constant fill, 'constant:0'"
        )
    channels = pictures.shape[1] if pictures.ndim > 2 else 1
    bound = fill.bind(pictures.reshape(len(pictures), channels, 1, -1))

    def of_any_rank(rows: Tensor, keep: Tensor) -> Tensor:
        found = bound(rows, keep.reshape(len(rows), 1, -1))
        return found.reshape(len(rows), *pictures.shape[1:])

    return of_any_rank


def faded(fill: Fill | str, prepared: Prepared, run: Run) -> Callable[[Tensor, Tensor], Tensor]:
    """Return what fades pictures: (rows (m,), shares (m, *space) in 0..1) -> pictures.

    Where the share is 0 stands the fill of a picture of which nothing is left.
    """
    pictures = prepared.tensor
    nothing = torch.zeros(len(pictures), *space_of(prepared), dtype=torch.bool)
    behind = filled(fill, prepared, run)(torch.arange(len(pictures)), nothing)

    def fade(rows: Tensor, shares: Tensor) -> Tensor:
        whole, kept = of_rows(pictures, rows), shares.to(pictures)[:, None]
        return torch.lerp(of_rows(behind, rows), whole, kept)

    return fade


def laid(grids: Tensor, factors: Sequence[Tensor]) -> Tensor:
    """Return grids (m, *grid) laid over space, (m, *space): one matrix an axis.

    factors: (side, cells) or (m, side, cells), what each place has of each cell.
    """
    for factor in factors:
        wide = factor @ grids.reshape(len(grids), grids.shape[1], -1)
        grids = wide.reshape(len(grids), -1, *grids.shape[2:]).movedim(1, -1)
    return grids


def own_scores(model: Model, prepared: Prepared, score: Score, run: Run) -> Tensor:
    """Return the scores of the pictures as they came, float64 (N,) on the CPU; binds the score."""
    score.bind(model, prepared)
    if prepared.clean:
        return score.answered[1].double().cpu()
    return scores_of(model, prepared, score, run, 1, lambda rows, _: prepared.tensor[rows])[:, 0]


def scores_of(
    model: Model,
    prepared: Prepared,
    score: Score,
    run: Run,
    counts: int | Sequence[int],
    changed: Callable[[Tensor, Tensor], Tensor],
    *,
    seconds: float | None = None,
    least: int | None = None,
    shared: bool = True,
    what: str = "samples",
) -> Tensor:
    """Return the scores of all changes, float64 (N, most) on the CPU; NaN where there is none.

    Arguments as for `ask`. least: as many changes of each picture make an answer; with it the work
    may end early, by time or because `run.cancel` says so.
    """
    most = counts if isinstance(counts, int) else max(counts)
    found = torch.full((len(prepared), most), torch.nan, dtype=torch.float64)
    for answers in ask(
        model,
        prepared,
        score,
        run,
        counts,
        changed,
        seconds=seconds,
        partial=least is not None,
        least=least or 1,
        shared=shared,
        what=what,
    ):
        found[answers.rows, answers.changes] = answers.scores
    return found


def draws_of(prepared: Prepared, run: Run, stream: int) -> dict[int, torch.Generator]:
    """Return a random generator for each picture, by its key: equal pictures have one."""
    return {key: generator(run.seed, key, stream) for key in prepared.keys}


def check_sampling(name: str, samples: int, seconds: float | None) -> None:
    """Raise MethodError unless there are samples, and time for them."""
    positive(samples, f"{name}: samples")
    if seconds is not None:
        positive(seconds, f"{name}: seconds")
