"""What a concept speaks for: the scores that the network gives it, asked in one of three ways."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from seewhy.errors import LayerError, MethodError, warn
from seewhy.fill import as_fill
from seewhy.methods.cam import enlarged
from seewhy.methods.cam_classifier import averaged_maps
from seewhy.model.layers import INPUT, OUTPUT, Layer
from seewhy.model.outputs import has_class_head
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import Outcome, record
from seewhy.model.tape.replay import alike, replay

if TYPE_CHECKING:
    from seewhy.concepts.seen import Seen
    from seewhy.model.model import Model
    from seewhy.run import Run

How = Literal["head", "replay", "removal"]
HOW: tuple[How, ...] = ("head", "replay", "removal")
UNFIT: dict[How, str] = {
    "head": "what follows the layer is not pooling and a linear layer",
    "replay": "what follows the layer cannot be replayed, or does not read its places",
    "removal": "concepts are removed from pictures (N, C, H, W), and other inputs came",
}
Head = Callable[[Tensor], Tensor]
"""Vectors (k, C) -> scores (k, K), as a network's own last layer does."""

STRONG = 0.5  # of a concept's largest weight: the pictures, and the places in them, that have it
MOST_ASKED = 16  # pictures about each concept
NOTHING = 1e-6  # of the largest weight of all concepts, at most: a concept that is nowhere
SAME = 1e-5  # of the largest score: two answers differ by rounding alone


def spoken_for(
    model: Model,
    seen: Sequence[Seen],
    maps: Sequence[Tensor],
    vectors: Tensor,
    head: Head | None,
    how: How | Literal["auto"],
    run: Run,
    largest: Tensor | None = None,
) -> tuple[Tensor | None, str]:
    """Return what each concept speaks for (k, K), and how it was asked; None without classes.

    maps: the weights (N, k, *space) of each batch. largest: (k,), of all pictures of a stream; a
    head is asked about concepts that strong, the other ways about the pictures that maps are of. Of
    a concept that weighs nothing there the scores are NaN, and a warning says so. Raises
    MethodError where the way asked for does not apply.
    """
    if largest is None:
        largest = torch.stack([each.flatten(2).amax(2).amax(0) for each in maps]).amax(0)
    there = largest > NOTHING * largest.max()
    scores, asked = None, ""
    if bool(there.any()):
        maps = [each[:, there] for each in maps]
        some, asked = _asked(model, seen, maps, vectors[there], largest[there], head, how, run)
        if some is not None:
            scores = torch.full((len(vectors), some.shape[1]), torch.nan)
            scores[there.cpu()] = some
            there = scores.isfinite().all(1)
    if bool(there.any()) and not bool(there.all()):
        nowhere = ", ".join(str(each + 1) for each in torch.nonzero(~there)[:, 0].tolist())
        warn(
            f"concept {nowhere}: without weight in these pictures, and so without a class; ask for "
            "fewer concepts, or name another layer"
        )
    return scores, asked


def _asked(
    model: Model,
    seen: Sequence[Seen],
    maps: Sequence[Tensor],
    vectors: Tensor,
    largest: Tensor,
    head: Head | None,
    how: How | Literal["auto"],
    run: Run,
) -> tuple[Tensor | None, str]:
    """What concepts that are somewhere speak for, and how it was asked."""
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
    ways: dict[How, Callable[[], Tensor | None]] = {
        "head": lambda: by_head(model, batch, strong, run),
        "replay": lambda: by_replay(model, seen, vectors, maps, run),
        "removal": lambda: by_removal(model, seen, maps, run),
    }
    for name in HOW if how == "auto" else (how,):
        with torch.no_grad():
            found = ways[name]()
        if found is not None:
            return found.float().cpu(), name
    if how == "auto":
        return None, ""
    raise MethodError(
        f"meaning={how!r} does not apply to {model.name} at {str(batch.layer)!r}: {UNFIT[how]}; "
        "give another meaning, or head="
    )


def _own(head: Head, vectors: Tensor) -> Tensor:
    found = head(vectors)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(vectors):
        raise MethodError(
            f"the head gives {getattr(found, 'shape', type(found).__name__)} for vectors "
            f"{tuple(vectors.shape)}: give a function of vectors (k, C) that returns scores (k, K)"
        )
    return found.detach().float().cpu()


def by_head(model: Model, seen: Seen, vectors: Tensor, run: Run) -> Tensor | None:
    """Return the class scores (k, K) of a layer that is one concept everywhere.

    Applies where pooling and a linear layer follow the layer, which is verified; else None.
    vectors: (k, C), as strong as the concepts are in pictures.
    """
    if seen.layer == INPUT:
        return None
    recording = record(model, seen.prepared, watch=[seen.layer, OUTPUT])
    try:
        averaged_maps(model, recording, seen.layer)
    except MethodError:
        return None
    space = seen.activations.shape[2:]
    even = vectors.reshape(*vectors.shape, *(1,) * len(space)).expand(-1, -1, *space)
    first = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)

    def answer(start: int, stop: int) -> Tensor:
        return _raw(replay(recording, seen.layer, even[start:stop], first[start:stop]))

    at_once = model.rows_at_once(seen.prepared, run, gradient=False)
    try:
        return torch.cat([part for *_, part in in_parts(len(vectors), at_once, answer)])
    except LayerError:
        return None


