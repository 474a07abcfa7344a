"""Answers that are known beforehand: from papers, and from what the formulas say about them."""

import pytest
import torch
from known import PICTURE_A, PICTURE_B, linear, network_a, network_b
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

import seewhy as sw
from seewhy.errors import MethodError

# ---------------------------------------------------------------------- the networks


class Pooled(nn.Module):
    """Convolutions, global average pooling, one linear layer: where every CAM is one."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 10, 3, padding=1, stride=2),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(10, 5)

    def forward(self, pictures):
        return self.classifier(self.features(pictures).mean((2, 3)))


class Densely(Pooled):
    """As in DenseNet, a functional ReLU stands between the features and the pooling."""

    def __init__(self):
        super().__init__()
        del self.features[3]

    def forward(self, pictures):
        activations = relu(self.features(pictures), inplace=True)
        return self.classifier(torch.flatten(adaptive_avg_pool2d(activations, 1), 1))


class Squeezed(Pooled):
    """As in SqueezeNet, a 1 x 1 convolution gives class maps, which are rectified and averaged."""

    def __init__(self):
        super().__init__()
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(10, 5, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, pictures):
        return self.classifier(self.features(pictures)).flatten(1)


class Reusing(nn.Module):
    """One ReLU module, called after each of two convolutions, in place."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3)
        self.two = nn.Conv2d(6, 6, 3)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(6, 5)

    def forward(self, pictures):
        middle = self.relu(self.two(self.relu(self.one(pictures))))
        return self.head(middle.tanh().mean((2, 3)))


def relevance(module, pictures, target, method, **options):
    """The raw maps (N, C', *space), and what the method checked, a dict a picture."""
    found = sw.explain(sw.Model(module), pictures, target, method, **options)
    return torch.stack([each.relevance for each in found])


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def about(expected, relative=1e-5):
    return pytest.approx(torch.as_tensor(expected).double().numpy(), rel=relative, abs=1e-5)


# ---------------------------------------------------------------------- cases from the literature


def test_integrated_gradients_of_network_a_tend_to_78_195_117():
    # The integrand jumps at a tenth of the way, so the error falls like 1 / steps.
    found = relevance(network_a(), PICTURE_A, 0, "integrated-gradients:steps=400")
    assert found[0].numpy() == about([78.0, 195, 117], 1e-3)


def test_the_gradient_of_network_b_is_0111_three_times():
    found = relevance(network_b(), PICTURE_B, 0, "gradient")
    assert found[0, 0].tolist() == [[0, 1, 1, 1]] * 3 + [[0] * 4]


def test_gradient_x_input_of_network_b_is_the_lrp_of_it_and_sums_to_54():
    # Epsilon-LRP of a ReLU network without biases in the way is gradient x input; here the biases
    # take no share either, and the sum is 54 by the case's own numbers.
    found = relevance(network_b(), PICTURE_B, 0, "gradient-x-input")
    assert found[0, 0].tolist() == [[0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0] * 4]
    assert float(found.sum()) == 54


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("layer", "expected"),
    [("0", [[11.25, 13.5], [20.25, 22.5]]), ("1", [[0.0, 4], [28, 32.5]])],
    ids=["convolution", "relu"],
)
def test_grad_cam_of_network_b(layer, expected, inplace):
    found = relevance(network_b(inplace=inplace), PICTURE_B, 0, "grad-cam", layer=layer)
    assert found[0, 0].tolist() == expected


class _First(nn.Module):
    def forward(self, x):
        return relu(relu(x[:, :1]) - 1 - relu(x[:, 1:]))


class _Second(nn.Module):
    def forward(self, x):
        return relu(relu(x[:, :1] - 1) - relu(x[:, 1:]))


