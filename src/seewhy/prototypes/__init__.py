"""Prototypes: what a class, a channel or a concept looks like to a network."""

from seewhy.prototypes.found import Prototype
from seewhy.prototypes.image import MACO, Fourier, Parametrisation, Pixels, Units
from seewhy.prototypes.means import class_means
from seewhy.prototypes.objective import (
    Distance,
    Diversity,
    Objective,
    OfPicture,
    TotalVariation,
    concept,
    objective,
)
from seewhy.prototypes.optimise import prototype
from seewhy.prototypes.transforms import Jitter, Pad, Rotate, Scale, Transform

__all__ = [
    "prototype",
    "Prototype",
    "class_means",
    "objective",
    "concept",
    "Objective",
    "OfPicture",
    "Distance",
    "TotalVariation",
    "Diversity",
    "Parametrisation",
    "Pixels",
    "Fourier",
    "MACO",
    "Units",
    "Transform",
    "Jitter",
    "Pad",
    "Scale",
    "Rotate",
]
