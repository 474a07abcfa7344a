"""Why did the model decide this, and can that answer be trusted?

>>> import seewhy as sw
>>> model = sw.load("demo")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seewhy import errors, methods, targets
    from seewhy.api import compare, explain, explain_each, summary
    from seewhy.comparison import Comparison
    from seewhy.explanation import Explanation, Explanations
    from seewhy.methods import (
        CAM,
        GradCAM,
        Gradient,
        GradientXInput,
        HiResCAM,
        IntegratedGradients,
        LayerCAM,
        Method,
        SmoothGrad,
        method,
    )
    from seewhy.model.labels import Labels
    from seewhy.model.layers import Layer
    from seewhy.model.load import embedder, load
    from seewhy.model.model import Model
    from seewhy.model.prepare import Preprocess
    from seewhy.result import read
    from seewhy.run import Run

__version__ = "0.1.0"

_HOMES = {
    "api": ("compare", "explain", "explain_each", "summary"),
    "comparison": ("Comparison",),
    "explanation": ("Explanation", "Explanations"),
    "methods": (
        "CAM",
        "GradCAM",
        "Gradient",
        "GradientXInput",
        "HiResCAM",
        "IntegratedGradients",
        "LayerCAM",
        "Method",
        "SmoothGrad",
        "method",
    ),
    "model.labels": ("Labels",),
    "model.layers": ("Layer",),
    "model.load": ("embedder", "load"),
    "model.model": ("Model",),
    "model.prepare": ("Preprocess",),
    "result": ("read",),
    "run": ("Run",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

_MODULES = ("errors", "methods", "targets")  # `methods` can be called: it lists them

__all__ = [*_HOME, *_MODULES]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: `import seewhy` itself costs nothing."""
    if name in _MODULES:
        return import_module(f"seewhy.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'seewhy' has no attribute {name!r}")
    return getattr(import_module(f"seewhy.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
