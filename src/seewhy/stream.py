"""Explaining a stream of pictures: batch by batch, and nothing kept in between."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from seewhy.data.images import Picture, find_pictures, read_picture
from seewhy.errors import (
    CancelledError,
    LayerError,
    MethodError,
    NoAnswerError,
    NoSpaceError,
    PictureError,
    SeewhyError,
    TargetError,
    warn,
)
from seewhy.explanation import Explanation, Failure
from seewhy.methods import Attribution, Method, as_method, perform
from seewhy.model.geometry import Geometry
from seewhy.model.layers import LayerSpec
from seewhy.model.model import BATCH, Model, is_model_input
from seewhy.model.outputs import has_class_head
from seewhy.model.predictions import predictions
from seewhy.model.prepare import Prepared, batched
from seewhy.model.tape.passes import Passes
from seewhy.model.tape.trees import row_of
from seewhy.run import Run, is_number
from seewhy.targets import Class, LogitSum, Margin, Score, Target, TargetSpec, as_target

Targets = TargetSpec | Sequence[TargetSpec] | Sequence[Sequence[TargetSpec]]


def explain_each(
    model: Model,
    pictures: Any,
    target: Targets = None,
    method: Method | type[Method] | str | None = None,
    *,
    layer: LayerSpec | tuple[LayerSpec, ...] = None,
    batch: int | None = None,
    run: Run | None = None,
    others: dict[str, Any] | None = None,
    top: int = 5,
) -> Iterator[Explanation | Failure]:
    """Explain pictures one batch at a time and yield each answer, or why there is none.

    As `explain`, for many pictures: nothing is kept between batches. top: classes of a prediction.
    """
    run = run or Run()
    if batch is not None and not (is_number(batch) and batch >= 1):
        raise MethodError(f"batch is {batch!r}: give a number of pictures, at least 1")
    sources = _sources(pictures, model)
    targets = _targets_of(target, len(sources))
    limit = min(batch or BATCH, model.offers.batch or batch or BATCH)
    order = _Order(method, layer, run, top, model.fingerprint())
    for start in range(0, len(sources), limit):
        ready: list[tuple[int, Prepared]] = []
        for index in range(start, min(start + limit, len(sources))):
            try:
                ready.append(
                    (index, _prepare(model, sources[index], (index, len(sources)), others))
                )
            except SeewhyError as error:
                yield Failure(_name_of(sources[index], index), error)
        for group in _of_one_shape(ready):
            rows = [
                (
                    prepared,
                    each.of_picture(index, len(sources), prepared),
                    _name_of(sources[index], index),
                )
                for index, prepared in group
                for each in targets[index]
            ]
            for part in range(0, len(rows), limit):
                chunk = rows[part : part + limit]
                yield from _explain_rows(model, chunk, order)
        run.report(min(start + limit, len(sources)), len(sources), "pictures")


@dataclass(frozen=True)
class _Order:
    """What is the same for all pictures of a stream."""

    method: Method | type[Method] | str | None
    layer: Any
    run: Run
    top: int
    weights: str


def _explain_rows(
    model: Model, rows: list[tuple[Prepared, Target, str]], order: _Order
) -> Iterator[Explanation | Failure]:
    """Explain rows together; where that fails, one by one, so that one cannot fail the others."""
    inputs, targets, names = zip(*rows, strict=True)
    try:
        yield from list(_explain_batch(model, batched(inputs), targets, names, order))
    except Exception as error:
        of_all = isinstance(error, MethodError | LayerError | TargetError | CancelledError)
        if of_all and not isinstance(error, NoAnswerError | NoSpaceError):
            raise
        if len(rows) == 1:
            yield Failure(names[0], error)
            return
        for each in rows:
            yield from _explain_rows(model, [each], order)


def _explain_batch(
    model: Model,
    prepared: Prepared,
    targets: Sequence[Target],
    names: Sequence[str],
    order: _Order,
) -> Iterator[Explanation]:
    how = _method_for(model, order.method, order.layer, prepared)
    began = time.perf_counter()
    with model.held(order.run):
        score = Score(targets, model, prepared)
        found = perform(how, model, prepared, score, order.run)
        score.bind(model, model.at_home(prepared))
    seconds = (time.perf_counter() - began) / len(prepared)
    _warn_of_constant_maps(found, how, model, names)
    clean, values = score.answered
    classes = any(isinstance(each, Class | Margin | LogitSum) for each in targets)
    headed = has_class_head(clean.outputs) and (classes or model.labels is not None)
    tops = predictions(clean.main, model.labels, order.top) if headed else [()] * len(prepared)
    for row in range(len(prepared)):
        relevance = found.relevance[row].detach().cpu()
        original = prepared.originals[row] if prepared.originals else None
        geometry = prepared.geometries[row] if prepared.geometries else None
        picture = original.image if original is not None else _as_picture(prepared.tensor[row])
        if geometry is None and prepared.tensor.ndim == 4:
            size = (int(prepared.tensor.shape[2]), int(prepared.tensor.shape[3]))
            geometry = Geometry.stretched(size, size)
        yield Explanation(
            relevance=relevance,
            method=str(how),
            target=score.names[row],
            score=float(values[row]),
            prediction=tops[row],
            picture=picture,
            source=names[row],
            geometry=geometry,
            size=tuple(prepared.tensor.shape[2:]),
            layers=tuple(str(each) for each in found.layers),
            display=how.display,
            checks={name: float(value[row]) for name, value in found.checks.items()},
            passes=_shared(found.passes, len(prepared)),
            seconds=seconds,
            model=model.name,
            weights=order.weights,
            seed=order.run.seed,
            versions=_versions(),
        )


def _method_for(
    model: Model,
    method: Method | type[Method] | str | None,
    layer: LayerSpec | tuple[LayerSpec, ...],
    prepared: Prepared,
) -> Method:
    """The method that is meant, its layers by name."""
    if method is None:
        mapped = model.offers.layers and (
            layer is not None or model.findings.table(prepared).default
        )
        method = "grad-cam" if mapped else "integrated-gradients"
    how = as_method(method)
    has_layer = any(each.name == "layer" for each in fields(how))
    if layer is not None and not has_layer:
        raise MethodError(f"{how.name} uses no layer: leave layer={layer!r} out")
    wanted: Any = layer if layer is not None else getattr(how, "layer", None)
    if not has_layer or wanted is None:
        return how

    def named(spec: LayerSpec) -> LayerSpec:
        return str(model.layer(spec, prepared)) if isinstance(spec, nn.Module) else spec

    several = isinstance(wanted, tuple | list)
    new: Any = tuple(named(each) for each in wanted) if several else named(wanted)
    return replace(how, layer=new)  # type: ignore[call-arg]


def _prepare(model: Model, source: Any, place: tuple[int, int], others: Any) -> Prepared:
    """Prepare one of several pictures: place is (its index, their count)."""
    own = None if others is None else row_of(others, *place)
    if not is_model_input(source):
        source = read_picture(source, name=_name_of(source, place[0]))
    return replace(model.prepare(source), others=own)


def _of_one_shape(ready: list[tuple[int, Prepared]]) -> list[list[tuple[int, Prepared]]]:
    """Group neighbours of one input shape: they share a batch, and the order stays."""
    groups: list[list[tuple[int, Prepared]]] = []
    for each in ready:
        if groups and groups[-1][0][1].tensor.shape == each[1].tensor.shape:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _sources(pictures: Any, model: Model) -> list[Any]:
    """The single pictures; of tensors that are model input, rows (1, C, *space)."""
    if is_model_input(pictures):
        found = _rows(pictures, model)
    elif getattr(pictures, "ndim", 0) == 4:
        found = list(pictures)
    else:
        found = []
        for each in find_pictures(pictures):
            found += _rows(each, model, whole=True) if is_model_input(each) else [each]
    if not found:
        raise PictureError("there are no pictures: give at least one")
    return found


def _rows(pictures: Any, model: Model, *, whole: bool = False) -> list[Any]:
    """The rows of a floating-point tensor; whole: it may be one input without a batch axis."""
    tensor = torch.as_tensor(pictures)
    if whole and tensor.ndim == model.rank:
        tensor = tensor[None]
    if tensor.ndim < 2 or (model.rank is not None and tensor.ndim == model.rank):
        raise PictureError(
            f"a floating-point tensor is model input with a batch axis, (N, C, *space); this one "
            f"has the shape {tuple(tensor.shape)}: add the batch axis with [None]"
        )
    return [tensor[i : i + 1] for i in range(len(tensor))]


def _targets_of(target: Targets, count: int) -> list[list[Target]]:
    """The targets of each picture."""
    given: Any = target
    if isinstance(given, Tensor | np.ndarray | range):
        target = list(given) if isinstance(given, range) else given.tolist()
    if not isinstance(target, list | tuple):
        return [[as_target(cast(TargetSpec, target))]] * count
    if not target:
        raise TargetError("the list of targets is empty: give one for each picture, or None")
    nested = any(isinstance(each, list | tuple) for each in target)
    if count == 1 and not nested:
        return [[as_target(each) for each in target]]
    if len(target) != count:
        raise TargetError(
            f"{len(target)} targets for {count} pictures: give one for all, or one (or a list) "
            "for each picture"
        )
    shared: dict[Any, Target] = {}  # equal targets are bound together

    def bound_once(spec: Any) -> Target:
        if isinstance(spec, int | str | None):
            return shared.setdefault(spec, as_target(spec))
        return as_target(spec)

    lists = [each if isinstance(each, list | tuple) else [each] for each in target]
    return [[bound_once(each) for each in own] for own in lists]


def _warn_of_constant_maps(
    found: Attribution, how: Method, model: Model, names: Sequence[str]
) -> None:
    flat = found.relevance.flatten(1)
    if flat.shape[1] < 2:
        return
    constant = (flat.amax(1) == flat.amin(1)).nonzero().flatten().tolist()
    if constant:
        warn(
            f"the {how.name} map of {', '.join(names[i] for i in constant[:3])} is the same "
            f"everywhere: {model.name} gives its score without looking at the picture there, or "
            "its gradient has vanished; try another layer, target or method"
        )


def _as_picture(row: Tensor) -> Image.Image | None:
    """Model input as a picture to draw on, stretched to 0..255; None where it is none."""
    if row.ndim != 3 or row.shape[0] not in (1, 3):
        return None
    values = row.detach().float().cpu()
    low, high = float(values.amin()), float(values.amax())
    levels = ((values - low) / max(high - low, 1e-12) * 255).round().byte().permute(1, 2, 0)
    return Image.fromarray(np.repeat(levels.numpy(), 3 // row.shape[0], axis=2))


def _shared(passes: Passes, count: int) -> Passes:
    """The passes of one picture of a batch."""
    parts = (passes.forwards, passes.backwards, passes.replays)
    return Passes(*(-(-each // count) for each in parts))


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("seewhy", "torch")}


def _name_of(source: Any, index: int) -> str:
    if isinstance(source, str | Path):
        return str(source)
    known = source.source if isinstance(source, Picture) else getattr(source, "filename", "")
    return str(known) or f"picture {index}"
