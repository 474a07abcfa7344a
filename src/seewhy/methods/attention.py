"""Attention: which places the tokens that are read have looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from seewhy.errors import LayerError, MethodError, NoSpaceError
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.registry import method
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.layout import token_grid
from seewhy.model.tape.attention import AttentionMap, Readers, attend
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

Heads = Literal["mean", "max", "min"]

COPIES = 4  # of the maps that live at once in a backward: probabilities, gradients, at work
INSTEAD = "use a method that asks nothing of attention, such as grad-cam or integrated-gradients"


@dataclass(frozen=True)
class _OfAttention(Method):
    """A map from how the tokens that are read, at the end, mix the tokens of the pictures.

    They are the class token, with others in front that the network's answer is read from; where
    there is none, all the tokens that it is read from, averaged. The map is (N, 1, *grid) and not
    negative, on the grid of the last convolution before attention.
    """

    display: ClassVar[Display] = "positive"
    differentiates: ClassVar[bool] = False

    def chosen(self, maps: list[AttentionMap], model: Model) -> list[AttentionMap]:  # noqa: ARG002
        """Return the maps that are used: all of them."""
        return maps

    def mixed(self, maps: list[AttentionMap]) -> Tensor:
        """Return how the queries of the last map mix the keys of the first, (N, queries, keys)."""
        raise NotImplementedError

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """One forward; as many pictures at once as `run.memory` allows."""
        readers = model.findings.readers(prepared)
        at_once = _rows_at_once(model, prepared, run, readers, graph=self.differentiates)
        whole = at_once >= len(prepared)
        if not whole:
            score.bind(model, prepared)
        found, used = [], []
        for start in range(0, len(prepared), at_once):
            rows = torch.arange(start, min(start + at_once, len(prepared)))
            part, own = (prepared, score) if whole else (prepared.rows(rows), score.of(rows))
            maps = attend(model, part, own, gradients=self.differentiates)
            if not maps:
                raise MethodError(
                    f"no attention was seen in {model.name}: convolutional networks have none, "
                    "linear attention has no softmax, and compiled kernels hide it (transformers "
                    f"models show it when loaded with attn_implementation='eager'); {INSTEAD}"
                )
            used = self.chosen(maps, model)
            _check_plain(self, used, model)
            prefix, grid = _places(self, used[0], prepared, model)
            _check_chain(self, used, model)
            mixed = self.mixed(used)[:, _read(used, prefix, readers)].mean(1)
            found.append(mixed[:, prefix:].reshape(-1, 1, *grid))
            run.report(int(rows[-1]) + 1, len(prepared), "pictures")
        named = len(used) == 1 and used[0].name
        return Attribution(torch.cat(found), layers=(Layer(used[0].name),) if named else ())


@method(
    "attention",
    paper="Vaswani et al. 2017, eq. 1",
    cost="1 forward",
    needs=("layers", "operations"),
)
@dataclass(frozen=True)
class Attention(_OfAttention):
    """The attention of one layer, as it is: not a cause of the answer, and the same for any target.

    layer: its number among the attention layers (-1 is the last), or a name: of the module that
    attends, or of one around it; None is the last. head: a number, or the "mean" or "max" of all.
    The map is (N, 1, *grid), from the class token where the answer is read from it, else the mean
    over the tokens that it is read from; a share of the attention, from 0 to 1.
    """

    layer: int | LayerSpec = None
    head: int | Literal["mean", "max"] = "mean"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if isinstance(self.layer, bool | tuple | list):
            raise MethodError(
                f"attention: layer is {self.layer!r}: give one layer, its name or its number"
            )

    def chosen(self, maps: list[AttentionMap], model: Model) -> list[AttentionMap]:
        """The map of the layer that is meant."""
        return [_named(maps, self.layer, model)]

    def mixed(self, maps: list[AttentionMap]) -> Tensor:
        """One head, or all."""
        (one,) = maps
        if isinstance(self.head, str):
            return fused(one.weights, self.head)
        if not -one.heads <= self.head < one.heads:
            raise MethodError(
                f"attention: there is no head {self.head}: {one.name or 'this layer'} has "
                f"{one.heads}, counted from 0"
            )
        return one.weights[:, self.head]


@method(
    "attention-rollout",
    paper="Abnar & Zuidema 2020",
    cost="1 forward",
    needs=("layers", "operations"),
)
@dataclass(frozen=True)
class AttentionRollout(_OfAttention):
    """Attention multiplied through all layers, with one half of each for the skip connection.

    heads: how heads become one, "mean" in the paper. discard_ratio: the share of each map's
    weights, the smallest of a picture, that are set to zero before (an addition that is in use, not
    of the paper). A layer with fewer queries than keys, such as pooling, has no skip connection.
    The map is (N, 1, *grid), the same for any target; every row of the product sums to one.
    """

    heads: Heads = "mean"
    discard_ratio: float = 0.0

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if not 0 <= self.discard_ratio < 1:
            raise MethodError(
                f"attention-rollout: discard_ratio is {self.discard_ratio!r}: give a share from 0 "
                "to below 1"
            )

    def mixed(self, maps: list[AttentionMap]) -> Tensor:
        """The product of the layers' maps, the last layer's first."""
        rollout = _identity(maps[0])
        for each in maps:
            weights = without_smallest(fused(each.weights, self.heads), self.discard_ratio)
            if each.queries == each.keys:
                weights = weights + _identity(each)
            total = weights.sum(-1, keepdim=True)
            rollout = weights / torch.where(total > 0, total, 1) @ rollout
        return rollout


@method(
    "gradient-attention-rollout",
    paper="Chefer, Gur & Wolf 2021",
    cost="1 forward, 1 backward to the first attention",
    needs=("gradient", "layers", "operations"),
)
@dataclass(frozen=True)
class GradientAttentionRollout(_OfAttention):
    """Attention through all layers, each head weighted by its gradient, for one target.

    The rule for self-attention of "Generic Attention-model Explainability" (ICCV 2021): a layer's
    map is the mean over heads of the positive part of gradient x attention, A, and the relevance R,
    which begins as the identity, becomes R + A R. A layer with fewer queries than keys, such as
    pooling, has no skip connection: there it becomes A R.
    The map is (N, 1, *grid), without the identity that R begins as.
    """

    differentiates: ClassVar[bool] = True

    def mixed(self, maps: list[AttentionMap]) -> Tensor:
        """R <- R + A R, from the first layer to the last."""
        relevance, skipped = _identity(maps[0]), True
        for each in maps:
            assert each.gradients is not None  # noqa: S101 - `differentiates` asks for them
            weights = (each.gradients * each.weights).relu().mean(1)
            skips = each.queries == each.keys
            relevance = relevance + weights @ relevance if skips else weights @ relevance
            skipped = skipped and skips
        return relevance - _identity(maps[0]) if skipped else relevance


def fused(weights: Tensor, heads: str) -> Tensor:
    """Return (N, heads, queries, keys) with its heads as one, (N, queries, keys)."""
    if heads == "mean":
        return weights.mean(1)
    return weights.amax(1) if heads == "max" else weights.amin(1)


def without_smallest(weights: Tensor, share: float) -> Tensor:
    """Return (N, queries, keys) with this share of each picture's weights, the smallest, at 0."""
    count = int(weights[0].numel() * share)
    if not count:
        return weights
    flat = weights.flatten(1)
    smallest = flat.topk(count, dim=1, largest=False).indices
    return flat.scatter(1, smallest, 0).reshape(weights.shape)


