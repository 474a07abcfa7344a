"""Propagation where networks are written in less usual ways."""

import pytest
import torch
from ruled import explained
from test_known_answers import noise, relevance
from torch import nn
from torch.nn import functional

import seewhy as sw


class Preactivated(nn.Module):
    """A convolution that a batch norm reads, and a shortcut around it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, padding=1)
        self.head = nn.Linear(6, 4)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        x = self.stem(x)
        return self.head((x + self.inner(self.norm(x).relu())).mean((2, 3)))


class Then(nn.Module):
    """A convolution, a function of its result (N, 4, 8, 8), and two outputs of what it gives."""

    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.function = nn.Conv2d(3, 4, 3, padding=1), function
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.function(self.first(x)).flatten(2).mean(2))


class Masked(nn.Module):
    """Self-attention in which no token sees the last one."""

    def __init__(self, mask):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Conv2d(3, 8, 2, 2), nn.Linear(8, 2)
        self.mask = mask

    def forward(self, x):
        tokens = self.embed(x).flatten(2).mT
        mask = torch.zeros(tokens.shape[1], tokens.shape[1]).bool()
        mask[:, -1] = True
        if self.mask == "filled":
            scores = (tokens @ tokens.mT).masked_fill(mask, -torch.inf)
            return self.head((scores.softmax(-1) @ tokens).mean(1))
        given = ~mask if self.mask == "bool" else torch.zeros(mask.shape).masked_fill(mask, -1e9)
        given = (
            torch.zeros(mask.shape).masked_fill(mask, -torch.inf) if self.mask == "inf" else given
        )
        q = tokens[:, None]
        return self.head(functional.scaled_dot_product_attention(q, q, q, given)[:, 0].mean(1))


@pytest.mark.parametrize("method", ["lrp:composite=epsilon", "attn-lrp"])
def test_a_convolution_may_be_read_by_a_batch_norm_and_by_another(method):
    module, pictures = Preactivated().eval().double(), noise(2, 3, 8, 8).double()
    found = relevance(module, pictures, 1, method)
    plain = relevance(module, pictures, 1, "gradient-x-input")
    torch.testing.assert_close(found, plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


NUMPYS = {
    "softmax": lambda x: x.softmax(axis=1),
    "log_softmax": lambda x: functional.log_softmax(torch.Tensor.flatten(x, 2), 1),
    "amax": lambda x: x * x.amax(axis=1, keepdims=True),
    "mean": lambda x: x.mean(axis=(2, 3), keepdims=True).relu(),
    "vector_norm": lambda x: x / torch.linalg.vector_norm(x, axis=1, keepdims=True),
}


@pytest.mark.parametrize("name", NUMPYS)
def test_numpys_keywords_mean_what_torchs_do(name):
    module, pictures = Then(NUMPYS[name]).eval().double(), noise(3, 3, 8, 8).double()
    together = explained(module, pictures, 1, "deeplift")
    for row, each in enumerate(together):
        (alone,) = explained(module, pictures[row : row + 1], 1, "deeplift")
        torch.testing.assert_close(alone.relevance, each.relevance)
        assert each.checks["completeness gap"] < 1e-9


@pytest.mark.parametrize("mask", ["filled", "bool", "inf", "low"])
@pytest.mark.parametrize("method", ["attn-lrp", "deeplift"])
def test_attention_may_be_masked_out(mask, method):
    (why,) = explained(Masked(mask).eval().double(), noise(1, 3, 4, 4).double(), 0, method)
    assert max(why.checks[name] for name in why.checks if "gap" in name) < 1e-9


def test_a_picture_brought_into_its_range_is_no_rectifier():
    class Clamped(Then):
        def forward(self, x):
            return super().forward(x.clamp(0, 1))

    pictures = 0.1 + 0.8 * torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for method in ("guided-backprop", "deconvolution"):
        found = relevance(Clamped(torch.relu).eval(), pictures, 0, method)
        torch.testing.assert_close(found, relevance(Then(torch.relu).eval(), pictures, 0, method))


def test_the_conservation_gap_of_a_picture_is_its_own():
    class Lossy(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 8, 3, bias=False), nn.Linear(8, 2, bias=False)

        def forward(self, x):
            return self.head(torch.cumprod(self.conv(x) + 1, -1).mean((2, 3)) - 0.3)

    module, pictures = Lossy().eval(), noise(8, 3, 8, 8)
    with pytest.warns(sw.errors.SeewhyWarning, match="has no rule for"):
        together = [
            each.checks["conservation gap"] for each in explained(module, pictures, 0, "lrp")
        ]
    for row, gap in enumerate(together):
        with pytest.warns(sw.errors.SeewhyWarning, match="has no rule for"):
            (alone,) = explained(module, pictures[row : row + 1], 0, "lrp")
        assert alone.checks["conservation gap"] == pytest.approx(gap, rel=1e-3)
