"""Published packages agree, where they follow the paper: grad-cam, torchcam and captum."""

import copy
from functools import cache

import captum.attr
import cv2
import numpy as np
import pytest
import torch
import torchcam.methods
from pytorch_grad_cam import GradCAM, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import resnet18, vgg11

import seewhy as sw
from seewhy.run import generator

CLASSES = 10
TARGETS = [3, 7]
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-8}  # of the map's maximum

# Layers that no in-place operation follows: there the packages' aliased records are right too.
LAYERS = [
    ("resnet18", "layer4"),
    ("resnet18", "layer2"),
    ("vgg11", "features.19"),
    ("vgg11", "features.9"),
    ("plain", "5"),
    ("plain", "1"),
]
at_every_layer = pytest.mark.parametrize(
    ("name", "layer"), LAYERS, ids=["-".join(each) for each in LAYERS]
)
in_every_model = pytest.mark.parametrize("name", ["resnet18", "vgg11", "plain"])
in_both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@cache
def built(name):
    """An untrained network of CLASSES classes whose batch norms have statistics of their own."""
    torch.manual_seed(0)
    if name == "resnet18":
        module = resnet18(weights=None, num_classes=CLASSES)
    elif name == "vgg11":
        module = small_vgg11()
    else:
        module = nn.Sequential(
            nn.Conv2d(3, 8, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(16, 24, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(216, CLASSES),
        )
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.2)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
    return module.eval().requires_grad_(requires_grad=True)


def small_vgg11():
    """torchvision's vgg11 with a small classifier, which has 100 million weights otherwise."""
    with torch.device("meta"):
        module = vgg11(weights=None, num_classes=CLASSES)
        module.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, CLASSES)
        )
    module.to_empty(device="cpu")
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.normal_(part.bias, std=0.1)
    return module


def network(name, dtype=torch.float32):
    """A copy of the network, for a package may leave its traces on it."""
    return copy.deepcopy(built(name)).to(dtype)


def pictures(name, dtype=torch.float32):
    size = {"resnet18": 64, "vgg11": 64, "plain": 33}[name]
    return torch.randn(len(TARGETS), 3, size, size, dtype=torch.float64).to(dtype)


def ours(module, inputs, method, **options):
    """The raw maps of seewhy (N, C', h, w)."""
    found = sw.explain(sw.Model(module), inputs, target=TARGETS, method=method, **options)
    return torch.stack([each.relevance for each in found])


def assert_same(found, expected, dtype):
    expected = torch.as_tensor(expected).detach()
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == dtype
    largest = expected.abs().amax()
    assert largest > 0
    assert float((found - expected).abs().amax() / largest) <= TOLERANCE[dtype]


# ---------------------------------------------------------------------- grad-cam 1.5.7

GRAD_CAM = {"grad-cam": GradCAM, "hires-cam": HiResCAM, "layer-cam": LayerCAM}


def of_grad_cam(kind, module, inputs, layer):
    """What grad-cam gives in the end, and its own weighted sum before all scaling."""
    targets = [ClassifierOutputTarget(number) for number in TARGETS]
    part = module.get_submodule(layer)
    with kind(module, [part]) as cam:
        final = cam(inputs, targets)
        activations, gradients = (
            values[0].numpy()
            for values in (
                cam.activations_and_grads.activations,
                cam.activations_and_grads.gradients,
            )
        )
        return final, cam.get_cam_image(inputs, part, targets, activations, gradients, False)


@pytest.mark.parametrize("method", GRAD_CAM)
@at_every_layer
@in_both_dtypes
def test_one_layer_of_a_cnn_gives_the_map_of_grad_cam(method, name, layer, dtype):
    # grad-cam is right for a single layer of a CNN that nothing overwrites: it hooks activation and
    # gradient and sums as the papers say (eq. 1-2 of Grad-CAM, 4 of HiRes-CAM, 6-7 of LayerCAM).
    inputs = pictures(name, dtype)
    _, raw = of_grad_cam(GRAD_CAM[method], network(name, dtype), inputs, layer)
    found = ours(network(name, dtype), inputs, method, layer=layer)[:, 0]
    assert_same(found.clamp(min=0), torch.from_numpy(raw).clamp(min=0), dtype)
    assert_same(found, raw, dtype)


@pytest.mark.parametrize("method", GRAD_CAM)
@at_every_layer
def test_the_drawn_map_of_grad_cam_is_ours_after_its_scaling(method, name, layer):
    # What grad-cam hands out is rectified, min-max scaled, enlarged bilinearly, and scaled again:
    # done to our map, this gives the same picture.
    inputs = pictures(name)
    final, _ = of_grad_cam(GRAD_CAM[method], network(name), inputs, layer)
    found = ours(network(name), inputs, method, layer=layer)[:, 0].clamp(min=0)
    size = tuple(inputs.shape[2:])
    drawn = np.stack([min_max(cv2.resize(min_max(each.numpy()), size)) for each in found])
    assert_same(torch.from_numpy(drawn), final, torch.float32)