def _identity(one: AttentionMap) -> Tensor:
    return torch.eye(one.keys, dtype=one.weights.dtype, device=one.weights.device)


def _named(maps: Sequence[AttentionMap], spec: int | LayerSpec, model: Model) -> AttentionMap:
    """The map that is meant: by number, by the name of its module, or of one around it."""
    names = [each.name for each in maps]
    if isinstance(spec, nn.Module):
        spec = next((name for name, part in model.module.named_modules() if part is spec), "?")
    wanted = "-1" if spec is None else str(spec)
    found = [i for i, name in enumerate(names) if name == wanted]
    found = found or [i for i, name in enumerate(names) if name.startswith(wanted + ".")]
    if not found and wanted.removeprefix("-").isdigit():
        found = [int(wanted)] if -len(maps) <= int(wanted) < len(maps) else []
    if len(found) == 1:
        return maps[found[0]]
    listed = ", ".join(f"{i} ({name or 'no name'})" for i, name in enumerate(names))
    what = f"{len(found)} attention layers" if found else "no attention layer"
    raise LayerError(f"{wanted!r} means {what} of {model.name}: name one of {listed}")


def _check_plain(how: Method, maps: list[AttentionMap], model: Model) -> None:
    """Raise MethodError where attention is not between the tokens of a whole picture."""
    for each in maps:
        where = _where(each, model)
        if not each.followed:
            raise MethodError(
                f"{how.name} is not defined for {model.name}: {where} does not multiply values by "
                "its softmax itself (CaiT mixes the heads in between); " + INSTEAD
            )
        if each.windows != 1:
            raise MethodError(
                f"{how.name} is not defined for {model.name}: {where} is within parts of a "
                f"picture, {each.windows} of them (windows, as in Swin); {INSTEAD}"
            )


