"""What a concept speaks for: the scores that the network gives it, asked in one of three ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from seewhy.errors import LayerError, MethodError
from seewhy.fill import as_fill
from seewhy.methods.cam import enlarged
from seewhy.methods.cam_classifier import averaged_maps
from seewhy.model.layers import INPUT, OUTPUT
from seewhy.model.outputs import has_class_head
from seewhy.model.tape.record import record
from seewhy.model.tape.replay import replay
from seewhy.targets.classes import class_scores

if TYPE_CHECKING:
    from seewhy.concepts.seen import Seen
    from seewhy.model.model import Model
    from seewhy.run import Run

How = Literal["head", "replay", "removal"]
HOW: tuple[How, ...] = ("head", "replay", "removal")
Head = Callable[[Tensor], Tensor]
"""Vectors (k, C) -> scores (k, K), as a network's own last layer does."""

STRONG = 0.5  # of a concept's largest weight: the pictures, and the places in them, that have it
MOST_ASKED = 16  # pictures about each concept


def spoken_for(
    model: Model,
    seen: Sequence[Seen],
    maps: Sequence[Tensor],
    vectors: Tensor,
    head: Head | None,
    how: How | Literal["auto"],
    run: Run,
) -> tuple[Tensor | None, str]:
    """Return what each concept speaks for (k, K), and how it was asked; None without classes.

    maps: the weights (N, k, *space) of each batch.
    Raises MethodError where the way asked for does not apply.
    """
    largest = torch.stack([each.flatten(2).amax(2).amax(0) for each in maps]).amax(0)
    strong = vectors * largest[:, None]
    if head is not None:
        return _own(head, strong), "own"
    batch = seen[0]
    if not has_class_head(batch.outcome):
        if how != "auto":
            raise MethodError(
                f"{model.name} gives no class scores, and meaning={how!r} asks for them: give "
                "head=, such as model.module.fc, or leave meaning out"
            )
        return None, ""
    ways: dict[str, Callable[[], Tensor | None]] = {
        "head": lambda: by_head(model, batch, strong),
        "replay": lambda: by_replay(model, seen, vectors, maps),
        "removal": lambda: by_removal(model, seen, maps, run),
    }
    for name in ways if how == "auto" else [how]:
        with torch.no_grad():
            found = ways[name]()
        if found is not None:
            return found.float().cpu(), name
    raise MethodError(
        f"meaning={how!r} does not apply to {model.name} at {str(batch.layer)!r}: what follows the "
        "layer is not pooling and a linear layer, or cannot be replayed; use meaning='removal'"
    )


def _own(head: Head, vectors: Tensor) -> Tensor:
    found = head(vectors)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(vectors):
        raise MethodError(
            f"the head gives {getattr(found, 'shape', type(found).__name__)} for vectors "
            f"{tuple(vectors.shape)}: give a function of vectors (k, C) that returns scores (k, K)"
        )
    return found.detach().float().cpu()


def by_head(model: Model, seen: Seen, vectors: Tensor) -> Tensor | None:
    """Return the class scores (k, K) of pictures that are one concept everywhere.

    Applies where pooling and a linear layer follow the layer, which is verified; else None.
    vectors: (k, C), as strong as the concepts are in pictures.
    """
    recording = record(model, seen.prepared, watch=[seen.layer, OUTPUT])
    try:
        _, head = averaged_maps(model, recording, seen.layer)
    except MethodError:
        return None
    weight = head.weight.detach().flatten(1).to(vectors)
    bias = 0 if head.bias is None else head.bias.detach().to(vectors)
    return vectors @ weight.T + bias


def by_replay(
    model: Model, seen: Sequence[Seen], vectors: Tensor, maps: Sequence[Tensor]
) -> Tensor | None:
    """Return the class scores (k, K) of what remains where a layer holds one concept alone.

    maps: the weights (N, k, *space) of each batch; the pictures that a concept is strong in count.
    None where nothing can be replayed.
    """
    if any(each.layer == INPUT for each in seen):
        return None
    recordings = [record(model, each.prepared, watch=[each.layer]) for each in seen]

    def alone(batch: int, rows: Tensor, part: int) -> Tensor:
        vector = vectors[part].reshape(1, -1, *(1,) * (maps[batch].ndim - 2))
        given = maps[batch][rows, part, None] * vector
        return class_scores(replay(recordings[batch], seen[batch].layer, given, rows))

    try:
        return _mean_of_strong(maps, alone)
    except LayerError:
        return None


def by_removal(
    model: Model, seen: Sequence[Seen], maps: Sequence[Tensor], run: Run, fill: str = "blur"
) -> Tensor:
    """Return what each class score loses (k, K) where a concept is removed from the pictures.

    maps: the weights (N, k, *space) of each batch; a concept is removed where its weight is at
    least half of its largest in the picture, and the pictures that it is strong in count.
    """
    fills = [
        as_fill(fill).bind(each.prepared.tensor, each.prepared.keys, run.seed) for each in seen
    ]

    def lost(batch: int, rows: Tensor, part: int) -> Tensor:
        prepared = seen[batch].prepared
        own = enlarged(maps[batch][rows, part, None], tuple(prepared.tensor.shape[2:]))[:, 0]
        strong = own >= STRONG * own.flatten(1).amax(1)[:, None, None]
        changed = prepared.changed(fills[batch](rows, ~strong), rows)
        before, after = (
            class_scores(record(model, each).outcome) for each in (prepared.rows(rows), changed)
        )
        return before - after

    return _mean_of_strong(maps, lost)


def _mean_of_strong(maps: Sequence[Tensor], ask: Callable[[int, Tensor, int], Tensor]) -> Tensor:
    """The mean answer (k, K) of the pictures that each concept is strong in, 16 at most.

    ask: (batch, rows of it, concept) -> (rows, K).
    """
    largest = [each.flatten(2).amax(2).cpu() for each in maps]
    every = torch.cat(largest)
    batch = torch.cat([torch.full((len(each),), i) for i, each in enumerate(largest)])
    row = torch.cat([torch.arange(len(each)) for each in largest])
    found = []
    for part, strength in enumerate(every.T):
        order = strength.argsort(descending=True, stable=True)[:MOST_ASKED]
        order = order[strength[order] >= STRONG * strength.max()]
        answers = [
            ask(number, row[order[batch[order] == number]], part)
            for number in batch[order].unique().tolist()
        ]
        found.append(torch.cat(answers).mean(0))
    return torch.stack(found)
