"""Explanations for vision models: why did it decide this, and can that answer be trusted.

>>> import seewhy as sw
>>> model = sw.load("demo")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seewhy import errors, methods, prototypes, targets
    from seewhy.api import (
        activations,
        compare,
        concept_importance,
        concept_maps,
        concept_vector,
        craft,
        evaluate,
        exciting,
        explain,
        factorize,
        filters,
        find,
        prototype,
        sensitivity,
        summary,
        sweep,
        tcav,
    )
    from seewhy.comparison import Comparison
    from seewhy.concepts.cav_results import TCAV, ConceptVector
    from seewhy.concepts.craft_results import Craft
    from seewhy.concepts.found import Factorization
    from seewhy.concepts.importance import Importance
    from seewhy.concepts.maps import ConceptMaps
    from seewhy.concepts.sensitivity import SensitivityMaps
    from seewhy.concepts.sweep import Sweep
    from seewhy.explanation import Explanation, Explanations
    from seewhy.inside.examples import Exciting
    from seewhy.inside.filters import Filters
    from seewhy.inside.recorded import Activations
    from seewhy.methods import (
        CAM,
        FEM,
        HSIC,
        ISCAM,
        KPCACAM,
        LIME,
        LRP,
        RISE,
        SSCAM,
        XRAI,
        AblationCAM,
        Attention,
        AttentionRollout,
        AttnLRP,
        Augmentation,
        BlurIG,
        Conductance,
        Deconvolution,
        DeepLIFT,
        DeepLIFTSHAP,
        EigenCAM,
        EigenGradCAM,
        ExcitationBackprop,
        ExpectedGradients,
        ExtremalPerturbation,
        FeatureAblation,
        FinerCAM,
        FullGrad,
        GradCAM,
        GradCAMElementWise,
        GradCAMPlusPlus,
        Gradient,
        GradientAttentionRollout,
        GradientXActivation,
        GradientXInput,
        GuidedBackprop,
        GuidedGradCAM,
        GuidedIG,
        HiResCAM,
        IntegratedGradients,
        InternalInfluence,
        KernelSHAP,
        LayerActivation,
        LayerCAM,
        LayerFusion,
        LayerIntegratedGradients,
        Method,
        MultiScale,
        Occlusion,
        PrincipalComponent,
        RandomCAM,
        ScoreCAM,
        ShapleyCAM,
        ShapleySampling,
        SmoothGrad,
        SmoothGradCAMPlusPlus,
        SmoothGradSquared,
        Sobol,
        VarGrad,
        XGradCAM,
        method,
    )
    from seewhy.model.bridge.endpoint import Endpoint
    from seewhy.model.labels import Labels
    from seewhy.model.layers import Layer
    from seewhy.model.load import embedder, load
    from seewhy.model.model import Model
    from seewhy.model.prepare import Preprocess
    from seewhy.prototypes.found import Prototype
    from seewhy.result import read
    from seewhy.run import Run
    from seewhy.stream import explain_each
    from seewhy.trust.evaluation import Evaluation

__version__ = "0.1.0"

__all__ = [
    "load",
    "Model",
    "Preprocess",
    "Labels",
    "Layer",
    "embedder",
    "Endpoint",
    "explain",
    "explain_each",
    "compare",
    "evaluate",
    "factorize",
    "Factorization",
    "find",
    "ConceptMaps",
    "concept_vector",
    "ConceptVector",
    "concept_maps",
    "tcav",
    "TCAV",
    "craft",
    "Craft",
    "concept_importance",
    "Importance",
    "sweep",
    "Sweep",
    "sensitivity",
    "SensitivityMaps",
    "prototype",
    "Prototype",
    "activations",
    "Activations",
    "filters",
    "Filters",
    "exciting",
    "Exciting",
    "summary",
    "read",
    "Explanation",
    "Explanations",
    "Comparison",
    "Evaluation",
    "Run",
    "methods",
    "prototypes",
    "targets",
    "errors",
    "Method",
    "method",
    "CAM",
    "GradCAM",
    "HiResCAM",
    "LayerCAM",
    "Gradient",
    "GradientXInput",
    "IntegratedGradients",
    "SmoothGrad",
    "SmoothGradSquared",
    "VarGrad",
    "Augmentation",
    "MultiScale",
    "PrincipalComponent",
    "ExpectedGradients",
    "BlurIG",
    "GuidedIG",
    "LayerActivation",
    "LayerIntegratedGradients",
    "GradientXActivation",
    "Conductance",
    "InternalInfluence",
    "ExcitationBackprop",
    "DeepLIFTSHAP",
    "DeepLIFT",
    "AttnLRP",
    "LRP",
    "GuidedGradCAM",
    "GuidedBackprop",
    "Deconvolution",
    "Attention",
    "AttentionRollout",
    "GradientAttentionRollout",
    "Occlusion",
    "ExtremalPerturbation",
    "FeatureAblation",
    "RISE",
    "LIME",
    "KernelSHAP",
    "ShapleySampling",
    "Sobol",
    "HSIC",
    "XRAI",
    "AblationCAM",
    "EigenCAM",
    "EigenGradCAM",
    "FEM",
    "FinerCAM",
    "FullGrad",
    "GradCAMElementWise",
    "GradCAMPlusPlus",
    "ISCAM",
    "KPCACAM",
    "LayerFusion",
    "RandomCAM",
    "SSCAM",
    "ScoreCAM",
    "ShapleyCAM",
    "SmoothGradCAMPlusPlus",
    "XGradCAM",
]

_HOMES = {
    "seewhy.api": (
        "activations",
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
    ),
    "seewhy.comparison": ("Comparison",),
    "seewhy.concepts.cav_results": ("TCAV", "ConceptVector"),
    "seewhy.concepts.craft_results": ("Craft",),
    "seewhy.concepts.found": ("Factorization",),
    "seewhy.concepts.importance": ("Importance",),
    "seewhy.concepts.maps": ("ConceptMaps",),
    "seewhy.concepts.sensitivity": ("SensitivityMaps",),
    "seewhy.concepts.sweep": ("Sweep",),
    "seewhy.explanation": ("Explanation", "Explanations"),
    "seewhy.inside.examples": ("Exciting",),
    "seewhy.inside.filters": ("Filters",),
    "seewhy.inside.recorded": ("Activations",),
    "seewhy.model.bridge.endpoint": ("Endpoint",),
    "seewhy.model.labels": ("Labels",),
    "seewhy.model.layers": ("Layer",),
    "seewhy.model.load": ("embedder", "load"),
    "seewhy.model.model": ("Model",),
    "seewhy.model.prepare": ("Preprocess",),
    "seewhy.prototypes.found": ("Prototype",),
    "seewhy.result": ("read",),
    "seewhy.run": ("Run",),
    "seewhy.stream": ("explain_each",),
    "seewhy.trust.evaluation": ("Evaluation",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = ("methods", "prototypes", "targets", "errors")  # `methods` can be called: it lists them


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import seewhy` itself costs nothing."""
    if name in _MODULES:
        return import_module(f"seewhy.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'seewhy' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "seewhy.methods")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