def _check_chain(how: Method, maps: list[AttentionMap], model: Model) -> None:
    """Raise MethodError where a layer does not look at the tokens that the one before gave."""
    for before, each in pairwise(maps):
        if each.keys != before.queries:
            raise MethodError(
                f"{how.name} follows tokens from layer to layer, and {_where(each, model)} looks "
                f"at {each.keys} where the one before gave {before.queries}: {INSTEAD}"
            )


def _where(one: AttentionMap, model: Model) -> str:
    return f"the attention {'at ' + repr(one.name) if one.name else 'of ' + model.name}"


def _places(
    how: Method, one: AttentionMap, prepared: Prepared, model: Model
) -> tuple[int, tuple[int, ...]]:
    """How many of the keys stand in front, and the grid of the others."""
    size = tuple(prepared.tensor.shape[2:])
    if not size:
        raise NoSpaceError(
            f"{how.name} draws on the grid of the tokens, and the input of {model.name} has no "
            "space: use gradient-x-input or integrated-gradients"
        )
    found = token_grid(one.keys, size, list(one.grids))
    channels = any(math.prod(grid) == one.width for grid in one.grids)
    if found is not None and (found[0] in one.grids or not channels):
        grid, prefix = found
        halved = [
            tuple(-(-places // 2**halvings) for places in known)
            for known in one.grids
            for halvings in range(5 if not prefix else 1)
        ]
        if grid in halved or not one.grids:
            return prefix, grid
    seen = " or ".join("x".join(map(str, grid)) for grid in one.grids) or "nothing"
    raise MethodError(
        f"{how.name} is not defined for {model.name}: {_where(one, model)} looks at "
        f"{one.keys} tokens, which are no grid of places (the convolutions before it gave {seen}; "
        f"XCiT attends to channels); {INSTEAD}"
    )


def _read(maps: list[AttentionMap], prefix: int, readers: Readers) -> Tensor:
    """The queries of the last map from which the answer is read: those in front, else all."""
    last = maps[-1]
    same = all(each.queries == each.keys for each in maps)
    read = readers.queries.get(last.queries)
    if read is None:  # no gradient tells
        return torch.arange(1 if same and prefix else last.queries)
    front = read[:prefix].nonzero()[:, 0] if same else torch.empty(0)
    return front if len(front) else read.nonzero()[:, 0]


def _rows_at_once(
    model: Model, prepared: Prepared, run: Run, readers: Readers, *, graph: bool
) -> int:
    """How many pictures fit into memory together with their maps."""
    device = prepared.tensor.device
    if not graph:  # a forward without a graph is what binding a score takes too
        return min(
            run.rows_at_once(2 * readers.nbytes, device), model.offers.batch or len(prepared)
        )
    nbytes = COPIES * readers.nbytes + model.findings.bytes_per_row(prepared, gradient=True)
    fit = run.rows_at_once(nbytes, device)
    return min(fit, model.rows_at_once(prepared, run))
