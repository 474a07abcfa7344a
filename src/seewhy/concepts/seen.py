"""What a layer makes of pictures, batch by batch: the matrix that concepts are found in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seewhy.errors import Failure, NoSpaceError
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import batched
from seewhy.model.reading import Ready, read_each, sources_of
from seewhy.model.tape.record import record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

AT_ONCE = 16  # pictures that are read together


@dataclass(frozen=True)
class Seen:
    """Pictures of one input shape, what a layer made of them (N, C, *space), and the outputs."""

    pictures: list[Ready]
    prepared: Prepared
    layer: Layer
    activations: Tensor
    outcome: Any

    @property
    def places(self) -> Tensor:
        """The activations as a matrix, (N * places, C)."""
        return self.activations.flatten(2).movedim(1, 2).flatten(0, 1)

    def maps(self, weights: Tensor) -> Tensor:
        """Return weights (N * places, k) as maps (N, k, *space)."""
        space = self.activations.shape[2:]
        return weights.reshape(len(self.activations), *space, -1).movedim(-1, 1)


def seen_by(
    model: Model, pictures: Any, layer: LayerSpec, run: Run, others: Any = None
) -> Iterator[Seen | Failure]:
    """Yield what a layer makes of pictures, some at a time, or why one cannot be read.

    pictures: as for `explain`, or an iterator that gives them one by one. The model is held by the
    caller.
    """
    done = 0
    for some in _chunks(pictures):
        sources = sources_of(some, model)
        for group in read_each(model, sources, others, AT_ONCE):
            if isinstance(group, Failure):
                yield group
                continue
            prepared = model.at_home(batched([each.prepared for each in group]))
            where = model.layer(layer, prepared)
            recording = record(model, prepared, watch=[where])
            found = recording.activations[where]
            if found.ndim < 3 or found[0, 0].numel() < 2:
                raise NoSpaceError(
                    f"layer {str(where)!r} has no space, and concepts are found in places: name a "
                    "layer with space, see model.layers()"
                )
            yield Seen(group, prepared, where, found, recording.outcome.outputs)
        done += len(sources)
        run.report(done, max(done, len(sources)), "pictures")


def _chunks(pictures: Any) -> Iterator[Any]:
    """The pictures as they came, or some at a time of what can only be gone through once."""
    if not isinstance(pictures, Iterator):
        yield pictures
        return
    while some := list(islice(pictures, AT_ONCE)):
        yield some
