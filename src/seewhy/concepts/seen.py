"""What a layer makes of pictures, batch by batch: the matrix that concepts are found in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seewhy.errors import Failure, NoSpaceError
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import batched
from seewhy.model.reading import Ready, read_stream
from seewhy.model.tape.record import Recording, record
from seewhy.run import Run
from seewhy.stream import batch_of
from seewhy.targets import Score

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
    """
    done = 0
    for group, total in read_stream(model, pictures, others, batch_of(model, None, run)):
        if isinstance(group, Failure):
            yield group
            done += 1
        else:
            yield _seen(model, group, layer, scored)
            done += len(group)
        run.report(done, max(done, total), "pictures")


def _seen(
    model: Model,
    group: list[Ready],
    layer: LayerSpec,
    scored: Callable[[Prepared], Score] | None,
) -> Seen:
    prepared = model.at_home(batched([each.prepared for each in group]))
    where = model.layer(layer, prepared)
    score = scored(prepared) if scored else None
    recording = record(model, prepared, score, watch=[where])
    found = recording.activations[where]
    if found.ndim < 3 or found[0, 0].numel() < 2:
        raise NoSpaceError(
            f"layer {str(where)!r} has no space, and concepts are found in places: name a layer "
            "with space, see model.layers()"
        )
    return Seen(group, prepared, where, found, recording.outcome.outputs, recording, score)
