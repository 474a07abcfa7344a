"""Targets: what is explained, from a class to a box.

>>> Margin("tabby", against="lynx")
Margin(label='tabby', against='lynx')
"""

from seewhy.targets.base import Bound, Custom, Target
from seewhy.targets.boxes import Box
from seewhy.targets.classes import Class, LogitSum, LogProbability, Margin, Probability, Regression
from seewhy.targets.directions import Direction
from seewhy.targets.places import Neuron, Region
from seewhy.targets.score import Score, TargetSpec, as_target
from seewhy.targets.similarity import Contrast, Difference, Similarity

__all__ = [
    "Class",
    "Probability",
    "LogProbability",
    "Margin",
    "LogitSum",
    "Regression",
    "Similarity",
    "Difference",
    "Contrast",
    "Neuron",
    "Direction",
    "Region",
    "Box",
    "Custom",
    "Target",
    "TargetSpec",
    "Bound",
    "Score",
    "as_target",
]
