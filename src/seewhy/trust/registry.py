"""Metrics by name."""

from __future__ import annotations

import difflib

from seewhy.errors import MethodError
from seewhy.methods import settings
from seewhy.trust.grid import GridPG
from seewhy.trust.metrics import Metric
from seewhy.trust.pointing import PointingGame, RelevanceMass, RelevanceRank
from seewhy.trust.removal import SRG, Deletion, Insertion

MetricSpec = Metric | GridPG | type[Metric] | type[GridPG] | str

METRICS: dict[str, type[Metric | GridPG]] = {
    each.name: each
    for each in (PointingGame, RelevanceMass, RelevanceRank, SRG, Insertion, Deletion, GridPG)
}
"""Metrics by name; as a string a metric has its settings, "srg:fill=noisy-linear,steps=16"."""


def as_metric(spec: MetricSpec) -> Metric | GridPG:
    """Return the metric that is meant: itself, a class with its defaults, or a string.

    Raises MethodError that lists what there is.

    >>> as_metric("pointing-game:tolerance=15")
    PointingGame(tolerance=15.0)
    """
    if isinstance(spec, Metric | GridPG):
        return spec
    if isinstance(spec, type) and issubclass(spec, Metric | GridPG):
        return spec()
    name, _, options = spec.strip().partition(":") if isinstance(spec, str) else ("", "", "")
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, 3, 0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(METRICS)}"
        raise MethodError(f"there is no metric {spec!r}: {hint}")
    found: Metric | GridPG = settings.build(METRICS[name], spec, options)
    return found
