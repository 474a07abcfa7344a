"""What the verbs take for a model."""

from __future__ import annotations

from typing import Any

from torch import nn

from seewhy.model.load import load
from seewhy.model.model import Model

ModelSpec = Model | nn.Module | str | Any
"""A Model, a torch module, a model of another framework, or a reference that `load` takes."""


def as_model(model: ModelSpec) -> Model:
    """Return a Model: itself, a network with what is known of it, or what `load` finds."""
    if isinstance(model, Model):
        return model
    return load(model)
