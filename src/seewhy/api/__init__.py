"""The verbs: explain, compare, evaluate, factorize, ... Each reads like its own recipe."""

from seewhy.api.concepts import concept_maps, concept_vector, factorize, find, prototype, tcav
from seewhy.api.crafting import concept_importance, craft
from seewhy.api.explaining import COMPARED, compare, evaluate, explain, summary
from seewhy.api.inside import activations, exciting, filters
from seewhy.api.models import ModelSpec, as_model
from seewhy.api.panels import sensitivity, sweep

__all__ = [
    "COMPARED",
    "ModelSpec",
    "activations",
    "as_model",
    "compare",
    "concept_importance",
    "concept_maps",
    "concept_vector",
    "craft",
    "evaluate",
    "exciting",
    "explain",
    "factorize",
    "filters",
    "find",
    "prototype",
    "sensitivity",
    "summary",
    "sweep",
    "tcav",
]
