"""What each CAM of the family is: by hand on tiny networks, known answers, invariances, errors."""

import pytest
import torch
from small_cam import Small, about, at_features, noise, relevance, summed
from torch import nn
from torch.nn.functional import interpolate

import seewhy as sw
from seewhy.errors import MethodError
from seewhy.methods import cam_components
from seewhy.methods.cam import fuse
from seewhy.run import generator
from seewhy.testing import KINDS, check_method


@pytest.fixture
def module():
    return Small().eval()


# ---------------------------------------------------------------------- one pass


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
def test_grad_cam_plus_plus_is_its_formula_at_any_scale(module, scale):
    # Chattopadhay et al. 2018: alpha = g^2 / (2 g^2 + g^3 sum A), w = sum alpha relu(g). An epsilon
    # in the denominator shows where the gradients are small.
    module.classifier.weight.data *= scale
    activations, gradients = at_features(module, noise(2, 3, 8, 8), 2)
    g, a = gradients.double(), activations.double()
    alpha = g**2 / (2 * g**2 + g**3 * a.sum((2, 3), keepdim=True))
    alpha = torch.where(g > 0, alpha, 0)
    expected = summed((alpha * g).sum((2, 3)), a)
    found = relevance(module, noise(2, 3, 8, 8), 2, "grad-cam-plus-plus", layer="features")
    assert found[:, 0].numpy() == about(expected)


def test_grad_cam_plus_plus_has_no_pole_where_activations_are_negative():
    # 2 + g sum A = 0 for the channel of activation -2 and gradient 1: the formula divides by zero.
    module = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Flatten(), nn.Linear(8, 1)).eval()
    module[0].weight.data = torch.tensor([-0.5, 1.0]).reshape(2, 1, 1, 1)
    module[2].weight.data = torch.ones(1, 8)
    picture = torch.tensor([0.5, 0.5, 1, 2]).reshape(1, 1, 2, 2)
    found = relevance(module, picture, 1, "grad-cam-plus-plus", layer="0")
    # alpha is 1/2 for the first (sum -2 counts as 0) and 1/6 for the second channel, of 4 places
    assert found.numpy() == about((-0.5 * 4 / 2 + 4 / 6) * picture)


def test_xgrad_cam_of_rectified_maps_is_the_papers_and_conserves_each_channel(module):
    # Fu et al. 2020: w = sum g A / sum A, so that sum_xy w A = sum_xy g A (their sensitivity).
    pictures = noise(2, 3, 8, 8)
    activations, gradients = at_features(module, pictures, 2)
    whole = activations.sum((2, 3))
    weights = (gradients * activations).sum((2, 3)) / torch.where(whole > 0, whole, 1)
    found = relevance(module, pictures, 2, "xgrad-cam", layer="features")
    assert found[:, 0].numpy() == about(summed(weights, activations))
    assert found.sum((1, 2, 3)).numpy() == about((gradients * activations).sum((1, 2, 3)))


def test_xgrad_cam_stays_bounded_where_activations_cancel():
    # A channel of both signs that sums to (almost) nothing: sum g A / sum A would be 1e6.
    module = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(4, 1)).eval()
    nn.init.ones_(module[0].weight)
    module[2].weight.data = torch.tensor([[3.0, 1, 1, 1]])
    picture = torch.tensor([1.0, -1, 1, -1 + 1e-6]).reshape(1, 1, 2, 2)
    found = relevance(module, picture, 1, "xgrad-cam", layer="0")
    assert found.flatten().numpy() == about(1.5 * picture.flatten())  # the mean of 3, 1, 1, 1


def test_element_wise_is_the_positive_part_of_every_product(module):
    pictures = noise(2, 3, 8, 8)
    activations, gradients = at_features(module, pictures, 2)
    found = relevance(module, pictures, 2, "grad-cam-element-wise", layer="features")
    assert found[:, 0].numpy() == about((activations * gradients).relu().sum(1))


@pytest.mark.parametrize(
    "method",
    ["grad-cam-plus-plus", "xgrad-cam", "grad-cam-element-wise", "eigen-grad-cam", "finer-cam"],
)
def test_a_gradient_cam_is_one_forward_and_one_backward(module, method):
    (found,) = sw.explain(sw.Model(module), noise(1, 3, 8, 8), 2, method)
    assert (found.passes.forwards, found.passes.backwards, found.passes.replays) == (1, 1, 0)


