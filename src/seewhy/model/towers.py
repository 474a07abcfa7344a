"""Models of pictures and words, as networks whose input is pictures alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.model.tape.cut import Embedding
from seewhy.model.tape.trees import float_tensors

TWO_TOWERS = ("clip", "siglip")
"""Model types of transformers with a tower for pictures and one for words."""


class PictureTower(nn.Module):
    """The picture side of a model of both; words are encoded by `encode_words`.

    whole: has `get_image_features` and `get_text_features`, as in transformers. tokenize: makes
    keyword arguments of texts.
    """

    def __init__(self, whole: nn.Module, tokenize: Callable[[list[str]], Any]) -> None:
        super().__init__()
        self.whole: Any = whole
        self.tokenize = tokenize

    def forward(self, pictures: Tensor) -> Embedding:
        """Return the embeddings (N, D) of pictures (N, 3, H, W)."""
        return Embedding(_features(self.whole.get_image_features(pixel_values=pictures)))

    def encode_words(self, words: Sequence[str]) -> Tensor:
        """Return the embeddings (W, D) of texts."""
        device = next(self.whole.parameters()).device
        given = {
            name: torch.as_tensor(value).to(device)
            for name, value in self.tokenize(list(words)).items()
        }
        return _features(self.whole.get_text_features(**given))


def _features(found: Any) -> Tensor:
    """The embedding in what transformers gives: itself, or what was pooled."""
    pooled = getattr(found, "pooler_output", None)
    return pooled if isinstance(pooled, Tensor) else float_tensors(found)[0]
