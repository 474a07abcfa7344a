"""Attention in every form it is written in, and a network around it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import seewhy as sw
from seewhy.model.tape.attention import attend

HEADS, TOKENS, WIDTH = 2, 16, 8
EACH = WIDTH // HEADS
METHODS = ("attention", "attention-rollout", "gradient-attention-rollout")


class Score(NamedTuple):
    """A score that reads the logits."""

    read: Callable[[Any], Any]
    layers: tuple = ()

    def __call__(self, outcome, rows):
        return self.read(outcome.main)


FIRST = Score(lambda logits: logits[:, 0])

# ---------------------------------------------------------------------- the forms of attention


def bias():
    return torch.linspace(-2, 2, TOKENS * TOKENS).reshape(TOKENS, TOKENS)


def seen():
    """A mask: each token attends to itself and to some of the others."""
    return (bias() > -0.5) | torch.eye(TOKENS, dtype=torch.bool)


def logits(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(EACH)


class Dropped(nn.Module):
    """Softmax and dropout as modules, as in many papers' code."""

    def __init__(self):
        super().__init__()
        self.softmax, self.dropout = nn.Softmax(dim=-1), nn.Dropout(0.5)

    def forward(self, q, k, v):
        return self.dropout(self.softmax(logits(q, k))) @ v


def merged(q, k, v):
    """Heads and pictures on one axis, as in older transformers."""
    q, k, v = (each.reshape(-1, TOKENS, EACH) for each in (q, k, v))
    weights = F.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(EACH), dim=-1)
    return torch.bmm(weights, v).view(-1, HEADS, TOKENS, EACH)


def regrouped(q, k, v):
    """One axis for the softmax, two for the product."""
    weights = logits(q, k).reshape(-1, TOKENS, TOKENS).softmax(-1)
    return torch.matmul(weights.view(-1, HEADS, TOKENS, TOKENS), v)


def in_half(q, k, v):
    return F.softmax(logits(q, k), dim=-1, dtype=torch.float64).to(v.dtype).type_as(v) @ v


def turned(q, k, v):
    """Values before probabilities, as in convolutional code."""
    weights = logits(q, k).softmax(dim=3)
    return (v.transpose(-2, -1) @ weights.transpose(-2, -1)).transpose(-2, -1)


def permuted(q, k, v):
    return (v.mT @ logits(q, k).softmax(-1).permute(0, 1, 3, 2)).mT


def einsum(q, k, v):
    weights = (torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(EACH)).softmax(-1)
    return torch.einsum("bhij, bhjd -> bhid", weights, v)


def einsum_turned(q, k, v):
    weights = torch.softmax(logits(q, k), -1).transpose(2, 3)
    return torch.einsum("bhjd,bhji->bhid", v, weights)


def grouped(q, k, v):
    """One key and value for all heads."""
    k, v = (each[:, :1] for each in (k, v))
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def nothing_to_see(q, k, v):
    mask = seen()
    mask[3] = False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


sdpa = F.scaled_dot_product_attention
FORMS = {
    "fused": sdpa,
    "fused with a mask": lambda q, k, v: sdpa(q, k, v, seen()),
    "fused with a bias": lambda q, k, v: sdpa(query=q, key=k, value=v, attn_mask=bias().to(q)),
    "fused and causal": lambda q, k, v: sdpa(q, k, v, is_causal=True),
    "fused with a scale": lambda q, k, v: sdpa(q, k, v, scale=0.1),
    "fused in groups": grouped,
    "fused with nothing to see": nothing_to_see,
    "softmax": lambda q, k, v: torch.matmul(logits(q, k).softmax(-1), v),
    "modules": Dropped(),
    "merged": merged,
    "regrouped": regrouped,
    "cast": in_half,
    "turned": turned,
    "permuted": permuted,
    "einsum": einsum,
    "einsum turned": einsum_turned,
}


def expected(form, q, k):
    """The probabilities of a form, by its formula."""
    scores = logits(q, k)
    if form == "fused with a bias":
        scores = scores + bias().to(q)
    elif form == "fused with a scale":
        scores = scores * math.sqrt(EACH) * 0.1
    elif form == "fused in groups":
        scores = logits(q, k[:, :1])
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    if form in ("fused with a mask", "fused with nothing to see"):
        mask = seen()
    elif form == "fused and causal":
        mask = mask.tril()
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    if form == "fused with nothing to see":
        weights[:, :, 3] = 0
    return weights


class Network(nn.Module):
    """Patches, one attention in some form, the mean of its tokens, a head."""

    def __init__(self, form, values=None):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.inner = nn.Module()
        self.inner.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.inner.forward = self.attends
        self.form, self.head = form, nn.Linear(WIDTH, 5)

    def qkv(self, pictures):
        tokens = self.patches(pictures).flatten(2).transpose(1, 2)
        found = self.inner.qkv(tokens).reshape(len(tokens), TOKENS, 3, HEADS, EACH)
        return found.permute(2, 0, 3, 1, 4)

    def attends(self, pictures):
        return self.form(*self.qkv(pictures))

    def answer(self, mixed):
        return self.head(mixed.transpose(1, 2).reshape(len(mixed), TOKENS, WIDTH).square().mean(1))

    def forward(self, pictures):
        return self.answer(self.inner(pictures))


def pictures(count=3, size=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def captured(module, inputs=None, **options):
    model = sw.Model(module.eval())
    inputs = pictures() if inputs is None else inputs
    return attend(model, model.prepare(inputs), FIRST, **options)


def maps(module, method, inputs=None, target=0, **options):
    inputs = pictures() if inputs is None else inputs
    found = sw.explain(sw.Model(module.eval()), inputs, target, method, **options)
    return torch.stack([each.relevance for each in found])