@pytest.mark.parametrize("method", ["eigen-cam", "kpca-cam", "fem", "random-cam"])
def test_a_cam_of_activations_alone_is_one_forward_whatever_the_target(module, method):
    pictures = noise(1, 3, 8, 8)
    one, two = (sw.explain(sw.Model(module), pictures, k, method)[0] for k in (0, 3))
    assert torch.equal(one.relevance, two.relevance)
    assert (one.passes.forwards, one.passes.backwards, one.passes.replays) == (1, 0, 0)


# ---------------------------------------------------------------------- components


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("layer", ["features.1", "features"])  # 64 places x 6, and 16 x 10
def test_eigen_cam_is_the_projection_on_the_first_right_singular_vector(module, layer, centred):
    pictures = noise(3, 3, 8, 8)
    method = sw.EigenCAM(centred=centred)
    found = relevance(module, pictures, 2, method, layer=layer)[:, 0].flatten(1).double()
    depth = 2 if layer == "features.1" else 4
    for own, given in zip(found, module.features[:depth](pictures).detach(), strict=True):
        matrix = given.flatten(1).T.double()
        matrix = matrix - matrix.mean(0) if centred else matrix
        projection = matrix @ torch.linalg.svd(matrix, full_matrices=False)[2][0]
        energy = matrix.square().sum(1)
        projection *= torch.sign((projection * energy).sum())
        assert own.numpy() == about(projection)


def test_mirrored_activations_give_the_mirrored_map_with_the_same_sign():
    # cams.md: the sign of grad-cam flips in 23 of 50 mirrored activations.
    for seed in range(50):
        values = noise(1, 7, 5, 6, seed=seed)
        plain = cam_components.principal(values, centred=True).sum(1)
        mirrored = cam_components.principal(values.flip(3), centred=True).sum(1).flip(2)
        assert mirrored.numpy() == about(plain)


def test_eigen_cam_of_rectified_maps_is_never_negative(module):
    found = relevance(module, noise(4, 3, 8, 8), 2, "eigen-cam", layer="features")
    assert float(found.min()) >= -1e-6 * float(found.max())
    assert float(found.max()) > 0


def test_eigen_grad_cam_is_eigen_cam_of_activations_times_gradients(module):
    pictures = noise(2, 3, 8, 8)
    activations, gradients = at_features(module, pictures, 2)
    expected = cam_components.principal(activations * gradients, centred=False).sum(1)
    found = relevance(module, pictures, 2, "eigen-grad-cam", layer="features")
    assert found[:, 0].numpy() == about(expected)


def test_kernel_pca_with_a_linear_kernel_is_eigen_cam_with_centred_channels(module):
    pictures = noise(2, 3, 8, 8)
    plain = relevance(module, pictures, 2, "eigen-cam:centred=true", layer="features")
    found = relevance(module, pictures, 2, "kpca-cam:kernel=linear", layer="features")
    assert found.numpy() == about(plain, 1e-3)


def test_of_large_matrices_one_vector_is_found_and_it_is_the_first(monkeypatch):
    activations = noise(2, 30, 9, 10).relu()
    methods = [sw.KPCACAM(), sw.KPCACAM(kernel="rbf"), sw.EigenCAM(), sw.EigenCAM(centred=True)]
    dense = [each.combine(activations).sum(1) for each in methods]
    monkeypatch.setattr(cam_components, "DENSE", 4)
    for how, expected in zip(methods, dense, strict=True):
        assert how.combine(activations).sum(1).numpy() == about(expected, 1e-3), how


def test_kernel_pca_of_too_many_places_says_what_to_do():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(2 * 65 * 65, 2)).eval()
    with pytest.raises(MethodError, match=r"4,225: choose .* eigen-cam"):
        sw.explain(sw.Model(module), noise(1, 1, 65, 65), 0, "kpca-cam", layer="0")


def test_fem_counts_exceptional_places_with_the_channels_mean():
    # One channel, mean 1 and deviation sqrt(15): only the single 16 is 2 sigma above the mean. The
    # other channel is constant: by the rule every place is at its mean, and counts.
    values = torch.zeros(1, 2, 4, 4)
    values[0, 0, 1, 2], values[0, 1] = 16, 0.1
    expected = torch.full((4, 4), 0.1)
    expected[1, 2] += 1
    assert sw.FEM().combine(values).sum(1)[0].numpy() == about(expected)


