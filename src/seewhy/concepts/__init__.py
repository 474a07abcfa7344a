"""Concepts: what a network finds in pictures, and what each of its findings speaks for."""

from seewhy.concepts.cav import concept_maps, concept_vector, tcav
from seewhy.concepts.cav_results import TCAV, ConceptVector, Sensitivity
from seewhy.concepts.classifiers import Classifier
from seewhy.concepts.craft import craft
from seewhy.concepts.craft_results import Craft
from seewhy.concepts.factorization import Solver, factorize
from seewhy.concepts.found import Factorization
from seewhy.concepts.importance import Importance, concept_importance
from seewhy.concepts.maps import ConceptMaps
from seewhy.concepts.meaning import Head, How
from seewhy.concepts.vectors import find

__all__ = [
    "concept_importance",
    "concept_maps",
    "concept_vector",
    "craft",
    "factorize",
    "find",
    "tcav",
    "Classifier",
    "ConceptMaps",
    "ConceptVector",
    "Craft",
    "Factorization",
    "Head",
    "How",
    "Importance",
    "Solver",
    "TCAV",
    "Sensitivity",
]
