"""zennit 0.5.1 agrees on propagation, in float64, on the networks for which it has canonizers.

Not compared, for there it does otherwise than the papers, or than the network:
- a batch norm's eps stays in place after the norm is merged, and changes what the network computes:
  here eps is negligible;
- averages and residual sums have a stabiliser of their own, 1e-6 of a unit, where the proportional
  rule needs none: here it is negligible;
- excitation backpropagation lets biases excite, and inputs below zero by weights below zero, where
  Zhang et al. 2016 have activations that are positive and weights that are: here zennit is told to
  leave biases out, and the pictures are positive.
"""

import copy
import functools

import pytest
import torch
import zennit.composites
import zennit.layer
import zennit.rules
import zennit.torchvision
import zennit.types
from torch import nn
from torchvision.models import resnet18, vgg11
from zennit.attribution import Gradient

import seewhy as sw

TARGETS = [3, 1]
SAME = 1e-10  # of the map's maximum
NEGLIGIBLE = 1e-30

LRP = {
    "lrp": zennit.composites.EpsilonPlusFlat,
    "lrp:composite=epsilon-plus": zennit.composites.EpsilonPlus,
    "lrp:composite=epsilon-alpha2-beta1": zennit.composites.EpsilonAlpha2Beta1,
    "lrp:composite=epsilon-alpha2-beta1-flat": zennit.composites.EpsilonAlpha2Beta1Flat,
    "lrp:composite=epsilon-gamma-box,first=z-box:-3:2": functools.partial(
        zennit.composites.EpsilonGammaBox, low=torch.tensor(-3.0), high=torch.tensor(2.0)
    ),
}
AT_RELUS = {
    "guided-backprop": zennit.composites.GuidedBackprop,
    "deconvolution": zennit.composites.DeconvNet,
}


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 12, 3, groups=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 36, 20),
        nn.ReLU(),
        nn.Linear(20, 5),
    )


def with_norms(build):
    """A network of torchvision whose batch norms are as if it had been trained."""
    module = build(num_classes=10)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps = NEGLIGIBLE
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 2)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.2)
    return module


NETWORKS = {
    "plain": (plain, None),
    "resnet18": (lambda: with_norms(resnet18), zennit.torchvision.ResNetCanonizer),
    "vgg11": (
        lambda: with_norms(functools.partial(vgg11, init_weights=False)),
        zennit.torchvision.VGGCanonizer,
    ),
}
networks = pytest.mark.parametrize(
    "network", ["plain", "resnet18", pytest.param("vgg11", marks=pytest.mark.slow)], scope="module"
)


@pytest.fixture(scope="module")
def pair(network):
    """The network, its twin that is left to zennit, and what zennit needs to take it."""
    torch.manual_seed(0)
    build, canonizer = NETWORKS[network]
    module = build().eval().double()
    return module, copy.deepcopy(module), [] if canonizer is None else [canonizer()]


def pictures():
    drawn = torch.randn(len(TARGETS), 3, 32, 32, generator=torch.Generator().manual_seed(1))
    return drawn.clamp(-3, 2).double()


def of_zennit(composite, twin, canonizers, inputs, *, relevance, **options):
    """relevance: begin with the score, as LRP does; else with one, as a gradient."""
    settled = [zennit.types.AvgPool, zennit.layer.Sum] if relevance or options else []
    if settled:
        norm = zennit.rules.Norm(NEGLIGIBLE)
        options = {**options, "layer_map": [(each, norm) for each in settled]}
    with Gradient(twin, composite(canonizers=canonizers, **options)) as attributor:
        with torch.no_grad():
            one = torch.eye(twin(inputs).shape[1], dtype=inputs.dtype)[TARGETS]
        return attributor(inputs, lambda out: out * one if relevance else one)[1].detach()


def ours(module, inputs, method):
    found = sw.explain(sw.Model(module), inputs, TARGETS, method)
    return torch.stack([each.relevance for each in found])


def assert_same(found, expected):
    largest = float(expected.abs().amax())
    assert largest > 0
    assert float((found - expected).abs().amax()) <= SAME * largest


@networks
@pytest.mark.parametrize("method", LRP)
def test_composites_of_lrp_are_those_of_zennit(pair, method):
    module, *rest = pair
    expected = of_zennit(LRP[method], *rest, pictures(), relevance=True)
    assert_same(ours(module, pictures(), method), expected)


@networks
@pytest.mark.parametrize("method", AT_RELUS)
def test_relus_are_those_of_zennit(pair, method):
    module, *rest = pair
    expected = of_zennit(AT_RELUS[method], *rest, pictures(), relevance=False)
    assert_same(ours(module, pictures(), method), expected)


@networks
def test_excitation_backprop_is_that_of_zennit(pair):
    module, *rest = pair
    inputs, kind = pictures().abs(), zennit.composites.ExcitationBackprop
    expected = of_zennit(kind, *rest, inputs, relevance=False, zero_params="bias")
    found = ours(module, inputs, "excitation-backprop:layer=input")
    assert_same(found, expected.sum(1, keepdim=True))
