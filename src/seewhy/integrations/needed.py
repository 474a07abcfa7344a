"""The framework that a callback is for: imported when the callback is asked for, not before."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from seewhy.errors import MissingDependencyError

CALLBACK = "ExplanationsCallback"


def needed(module: str, extra: str) -> Any:
    """Import a module of a framework; MissingDependencyError where that is not installed."""
    package = module.partition(".")[0]
    if find_spec(package) is None:
        raise MissingDependencyError(package, "the callback", extra)
    return import_module(module)


def only_callback(name: str, home: str) -> None:
    """Raise AttributeError for a name that the module `home` does not have."""
    if name != CALLBACK:
        raise AttributeError(f"module {home!r} has no attribute {name!r}: it has {CALLBACK}")