def by_replay(
    model: Model, seen: Sequence[Seen], vectors: Tensor, maps: Sequence[Tensor], run: Run
) -> Tensor | None:
    """Return the class scores (k, K) of what remains where a layer holds one concept alone.

    Prefix tokens, such as a class token, hold nothing then. maps: the weights (N, k, *space) of
    each batch; the pictures that a concept is strong in count. None where nothing can be replayed,
    and where the scores are the same whatever the layer's places hold.
    """
    layer = seen[0].layer
    if layer == INPUT or (layer.prefix and layer.layout == "tokens-first"):
        return None  # with its prefix, a layer is replayed as it comes, and has pictures in front
    recordings = [each.recording or record(model, each.prepared, watch=[]) for each in seen]
    moved = False

    def holding(batch: int, given: Tensor, rows: Tensor) -> Tensor:
        return _raw(replay(recordings[batch], *_alone(seen[batch].layer, given), rows))

    def alone(batch: int, rows: Tensor, part: int) -> Tensor:
        nonlocal moved
        vector = vectors[part].reshape(1, -1, *(1,) * (maps[batch].ndim - 2))
        given = maps[batch][rows, part, None] * vector
        found = holding(batch, given, rows)
        if not moved:
            moved = not alike(found, holding(batch, torch.zeros_like(given), rows), SAME)
        return found

    try:
        found = _mean_of_strong(model, seen, maps, alone, run)
    except LayerError:
        return None
    finally:
        for each in recordings:
            each.captures.clear()
    return found if moved else None


def _alone(layer: Layer, given: Tensor) -> tuple[Layer, Tensor]:
    """A layer as it comes, and activations (M, C, *space) in its layout, before them only zeros."""
    if not layer.prefix:
        return layer, given
    whole = replace(layer, layout="vector", prefix=0, grid=())
    places = replace(layer.reading, prefix=0).restore(given, given)
    return whole, layer.reading.restore(given, torch.zeros_like(places))


def by_removal(
    model: Model, seen: Sequence[Seen], maps: Sequence[Tensor], run: Run, fill: str = "blur"
) -> Tensor | None:
    """Return what each class score loses (k, K) where a concept is removed from the pictures.

    maps: the weights (N, k, *space) of each batch; a concept is removed where its weight is at
    least half of its largest in the picture, and the pictures that it is strong in count, of those
    that are at hand: of a stream, those that are shown. None for inputs that are no pictures.
    """
    if any(each.prepared.tensor.ndim != 4 for each in seen):
        return None
    fills = [
        as_fill(fill).bind(each.prepared.tensor, each.prepared.keys, run.seed) for each in seen
    ]

    def lost(batch: int, rows: Tensor, part: int) -> Tensor:
        prepared = seen[batch].prepared
        own = enlarged(maps[batch][rows, part, None], tuple(prepared.tensor.shape[2:]))[:, 0]
        strong = own >= STRONG * own.flatten(1).amax(1)[:, None, None]
        changed = prepared.changed(fills[batch](rows, ~strong), rows)
        before, after = (
            _raw(record(model, each).outcome) for each in (prepared.rows(rows), changed)
        )
        return before - after

    return _mean_of_strong(model, seen, maps, lost, run)


def _raw(outcome: Outcome) -> Tensor:
    """The class scores (N, K) as the network gives them, (N, 1) of one output."""
    return outcome.main.reshape(len(outcome.main), -1)


def _mean_of_strong(
    model: Model,
    seen: Sequence[Seen],
    maps: Sequence[Tensor],
    ask: Callable[[int, Tensor, int], Tensor],
    run: Run,
) -> Tensor:
    """The mean answer (k, K) of the pictures that each concept is strong in, 16 at most.

    ask: (batch, rows of it, concept) -> (rows, K), for as many rows as fit into memory.
    """
    largest = [each.flatten(2).amax(2).cpu() for each in maps]
    every = torch.cat(largest)
    batch = torch.cat([torch.full((len(each),), i) for i, each in enumerate(largest)])
    row = torch.cat([torch.arange(len(each)) for each in largest])
    found = []
    for part, strength in enumerate(every.T):
        order = strength.argsort(descending=True, stable=True)[:MOST_ASKED]
        order = order[strength[order] >= STRONG * strength.max()]
        answers = []
        for number in batch[order].unique().tolist():
            own = row[order[batch[order] == number]]
            fit = model.rows_at_once(seen[number].prepared, run, gradient=False)
            answers += [ask(number, rows, part) for rows in own.split(fit)]
        mean = torch.cat(answers).mean(0)
        found.append(mean if strength.max() > 0 else mean * torch.nan)  # of a stream, those shown
    return torch.stack(found)
