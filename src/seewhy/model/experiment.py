"""An experiment that settles how a layer is read where its shape leaves two readings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seewhy.model.layers import Layer
from seewhy.model.layout import Reading
from seewhy.model.tape.record import record

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


def unambiguous(model: Model, layer: Layer, like: Prepared | None) -> Layer:
    """Where two readings fit, change a place of a picture and see which reading changes."""
    if not layer.ambiguous:
        return layer
    base = model.at_home(model.findings.noise(1, like))
    whole = replace(layer, layout="vector", prefix=0, grid=())
    agreement: dict[Reading, float] = dict.fromkeys(layer.readings, 0.0)
    with model.held():
        before = record(model, base, layers=[whole]).activations[whole]
        for corner in ((0.2, 0.7), (0.7, 0.2)):
            changed = base.tensor.clone()
            changed[_patch(tuple(base.tensor.shape[2:]), corner)] += 3
            after = record(model, base.changed(changed), layers=[whole]).activations[whole]
            for reading in layer.readings:
                change = reading.canonical(after - before).abs().sum(1)[0]
                there = change[_patch(tuple(change.shape), corner)]
                agreement[reading] += float(there.sum() / change.sum().clamp(min=1e-30))
    return layer.read_as(max(layer.readings, key=lambda reading: agreement[reading]))


def _patch(size: tuple[int, ...], corner: tuple[float, float]) -> Any:
    """The slices of a patch off the diagonal: its corner's share of the last axes, by turns."""
    places: list[Any] = [...]
    for axis, length in enumerate(size):
        start = int(corner[(axis - len(size)) % 2] * length)
        places.append(slice(start, start + max(length // 6, 1)))
    return tuple(places)