@pytest.mark.parametrize("network", [_First, _Second])
@pytest.mark.parametrize(("steps", "error"), [(50, 1e-5), (401, 5e-3)])
def test_integrated_gradients_see_the_function_and_not_how_it_is_computed(network, steps, error):
    # Sundararajan et al. 2017, fig. 7. The gradient begins half-way: an even number of points has
    # none there and is exact, an odd number errs by half the weight of the one in the middle.
    pictures = torch.tensor([[3.0, 1.0]])
    found = relevance(network().eval(), pictures, 1, f"integrated-gradients:steps={steps}")
    assert found[0].numpy() == about([1.5, -0.5], error)


# ---------------------------------------------------------------------- class activation maps


def test_with_average_pooling_and_a_linear_layer_every_cam_is_cam_over_the_number_of_places():
    # score = bias + sum_k w_k mean(A_k), so dscore/dA_k = w_k / HW everywhere: Grad-CAM and
    # HiRes-CAM are sum_k w_k A_k / HW, which is CAM / HW.
    module, pictures = Pooled().eval(), noise(3, 3, 12, 16)
    maps = {
        name: relevance(module, pictures, 2, name, layer="features")
        for name in ("cam", "grad-cam", "hires-cam")
    }
    with torch.no_grad():
        by_hand = torch.einsum(
            "k,nkhw->nhw", module.classifier.weight[2], module.features(pictures)
        )
    places = 6 * 8
    assert maps["cam"].shape == (3, 1, 6, 8)
    assert maps["cam"][:, 0].numpy() == about(by_hand)
    assert maps["grad-cam"][:, 0].numpy() == about(by_hand / places)
    assert maps["hires-cam"][:, 0].numpy() == about(by_hand / places)


def test_the_parts_of_these_maps_sum_to_the_score_without_the_bias():
    module, pictures = Pooled().eval(), noise(3, 3, 12, 16)
    with torch.no_grad():
        expected = module(pictures)[:, 2] - module.classifier.bias[2]
    summed = relevance(module, pictures, 2, "hires-cam", layer="features").sum((1, 2, 3))
    averaged = relevance(module, pictures, 2, "cam").mean((1, 2, 3))
    assert summed.numpy() == about(expected)
    assert averaged.numpy() == about(expected)


@pytest.mark.parametrize("channels", [1, 4, 10, 99])
def test_cam_with_k_channels_uses_the_k_maps_of_highest_mean_activation(channels):
    module, pictures = Pooled().eval(), noise(3, 3, 12, 12)
    found = relevance(module, pictures, 2, f"cam:channels={channels}")
    with torch.no_grad():
        activations, weight = module.features(pictures), module.classifier.weight[2].detach()
    for own, given in zip(found, activations, strict=True):
        means = given.mean((1, 2)).tolist()
        highest = sorted(range(10), key=lambda k: means[k])[-channels:]
        assert own[0].numpy() == about((weight[highest, None, None] * given[highest]).sum(0))


def test_cam_of_a_densenet_is_that_of_the_rectified_maps():
    # Where a functional ReLU follows the layer, what is averaged is the positive part alone.
    module, pictures = Densely().eval(), noise(2, 3, 12, 12)
    with torch.no_grad():
        activations = module.features(pictures)
        assert bool((activations < 0).any())
        expected = torch.einsum("k,nkhw->nhw", module.classifier.weight[4], activations.relu())
    found = relevance(module, pictures, 4, "cam", layer="features")
    assert found[:, 0].numpy() == about(expected)


def test_cam_of_a_squeezenet_is_the_class_map_without_its_bias():
    module, pictures = Squeezed().eval(), noise(2, 3, 12, 12)
    weight = module.classifier[1].weight[:, :, 0, 0]
    target = int(module(pictures)[0].argmax())
    with torch.no_grad():
        expected = torch.einsum("k,nkhw->nhw", weight[target], module.features(pictures))
    found = relevance(module, pictures, target, "cam", layer="features")
    assert found[:, 0].numpy() == about(expected)


