"""The methods, one family a file; importing this registers them all.

Called, the module lists them: `seewhy.methods()`.
"""

import sys
from types import ModuleType

from seewhy.methods.base import Attribution, Method, perform
from seewhy.methods.cam import CAM, GradCAM, HiResCAM, LayerCAM
from seewhy.methods.gradient import Gradient, GradientXInput
from seewhy.methods.path import IntegratedGradients
from seewhy.methods.registry import MethodTable, as_method, method, methods
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
    "MethodTable",
    "SmoothGrad",
    "as_method",
    "method",
    "methods",
    "perform",
]


class _Listing(ModuleType):
    """A module that lists the methods when called: it shares its name with that verb."""

    def __call__(self) -> MethodTable:
        return methods()


sys.modules[__name__].__class__ = _Listing
