"""Activations: what layers make of pictures, as the maps of their channels."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from seewhy.errors import Failure, MethodError, NoSpaceError, PictureError, tell_of
from seewhy.inside.recorded import Activations
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import Prepared, batched
from seewhy.model.reading import Ready, read_each, sources_of
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.result import versions
from seewhy.run import Run, is_number
from seewhy.shown import Shown

if TYPE_CHECKING:
    from seewhy.model.model import Model

Channels = Literal["top", "all", "mean"] | int | Sequence[int]
AT_ONCE = 16  # pictures that are read together
DOUBTFUL = 0.7  # of a reading: a grid twice as fine along one axis as along the other
MEMORY = 1 << 29  # bytes of activations that are kept where nothing else says


def activations(
    model: Model,
    pictures: Any,
    layers: Any = None,
    channels: Channels = "top",
    *,
    top: int = 16,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Activations:
    """Record what layers make of pictures; see `seewhy.activations`."""
    run, began = run or Run(), time.perf_counter()
    _check(channels, top)
    with model.held(run):
        ready, failures = _read(model, pictures, others)
        prepared = batched([each.prepared for each in ready])
        where = _located(model, layers, prepared)
        parts = _Parts(model, prepared, where, run)
        ranks = _ranks(parts) if channels == "top" else {}
        found: dict[Layer, list[Tensor]] = {each: [] for each in where}
        shapes: dict[str, tuple[int, ...]] = {}
        picked: dict[str, tuple[int, ...]] = {}
        for part in parts:
            for each, values in part.items():
                shapes[str(each)] = tuple(values.shape[1:])
                listed = ranks[each][:top] if each in ranks else _picked(channels, each, values)
                picked[str(each)] = listed
                kept = values[:, list(listed)] if listed else values.mean(1, keepdim=True)
                found[each].append(kept.cpu())
    return Activations(
        maps={str(each): torch.cat(some) for each, some in found.items()},
        channels=picked,
        shapes=shapes,
        shown=tuple(Shown.of(each) for each in ready),
        chosen=_in_words(channels, top),
        seconds=time.perf_counter() - began,
        model=model.name,
        weights=model.fingerprint(),
        versions=versions(),
        failures=tuple(failures),
    )


class _Parts:
    """What the layers make of pictures, some at a time; kept where all of it fits in memory."""

    def __init__(self, model: Model, prepared: Prepared, layers: list[Layer], run: Run) -> None:
        self.model, self.prepared, self.layers, self.run = model, prepared, layers, run
        # a backward holds every layer's output, as recording them all does
        self.at_once = model.rows_at_once(prepared, run)
        self._kept: list[dict[Layer, Tensor]] | None = None

    def __iter__(self) -> Iterator[dict[Layer, Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept, count = [], len(self.prepared)
        for start, stop, part in in_parts(count, self.at_once, self._record):
            self.run.report(stop, count, "pictures")
            size = sum(each.nbytes for each in part.values())
            if size * count <= (self.run.memory or MEMORY) * (stop - start):
                kept.append(part)
            yield part
        self._kept = kept if sum(len(next(iter(part.values()))) for part in kept) == count else None

    def _record(self, start: int, stop: int) -> dict[Layer, Tensor]:
        some = self.model.at_home(self.prepared.rows(range(start, stop)))
        return record(self.model, some, watch=self.layers).activations


def _ranks(parts: _Parts) -> dict[Layer, tuple[int, ...]]:
    """The channels of each layer, those first that vary most over places; equal ones in order."""
    spreads: dict[Layer, Tensor] = {}
    for part in parts:
        for each, values in part.items():
            own = values.flatten(2).double().var(2, correction=0).sum(0)
            spreads[each] = spreads.get(each, 0.0) + own.nan_to_num(nan=-1.0)
    return {
        each: tuple(own.sort(descending=True, stable=True).indices.tolist())
        for each, own in spreads.items()
    }


def _picked(channels: Channels, layer: Layer, values: Tensor) -> tuple[int, ...]:
    """The channels that are meant, none for the mean of all."""
    if channels == "mean":
        return ()
    count = values.shape[1]
    if channels == "all":
        return tuple(range(count))
    listed: list[Any] = [channels] if isinstance(channels, int) else list(channels)
    for each in listed:
        if not (is_number(each) and 0 <= int(each) < count):
            raise MethodError(
                f"layer {str(layer)!r} has {count} channels: there is no {each!r}, they count "
                "from 0"
            )
    return tuple(int(each) for each in listed)


def _check(channels: Any, top: Any) -> None:
    """Raise MethodError where a setting has no sense."""
    if isinstance(channels, str) and channels not in ("top", "all", "mean"):
        raise MethodError(f"channels is {channels!r}: use 'top', 'all', 'mean', or numbers")
    if not isinstance(channels, str) and not is_number(channels) and not len(channels):
        raise MethodError("the list of channels is empty: give numbers, 'top', 'all' or 'mean'")
    if not (is_number(top) and top >= 1):
        raise MethodError(f"top is {top!r}: give a number of channels, at least 1")


def _in_words(channels: Channels, top: int) -> str:
    words = {
        "top": f"the {top} channels that vary most over places",
        "all": "all channels",
        "mean": "the mean of all channels",
    }
    return words[channels] if isinstance(channels, str) else "the channels that were named"


def _read(model: Model, pictures: Any, others: Any) -> tuple[list[Ready], list[Failure]]:
    """The pictures as model input of one shape, and what could not be read."""
    ready: list[Ready] = []
    failures: list[Failure] = []
    for group in read_each(model, sources_of(pictures, model), others, AT_ONCE):
        if isinstance(group, Failure):
            failures.append(group)
        else:
            ready += group
    tell_of(failures, left=bool(ready))
    shapes = {tuple(each.prepared.tensor.shape[1:]) for each in ready}
    if len(shapes) > 1:
        raise PictureError(
            f"the pictures become inputs of different shapes {sorted(shapes)}, and so do their "
            "maps: record them one by one, or give a preprocessing that resizes"
        )
    model.findings.note(ready[0].prepared)
    return ready, failures


def _located(model: Model, spec: Any, prepared: Prepared) -> list[Layer]:
    """The layers that are meant; NoSpaceError for those without places."""
    if isinstance(spec, str) and spec == "all":
        known = [
            each
            for each in model.layers(prepared)
            if each.spatial and not each.still and each.readings[0].doubt < DOUBTFUL
        ]
        found = [model.findings.settled(each, prepared) for each in _by_end(known)]
        if not found:
            raise NoSpaceError(f"{model.name} has no layer with space: read them with a hook")
        one = model.at_home(prepared.rows([0]))
        return _distinct(record(model, one, watch=found).activations)
    several = isinstance(spec, list | tuple)
    listed: Sequence[LayerSpec] = spec if several else [spec]
    found = list(dict.fromkeys(model.layer(each, prepared) for each in listed))
    if not found:
        raise MethodError("the list of layers is empty: name one, or 'all'; None is the default")
    for each in found:
        if not each.spatial:
            raise NoSpaceError(
                f"layer {str(each)!r} has no space, and so no maps: name a layer with space, see "
                "model.layers()"
            )
    return found


def _by_end(layers: Sequence[Layer]) -> list[Layer]:
    """Layers in the order in which they are complete: a block after what is in it."""
    found: list[Layer] = []
    begun: list[Layer] = []
    for each in layers:
        while begun and not each.name.startswith(begun[-1].name + "."):
            found.append(begun.pop())
        begun.append(each)
    return found + begun[::-1]


def _distinct(activations: dict[Layer, Tensor]) -> list[Layer]:
    """The layers that give something new, in more than one place.

    What a block and its last layer both give goes by the name of the block, and what a layer passes
    on unchanged is the layer's before.
    """
    kept: dict[Layer, Tensor] = {}
    for layer, values in activations.items():
        if values.ndim < 3 or values[0, 0].numel() < 2:
            continue
        alike = (
            each
            for each, known in kept.items()
            if known.shape == values.shape and torch.equal(known, values)
        )
        same = next(alike, None)
        if same is None or same.name.startswith(layer.name + "."):
            kept[layer] = values
            if same is not None:
                del kept[same]
    return list(kept)
