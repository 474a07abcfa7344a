"""captum 0.9.0 agrees on propagation, on the networks that it can take: plain modules in a row."""

import copy
import warnings

import captum.attr
import pytest
import torch
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule, GammaRule
from torch import nn

import seewhy as sw

TARGETS = [3, 1]
SAME = {torch.float64: 1e-8, torch.float32: 1e-4}  # of the map's maximum


def network(dtype, *, pooled=False, activation=nn.ReLU):
    torch.manual_seed(0)
    parts = [
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        activation(),
        nn.Conv2d(8, 12, 3, padding=1),
        activation(),
        nn.MaxPool2d(2) if pooled else nn.AvgPool2d(2),
        nn.Conv2d(12, 12, 3),
        activation(),
        nn.Flatten(),
        nn.Linear(12 * 36, 20),
        activation(),
        nn.Linear(20, 5),
    ]
    return nn.Sequential(*parts).eval().to(dtype)


class Flattening(nn.Module):
    """The same with no module for flattening, for which captum has no rule."""

    def __init__(self, parts):
        super().__init__()
        self.features, self.head = nn.Sequential(*parts[:7]), nn.Sequential(*parts[8:])

    def forward(self, inputs):
        return self.head(self.features(inputs).flatten(1))


def pictures(dtype):
    return torch.randn(len(TARGETS), 3, 32, 32, dtype=torch.float64).to(dtype)


def ours(module, inputs, method):
    found = sw.explain(sw.Model(module), inputs, TARGETS, method)
    return torch.stack([each.relevance for each in found])


def of_captum(kind, module, inputs, **options):
    """What a package gives, on a copy: it may leave its traces."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(copy.deepcopy(module)).attribute(inputs, target=TARGETS, **options).detach()


def assert_same(found, expected):
    assert found.dtype == expected.dtype
    largest = expected.abs().amax()
    assert largest > 0
    assert float((found - expected).abs().amax() / largest) <= SAME[expected.dtype]


in_both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@in_both_dtypes
@pytest.mark.parametrize("pooled", [False, True], ids=["average", "maximum"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("guided-backprop", captum.attr.GuidedBackprop),
        ("deconvolution", captum.attr.Deconvolution),
    ],
)
def test_relus_are_those_of_captum(method, kind, pooled, dtype):
    module, inputs = network(dtype, pooled=pooled), pictures(dtype)
    assert_same(ours(module, inputs, method), of_captum(kind, module, inputs))


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Softplus])
def test_deeplift_is_that_of_captum_without_max_pooling(activation):
    # With max pooling captum divides the difference among the places of both maxima otherwise.
    exact = network(torch.float64, activation=activation), pictures(torch.float64)
    baseline = torch.full_like(exact[1], 0.25)
    expected = of_captum(captum.attr.DeepLift, *exact, baselines=baseline)
    assert_same(ours(*exact, "deeplift:baseline=0.25"), expected)
    # In float32 captum's quotients of close numbers are noise; these are not.
    rounded = ours(exact[0].float(), exact[1].float(), "deeplift:baseline=0.25")
    assert_same(rounded, expected.float())


def test_deeplift_shap_is_that_of_captum():
    module, inputs = network(torch.float64), pictures(torch.float64)
    baselines = torch.stack([torch.full_like(inputs[0], value) for value in (-0.5, 0.0, 1.0)])
    found = of_captum(captum.attr.DeepLiftShap, module, inputs, baselines=baselines)
    assert_same(ours(module, inputs, "deeplift-shap:baseline=-0.5+0+1"), found)


@pytest.mark.parametrize(
    ("method", "rules"),
    [
        ("lrp:composite=epsilon,first=epsilon:1e-3,convolution=epsilon:1e-3,dense=epsilon:1e-3",
         lambda _: EpsilonRule(1e-3)),
        ("lrp:composite=epsilon,first=gamma:0.2,convolution=gamma:0.2",
         lambda part: GammaRule(0.2) if isinstance(part, nn.Conv2d) else EpsilonRule(1e-6)),
        ("lrp:composite=epsilon-plus",
         lambda part: Alpha1_Beta0_Rule() if isinstance(part, nn.Conv2d) else EpsilonRule(1e-6)),
    ],
    ids=["epsilon", "gamma", "z-plus"],
)  # fmt: skip
def test_lrp_is_that_of_captum_where_inputs_and_outputs_are_positive(method, rules):
    # captum raises weights whatever the sign of what goes in, and leaves biases as they are, which
    # are weights too (of an input that is one): the picture is positive here, the biases zero.
    module, inputs = Flattening(network(torch.float64, pooled=True)), pictures(torch.float64).abs()
    for part in module.eval().features:
        if isinstance(part, nn.Conv2d):
            nn.init.zeros_(part.bias)
    copied = copy.deepcopy(module)
    for part in copied.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.rule = rules(part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = captum.attr.LRP(copied).attribute(inputs, target=TARGETS).detach()
    found = ours(module, inputs, method)
    assert float((found - expected).abs().amax() / expected.abs().amax()) <= 1e-4  # stabilisers
