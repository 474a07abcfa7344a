"""A network whose gradients exist everywhere, and short ways to explain it."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.methods.baselines import baselines_of
from seewhy.model.prepare import Prepared
from seewhy.run import Run


class Square(nn.Module):
    """(2 x1 + x2)^2."""

    def forward(self, x):
        return (2 * x[:, :1] + x[:, 1:]).square()


def smooth_network(dtype=torch.float32):
    """Two convolutions with tanh: gradients exist everywhere."""
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(6, 8, 3, stride=2),
            nn.Tanh(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 5),
        )
        .eval()
        .to(dtype)
    )


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def explained(module, pictures, target, method, **options):
    return sw.explain(sw.Model(module), pictures, target, method, **options)


def relevance(module, pictures, target, method, **options):
    return torch.stack(
        [e.relevance for e in explained(module, pictures, target, method, **options)]
    )


def about(expected, relative=1e-5, absolute=1e-5):
    return pytest.approx(
        torch.as_tensor(expected).detach().double().numpy(), rel=relative, abs=absolute
    )


def bound(model, pictures, baseline, **options):
    prepared = pictures if isinstance(pictures, Prepared) else Prepared(pictures)
    return baselines_of(model, prepared, baseline, Run(**options))
