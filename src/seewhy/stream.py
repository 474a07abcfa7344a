"""Explaining a stream of pictures: batch by batch, and nothing kept in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from seewhy.errors import (
    CancelledError,
    Failure,
    LayerError,
    MethodError,
    NoAnswerError,
    NoSpaceError,
    TargetError,
    warn,
)
from seewhy.explanation import Explanation
from seewhy.methods import Attribution, Method, as_method, perform
from seewhy.model.geometry import Geometry
from seewhy.model.layers import LayerSpec
from seewhy.model.model import BATCH, Model
from seewhy.model.outputs import has_class_head
from seewhy.model.predictions import predictions
from seewhy.model.prepare import Prepared, batched
from seewhy.model.reading import Ready, read_each, sources_of
from seewhy.model.tape.guard import home
from seewhy.model.tape.memory import evenly, no_memory, out_of_memory, release
from seewhy.model.tape.passes import Passes
from seewhy.result import versions
from seewhy.run import Run, is_number
from seewhy.targets import Class, LogitSum, Margin, Score, Target
from seewhy.targets.several import Targets, targets_of_each

GPU_BATCH = 64  # pictures that run at once there where nothing else says
Check = Callable[[Model, Prepared, Sequence[Target], list[Explanation], Run], list[Explanation]]
"""(model, pictures, what was explained of each, answers, run) -> answers with what was found."""


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
    check: Check | None = None,
) -> Iterator[Explanation | Failure]:
    """Explain pictures one batch at a time and yield each answer, or why there is none.

    As `explain`, for many pictures: nothing is kept between batches. top: classes of a prediction.
    check: what looks at each batch of answers and adds to them.
    """
    run = run or Run()
    limit = batch_of(model, batch, run)
    sources = sources_of(pictures, model)
    targets = targets_of_each(target, len(sources))
    order = Order(method, layer, run, top, model.fingerprint(), check)
    done = 0
    for group in read_each(model, sources, others, limit):
        if isinstance(group, Failure):
            yield group
            done += 1
        else:
            rows = [
                Row(each, target.of_picture(each.index, len(sources), each.prepared))
                for each in group
                for target in targets[each.index]
            ]
            for part in range(0, len(rows), limit):
                yield from explain_rows(model, rows[part : part + limit], order)
            done += len(group)
        run.report(done, len(sources), "pictures")


@dataclass(frozen=True)
class Order:
    """What is the same for all pictures of a stream."""

    method: Method | type[Method] | str | None
    layer: Any
    run: Run
    top: int
    weights: str
    check: Check | None = None


@dataclass(frozen=True)
class Row:
    """A picture, and what is explained of it."""

    picture: Ready
    target: Target


def explain_rows(
    model: Model, rows: Sequence[Row], order: Order
) -> Iterator[Explanation | Failure]:
    """Explain rows of one input shape together, and yield the answer or the failure of each.

    Where that fails, each half is explained by itself, down to single rows: so that one cannot fail
    the others, and fewer need less memory. What would fail them all is raised: MethodError,
    LayerError, TargetError, CancelledError.
    """
    try:
        answers = _explain_batch(model, rows, order)
    except Exception as error:
        of_all = isinstance(error, MethodError | LayerError | TargetError | CancelledError)
        if of_all and not isinstance(error, NoAnswerError | NoSpaceError):
            raise
        memory = out_of_memory(error)
        if len(rows) == 1:
            yield Failure(rows[0].picture.name, no_memory(error) if memory else error)
            return
    else:
        yield from answers
        return
    if memory:  # the error is gone, and with it what it held
        release()
    half = (len(rows) + 1) // 2
    yield from explain_rows(model, rows[:half], order)
    yield from explain_rows(model, rows[half:], order)


def batch_of(model: Model, batch: int | None, run: Run) -> int:
    """Return how many pictures run at a time; MethodError where that is no number above zero."""
    if batch is not None and not (is_number(batch) and batch >= 1):
        raise MethodError(f"batch is {batch!r}: give a number of pictures, at least 1")
    device = torch.device(run.device) if run.device else home(model.module)[0]
    usual = BATCH if device.type == "cpu" else GPU_BATCH
    return min(batch or usual, model.offers.batch or batch or usual)


def _explain_batch(model: Model, rows: Sequence[Row], order: Order) -> list[Explanation]:
    """The answers of a batch, all of them."""
    prepared = batched([each.picture.prepared for each in rows])
    targets, names = [each.target for each in rows], [each.picture.name for each in rows]
    how = _method_for(model, order.method, order.layer, prepared)
    began = time.perf_counter()
    with model.held(order.run):
        if how.one_pass and model.offers.gradient:
            fit = model.rows_at_once(model.at_home(prepared), order.run)
            if fit < len(rows):  # in batches that fit, each finds out what is predicted by itself
                part = evenly(len(rows), fit)
                starts = range(0, len(rows), part)
                parts = (_explain_batch(model, rows[i : i + part], order) for i in starts)
                return [answer for part in parts for answer in part]
        score = Score(targets, model, prepared)
        found = perform(how, model, prepared, score, order.run)
        seconds = (time.perf_counter() - began) / len(prepared)
        score.bind(model, model.at_home(prepared))
    _warn_of_constant_maps(found, how, model, names)
    clean, values = score.answered
    # one copy from the device for the batch, not one for each picture
    maps, scores = found.relevance.detach().cpu(), values.tolist()
    checks = {name: value.tolist() for name, value in found.checks.items()}
    classes = any(isinstance(each, Class | Margin | LogitSum) for each in targets)
    headed = has_class_head(clean.outputs) and (classes or model.labels is not None)
    likely = predictions(clean.main, model.labels, order.top, end=clean.end) if headed else ()
    tops = likely or [()] * len(prepared)
    given = prepared.originals or (None,) * len(prepared)
    originals = [None if each is None else each.image for each in given]
    pictures = originals if all(originals) else as_pictures(prepared.tensor)
    answers = []
    for row in range(len(prepared)):
        geometry = prepared.geometries[row] if prepared.geometries else None
        picture = originals[row] or pictures[row]
        if geometry is None and prepared.tensor.ndim == 4:
            size = (int(prepared.tensor.shape[2]), int(prepared.tensor.shape[3]))
            geometry = Geometry.stretched(size, size)
        answer = Explanation(
            relevance=maps[row].clone(),
            method=str(how),
            target=score.names[row],
            score=scores[row],
            prediction=tops[row],
            picture=picture,
            source=names[row],
            geometry=geometry,
            size=tuple(prepared.tensor.shape[2:]),
            layers=tuple(str(each) for each in found.layers),
            display=how.display,
            checks={name: float(value[row]) for name, value in checks.items()},
            passes=_shared(found.passes, len(prepared)),
            seconds=seconds,
            model=model.name,
            weights=order.weights,
            seed=order.run.seed,
            versions=versions(),
        )
        answers.append(answer)
    if order.check is not None:
        return order.check(model, prepared, targets, answers, order.run)
    return answers


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
        plain = "integrated-gradients" if model.offers.gradient else "occlusion"
        method = "grad-cam" if mapped else plain
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


def _warn_of_constant_maps(
    found: Attribution, how: Method, model: Model, names: Sequence[str]
) -> None:
    maps = found.relevance
    flat = maps.flatten(2) if maps.ndim > 2 else maps[:, None]
    if flat.shape[2] < 2:
        return
    constant = (flat.amax(2) == flat.amin(2)).all(1).nonzero().flatten().tolist()
    if constant:
        warn(
            f"the {how.name} map of {', '.join(names[i] for i in constant[:3])} is the same "
            f"everywhere: a mean over the places follows the layer, {model.name} does not look at "
            "the picture there, or its gradient has vanished; try another layer, target or method"
        )


def as_pictures(tensor: Tensor) -> Sequence[Image.Image | None]:
    """Model input as pictures to draw on, each stretched to 0..255; None where they are none."""
    if tensor.ndim != 4 or tensor.shape[1] not in (1, 3):
        return [None] * len(tensor)
    values = tensor.detach().float()
    ends = torch.aminmax(values.flatten(1), dim=1)
    low, high = (each.reshape(-1, 1, 1, 1) for each in ends)
    scale = 255 / (high - low).clamp(min=1e-12)
    levels = torch.addcmul(0.5 - low * scale, values, scale).byte()
    colours = levels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).contiguous()
    return [Image.fromarray(each) for each in colours.cpu().numpy()]


def _shared(passes: Passes, count: int) -> Passes:
    """The passes of one picture of a batch."""
    parts = (passes.forwards, passes.backwards, passes.replays)
    return Passes(*(-(-each // count) for each in parts))
