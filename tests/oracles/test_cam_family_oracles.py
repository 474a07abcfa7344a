"""The published packages agree with the CAM family where they follow the papers."""

import copy
from functools import cache

import pytest
import pytorch_grad_cam
import torch
import torchcam.methods
from pytorch_grad_cam.utils.model_targets import ClassifierOutputReST, ClassifierOutputTarget
from torch import nn

import seewhy as sw

CLASSES, TARGETS = 5, [3, 1]
LAYERS = pytest.mark.parametrize("layer", ["1", "4"])  # ReLUs: as fine as the picture, and coarser


@cache
def built():
    """An untrained network, no channel of which is dead and all of whose scores are positive."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 16),
        nn.ReLU(),
        nn.Linear(16, CLASSES),
    )
    nn.init.constant_(module[0].bias, 0.2)
    nn.init.normal_(module[3].running_mean, std=0.1)
    nn.init.constant_(module[8].bias, 3)
    return module.eval().double()


def network():
    return copy.deepcopy(built())


def pictures():
    draw = torch.Generator().manual_seed(1)
    return torch.randn(len(TARGETS), 3, 16, 16, generator=draw, dtype=torch.float64)


def ours(method, layer, module=None):
    model = sw.Model(module or network())
    found = sw.explain(model, pictures(), target=TARGETS, method=method, layer=layer)
    return torch.stack([each.relevance[0] for each in found])


def of_grad_cam(kind, layer, *, module=None, question=ClassifierOutputTarget, smooth=False):
    """The package's own sum over the channels, or their component, before all scaling."""
    module = module or network()
    part, targets = module.get_submodule(layer), [question(each) for each in TARGETS]
    with kind(module, [part]) as cam:
        cam(pictures(), targets)
        records = cam.activations_and_grads
        activations = records.activations[0].numpy()
        gradients = records.gradients[0].numpy() if records.gradients else None
        found = cam.get_cam_image(pictures(), part, targets, activations, gradients, smooth)
    return torch.as_tensor(found)


class Noting(pytorch_grad_cam.ShapleyCAM):
    """Keeps the weights, for which the package needs a graph that it uses up."""

    def get_cam_weights(self, *given):
        self.weights = torch.as_tensor(super().get_cam_weights(*given))
        self.activations_and_grads.gradients = []  # which it cannot release afterwards
        return self.weights.numpy()


def assert_same(found, expected, tolerance=1e-6):
    assert found.shape == expected.shape
    largest = expected.abs().amax()
    assert largest > 0
    assert float((found - expected).abs().amax() / largest) <= tolerance


@LAYERS
def test_xgrad_cam_is_that_of_both_packages(layer):
    # Both are right at rectified layers: sum g A / sum A, with an epsilon beside the sum.
    found = ours("xgrad-cam", layer)
    assert_same(found, of_grad_cam(pytorch_grad_cam.XGradCAM, layer), 1e-5)
    module = network()
    with torchcam.methods.XGradCAM(module, layer) as cam:
        (expected,) = cam(TARGETS, module(pictures()), normalized=False)
    assert_same(found.relu(), expected, 1e-5)


@LAYERS
def test_grad_cam_element_wise_is_that_of_grad_cam(layer):
    # This method is the package's own.
    expected = of_grad_cam(pytorch_grad_cam.GradCAMElementWise, layer)
    assert_same(ours("grad-cam-element-wise", layer), expected)


@LAYERS
@pytest.mark.parametrize(("scale", "agrees"), [(1e5, True), (1e-2, False)])
def test_grad_cam_plus_plus_is_that_of_grad_cam_where_its_epsilon_is_nothing(layer, scale, agrees):
    # grad-cam adds 1e-6 to 2 g^2 + g^3 sum A: next to nothing beside large gradients, and most of
    # it beside those of a trained network.
    module = network()
    module[8].weight.data *= scale
    expected = of_grad_cam(pytorch_grad_cam.GradCAMPlusPlus, layer, module=module)
    found = ours("grad-cam-plus-plus", layer, copy.deepcopy(module))
    gap = float((found - expected).abs().amax() / expected.abs().amax())
    assert (gap < 1e-4) == agrees


@LAYERS
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("eigen-cam:centred=true", pytorch_grad_cam.EigenCAM),
        ("eigen-grad-cam:centred=true", pytorch_grad_cam.EigenGradCAM),
        ("kpca-cam", pytorch_grad_cam.KPCA_CAM),
    ],
)
def test_components_are_those_of_grad_cam_but_for_their_sign(method, kind, layer):
    # grad-cam takes what sign numpy's (and scikit-learn's) decomposition happens to give.
    expected, found = of_grad_cam(kind, layer).double(), ours(method, layer)
    sign = torch.sign((expected * found).sum((1, 2), keepdim=True))
    assert_same(found, sign * expected, 1e-5)


@LAYERS
@pytest.mark.parametrize(
    ("method", "kind"),
    [("grad-cam", pytorch_grad_cam.GradCAM), ("xgrad-cam", pytorch_grad_cam.XGradCAM)],
)
def test_the_principal_component_is_eigen_smooth_of_grad_cam_but_for_its_sign(method, kind, layer):
    expected = of_grad_cam(kind, layer, smooth=True).double()
    found = ours(f"principal-component:centred=true,method=({method}:layer={layer})", None)
    sign = torch.sign((expected * found).sum((1, 2), keepdim=True))
    assert_same(found, sign * expected, 1e-5)


@LAYERS
def test_ablation_cam_is_that_of_grad_cam_for_positive_scores(layer):
    # grad-cam runs the whole network with one channel at zero; it divides by the score itself.
    expected = of_grad_cam(pytorch_grad_cam.AblationCAM, layer)
    assert_same(ours("ablation-cam", layer), expected, 1e-4)  # its scores are float32


def test_score_cam_is_that_of_both_packages_where_nothing_is_enlarged():
    # They enlarge maps by other rules (grad-cam aligns corners, torchcam scales before it
    # enlarges); at a layer as fine as the picture none of that matters.
    found = ours("score-cam", "1")
    assert_same(found, of_grad_cam(pytorch_grad_cam.ScoreCAM, "1"), 1e-4)
    module = network()
    with torchcam.methods.ScoreCAM(module, "1") as cam, torch.no_grad():
        module(pictures())
        (expected,) = cam(TARGETS, normalized=False)
    assert_same(found.relu(), expected, 1e-4)


@LAYERS
def test_shapley_cam_is_that_of_grad_cam_with_the_residual_softmax_target(layer):
    module = network()
    activations = module[: int(layer) + 1](pictures()).detach()
    with Noting(module, [module.get_submodule(layer)]) as cam:
        cam(pictures(), [ClassifierOutputReST(each) for each in TARGETS])
    expected = (cam.weights[:, :, None, None] * activations).sum(1)
    assert_same(ours("shapley-cam", layer), expected)


@LAYERS
def test_finer_cam_against_one_class_is_that_of_grad_cam(layer):
    # Against several classes grad-cam differentiates their weights too; a single one's is 1.
    module = network()
    logits = module(pictures()).detach()
    gaps = (logits - logits[range(2), TARGETS][:, None]).abs()
    near = gaps.argsort(1)[:, 1].tolist()
    targets = [
        pytorch_grad_cam.utils.model_targets.FinerWeightedTarget(own, [other], 0.7)
        for own, other in zip(TARGETS, near, strict=True)
    ]
    which = iter(targets)
    expected = of_grad_cam(pytorch_grad_cam.GradCAM, layer, question=lambda _: next(which))
    assert_same(ours(sw.FinerCAM(alpha=0.7, similar=1), layer), expected)