@pytest.mark.parametrize("name", ["squeezenet1_1", "densenet121"])
def test_cam_applies_to_the_networks_of_torchvision_that_average(name):
    models = pytest.importorskip("torchvision.models")
    module, pictures = models.get_model(name, weights=None).eval(), noise(1, 3, 64, 64)
    head = module.classifier[1] if name == "squeezenet1_1" else module.classifier
    with torch.no_grad():
        target = int(module(pictures).argmax())
        activations = module.features(pictures).relu()
        expected = torch.einsum("k,nkhw->nhw", head.weight.flatten(1)[target], activations)
    found = relevance(module, pictures, target, "cam")
    assert found[:, 0].numpy() == about(expected, 1e-4)


def test_cam_of_a_margin_is_the_difference_of_the_cams():
    module, pictures = Pooled().eval(), noise(2, 3, 12, 12)
    one, two = (relevance(module, pictures, target, "cam") for target in (1, 3))
    margin = relevance(module, pictures, sw.targets.Margin(1, 3), "cam")
    assert margin.numpy() == about(one - two)


def test_cam_does_not_apply_where_a_network_does_not_average():
    # VGG has two more layers between its last maps and its scores.
    vgg_like = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 8),
        nn.ReLU(),
        nn.Linear(8, 5),
    ).eval()
    model, pictures = sw.Model(vgg_like, name="vgg"), noise(1, 3, 12, 12)
    with pytest.raises(MethodError, match=r"cam does not apply to vgg at layer .*grad-cam"):
        sw.explain(model, pictures, 0, "cam")


@pytest.mark.parametrize("method", ["grad-cam", "hires-cam", "layer-cam"])
def test_several_layers_are_each_scaled_by_their_maximum_and_averaged_on_the_finest_grid(method):
    module, pictures = Pooled().eval(), noise(2, 3, 12, 16)
    fine, coarse = (
        relevance(module, pictures, 2, method, layer=layer) for layer in ("features.1", "features")
    )
    scaled = [each / each.abs().amax((2, 3), keepdim=True) for each in (fine, coarse)]
    scaled[1] = interpolate(scaled[1], (12, 16), mode="bilinear", align_corners=False)
    expected = (scaled[0] + scaled[1]) / 2
    for layers in (("features.1", "features"), ("features", "features.1")):
        found = relevance(module, pictures, 2, method, layer=layers)
        assert found.shape == (2, 1, 12, 16)
        assert found.numpy() == about(expected)


def test_layer_cam_next_to_the_input_is_as_fine_as_that_layer():
    # Jiang et al. 2021, eq. 6-7, by hand, at the first of all layers and at the first ReLU.
    module, pictures = Pooled().eval(), noise(2, 3, 12, 16)
    for layer, depth in (("features.0", 1), ("features.1", 2)):
        with torch.no_grad():
            activations = module.features[:depth](pictures)
        activations.requires_grad_()
        maps = module.features[depth:](activations.clone())
        scores = module.classifier(maps.mean((2, 3)))[:, 2]
        (gradients,) = torch.autograd.grad(scores.sum(), activations)
        expected = (gradients.relu() * activations).sum(1, keepdim=True).detach()
        found = relevance(module, pictures, 2, "layer-cam", layer=layer)
        assert found.shape == (2, 1, 12, 16)
        assert found.numpy() == about(expected)


def test_a_module_that_is_called_twice_has_two_maps():
    # relu#0 is the first call and relu (or relu#1) the last; HiRes-CAM of each, by hand.
    module, pictures = Reusing().eval(), noise(2, 3, 12, 12)
    first = module.one(pictures).relu()
    last = module.two(first).relu()
    score = module.head(last.tanh().mean((2, 3)))[:, 2].sum()
    for layer, activations in (("relu#0", first), ("relu#1", last), ("relu", last)):
        (gradients,) = torch.autograd.grad(score, activations, retain_graph=True)
        expected = (gradients * activations).sum(1).detach()
        found = relevance(module, pictures, 2, "hires-cam", layer=layer)
        assert found[:, 0].numpy() == about(expected)


# ---------------------------------------------------------------------- gradients and paths


