"""A small network, and what its CAMs are by autograd alone."""

import pytest
import torch
from torch import nn

import seewhy as sw


class Small(nn.Module):
    """Convolutions, two linear layers: what follows `features` is not linear in it."""

    def __init__(self, *, bias=True):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 10, 3, padding=1, stride=2, bias=bias),
            nn.ReLU(inplace=True),
        )
        self.hidden = nn.Linear(10 * 16, 12, bias=bias)
        self.classifier = nn.Linear(12, 5, bias=bias)

    def head(self, activations):
        return self.classifier(self.hidden(activations.flatten(1)).relu())

    def forward(self, pictures):
        return self.head(self.features(pictures))


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def relevance(module, pictures, target, method, **options):
    found = sw.explain(sw.Model(module), pictures, target, method, **options)
    return torch.stack([each.relevance for each in found])


def about(expected, relative=1e-4):
    expected = torch.as_tensor(expected).detach().double()
    return pytest.approx(expected.numpy(), rel=relative, abs=1e-5 * float(expected.abs().max()))


def at_features(module, pictures, target):
    """Activations and gradients after the convolutions, by autograd alone."""
    activations = module.features(pictures).detach().requires_grad_()
    score = module.head(activations)[:, target].sum()
    return activations.detach(), torch.autograd.grad(score, activations)[0]


def summed(weights, activations):
    return torch.einsum("nk,nkhw->nhw", weights.double(), activations.double())
