"""What a layer makes of pictures, batch by batch: the matrix that concepts are found in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.concepts.finite import check_finite
from seewhy.errors import Failure, NoSpaceError, TargetError
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import batched
from seewhy.model.reading import Ready, read_stream
from seewhy.model.tape.record import Recording, record
from seewhy.run import Run
from seewhy.stream import batch_of
from seewhy.targets import Score, TargetSpec, as_target

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Seen:
    """Pictures of one input shape, what a layer made of them (N, C, *space), and the outputs.

    recording: to replay from; score: bound to the pictures; None where it was not asked for.
    """

    pictures: list[Ready]
    prepared: Prepared
    layer: Layer
    activations: Tensor
    outcome: Any
    recording: Recording | None = None
    score: Score | None = None

    @property
    def places(self) -> Tensor:
        """The activations as a matrix, (N * places, C)."""
        return self.activations.flatten(2).movedim(1, 2).flatten(0, 1)

    def maps(self, weights: Tensor) -> Tensor:
        """Return weights (N * places, k) as maps (N, k, *space)."""
        space = self.activations.shape[2:]
        return weights.reshape(len(self.activations), *space, -1).movedim(-1, 1)


def seen_by(
    model: Model,
    pictures: Any,
    layer: LayerSpec,
    run: Run,
    others: Any = None,
    scored: Callable[[Prepared], Score] | None = None,
) -> Iterator[Seen | Failure]:
    """Yield what a layer makes of pictures, some at a time, or why one cannot be read.

    pictures: as for `explain`, or an iterator that gives them one by one. scored: what is asked of
    them, which is bound in the same forward. The model is held by the caller.

    Raises NoSpaceError for a layer without places, NoAnswerError where it gives NaN or infinity.
    """
    done = 0
    for group, total in read_stream(model, pictures, others, batch_of(model, None, run)):
        if isinstance(group, Failure):
            yield group
            done += 1
        else:
            whole = model.at_home(batched([each.prepared for each in group]))
            fit = model.rows_at_once(whole, run, gradient=False)
            for rows in torch.arange(len(group)).split(fit):
                some = [group[row] for row in rows.tolist()]
                yield _seen(model, some, whole.rows(rows), layer, scored)
            done += len(group)
        run.report(done, max(done, total), "pictures")


def scorer(model: Model, target: TargetSpec) -> Callable[[Prepared], Score]:
    """Return what makes the score of prepared pictures: each is asked for the same target."""
    if isinstance(target, list | tuple):
        raise TargetError(
            f"{len(target)} targets came, and all pictures are asked for the same one: ask for one "
            "after another"
        )
    wanted = as_target(target)

    def score(prepared: Prepared) -> Score:
        return Score([wanted] * len(prepared), model, prepared)

    return score


def named(targets: Iterable[str]) -> str:
    """Return targets in a few words."""
    each = list(dict.fromkeys(targets))
    return ", ".join(each[:3]) + (", ..." if len(each) > 3 else "")


def _seen(
    model: Model,
    group: list[Ready],
    prepared: Prepared,
    layer: LayerSpec,
    scored: Callable[[Prepared], Score] | None,
) -> Seen:
    where = model.layer(layer, prepared)
    score = scored(prepared) if scored else None
    recording = record(model, prepared, score, watch=[where])
    found = recording.activations[where]
    if found.ndim < 3 or found[0, 0].numel() < 2:
        raise NoSpaceError(
            f"layer {str(where)!r} has no space, and concepts are found in places: name a layer "
            "with space, see model.layers()"
        )
    check_finite(found, [each.name for each in group], f"layer {str(where)!r}")
    return Seen(group, prepared, where, found, recording.outcome.outputs, recording, score)


class Sample:
    """A random sample of the places of a stream of pictures, each as likely as any other.

    size: how many at most; while there are fewer, it has all of them, in their order.
    """

    def __init__(self, size: int, draw: torch.Generator) -> None:
        self._size, self._draw = size, draw
        self._lots = torch.empty(0, dtype=torch.float64)
        self._places: Tensor | None = None

    @property
    def places(self) -> Tensor:
        """The sample as a matrix (P, C) in float32."""
        return torch.empty(0, 0) if self._places is None else self._places

    def add(self, seen: Seen) -> None:
        """Take in what a layer made of pictures."""
        new = seen.places
        kept = new[:0].float() if self._places is None else self._places
        # each place draws a lot, picture by picture, whatever the batches; the largest stay
        count, each = len(seen.activations), len(new) // len(seen.activations)
        own = [torch.rand(each, generator=self._draw, dtype=torch.float64) for _ in range(count)]
        lots = torch.cat([self._lots, *own])
        chosen = lots.topk(min(self._size, len(lots))).indices.sort().values
        self._lots = lots[chosen]
        old, fresh = chosen[chosen < len(kept)], chosen[chosen >= len(kept)] - len(kept)
        stay, come = (rows.to(new.device) for rows in (old, fresh))
        self._places = torch.cat([kept[stay], new[come].float()])