# ---------------------------------------------------------------------- questions of their own


def test_smooth_grad_cam_plus_plus_without_noise_is_grad_cam_plus_plus(module):
    pictures = noise(2, 3, 8, 8)
    plain = relevance(module, pictures, 2, "grad-cam-plus-plus", layer="features")
    method = sw.SmoothGradCAMPlusPlus(samples=2, noise=1e-9)
    assert relevance(module, pictures, 2, method, layer="features").numpy() == about(plain)


def test_smooth_grad_cam_plus_plus_averages_powers_and_keeps_the_clean_activations(module):
    module.classifier.weight.data *= 1e4
    pictures, samples = noise(1, 3, 8, 8), 4
    (key,) = sw.Model(module).prepare(pictures).keys
    draw = generator(0, key, 102)
    spread = 2 * (pictures.max() - pictures.min())
    powers = torch.zeros(3, 1, 10, 4, 4, dtype=torch.float64)
    for _ in range(samples):
        noisy = pictures + spread * torch.randn(3, 8, 8, generator=draw)
        gradients = at_features(module, noisy, 2)[1].double()
        powers += torch.stack([gradients, gradients**2, gradients**3]) / samples
    activations = module.features(pictures).detach()
    skewed = powers[2] * activations.sum((2, 3), keepdim=True)
    beyond = (powers[0] > 0) & (skewed < -2 * powers[1])
    assert bool(beyond.any())  # the other side of the fraction's pole
    below = 2 * powers[1] + skewed.clamp(min=0)
    alpha = powers[1] / torch.where(below > 0, below, 1)
    expected = summed((alpha * powers[0].relu()).sum((2, 3)), activations)
    method = sw.SmoothGradCAMPlusPlus(samples=samples, noise=2.0)
    found = relevance(module, pictures, 2, method, layer="features")
    assert found[0].numpy() == about(expected)


def test_finer_cam_is_grad_cam_of_the_class_less_the_weighted_nearest_others(module):
    # The gradient is linear in the score: grad-cam of y less the weighted grad-cams of the others.
    pictures = noise(1, 3, 8, 8)
    logits = module(pictures)[0].detach()
    near = (logits - logits[2]).abs().argsort()[1:3]
    shares = logits.softmax(0)[near] / logits.softmax(0)[near].sum()
    each = [relevance(module, pictures, k, "grad-cam", layer="features") for k in range(5)]
    expected = each[2] - 0.6 * sum(
        share * each[k] for share, k in zip(shares, near.tolist(), strict=True)
    )
    method = sw.FinerCAM(alpha=0.6, similar=2)
    assert relevance(module, pictures, 2, method, layer="features").numpy() == about(expected)
    plain = relevance(module, pictures, 2, sw.FinerCAM(alpha=0.0), layer="features")
    assert plain.numpy() == about(each[2])


def test_finer_cam_of_two_classes_is_their_difference():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)).eval()
    pictures = noise(2, 1, 4, 4)
    one, two = (relevance(module, pictures, k, "grad-cam", layer="1") for k in (0, 1))
    assert relevance(module, pictures, 0, "finer-cam", layer="1").numpy() == about(one - two)


@pytest.mark.parametrize("method", ["finer-cam", "shapley-cam"])
def test_comparing_with_other_classes_needs_a_class(module, method):
    with pytest.raises(MethodError, match=f"{method} compares .* class number or name"):
        sw.explain(sw.Model(module), noise(1, 3, 8, 8), sw.targets.Margin(0, 1), method)


