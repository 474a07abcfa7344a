"""Networks of every operation that has a rule, and short ways to explain them."""

import pytest
import torch
from test_known_answers import (
    linear,
)
from torch import nn
from torch.nn import functional

import seewhy as sw

FLAT_MAPS = pytest.mark.filterwarnings("ignore:.*the same everywhere:seewhy.errors.SeewhyWarning")

LRP_METHODS = (
    "lrp",
    "lrp:composite=epsilon",
    "lrp:composite=epsilon-gamma-box",
    "lrp:composite=epsilon-alpha2-beta1",
    "lrp:first=w-square",
    "lrp:composite=epsilon,dense=gamma:0.1",
    "attn-lrp",
)


class Mixed(nn.Module):
    """One of everything that has a rule, and in-place operations between."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.GroupNorm(2, 8)
        self.squeeze = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 17, 8))
        self.before = nn.LayerNorm(8)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.head = nn.Linear(8, 5)
        for part in (self.norm, self.grouped, self.before):
            nn.init.normal_(part.weight)
            nn.init.normal_(part.bias)
        nn.init.normal_(self.norm.running_mean)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, pictures):
        features = functional.relu(self.norm(self.stem(pictures)), inplace=True)
        features = features * functional.hardsigmoid(self.squeeze(features.mean((2, 3), True)))
        features = self.grouped(functional.max_pool2d(features, 2))
        other = self.squeeze(features)
        other += features  # over what the convolution gave
        features = functional.avg_pool2d(functional.silu(self.up(other)), 4)
        tokens = features.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.place
        normal = self.before(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        tokens = tokens + self.mlp(self.before(tokens))
        return self.head(functional.normalize(tokens[:, 0], dim=-1))


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = linear([[5.0, 5], [5, 5]], [0.0, 0])

    def forward(self, x):
        return self.layer(x) + x


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class OfItsOwn(nn.Module):
    """A network with an autograd function that no rule can know."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(Doubling.apply(self.first(x).relu()))


def explained(module, pictures, target, method, **options):
    return sw.explain(sw.Model(module.eval()), pictures, target, method, **options)


def two_layers():
    """2 ones(3x3) -> ReLU -> 3 ones(1x3), at (1, 2, 3)."""
    layers = [linear([[2.0] * 3] * 3, [0.0] * 3), nn.ReLU(), linear([[3.0] * 3], [0.0])]
    return nn.Sequential(*layers), torch.tensor([[1.0, 2, 3]])