def min_max(values):
    values = values - values.min()
    return values / (1e-7 + values.max())


@pytest.mark.parametrize("method", GRAD_CAM)
def test_an_in_place_relu_after_the_layer_does_not_reach_the_map(method):
    # grad-cam is no oracle here: its record shares memory with what the ReLU overwrites, and its
    # Grad-CAM is wrong (the products of the others are zero there anyway). It is right on the same
    # network with ReLUs that are not in place.
    layer, inputs = "features.18", pictures("vgg11")
    separate = network("vgg11")
    for part in separate.modules():
        if isinstance(part, nn.ReLU):
            part.inplace = False
    _, right = of_grad_cam(GRAD_CAM[method], separate, inputs, layer)
    _, aliased = of_grad_cam(GRAD_CAM[method], network("vgg11"), inputs, layer)
    assert (np.abs(right - aliased).max() > 0.05 * np.abs(right).max()) == (method == "grad-cam")
    assert_same(ours(network("vgg11"), inputs, method, layer=layer)[:, 0], right, torch.float32)


# ---------------------------------------------------------------------- torchcam 0.5.0

TORCHCAM = {"grad-cam": torchcam.methods.GradCAM, "layer-cam": torchcam.methods.LayerCAM}


@pytest.mark.parametrize("method", TORCHCAM)
@at_every_layer
@in_both_dtypes
def test_one_layer_of_a_cnn_gives_the_map_of_torchcam(method, name, layer, dtype):
    # torchcam (it has no HiRes-CAM) is right for both of these at one layer: autograd.grad at the
    # layer's output, the papers' sums, a rectification; `normalized=False` leaves the scaling out.
    module, inputs = network(name, dtype), pictures(name, dtype)
    with TORCHCAM[method](module, layer) as cam:
        (expected,) = cam(TARGETS, module(inputs), normalized=False)
    found = ours(network(name, dtype), inputs, method, layer=layer)[:, 0]
    assert_same(found.clamp(min=0), expected, dtype)


@in_both_dtypes
def test_cam_is_that_of_torchcam(dtype):
    # torchcam's CAM multiplies the last feature maps with the classifier's own rows, as eq. 2 does,
    # and neither rectifies nor scales them when not asked to.
    module, inputs = network("resnet18", dtype), pictures("resnet18", dtype)
    with torchcam.methods.CAM(module, "layer4", "fc") as cam, torch.no_grad():
        module(inputs)
        (expected,) = cam(TARGETS, normalized=False)
    assert_same(ours(network("resnet18", dtype), inputs, "cam")[:, 0], expected, dtype)


# ---------------------------------------------------------------------- captum 0.9.0


@pytest.mark.parametrize("relu", [False, True])
@at_every_layer
@in_both_dtypes
def test_grad_cam_is_captums_layer_grad_cam(relu, name, layer, dtype):
    # captum's LayerGradCam is the paper's sum at the layer's own resolution, signed unless asked to
    # be rectified: exactly what seewhy gives.
    module, inputs = network(name, dtype), pictures(name, dtype)
    cam = captum.attr.LayerGradCam(module, module.get_submodule(layer))
    expected = cam.attribute(inputs, target=TARGETS, relu_attributions=relu)
    found = ours(network(name, dtype), inputs, "grad-cam", layer=layer)
    assert_same(found.clamp(min=0) if relu else found, expected, dtype)


@in_every_model
@in_both_dtypes
def test_the_gradient_is_captums_saliency(name, dtype):
    # captum's Saliency is one backward to the input, absolute by default as in the paper.
    inputs = pictures(name, dtype)
    saliency = captum.attr.Saliency(network(name, dtype))
    signed = saliency.attribute(inputs.clone(), target=TARGETS, abs=False)
    absolute = saliency.attribute(inputs.clone(), target=TARGETS, abs=True)
    module = network(name, dtype)
    assert_same(ours(module, inputs, "gradient"), signed, dtype)
    assert_same(ours(module, inputs, "gradient:power=absolute"), absolute, dtype)
    assert_same(ours(module, inputs, "gradient:power=squared"), signed.square(), dtype)


@in_every_model
@in_both_dtypes
def test_gradient_x_input_is_captums(name, dtype):
    # captum's InputXGradient is the product, nothing else.
    inputs = pictures(name, dtype)
    expected = captum.attr.InputXGradient(network(name, dtype)).attribute(
        inputs.clone(), target=TARGETS
    )
    assert_same(ours(network(name, dtype), inputs, "gradient-x-input"), expected, dtype)


PATHS = pytest.mark.parametrize(("steps", "baseline"), [(12, 0.0), (7, -0.4), (1, 0.0)])


