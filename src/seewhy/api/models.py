"""What the verbs take for a model."""

from __future__ import annotations

from torch import nn

from seewhy.model.load import load
from seewhy.model.model import Model

ModelSpec = Model | nn.Module | str


def as_model(model: ModelSpec) -> Model:
    """Return a Model: itself, a torch module with no preprocessing, or what `load` finds."""
    if isinstance(model, Model):
        return model
    return load(model)
