"""Trust: what an explanation is worth, measured."""

from seewhy.trust.check import RemovalCheck, checked
from seewhy.trust.controls import CONTROLS, Centre, Random, Sobel
from seewhy.trust.evaluation import Cost, Evaluation
from seewhy.trust.grid import GridPG
from seewhy.trust.judge import evaluate
from seewhy.trust.masks import Masks
from seewhy.trust.metrics import Case, Maps, Metric
from seewhy.trust.pointing import (
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    mass_of,
    pointing_game,
    relevance_mass,
    relevance_rank,
)
from seewhy.trust.registry import METRICS, MetricSpec, as_metric
from seewhy.trust.removal import SRG, Curves, Deletion, Insertion, patch_relevance
from seewhy.trust.statistics import Interval, auroc, bootstrap, bootstrap_difference

__all__ = [
    "CONTROLS",
    "METRICS",
    "SRG",
    "Case",
    "Centre",
    "Cost",
    "Curves",
    "Deletion",
    "Evaluation",
    "GridPG",
    "Insertion",
    "Interval",
    "Maps",
    "Masks",
    "Metric",
    "MetricSpec",
    "PointingGame",
    "Random",
    "RelevanceMass",
    "RelevanceRank",
    "RemovalCheck",
    "Sobel",
    "as_metric",
    "auroc",
    "bootstrap",
    "bootstrap_difference",
    "checked",
    "evaluate",
    "mass_of",
    "patch_relevance",
    "pointing_game",
    "relevance_mass",
    "relevance_rank",
]
