"""Perturbation and surrogates against captum 0.9.0, where it follows the papers."""

import captum
import pytest
import torch
from captum._utils.models.linear_model import SkLearnLinearModel
from torch import nn

import seewhy as sw

TARGETS = [1, 3]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 5),
    ).eval()


@pytest.fixture(scope="module")
def pictures():
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def ours(network, pictures, method, **options):
    found = sw.explain(sw.Model(network), pictures, TARGETS, method, **options)
    return torch.stack([each.relevance for each in found])


def assert_same(found, expected, tolerance=1e-4):
    """captum repeats the number of a segment in every channel; ours is one map."""
    expected = expected.detach().mean(1, keepdim=True)
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) <= tolerance


def quadrants(side=12, parts=3):
    places = torch.arange(side) // (side // parts)
    return places[:, None] * parts + places


@pytest.mark.parametrize(("patch", "stride"), [(4, 4), (5, 2), (3, 3), (6, 5)])
@pytest.mark.parametrize("value", [0.0, 0.7])
def test_occlusion_is_captums(network, pictures, patch, stride, value):
    # captum slides the same windows, the last one cut at the edge, and averages overlaps.
    expected = captum.attr.Occlusion(network).attribute(
        pictures, (3, patch, patch), (3, stride, stride), baselines=value, target=TARGETS
    )
    method = sw.Occlusion(patch=patch, stride=stride, fill=f"constant:{value}")
    assert_same(ours(network, pictures, method), expected)


@pytest.mark.parametrize("value", [0.0, -0.3])
def test_feature_ablation_is_captums(network, pictures, value):
    expected = captum.attr.FeatureAblation(network).attribute(
        pictures, baselines=value, target=TARGETS, feature_mask=quadrants()[None, None]
    )
    method = sw.FeatureAblation(segments="patch:4", fill=f"constant:{value}")
    assert_same(ours(network, pictures, method), expected)


@pytest.mark.parametrize("name", ["shapley-sampling", "kernel-shap"])
def test_exact_shapley_values_are_captums(network, pictures, name):
    # captum's ShapleyValues goes through all orders: four segments have 24.
    expected = captum.attr.ShapleyValues(network).attribute(
        pictures, target=TARGETS, feature_mask=quadrants(parts=2)[None, None]
    )
    assert_same(ours(network, pictures, f"{name}:segments=patch:6"), expected)


@pytest.mark.parametrize("name", ["shapley-sampling", "kernel-shap"])
def test_sampled_shapley_values_tend_to_captums(network, pictures, name):
    expected = captum.attr.ShapleyValues(network).attribute(
        pictures, target=TARGETS, feature_mask=quadrants(parts=2)[None, None]
    )
    method = f"{name}:segments=patch:6,samples=2500,seconds=1000"
    assert_same(ours(network, pictures, method), expected, 0.05)


def test_kernel_shap_of_captum_tends_to_ours(network, pictures):
    # captum draws by the same kernel and fits without the constraint, which a large weight on the
    # whole picture and on nothing stands for.
    torch.manual_seed(1)
    expected = captum.attr.KernelShap(network).attribute(
        pictures,
        target=torch.tensor(TARGETS),
        feature_mask=quadrants(parts=2)[None, None],
        n_samples=800,
        perturbations_per_eval=50,
    )
    assert_same(ours(network, pictures, "kernel-shap:segments=patch:6"), expected, 0.05)


def test_lime_tends_to_captums(network, pictures):
    # captum asks for any kernel and any linear model: given ours, both tend to the same fit. It
    # weighs the samples after the kernel, as the paper does.
    def kernel(_, __, on, **___):
        distance = 1 - (on.sum() / on.numel()).sqrt()
        return (-distance.square() / 0.25**2).exp()

    torch.manual_seed(1)
    lime = captum.attr.Lime(network, SkLearnLinearModel("linear_model.LinearRegression"), kernel)
    expected = torch.cat(
        [
            lime.attribute(
                each[None],
                target=target,
                feature_mask=quadrants()[None, None],
                n_samples=800,
                perturbations_per_eval=50,
            )
            for each, target in zip(pictures, TARGETS, strict=True)
        ]
    )
    found = ours(network, pictures, "lime:segments=patch:4,samples=2000,ridge=1e-6")
    assert_same(found, expected, 0.12)
