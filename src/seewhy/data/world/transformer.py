"""The small vision transformer that is trained on the generated world."""

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn

from seewhy.data.world.network import Block
from seewhy.data.world.scene import CLASSES, SIZE


class Attention(nn.Module):
    """Self-attention between all tokens, by several heads (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, tokens, width) to the same shape."""
        count, places, width = tokens.shape
        qkv = self.qkv(tokens).reshape(count, places, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        joined: Tensor = self.out(mixed.transpose(1, 2).reshape(count, places, width))
        return joined


class Layer(nn.Module):
    """Attention and a network of two linear layers, each after a layer norm and beside a skip."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, tokens, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class WorldTransformer(nn.Module):
    """A convolutional stem (Xiao et al. 2021), a class token and four layers: 95,557 parameters.

    For pictures of 64x64, `stem` gives (N, 48, 8, 8), each of `layers` (N, 65, 48) with the class
    token first, from which alone the head reads.
    """

    def __init__(self, classes: int = len(CLASSES), width: int = 48, depth: int = 4) -> None:
        super().__init__()
        # Even kernels: with odd ones, strides of two would shift every map.
        self.stem = nn.Sequential(
            Block(3, 16, kernel=6, stride=2),
            Block(16, 32, kernel=4, stride=2),
            nn.Conv2d(32, width, 2, stride=2),
        )
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, 1 + (SIZE // 8) ** 2, width))
        self.layers = nn.Sequential(*(Layer(width, 4, 2 * width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures, float (N, 3, 64, 64), to logits, (N, classes)."""
        places = self.stem(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(places), -1, -1), places], 1)
        tokens = self.norm(self.layers(tokens + self.position))
        logits: Tensor = self.head(tokens[:, 0])
        return logits
