"""The methods, one family a file; importing this registers them all.

Called, the module lists them: `seewhy.methods()`.
"""

import sys
from types import ModuleType

from seewhy.methods.attention import Attention, AttentionRollout, GradientAttentionRollout
from seewhy.methods.augmentation import Augmentation, MultiScale
from seewhy.methods.base import Attribution, Method, perform
from seewhy.methods.cam import (
    GradCAM,
    GradCAMElementWise,
    GradCAMPlusPlus,
    HiResCAM,
    LayerCAM,
    XGradCAM,
)
from seewhy.methods.cam_classifier import CAM
from seewhy.methods.cam_components import FEM, KPCACAM, EigenCAM, EigenGradCAM, PrincipalComponent
from seewhy.methods.cam_fusion import LayerFusion
from seewhy.methods.cam_scores import FinerCAM, ShapleyCAM, SmoothGradCAMPlusPlus
from seewhy.methods.cam_weights import ISCAM, SSCAM, AblationCAM, RandomCAM, ScoreCAM
from seewhy.methods.deeplift import DeepLIFT, DeepLIFTSHAP
from seewhy.methods.excitation import ExcitationBackprop
from seewhy.methods.extremal import ExtremalPerturbation
from seewhy.methods.fullgrad import FullGrad
from seewhy.methods.gradient import Gradient, GradientXInput
from seewhy.methods.layer import (
    Conductance,
    GradientXActivation,
    InternalInfluence,
    LayerActivation,
    LayerIntegratedGradients,
)
from seewhy.methods.lrp import LRP, AttnLRP
from seewhy.methods.path import ExpectedGradients, IntegratedGradients
from seewhy.methods.path_adaptive import BlurIG, GuidedIG
from seewhy.methods.perturbation import RISE, FeatureAblation, Occlusion
from seewhy.methods.perturbation_masks import HSIC, Sobol
from seewhy.methods.propagation import Deconvolution, GuidedBackprop, GuidedGradCAM
from seewhy.methods.registry import MethodTable, as_method, method, methods
from seewhy.methods.smoothing import SmoothGrad, SmoothGradSquared, VarGrad
from seewhy.methods.surrogate import LIME, KernelSHAP, ShapleySampling
from seewhy.methods.xrai import XRAI

__all__ = [
    "ExcitationBackprop",
    "DeepLIFTSHAP",
    "DeepLIFT",
    "AttnLRP",
    "LRP",
    "GuidedGradCAM",
    "GuidedBackprop",
    "Deconvolution",
    "Augmentation",
    "BlurIG",
    "Conductance",
    "ExpectedGradients",
    "GradientXActivation",
    "GuidedIG",
    "InternalInfluence",
    "LayerActivation",
    "LayerIntegratedGradients",
    "MultiScale",
    "PrincipalComponent",
    "SmoothGradSquared",
    "VarGrad",
    "CAM",
    "HSIC",
    "LIME",
    "RISE",
    "XRAI",
    "Attention",
    "AttentionRollout",
    "Attribution",
    "ExtremalPerturbation",
    "FeatureAblation",
    "GradCAM",
    "Gradient",
    "GradientAttentionRollout",
    "GradientXInput",
    "HiResCAM",
    "IntegratedGradients",
    "KernelSHAP",
    "LayerCAM",
    "Method",
    "MethodTable",
    "Occlusion",
    "ShapleySampling",
    "Sobol",
    "SmoothGrad",
    "as_method",
    "method",
    "methods",
    "perform",
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


class _Listing(ModuleType):
    """A module that lists the methods when called: it shares its name with that verb."""

    def __call__(self) -> MethodTable:
        return methods()


sys.modules[__name__].__class__ = _Listing