def test_integrated_gradients_of_a_linear_model_are_exact_with_one_step():
    # sum_i w_i x_i + b: the gradient is w everywhere, so w (x - x0) for any number of steps.
    module = linear([[3.0, -2, 0.5], [1, 1, 1]], [7.0, -1]).eval()
    pictures = torch.tensor([[2.0, 5, -4], [0, 1, 8]])
    method = sw.IntegratedGradients(steps=1, baseline=2.0)
    found = relevance(module, pictures, 0, method)
    assert found.tolist() == (torch.tensor([3.0, -2, 0.5]) * (pictures - 2)).tolist()


def test_gradient_x_input_of_a_relu_network_without_biases_sums_to_the_score():
    # Such a network is positively homogeneous, f(ax) = a f(x), so x . grad f(x) = f(x) (Euler).
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, bias=False),
        nn.LeakyReLU(0.1),
        nn.Flatten(),
        nn.Linear(72, 5, bias=False),
    ).eval()
    pictures = noise(3, 3, 12, 12)
    found = relevance(module, pictures, 1, "gradient-x-input")
    assert found.sum((1, 2, 3)).numpy() == about(module(pictures)[:, 1].detach())


def test_the_completeness_gap_is_the_missing_share_of_the_difference():
    # One step is the gradient half-way, which misses; what it misses is in the checks.
    pictures, baseline = noise(2, 3, 12, 12), 0.3
    module = Densely().eval()
    method = sw.IntegratedGradients(steps=1, baseline=baseline)
    found = sw.explain(sw.Model(module), pictures, 1, method)
    with torch.no_grad():
        difference = (module(pictures) - module(torch.full_like(pictures, baseline)))[:, 1]
    for each, wanted in zip(found, difference.tolist(), strict=True):
        gap = abs(float(each.relevance.double().sum()) - wanted) / abs(wanted)
        assert gap > 0.01
        assert each.checks == {"completeness gap": pytest.approx(gap, rel=1e-3)}


def test_the_completeness_gap_closes_with_more_steps():
    module, pictures = Pooled().eval(), noise(1, 3, 12, 12)
    gaps = [
        sw.explain(sw.Model(module), pictures, 1, sw.IntegratedGradients(steps))[0].checks[
            "completeness gap"
        ]
        for steps in (2, 20, 400)
    ]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3


# ---------------------------------------------------------------------- noise


def test_smoothgrad_of_a_linear_model_is_its_gradient():
    module = nn.Sequential(nn.Flatten(), linear([[3.0, -2, 0.5, 8], [1, 1, 1, 1]], [7.0, -1]))
    found = relevance(module.eval(), noise(2, 1, 2, 2), 0, "smoothgrad:samples=4,noise=0.7")
    assert found.tolist() == [[[[3, -2], [0.5, 8]]]] * 2


def test_smoothgrad_follows_from_its_seed():
    module, pictures = Pooled().eval(), noise(2, 3, 12, 12)
    one, again, other = (
        relevance(module, pictures, 1, "smoothgrad:samples=3", seed=seed) for seed in (4, 4, 5)
    )
    assert torch.equal(one, again)
    assert not torch.allclose(one, other, rtol=1e-2)


def test_smoothgrad_of_a_picture_does_not_depend_on_its_batch():
    module, pictures = Pooled().eval(), noise(3, 3, 12, 12)
    method = "smoothgrad:samples=3"
    together = relevance(module, pictures, 1, method)
    apart = torch.cat([relevance(module, pictures[i : i + 1], 1, method) for i in (2, 0, 1)])
    assert apart.numpy() == about(together[[2, 0, 1]])


def test_smoothgrad_of_grad_cam_is_the_mean_of_maps_at_the_layer():
    # With almost no noise it is the map itself, at the layer's own resolution.
    module, pictures = Pooled().eval(), noise(2, 3, 12, 16)
    plain = relevance(module, pictures, 1, "grad-cam:layer=features")
    method = "smoothgrad:method=(grad-cam:layer=features),samples=4,noise=1e-7"
    found = relevance(module, pictures, 1, method)
    assert found.shape == plain.shape == (2, 1, 6, 8)
    assert found.numpy() == about(plain, 1e-3)