@pytest.mark.parametrize("residual", [False, True])
def test_shapley_cam_is_the_gradient_less_half_the_hessian_times_the_activations(residual):
    # By the whole Hessian, on a network whose head is curved.
    torch.manual_seed(3)
    body = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh())
    head = nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 4))
    module, picture = nn.Sequential(body, head).eval().double(), noise(1, 1, 4, 4).double()
    activations = body(picture).detach()

    def utility(given):
        logits = head(given.reshape(1, 3, 2, 2))[0]
        return logits[1] + logits.log_softmax(0)[1] if residual else logits[1]

    gradient = torch.autograd.functional.jacobian(utility, activations.flatten())
    hessian = torch.autograd.functional.hessian(utility, activations.flatten())
    weights = (gradient - hessian @ activations.flatten() / 2).reshape(1, 3, 4).mean(2)
    method = sw.ShapleyCAM(residual=residual)
    found = relevance(module, picture, 1, method, layer="0")
    assert found[0].numpy() == about(summed(weights, activations))
    assert float((weights - gradient.reshape(1, 3, 4).mean(2)).abs().max()) > 1e-3


def test_shapley_cam_of_plain_logits_is_grad_cam_on_a_network_of_relus(module):
    pictures = noise(2, 3, 8, 8)
    plain = relevance(module, pictures, 2, "grad-cam", layer="features")
    method = sw.ShapleyCAM(residual=False)
    assert relevance(module, pictures, 2, method, layer="features").numpy() == about(plain)


@pytest.mark.parametrize("kind", ["tokens", "segmentation", "embedding", "tupled"])
def test_shapley_cam_of_the_plain_target_applies_where_there_is_no_class(kind):
    # attention among them, whose fast form has no second derivative
    assert check_method("shapley-cam:residual=false", [kind]) == {kind: "applies"}


# ---------------------------------------------------------------------- several layers


@pytest.mark.parametrize("fusion", ["mean", "max", "product"])
def test_layers_are_fused_after_each_is_scaled(module, fusion):
    pictures = noise(2, 3, 8, 8)
    maps = [relevance(module, pictures, 2, "grad-cam", layer=k) for k in ("features.1", "features")]
    scaled = [each / each.abs().amax((2, 3), keepdim=True) for each in maps]
    scaled[1] = interpolate(scaled[1], (8, 8), mode="bilinear", align_corners=False)
    expected = {
        "mean": (scaled[0] + scaled[1]) / 2,
        "max": torch.maximum(*scaled),
        "product": scaled[0].relu() * scaled[1].relu(),
    }[fusion]
    method = f"layer-fusion:method=grad-cam,layer=features.1+features,fusion={fusion}"
    found = sw.explain(sw.Model(module), pictures, 2, method)
    assert torch.stack([each.relevance for each in found]).numpy() == about(expected)
    assert found[0].passes.forwards == 1
    assert found[0].layers == ("features.1", "features")


def test_a_layer_without_any_relevance_leaves_nothing_of_the_product():
    one, none = noise(2, 1, 4, 4), torch.zeros(2, 1, 2, 2)
    assert not fuse([one, none], "product").any()
    assert bool(torch.isfinite(fuse([one, none], "mean")).all())


def test_layer_fusion_runs_a_method_of_one_layer_once_for_each():
    # `cam` takes one layer: it is run for each, here the same one twice.
    kind = KINDS["plain"]
    model, pictures = kind.model(), kind.pictures()
    plain = sw.explain(model, pictures, 2, "cam")[0]
    method = sw.LayerFusion(method=sw.CAM(), layer=("relu2", "relu2"), fusion="mean")
    found = sw.explain(model, pictures, 2, method)[0]
    largest = plain.relevance.abs().max()
    assert found.relevance.numpy() == about(plain.relevance / largest)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("layer-fusion:method=gradient", "uses none"),
        ("layer-fusion:method=(grad-cam:layer=features)", "its own layers"),
        ("fem:k=-1", "0 or more"),
        ("finer-cam:similar=0", "above zero"),
        ("finer-cam:alpha=-1", "0 or more"),
        ("score-cam:channels=0", "above zero"),
        ("ss-cam:samples=0", "above zero"),
        ("ss-cam:noise=0", "above zero"),
        ("is-cam:steps=0", "above zero"),
        ("kpca-cam:gamma=0", "above zero"),
        ("smooth-grad-cam-plus-plus:noise=0", "above zero"),
    ],
)
def test_settings_without_sense_are_refused(spec, message):
    with pytest.raises(MethodError, match=message):
        sw.methods.as_method(spec)


def test_all_of_them_are_of_the_cam_family():
    known = sw.methods()
    for name in ("score-cam", "eigen-cam", "finer-cam", "fullgrad", "layer-fusion", "random-cam"):
        assert known[name].family == "cam"
