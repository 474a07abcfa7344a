"""Finding the tensor that answers in whatever structure a network returns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from seewhy.errors import ModelError, warn
from seewhy.model.tape.trees import float_tensors

NAMES = ("logits", "out", "output", "pred_logits", "scores", "image_embeds", "pooler_output")


def main_output(outputs: Any) -> Tensor:
    """Return the tensor that answers: `logits` where there is one, else (N, K), else the first.

    Of several (N, K) it is the first with more than one column. Raises ModelError when there is no
    floating-point tensor at all.
    """
    named = _named(outputs)
    if named is not None:
        return named
    candidates = float_tensors(outputs)
    if not candidates:
        raise ModelError(
            f"the network returned {type(outputs).__name__} without a floating-point tensor: "
            "explain it with a callable target that reads its output"
        )
    return (_heads(candidates) or candidates)[0]


def tell_of_others(outputs: Any) -> None:
    """Warn where another output could have been meant as well as the one that is read."""
    if _named(outputs) is not None or detects(outputs):
        return
    heads = _heads(float_tensors(outputs))
    if len(heads) < 2:
        return
    shapes = ", ".join(str(tuple(each.shape[1:])) for each in heads)
    sequence = outputs if isinstance(outputs, list | tuple) else ()
    listed = outputs.items() if _maps(outputs) else enumerate(sequence)
    other = next((name for name, each in listed if each is heads[1]), 1)
    warn(
        f"the network has {len(heads)} outputs that could be class scores, of the shapes {shapes}, "
        "and the first of them is explained; for another give a function of the outputs, such as "
        f"target=lambda outputs: outputs[{other!r}][:, 0]"
    )


def _named(outputs: Any) -> Tensor | None:
    """The output, where there is but one, or the one whose name says that it answers."""
    if isinstance(outputs, Tensor):
        return outputs
    for name in NAMES:
        found = outputs.get(name) if _maps(outputs) else getattr(outputs, name, None)
        if isinstance(found, Tensor):
            return found
    return None


def _heads(candidates: list[Tensor]) -> list[Tensor]:
    """Those that can be class scores (N, K): with several columns, if any has them."""
    flat = [tensor for tensor in candidates if tensor.ndim == 2]
    return [tensor for tensor in flat if tensor.shape[1] > 1] or flat


def _maps(outputs: Any) -> bool:
    return isinstance(outputs, Mapping)


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
