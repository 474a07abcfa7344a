"""Attention: the probabilities of every attention operation during one forward.

Compiled kernels and TorchScript hide theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.tape.passes import spend
from seewhy.model.tape.probabilities import Probabilities, Watch, calling
from seewhy.model.tape.record import Kept, Outcome, Scoring, keeping, live, raise_if_known
from seewhy.model.tape.trees import usable

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class AttentionMap:
    """The probabilities of one attention operation, by which its queries mix its values.

    name: of the module that it ran in, "" where that cannot be told. weights: (N, heads, queries,
    keys), in float32 at least; gradients: those of the scores, where they were asked for. windows:
    into how many parts each picture fell (weights then have N * windows rows), 0
    where the maps are not of the pictures. followed:
    whether the values are mixed by these probabilities themselves. grids: spatial sizes of the
    convolutions before it, the latest last. width: how many numbers the value of a key has.
    """

    name: str
    weights: Tensor
    windows: int = 1
    followed: bool = True
    grids: tuple[tuple[int, ...], ...] = ()
    gradients: Tensor | None = None
    width: int = 0

    @property
    def heads(self) -> int:
        """How many heads it has."""
        return self.weights.shape[1]

    @property
    def queries(self) -> int:
        """How many tokens ask."""
        return self.weights.shape[2]

    @property
    def keys(self) -> int:
        """How many tokens are attended to."""
        return self.weights.shape[3]


@dataclass(frozen=True)
class Readers:
    """Which tokens a network's answer is read from.

    queries: for a number of queries, (queries,) truth values of the last attention that has so
    many; missing where no gradient tells. nbytes: what the maps of one picture take.
    """

    queries: dict[int, Tensor]
    nbytes: int


def attend(
    model: Model, prepared: Prepared, score: Scoring, *, gradients: bool = False
) -> list[AttentionMap]:
    """Run the model once; return its attention maps in order of execution, detached.

    gradients: whether to differentiate the scores with respect to the maps; then the graph begins
    at the first of them. A map that a score does not depend on has a gradient of zeros.
    Raises ModelError when no gradient comes back to any map.
    """
    count = len(prepared)
    with model.held(), torch.inference_mode(mode=False), torch.no_grad():
        seen, scores = _run(model, prepared, score, graph=gradients)
        found: list[Tensor | None] = [None] * len(seen)
        if gradients and seen:
            if not scores.requires_grad:
                raise ModelError(
                    f"no gradient comes from the score back to the attention of {model.name}: it "
                    "turns gradients off on the way (no_grad, detach), or the score does not "
                    "depend on it; choose a method that needs no gradient"
                )
            found = list(_slopes(model, scores, seen))
            spend(backwards=count)
        rows = model.offers.batch or count
        pairs = zip(seen, found, strict=True)
        return [_map(each, gradient, rows, count) for each, gradient in pairs]


def readers(model: Model, noise: Prepared) -> Readers:
    """Find out from which tokens the answer is read: those whose attention has a gradient."""
    with model.held(), torch.inference_mode(mode=False), torch.no_grad():
        seen, scores = _run(model, noise, _Everything(), graph=True)
        rows = len(noise)
        nbytes = sum(4 * each.weights.numel() // rows for each in seen)
        queries: dict[int, Tensor] = {}
        if scores.requires_grad and seen:
            for gradient in _slopes(model, scores, seen):
                read = gradient.abs().movedim(-2, 0).flatten(1).amax(1) > 0
                queries.pop(len(read), None)
                if bool(read.any()):
                    queries[len(read)] = read.cpu()
    return Readers(queries, nbytes)


# ---------------------------------------------------------------------- one forward


@dataclass(frozen=True)
class _Everything:
    """A score that depends on all that the network answers."""

    layers: tuple[Any, ...] = ()

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:  # noqa: ARG002
        main = outcome.main.flatten()
        return (main @ torch.linspace(0.5, 1.5, len(main)).to(main)).reshape(1)


def _run(
    model: Model, prepared: Prepared, score: Scoring, *, graph: bool
) -> tuple[list[Probabilities], Tensor]:
    """One forward under watch, and its scores; again with a graph from the start if need be."""
    seen, scores = _watched(model, prepared, score, graph=graph)
    if graph and seen and not scores.requires_grad:
        # a network that turns gradients off for some of its layers also turns ours off again
        with torch.enable_grad():
            seen, scores = _watched(model, prepared, score, graph=graph)
    return seen, scores


def _watched(
    model: Model, prepared: Prepared, score: Scoring, *, graph: bool
) -> tuple[list[Probabilities], Tensor]:
    kept: dict[Any, Kept] = {}
    watch = Watch(prepared.tensor.ndim - 2, graph=graph)
    with torch.set_grad_enabled(torch.is_grad_enabled()):  # put back what the watch turns on
        with (
            keeping(model, kept, read=score.layers),
            calling(model.module, watch.calls),
            watch,
        ):
            outputs = model.forward(usable(prepared.tensor).clone(), usable(prepared.others))
        activations = live(model, kept, score.layers, len(prepared))
    outcome = Outcome(outputs, activations, prepared.clean, model.offers.end)
    with torch.enable_grad():
        scores = score(outcome, torch.arange(len(prepared)))
    return [each for each in watch.seen if each.followed or each.weights.ndim >= 4], scores


def _slopes(model: Model, scores: Tensor, seen: list[Probabilities]) -> Iterator[Tensor]:
    """The gradients of the scores, zeros where a map has no part in them."""
    inputs = [each.weights for each in seen]
    inside = [each for each in inputs if each.requires_grad]
    try:
        ones = torch.ones_like(scores)
        found = torch.autograd.grad(scores, inside, ones, allow_unused=True) if inside else ()
    except RuntimeError as error:
        raise_if_known(error, model.name)
        raise
    gradients = iter(found)
    for each in inputs:
        gradient = next(gradients) if each.requires_grad else None
        yield torch.zeros_like(each) if gradient is None else gradient


def _map(seen: Probabilities, gradient: Tensor | None, rows: int, count: int) -> AttentionMap:
    """The map of `count` pictures out of the `rows` that ran."""

    def shaped(tensor: Tensor) -> tuple[Tensor, int]:
        tensor = tensor.detach()
        tensor = tensor.float() if tensor.dtype.itemsize < 4 else tensor
        heads = tensor.shape[-3] if tensor.ndim > 3 else max(1, len(tensor) // rows)
        tensor = tensor.reshape(-1, heads, *tensor.shape[-2:])
        windows = len(tensor) // rows if len(tensor) % rows == 0 else 0
        return tensor[: count * windows], windows

    weights, windows = shaped(seen.weights)
    return AttentionMap(
        seen.name,
        weights,
        windows,
        seen.followed,
        seen.grids,
        None if gradient is None else shaped(gradient)[0],
        seen.width,
    )
