"""NaN and infinity are told of the picture that they come from, before they spread."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seewhy.errors import NoAnswerError


def check_finite(values: Tensor, names: Sequence[str], where: str) -> None:
    """Raise NoAnswerError naming the first of the pictures whose values (N, ...) are not finite."""
    for row in (~torch.isfinite(values.flatten(1)).all(1)).nonzero()[:1, 0].tolist():
        raise NoAnswerError(
            f"{where} gives NaN or infinity for {names[row]}: leave the picture out, or try "
            "precision='float32'"
        )
