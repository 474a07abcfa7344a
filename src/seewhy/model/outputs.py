"""Finding the tensor that answers in whatever structure a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.tape.trees import float_tensors

NAMES = ("logits", "out", "output", "pred_logits", "scores", "image_embeds", "pooler_output")


def main_output(outputs: Any) -> Tensor:
    """Return the tensor that answers: `logits` where there is one, else (N, K), else the first.

    Raises ModelError when there is no floating-point tensor at all.
    """
    if isinstance(outputs, Tensor):
        return outputs
    for name in NAMES:
        found = outputs.get(name) if isinstance(outputs, Mapping) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return found
    candidates = float_tensors(outputs)
    if not candidates:
        raise ModelError(
            f"the network returned {type(outputs).__name__} without a floating-point tensor: "
            "explain it with a callable target that reads its output"
        )
    flat = [tensor for tensor in candidates if tensor.ndim == 2]
    return flat[0] if flat else candidates[0]


def has_class_head(outputs: Any) -> bool:
    """Tell whether the outputs can be class scores: (N, K), (N, 1) or (N,).

    Embeddings are none, nor are the boxes of a detector, one dict a picture.
    """
    if detects(outputs):
        return False
    if not isinstance(outputs, Tensor):
        fields = getattr(outputs, "_fields", ())
        names = set(outputs if isinstance(outputs, Mapping) else fields)
        embeds = {"last_hidden_state", "pooler_output", "image_embeds"} & names
        if embeds and "logits" not in names:
            return False
    return main_output(outputs).ndim in (1, 2)


def detects(outputs: Any) -> bool:
    """Tell whether the outputs are a detector's list with one dict a picture."""
    return isinstance(outputs, list) and bool(outputs) and isinstance(outputs[0], Mapping)
