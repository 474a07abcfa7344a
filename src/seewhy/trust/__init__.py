"""Trust: what an explanation is worth, measured."""

from seewhy.trust.controls import CONTROLS, Centre, Random, Sobel
from seewhy.trust.evaluate import evaluate
from seewhy.trust.evaluation import Cost, Evaluation
from seewhy.trust.grid import GridPG
from seewhy.trust.metrics import Case, Maps, Metric
from seewhy.trust.pointing import (
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    pointing_game,
    relevance_mass,
    relevance_rank,
)
from seewhy.trust.removal import SRG, Curves, Deletion, Insertion, patch_relevance
from seewhy.trust.statistics import Interval, bootstrap, bootstrap_difference

__all__ = [
    "CONTROLS",
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
    "Metric",
    "PointingGame",
    "Random",
    "RelevanceMass",
    "RelevanceRank",
    "Sobel",
    "bootstrap",
    "bootstrap_difference",
    "evaluate",
    "patch_relevance",
    "pointing_game",
    "relevance_mass",
    "relevance_rank",
]
