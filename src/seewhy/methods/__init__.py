"""The methods, one family a file; importing this registers them all."""

from seewhy.methods.base import Attribution, Method, as_method, method, methods, perform
from seewhy.methods.cam import CAM, GradCAM, HiResCAM, LayerCAM
from seewhy.methods.gradient import Gradient, GradientXInput
from seewhy.methods.path import IntegratedGradients
from seewhy.methods.smoothing import SmoothGrad

__all__ = [
    "CAM",
    "Attribution",
    "GradCAM",
    "Gradient",
    "GradientXInput",
    "HiResCAM",
    "IntegratedGradients",
    "LayerCAM",
    "Method",
    "SmoothGrad",
    "as_method",
    "method",
    "methods",
    "perform",
]
