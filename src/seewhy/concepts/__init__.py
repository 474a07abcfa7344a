"""Concepts: what a network finds in pictures, and what each of its findings speaks for."""

from seewhy.concepts.cav import Classifier, concept_maps, concept_vector, tcav
from seewhy.concepts.cav_results import TCAV, ConceptVector, Sensitivity
from seewhy.concepts.factorization import Solver, factorize
from seewhy.concepts.found import Factorization
from seewhy.concepts.maps import ConceptMaps
from seewhy.concepts.meaning import Head, How
from seewhy.concepts.vectors import find

__all__ = [
    "concept_maps",
    "concept_vector",
    "factorize",
    "find",
    "tcav",
    "Classifier",
    "ConceptMaps",
    "ConceptVector",
    "Factorization",
    "Head",
    "How",
    "Solver",
    "TCAV",
    "Sensitivity",
]
