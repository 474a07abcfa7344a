"""Survey: the layers of a foreign network, and the one whose map explains best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from seewhy.model.bridge.foreign import Foreign
from seewhy.model.bridge.visit import Note, Place
from seewhy.model.layers import MOST_AFTER, Layer, LayerTable, class_score, spreads
from seewhy.model.layout import Reading, readings
from seewhy.model.outputs import main_output
from seewhy.model.tape.guard import hooked
from seewhy.model.tape.memory import WITHOUT_GRAPH

TRIED = 4  # layers from the end, of those that would do
SIZE = 4  # bytes of a number
PARTLY = "not everything passes through it: it carries only part of the evidence"


def table(module: Foreign, run: Callable[[Tensor], Any], tensor: Tensor) -> LayerTable:
    """Describe every layer of a run on two pictures and choose the default.

    It is the latest layer with space, which does not merely pool or pad, where the gradient of the
    predicted class's score reaches at least two places and two channels, and behind which nothing
    comes from the picture by another way. Where no layer is passed by everything it is the latest
    with such a gradient, and the remark says so.
    """
    with torch.no_grad():
        outputs = run(tensor)
    notes, main = module.engine.latest, main_output(outputs)
    output = module.engine.ends.index(id(main)) if id(main) in module.engine.ends else 0
    every = _layers(notes, tensor)
    end = tuple(main.shape[1:])
    candidates = [
        (note, layer)
        for note, layer in zip(notes, every, strict=True)
        if layer.spatial and not (note.moves or note.inner or note.shape == end)
    ]
    places = [note.place for note, _ in candidates]
    carried = module.engine.carried(places, output) if places else []
    on_cut = [each for each, much in zip(candidates, carried, strict=True) if much == "all"]
    candidates = [each for each, much in zip(candidates, carried, strict=True) if much != "none"]
    best = _latest(module, run, tensor, on_cut)
    if best is None or _share_after(notes, best[0]) > MOST_AFTER:
        later = _latest(
            module, run, tensor, [e for e in candidates if e[0].kernel or e[0].parameters]
        )
        if later is not None and (best is None or notes.index(later[0]) > notes.index(best[0])):
            return LayerTable(tuple(every), later[1], PARTLY)
    if best is None:
        return LayerTable(tuple(every), None, "no layer has space and a gradient")
    return LayerTable(tuple(every), best[1])


def _latest(
    module: Foreign,
    run: Callable[[Tensor], Any],
    tensor: Tensor,
    candidates: Sequence[tuple[Note, Layer]],
) -> tuple[Note, Layer] | None:
    """The last candidate whose gradient reaches several places and channels."""
    for note, layer in candidates[: -TRIED - 1 : -1]:
        gradient = _gradient(module, run, tensor, note.place)
        if gradient is not None and spreads(layer.reading.canonical(gradient)):
            return note, layer
    return None


def _share_after(notes: Sequence[Note], best: Note) -> float:
    """The share of layers with kernels or weights that come after a layer."""
    weighty = [number for number, each in enumerate(notes) if each.parameters and not each.inner]
    return sum(number > notes.index(best) for number in weighty) / max(1, len(weighty))


def bytes_per_row(notes: Sequence[Note], tensor: Tensor) -> tuple[int, int]:
    """Return the memory of a forward of one row, and of a forward with a backward, by the shapes.

    The framework's own measure would be better, and is not to be had on a CPU.
    """
    sizes = [tensor[0].numel(), *(math.prod(note.shape) for note in notes)]
    plain = WITHOUT_GRAPH * max(sizes)
    return SIZE * plain, SIZE * (sum(sizes) + plain)


def _layers(notes: Sequence[Note], tensor: Tensor) -> list[Layer]:
    batch, size = len(tensor), tuple(tensor.shape[2:])
    calls: dict[str, int] = {}
    for note in notes:
        calls[note.place.name] = calls.get(note.place.name, 0) + 1
    grids: list[tuple[int, ...]] = []
    found = []
    for note in notes:
        grid = note.shape[1:]
        if len(grid) == len(size) > 0:  # maps, by what their framework says of them
            fits = [Reading("channels-first", grid)] if math.prod(grid) > 1 else []
            if note.kernel and fits:
                grids = [known for known in grids if known != grid] + [grid]
        elif note.timed or len(size) != 2:
            fits = []  # time is no place
        else:
            fits = readings((batch, *note.shape), batch, size, grids)
        layer = Layer(
            name=note.place.name,
            call=note.place.call if calls[note.place.name] > 1 else -1,
            kind=note.kind,
            shape=note.shape,
            kernel=note.kernel,
            channels=note.channels,
            parameters=note.parameters,
            readings=tuple(fits),
            layout="vector" if len(note.shape) == 1 else None,
        )
        found.append(layer.read_as(fits[0]) if fits else layer)
    return found


def _gradient(
    module: Foreign, run: Callable[[Tensor], Any], tensor: Tensor, place: Place
) -> Tensor | None:
    """The gradient of the predicted class's score at a place."""
    kept: list[Tensor] = []
    number = -1

    def begin(_: Any, __: Any, ___: Any, output: Tensor) -> Tensor | None:
        nonlocal number
        number += 1
        if number != place.call:
            return None
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    with torch.enable_grad(), hooked([(module.stub(place.name), begin)]), module.before_softmax():
        score = class_score(run(tensor.detach().clone()))
    if score is None or not kept:
        return None
    found: Tensor | None = torch.autograd.grad(score, kept[0], allow_unused=True)[0]
    return found
