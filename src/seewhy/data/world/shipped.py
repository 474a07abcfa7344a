"""The trained models that come with the package: where their files are and what they are."""

import json
from pathlib import Path
from typing import Any

from seewhy.errors import ModelError

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Name the models that come with the package, in alphabetical order."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.safetensors")))


def weights_path(name: str) -> Path:
    """Say where a model's weights are (safetensors); an unknown name raises ModelError."""
    if name not in names():
        shipped = ", ".join(repr(known) for known in names()) or "none"
        raise ModelError(f"no model {name!r} of the generated world; choose from: {shipped}")
    return _FOLDER / f"{name}.safetensors"


def card(name: str) -> dict[str, Any]:
    """Read a model's card: what it is, how it was trained, what was measured, what limits it has.

    Accuracies are shares in 0..1. An unknown name raises ModelError.
    """
    contents: dict[str, Any] = json.loads(weights_path(name).with_suffix(".json").read_text())
    return contents
