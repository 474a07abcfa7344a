"""Paths, layers and noise beside captum 0.9.0, where it follows the papers."""

import copy

import captum.attr
import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.methods.baselines import baselines_of
from seewhy.model.prepare import Prepared
from seewhy.run import Run

TARGETS = [3, 1]


def network(dtype=torch.float64):
    """Smooth, so that every quadrature converges, with space, channels, and a layer without."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.Conv2d(8, 6, 3),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(54, 16),
        nn.Tanh(),
        nn.Linear(16, 5),
    )
    return module.eval().to(dtype)


def pictures(dtype=torch.float64):
    draw = torch.Generator().manual_seed(1)
    return torch.randn(2, 3, 15, 15, generator=draw, dtype=torch.float64).to(dtype)


def ours(method, **options):
    found = sw.explain(sw.Model(network()), pictures(), TARGETS, method, **options)
    return torch.stack([each.relevance for each in found])


def assert_same(found, expected, tolerance=1e-6):
    assert found.shape == expected.shape
    largest = float(expected.abs().max())
    assert largest > 0
    assert float((found - expected.detach()).abs().max()) <= tolerance * largest


def started(baseline):
    (start,) = baselines_of(sw.Model(network()), Prepared(pictures()), baseline, Run())
    return start


@pytest.mark.parametrize("baseline", ["mean", "blur:0.2", "noise", "-0.5"])
def test_integrated_gradients_from_any_baseline_are_captums(baseline):
    # captum takes the baselines as tensors, one for each picture, and its quadrature is the same.
    value = float(baseline) if baseline[-1].isdigit() and baseline[0] == "-" else baseline
    expected = captum.attr.IntegratedGradients(network()).attribute(
        pictures(), started(value), target=TARGETS, n_steps=11, method="gausslegendre"
    )
    assert_same(ours(sw.IntegratedGradients(11, value)), expected)


@pytest.mark.parametrize("layer", ["0", "3", "7"])
def test_layer_activation_is_captums(layer):
    # One forward and a hook; captum is right wherever nothing overwrites the layer's output.
    module = network()
    expected = captum.attr.LayerActivation(module, module.get_submodule(layer)).attribute(
        pictures()
    )
    assert_same(ours("layer-activation", layer=layer), expected, 1e-12)


@pytest.mark.parametrize("layer", ["0", "3", "7"])
def test_gradient_x_activation_is_captums(layer):
    module = network()
    method = captum.attr.LayerGradientXActivation(module, module.get_submodule(layer))
    expected = method.attribute(pictures(), target=TARGETS)
    assert_same(ours("gradient-x-activation", layer=layer), expected, 1e-12)


@pytest.mark.parametrize("layer", ["0", "3", "7"])
@pytest.mark.parametrize("baseline", [0.0, "mean"])
def test_internal_influence_is_captums(layer, baseline):
    # The mean of the layer's gradient with the same points and weights.
    module = network()
    method = captum.attr.InternalInfluence(module, module.get_submodule(layer))
    start = torch.zeros_like(pictures()) if baseline == 0 else started(baseline)
    expected = method.attribute(pictures(), start, target=TARGETS, n_steps=11)
    found = ours(sw.InternalInfluence(layer, 11, baseline))
    assert_same(found, expected)


@pytest.mark.parametrize("layer", ["0", "3"])
def test_conductance_is_captums_where_both_have_converged(layer):
    # captum multiplies each change by the gradient before it, at points that leave out both ends of
    # the path: it tends to the same integral like 1 / steps, the trapezoid here like its square.
    module = network()
    method = captum.attr.LayerConductance(module, module.get_submodule(layer))
    rough, fine = (
        method.attribute(pictures(), target=TARGETS, n_steps=steps, method="riemann_trapezoid")
        for steps in (100, 1600)
    )
    found = ours("conductance:steps=100", layer=layer)
    assert_same(found, fine, 5e-3)
    exact = ours("conductance:steps=400", layer=layer)
    assert float((found - exact).abs().max()) < float((rough - exact).abs().max()) / 10


@pytest.mark.parametrize("layer", ["0", "3", "7"])
def test_layer_integrated_gradients_are_captums(layer):
    # captum replaces the layer's output on the way, with the same points and weights.
    module = network()
    method = captum.attr.LayerIntegratedGradients(module, module.get_submodule(layer))
    start = started("mean")
    expected = method.attribute(pictures(), start, target=TARGETS, n_steps=11)
    assert_same(ours("layer-integrated-gradients:steps=11,baseline=mean", layer=layer), expected)


@pytest.mark.parametrize(
    ("kind", "name"), [("smoothgrad_sq", "smoothgrad-squared"), ("vargrad", "vargrad")]
)
def test_moments_of_noise_are_captums_within_their_noise(kind, name):
    # captum draws other numbers of the same distribution; the mean over the whole map, of many
    # samples, leaves a few per cent of chance.
    inputs, samples = pictures()[:1], 500
    deviation = 0.3 * float(inputs.max() - inputs.min())
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(network()))
    torch.manual_seed(1)
    expected = tunnel.attribute(
        inputs.clone(), nt_type=kind, nt_samples=samples, stdevs=deviation, target=3, abs=False
    )
    found = sw.explain(sw.Model(network()), inputs, 3, f"{name}:samples={samples},noise=0.3")
    relevance = found[0].relevance[None]
    assert float(relevance.mean() / expected.mean()) == pytest.approx(1, abs=0.05)
    both = torch.stack([relevance.flatten(), expected.flatten()])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_expected_gradients_are_captums_gradient_shap_within_their_noise():
    # captum's GradientShap without input noise is the same expectation; its draws are others (and
    # come from numpy's global generator), so that only the means of many agree.
    import numpy as np

    inputs = pictures()[:1]
    start = torch.cat([torch.full_like(inputs, 0.5), torch.full_like(inputs, -1)])
    np.random.seed(1)  # noqa: NPY002 - captum has no generator of its own
    torch.manual_seed(1)
    expected = captum.attr.GradientShap(network()).attribute(
        inputs, start, n_samples=3000, stdevs=0.0, target=3
    )
    method = sw.ExpectedGradients("0.5+-1", 3000)
    found = sw.explain(sw.Model(network()), inputs, 3, method)[0].relevance[None]
    assert_same(found, expected, 0.05)


def test_a_neuron_is_captums_neuron_integrated_gradients():
    # The same quadrature on the neuron's activation instead of a class's score.
    module = network()
    method = captum.attr.NeuronIntegratedGradients(module, module[2])
    expected = method.attribute(pictures(), (4, 1, 2), n_steps=11)
    found = sw.explain(
        sw.Model(copy.deepcopy(module)),
        pictures(),
        sw.targets.Neuron("2", 4, (1, 2)),
        "integrated-gradients:steps=11",
    )
    assert_same(torch.stack([each.relevance for each in found]), expected)