@PATHS
@in_every_model
def test_integrated_gradients_are_captums(name, steps, baseline):
    # captum's default is the same Gauss-Legendre quadrature on the same straight path; with equal
    # steps even its error is the same, and multiplied or not the two differ by the way from the
    # baseline alone. (It rounds its weights to float32, so that it is no oracle for float64.)
    inputs = pictures(name)
    settings = {"target": TARGETS, "n_steps": steps, "method": "gausslegendre"}
    start = torch.full_like(inputs, baseline)
    module = network(name)
    expected, average = (
        captum.attr.IntegratedGradients(module, multiply_by_inputs=multiplied)
        .attribute(inputs.clone(), start, **settings)
        .float()
        for multiplied in (True, False)
    )
    method = sw.IntegratedGradients(steps=steps, baseline=baseline)
    found = ours(network(name), inputs, method)
    assert_same(found, expected, torch.float32)
    assert_same(found, average * (inputs - start), torch.float32)


@PATHS
@in_every_model
def test_integrated_gradients_are_those_of_a_loop_by_hand(name, steps, baseline):
    # Eq. 1 with the points and weights of numpy's Gauss-Legendre quadrature, one step at a time.
    inputs = pictures(name, torch.float64)
    module = network(name, torch.float64)
    total = torch.zeros_like(inputs)
    for point, weight in zip(*np.polynomial.legendre.leggauss(steps), strict=True):
        between = baseline + (point + 1) / 2 * (inputs - baseline)
        between.requires_grad_()
        score = module(between)[range(len(TARGETS)), TARGETS].sum()
        total += weight / 2 * torch.autograd.grad(score, between)[0]
    method = sw.IntegratedGradients(steps=steps, baseline=baseline)
    found = ours(network(name, torch.float64), inputs, method)
    assert_same(found, total * (inputs - baseline), torch.float64)


@pytest.mark.parametrize("memory", [1, 50_000_000])
def test_integrated_gradients_are_captums_whatever_the_memory(memory):
    # As above; one step at a time and many at once are the same sum.
    inputs = pictures("plain")
    expected = captum.attr.IntegratedGradients(network("plain")).attribute(
        inputs.clone(), target=TARGETS, n_steps=9
    )
    found = ours(network("plain"), inputs, "integrated-gradients:steps=9", memory=memory)
    assert_same(found, expected.float(), torch.float32)


@in_every_model
@in_both_dtypes
def test_smoothgrad_is_the_mean_of_gradients_at_its_noisy_pictures(name, dtype):
    # A loop by hand over the same noise: eq. 1 with a standard deviation of 0.15 of each picture's
    # own range. (captum draws its noise otherwise: see below.)
    module, inputs, samples = network(name, dtype), pictures(name, dtype), 3
    prepared = sw.Model(module).prepare(inputs)
    draws = [generator(5, key) for key in prepared.keys]
    total = torch.zeros_like(inputs)
    for _ in range(samples):
        noise = torch.stack([torch.randn(inputs[0].shape, generator=draw) for draw in draws])
        spread = 0.15 * (inputs.amax((1, 2, 3)) - inputs.amin((1, 2, 3)))[:, None, None, None]
        noisy = (inputs + spread * noise.to(dtype)).requires_grad_()
        score = module(noisy)[range(len(TARGETS)), TARGETS].sum()
        total += torch.autograd.grad(score, noisy)[0]
    found = ours(network(name, dtype), inputs, f"smoothgrad:samples={samples}", seed=5)
    assert_same(found, total / samples, dtype)


def test_smoothgrad_without_noise_is_captums_saliency():
    # In the limit of no noise every sample is the picture, and captum's signed gradient is right.
    inputs = pictures("plain", torch.float64)
    expected = captum.attr.Saliency(network("plain", torch.float64)).attribute(
        inputs.clone(), target=TARGETS, abs=False
    )
    method = sw.SmoothGrad(samples=4, noise=1e-12)
    found = ours(network("plain", torch.float64), inputs, method)
    assert_same(found, expected, torch.float64)


def test_smoothgrad_is_captums_noise_tunnel_within_its_noise():
    # captum's NoiseTunnel is right about the distribution (normal, of the given deviation): the two
    # means differ by their standard errors and no more. Noise of half the deviation, or noise that
    # is not centred, is far from 1.
    samples, noise = 300, 0.5
    inputs = pictures("plain", torch.float64)[:1]
    module = network("plain", torch.float64)
    deviation = noise * float(inputs.max() - inputs.min())
    tunnel = captum.attr.NoiseTunnel(captum.attr.Saliency(module))
    torch.manual_seed(1)
    settings = {"target": 3, "abs": False, "stdevs": deviation, "nt_samples": samples}
    mean = tunnel.attribute(inputs.clone(), nt_type="smoothgrad", **settings)
    variance = tunnel.attribute(inputs.clone(), nt_type="vargrad", **settings)
    method = sw.SmoothGrad(samples=samples, noise=noise)
    found = sw.explain(sw.Model(module), inputs, 3, method)[0].relevance
    squares = (found - mean[0]).square() / (2 * variance[0] / samples)
    assert 0.8 < float(squares.mean()) < 1.25
