"""The verbs: explain, compare, evaluate, factorize, ... Each reads like its own recipe."""

from seewhy.api.concepts import concept_maps, concept_vector, factorize, find, prototype, tcav
from seewhy.api.explaining import COMPARED, compare, evaluate, explain, summary
from seewhy.api.models import ModelSpec, as_model

__all__ = [
    "COMPARED",
    "ModelSpec",
    "as_model",
    "compare",
    "concept_maps",
    "concept_vector",
    "evaluate",
    "explain",
    "factorize",
    "find",
    "prototype",
    "summary",
    "tcav",
]
