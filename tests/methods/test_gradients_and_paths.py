"""Baselines, paths and layers: what their papers say, on networks small enough to know."""

import math

import pytest
import torch
from known import linear, network_a
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.errors import LayerError, MethodError, NoSpaceError, PictureError, SeewhyWarning
from seewhy.methods import as_method
from seewhy.methods.baselines import baselines_of, smoothed
from seewhy.methods.path_adaptive import _GuidedPath
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


# ---------------------------------------------------------------------- baselines


def bound(model, pictures, baseline, **options):
    prepared = pictures if isinstance(pictures, Prepared) else Prepared(pictures)
    return baselines_of(model, prepared, baseline, Run(**options))


IDENTITY = sw.Model(nn.Identity())
NORMALISED = sw.Preprocess((6, 8), mean=(0.5, 0.4, 0.3), std=(0.5, 0.2, 0.1))


def test_black_and_white_are_what_the_preprocessing_makes_of_them():
    model = sw.Model(nn.Identity(), NORMALISED)
    picture = model.prepare(Image.effect_noise((20, 30), 80).convert("RGB"))
    black, white = bound(model, picture, "black+white")
    colours = [(-0.5 / 0.5, 0.5 / 0.5), (-0.4 / 0.2, 0.6 / 0.2), (-0.3 / 0.1, 0.7 / 0.1)]
    for channel, (low, high) in enumerate(colours):
        assert black[0, channel].numpy() == about(torch.full((6, 8), low))
        assert white[0, channel].numpy() == about(torch.full((6, 8), high))


def test_black_of_a_tensor_is_that_of_the_models_preprocessing_at_any_size():
    model = sw.Model(nn.Identity(), NORMALISED)
    for shape in ((2, 3, 6, 8), (2, 3, 5, 4)):
        (black,) = bound(model, noise(*shape), "black")
        assert black.shape == shape
        assert black[:, :, 2, 3].numpy() == about([[-1.0, -2.0, -3.0]] * 2)


def test_without_a_preprocessing_pictures_are_scaled_to_0_and_1():
    model = sw.Model(nn.Identity())
    with pytest.warns(SeewhyWarning, match="no preprocessing"):
        picture = model.prepare(Image.effect_noise((8, 8), 80).convert("RGB"))
    black, white = bound(model, picture, "black+white")
    assert float(black.abs().max()) == 0
    assert float((white - 1).abs().max()) == 0


def test_where_the_preprocessing_is_unknown_black_is_0_and_white_the_maximum_and_it_is_said():
    pictures = noise(2, 3, 4, 4)
    with pytest.warns(SeewhyWarning, match="preprocessing of Identity is not known: white"):
        (white,) = bound(IDENTITY, pictures, "white")
    assert white.flatten(1)[:, 0].tolist() == pictures.flatten(1).amax(1).tolist()
    with pytest.warns(SeewhyWarning, match="black is taken to be 0"):
        (black,) = bound(IDENTITY, pictures, "black")
    assert not bool(black.any())


def test_the_mean_is_that_of_each_channel_and_of_all_values_of_a_flat_input():
    pictures = noise(2, 3, 4, 5)
    (mean,) = bound(IDENTITY, pictures, "mean")
    assert mean[:, :, 3, 2].numpy() == about(pictures.mean((2, 3)))
    assert bound(IDENTITY, torch.tensor([[1.0, 2, 6]]), "mean").tolist() == [[[3, 3, 3]]]


@pytest.mark.parametrize("shape", [(2, 3, 20), (2, 3, 12, 20), (2, 3, 6, 7, 8)])
def test_a_blurred_baseline_is_the_picture_averaged_with_gaussian_weights(shape):
    pictures = noise(*shape)
    (found,) = bound(IDENTITY, pictures, "blur:0.2")
    side, at = 0.2 * min(shape[2:]), tuple(size // 2 for size in shape[2:])
    weight = torch.ones(shape[2:])
    for axis, (size, middle) in enumerate(zip(shape[2:], at, strict=True)):
        own = ((torch.arange(size) - middle) / side).square().div(-2).exp()
        weight = weight * own.reshape([-1 if axis == each else 1 for each in range(len(at))])
    expected = (pictures * weight).flatten(2).sum(2) / weight.sum()
    assert found[(slice(None), slice(None), *at)].numpy() == about(expected)


def test_blur_keeps_what_is_constant_and_none_is_the_picture():
    assert smoothed(torch.full((1, 2, 5, 5), 3.0), 2.0).numpy() == about(
        torch.full((1, 2, 5, 5), 3.0)
    )
    assert torch.equal(smoothed(noise(1, 2, 5, 5), 0), noise(1, 2, 5, 5))


def test_noise_lies_in_the_pictures_range_and_follows_from_the_seed_and_the_picture():
    pictures = noise(2, 3, 16, 16) * torch.tensor([1.0, 9]).reshape(2, 1, 1, 1)
    one, other = bound(IDENTITY, pictures, "noise+noise", seed=3)
    for own, picture in zip(one, pictures, strict=True):
        low, high = float(picture.min()), float(picture.max())
        assert low <= float(own.min()) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < float(own.max()) <= high
    assert not torch.equal(one, other)
    again = bound(IDENTITY, pictures.flip(0), "noise", seed=3)[0].flip(0)
    assert torch.equal(one, again)
    assert not torch.equal(one, bound(IDENTITY, pictures, "noise", seed=4)[0])


def test_another_picture_goes_through_the_same_preprocessing(tmp_path):
    Image.new("RGB", (40, 30), (51, 102, 255)).save(tmp_path / "empty.png")
    model = sw.Model(nn.Identity(), NORMALISED)
    (found,) = bound(model, noise(2, 3, 6, 8), str(tmp_path / "empty.png"))
    assert found.shape == (2, 3, 6, 8)
    expected = [(0.2 - 0.5) / 0.5, (0.4 - 0.4) / 0.2, (1 - 0.3) / 0.1]
    assert found[1, :, 2, 2].numpy() == about(expected, absolute=1e-4)
    with pytest.raises(MethodError, match="give a picture of its size"):
        bound(model, noise(1, 3, 5, 5), str(tmp_path / "empty.png"))
    with pytest.raises(PictureError, match="does not exist"):
        bound(model, noise(1, 3, 6, 8), str(tmp_path / "missing.png"))


@pytest.mark.parametrize(
    "baseline",
    [0.5, -2, "black", "white+black", "blur:0.05", "mean+0.5+noise", "../some/where.png"],
)
def test_a_baseline_is_a_setting_that_is_written_and_read(baseline):
    for cls in (sw.IntegratedGradients, sw.GuidedIG, sw.ExpectedGradients, sw.Conductance):
        how = cls(baseline=baseline)
        assert as_method(str(how)) == how
        assert as_method(f"smoothgrad:method=({how})").method == how


@pytest.mark.parametrize(
    ("baseline", "message"),
    [
        ("blak", "did you mean black"),
        ("", "there is no baseline ''"),
        ("black:3", "there is no baseline"),
        ("blur:0", "blur:0.1, a share"),
        ("blur:wide", "blur:0.1, a share"),
        ("black+", "there is no baseline ''"),
        (" black", "there is no baseline"),
        ("0.5", "give it as a number"),
        ("a,b.png", "commas and brackets"),
        (float("nan"), "finite"),
        (True, "give a number"),
        (None, "give a number"),
    ],
)
def test_what_is_no_baseline_is_refused_with_what_is(baseline, message):
    with pytest.raises(MethodError, match=message):
        sw.IntegratedGradients(baseline=baseline)


def test_a_flat_input_has_nothing_to_blur():
    with pytest.raises(NoSpaceError, match="baseline=mean"):
        explained(network_a(), torch.ones(1, 3), 0, "integrated-gradients:baseline=blur")


# ---------------------------------------------------------------------- integrated gradients


def test_several_baselines_are_averaged():
    module, pictures = smooth_network(), noise(2, 3, 10, 10)
    one, two = (
        relevance(module, pictures, 1, sw.IntegratedGradients(9, baseline))
        for baseline in (0.5, "mean")
    )
    both = explained(module, pictures, 1, sw.IntegratedGradients(9, "0.5+mean"))
    assert torch.stack([e.relevance for e in both]).numpy() == about((one + two) / 2)
    assert all(e.checks["completeness gap"] < 1e-3 for e in both)


def test_the_map_sums_to_what_the_score_is_more_than_that_of_its_baseline():
    module, pictures = smooth_network(torch.float64), noise(2, 3, 10, 10).double()
    for baseline in ("mean", "blur:0.2", "noise", -1.0):
        found = explained(module, pictures, 1, sw.IntegratedGradients(30, baseline))
        (start,) = bound(sw.Model(module), pictures, baseline)
        with torch.no_grad():
            difference = (module(pictures) - module(start))[:, 1]
        summed = torch.stack([e.relevance.sum() for e in found])
        assert summed.numpy() == about(difference, 1e-6)


def test_steps_are_doubled_until_the_gap_is_closed_for_each_picture_by_itself():
    # Network A's gradient jumps once on the way, so the error falls like 1 / steps.
    pictures = torch.tensor([[20.0, 50, 30], [0, 1, 0]])
    method = sw.IntegratedGradients(steps=3, gap=0.001)
    first, second = explained(network_a(), pictures, 0, method)
    assert first.checks["completeness gap"] <= 0.001
    steps = first.checks["steps"]
    assert math.log2(steps / 3) % 1 == 0
    assert steps > 3
    assert second.checks["steps"] == 3  # there the network is linear
    (half,) = explained(network_a(), pictures[:1], 0, sw.IntegratedGradients(int(steps) // 2))
    assert half.checks["completeness gap"] > 0.001
    (same,) = explained(network_a(), pictures[:1], 0, sw.IntegratedGradients(int(steps)))
    assert torch.equal(first.relevance, same.relevance)
    (alone,) = explained(network_a(), pictures[:1], 0, method)
    assert torch.equal(first.relevance, alone.relevance)


def test_a_gap_that_does_not_close_within_1024_steps_is_said():
    method = sw.IntegratedGradients(steps=600, gap=1e-9)
    with pytest.warns(SeewhyWarning, match="still above 1e-09 with 1024 steps"):
        (found,) = explained(network_a(), torch.tensor([[20.0, 50, 30]]), 0, method)
    assert found.checks["steps"] == 1024


@pytest.mark.parametrize("gap", [0, -1, float("nan")])
def test_a_gap_is_a_number_above_zero(gap):
    with pytest.raises(MethodError, match="gap"):
        sw.IntegratedGradients(gap=gap)


# ---------------------------------------------------------------------- expected gradients


def test_expected_gradients_of_a_linear_model_are_its_weights_times_the_way():
    # The gradient is the same everywhere, so that one baseline leaves nothing to chance.
    module = linear([[3.0, -2, 0.5]], [7.0]).eval()
    found = explained(
        module,
        torch.tensor([[2.0, 5, -4]]),
        sw.targets.Regression(0),
        "expected-gradients:baseline=2,samples=3",
    )
    assert found[0].relevance.numpy() == about([0.0, -6, -3])
    assert found[0].checks["completeness gap"] < 1e-6


def test_expected_gradients_tend_to_integrated_gradients():
    module, pictures = smooth_network(), noise(1, 3, 6, 6)
    exact = relevance(module, pictures, 1, "integrated-gradients:baseline=0.5+mean")
    few, many = (
        (relevance(module, pictures, 1, sw.ExpectedGradients("0.5+mean", samples)) - exact)
        for samples in (8, 2000)
    )
    assert many.square().mean() < few.square().mean() / 50  # 250 times as many samples
    assert float(many.abs().max()) < 0.05 * float(exact.abs().max())


def test_expected_gradients_with_noise_draw_a_baseline_for_each_sample():
    # The mean way from uniform noise to the picture is the picture less the middle of its range.
    module = nn.Sequential(nn.Flatten(), linear([[1.0] * 12], [0.0])).eval()
    pictures = noise(2, 3, 2, 2)
    flat = pictures.flatten(1)
    middle = ((flat.amax(1) + flat.amin(1)) / 2).reshape(2, 1, 1, 1)
    found = relevance(module, pictures, sw.targets.Regression(0), "expected-gradients:samples=4000")
    assert found.numpy() == about(pictures - middle, absolute=0.1)


# ---------------------------------------------------------------------- blur


def test_blur_ig_sums_to_what_the_score_is_more_than_that_of_the_blurred_picture():
    module, pictures = smooth_network(torch.float64), noise(2, 3, 12, 15).double()
    found = explained(module, pictures, 1, "blur-ig:steps=60,sigma=0.3")
    with torch.no_grad():
        difference = (module(pictures) - module(smoothed(pictures, 0.3 * 12)))[:, 1]
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(difference, 1e-3)
    for each, own in zip(found, difference.tolist(), strict=True):
        gap = abs(float(each.relevance.sum()) - own) / abs(own)
        assert each.checks["completeness gap"] == pytest.approx(gap, rel=1e-3, abs=1e-9)


def test_blur_ig_of_a_linear_model_is_its_weights_times_what_blur_takes_away():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 36, 2)).eval()
    pictures = noise(2, 3, 6, 6)
    found = relevance(module, pictures, 1, "blur-ig:steps=7,sigma=0.5")
    weight = module[1].weight[1].reshape(3, 6, 6)
    assert found.numpy() == about(weight * (pictures - smoothed(pictures, 3.0)), 1e-4)


def test_blur_ig_does_not_depend_on_the_scale_of_its_path():
    # An integral along a path is the same however fast one walks: many steps agree with a plain
    # Riemann sum over equal steps of sigma, with the derivative by a difference.
    module, pictures = smooth_network(torch.float64), noise(1, 3, 10, 10).double()
    found = relevance(module, pictures, 1, "blur-ig:steps=300,sigma=0.3")
    total, count = torch.zeros_like(pictures), 600
    for step in range(count):
        low, high = (3.0 * (step + part) / count for part in (0, 1))
        middle = smoothed(pictures, (low + high) / 2).requires_grad_()
        (gradient,) = torch.autograd.grad(module(middle)[:, 1].sum(), middle)
        total += gradient * (smoothed(pictures, low) - smoothed(pictures, high))
    assert found.numpy() == about(total, 1e-3, 1e-6)


# ---------------------------------------------------------------------- guided


@pytest.mark.parametrize(
    ("settings", "expected"),
    [("distance=0", [54.0, 27]), ("distance=1,fraction=0.1", [72.0, 9])],
)
def test_guided_ig_of_a_square(settings, expected):
    # (2 x1 + x2)^2 at (3, 3): straight ahead it is integrated gradients, 54 and 27; free to choose,
    # x2 has the smaller gradient and goes first.
    (found,) = explained(
        Square().eval(), torch.tensor([[3.0, 3]]), sw.targets.Regression(0), f"guided-ig:{settings}"
    )
    assert found.relevance.numpy() == about(expected, 2e-4)
    assert found.checks["completeness gap"] < 1e-4


def test_guided_ig_without_room_is_integrated_gradients():
    module, pictures = smooth_network(), noise(2, 3, 8, 8)
    guided = relevance(module, pictures, 1, "guided-ig:distance=0,steps=60,baseline=mean")
    plain = relevance(module, pictures, 1, "integrated-gradients:baseline=mean")
    assert guided.numpy() == about(plain, 1e-2, 1e-3 * float(plain.abs().max()))


@pytest.mark.parametrize("settings", ["", "distance=1", "distance=1,fraction=1", "fraction=0.01"])
def test_guided_ig_is_complete_on_any_path(settings):
    module, pictures = smooth_network(torch.float64), noise(2, 3, 8, 8).double()
    found = explained(module, pictures, 1, f"guided-ig:steps=100,{settings}")
    with torch.no_grad():
        difference = (module(pictures) - module(torch.zeros_like(pictures)))[:, 1]
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(difference, 0.02)


def test_the_path_of_guided_ig_stays_within_its_band_and_comes_nearer_evenly():
    # As the paper has it: every value within `distance` of the straight path, the distance (L1) to
    # the picture falls by the same amount in each step, and the smallest gradients go first.
    pictures, gradients = noise(2, 3, 4, 4).double(), noise(4, 3, 4, 4)[2:].double()
    path = _GuidedPath(sw.GuidedIG(20, 0.25, 0.1), pictures, torch.zeros_like(pictures))
    for step in range(1, 21):
        path.go_on(gradients)
        share = path.pictures / pictures
        assert float(share.min()) >= step / 20 - 0.1 - 1e-9
        assert float(share.max()) <= step / 20 + 0.1 + 1e-9
        left = (pictures - path.pictures).abs().sum((1, 2, 3)) / pictures.abs().sum((1, 2, 3))
        assert left.numpy() == about([1 - step / 20] * 2, absolute=1e-6)
        if 2 < step < 18:
            for own, shares in zip(gradients.abs(), share, strict=True):
                assert float(shares.flatten()[own.argmin()]) == pytest.approx(step / 20 + 0.1)
                assert float(shares.flatten()[own.argmax()]) == pytest.approx(step / 20 - 0.1)


def test_guided_ig_of_a_picture_that_is_its_baseline_is_zero():
    network, target = Square().eval(), sw.targets.Regression(0)
    with pytest.warns(SeewhyWarning, match="the same everywhere"):
        (found,) = explained(network, torch.zeros(1, 2), target, "guided-ig:steps=3")
    assert found.relevance.tolist() == [0, 0]


@pytest.mark.parametrize(
    "spec",
    [
        "guided-ig:fraction=0",
        "guided-ig:fraction=1.5",
        "guided-ig:distance=-0.1",
        "guided-ig:steps=0",
        "blur-ig:sigma=0",
    ],
)
def test_settings_without_sense_are_refused(spec):
    with pytest.raises(MethodError, match=spec.partition(":")[2].partition("=")[0]):
        as_method(spec)


# ---------------------------------------------------------------------- layers


def test_conductance_and_internal_influence_of_network_a():
    # At the first of the two linear layers that do something, for x = (0, 100, 0): the unit with
    # the bias -10 is silent for a tenth of the way.
    pictures = torch.tensor([[0.0, 100, 0]])
    (flow,) = explained(network_a(), pictures, 0, "conductance:layer=1,steps=1000")
    assert flow.relevance.numpy() == about([90.0, 100, 100, 100], 1e-3)
    assert flow.checks["completeness gap"] < 1e-3
    influence = relevance(network_a(), pictures, 0, "internal-influence:layer=1,steps=1000")
    assert influence[0].numpy() == about([0.9, 1, 1, 1], 1e-3)


def test_conductance_at_the_input_is_integrated_gradients():
    module, pictures = smooth_network(torch.float64), noise(2, 3, 8, 8).double()
    flow = relevance(module, pictures, 1, "conductance:layer=input,steps=200,baseline=mean")
    plain = relevance(module, pictures, 1, "integrated-gradients:baseline=mean")
    assert flow.numpy() == about(plain, 1e-3, 1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("layer", ["0", "3", "5", "output"])
def test_conductance_flows_completely_through_every_layer_of_a_chain(layer):
    module, pictures = smooth_network(torch.float64), noise(2, 3, 9, 9).double()
    found = explained(module, pictures, 1, "conductance:steps=100", layer=layer)
    with torch.no_grad():
        difference = (module(pictures) - module(torch.zeros_like(pictures)))[:, 1]
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(difference, 1e-3)
    assert all(e.checks["completeness gap"] < 1e-3 for e in found)


@pytest.mark.parametrize("memory", [1, 200_000])
def test_conductance_over_several_baselines_does_not_depend_on_the_memory(memory):
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    method = "conductance:steps=5,baseline=1+mean+noise"
    whole = relevance(module, pictures, 1, method)
    assert relevance(module, pictures, 1, method, memory=memory).numpy() == about(whole, 1e-4, 1e-6)
    each = [
        relevance(module, pictures, 1, sw.Conductance(steps=5, baseline=baseline))
        for baseline in (1.0, "mean")
    ]
    both = relevance(module, pictures, 1, "conductance:steps=5,baseline=1+mean")
    assert both.numpy() == about(sum(each) / 2, 1e-4, 1e-6)


def test_activations_and_their_product_with_gradients():
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    with torch.no_grad():
        activations = module[:3](pictures)
    found = relevance(module, pictures, 1, "layer-activation:layer=2")
    assert torch.equal(found, activations)
    activations.requires_grad_()
    (gradients,) = torch.autograd.grad(module[3:](activations)[:, 1].sum(), activations)
    product = relevance(module, pictures, 1, "gradient-x-activation:layer=2")
    assert product.numpy() == about(gradients * activations, absolute=1e-7)
    hires = relevance(module, pictures, 1, "hires-cam:layer=2")
    assert product.sum(1, keepdim=True).numpy() == about(hires, absolute=1e-6)


@pytest.mark.parametrize(
    "name", ["layer-activation", "gradient-x-activation", "conductance", "internal-influence"]
)
def test_a_layer_without_space_has_a_value_for_each_unit(name):
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 2)).eval()
    (found,) = explained(module, noise(1, 3, 2, 2), 1, name, layer="1")
    assert found.relevance.shape == (7,)
    assert found.layers == ("1",)
    with pytest.raises(MethodError, match="takes one layer, and 2 came"):
        explained(module, noise(1, 3, 2, 2), 1, name, layer=("1", "2"))
    with pytest.raises(LayerError, match="no layer 'nowhere'"):
        explained(module, noise(1, 3, 2, 2), 1, name, layer="nowhere")


class Branching(nn.Module):
    """A second way around the layer `inner`, and a product of both."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, pictures):
        ways = self.inner(pictures).tanh() * self.outer(pictures)
        return self.head(ways.mean((2, 3)))


def test_layer_integrated_gradients_leave_what_flows_around_the_layer_as_it_is():
    # The sum is what the score loses when the layer alone gives the baseline's activations.
    module, pictures = Branching().eval().double(), noise(2, 3, 6, 6).double()
    method = "layer-integrated-gradients:baseline=mean+0,layer=inner"
    found = explained(module, pictures, 1, method)
    lost = 0
    with torch.no_grad():
        for start in bound(sw.Model(module), pictures, "mean+0"):
            replaced = module.inner(start).tanh() * module.outer(pictures)
            lost = lost + (module(pictures) - module.head(replaced.mean((2, 3))))[:, 1] / 2
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(lost, 1e-6)
    assert found[0].relevance.shape == (4, 6, 6)
    assert all(e.checks["completeness gap"] < 1e-6 for e in found)
    # conductance gives the layer only its part of a path on which all changes
    flow = explained(module, pictures, 1, "conductance:layer=inner")
    assert all(e.checks["completeness gap"] > 0.01 for e in flow)


@pytest.mark.parametrize("layer", ["input", "output"])
def test_layer_integrated_gradients_need_something_after_a_layer(layer):
    with pytest.raises(MethodError, match="use integrated-gradients"):
        explained(smooth_network(), noise(1, 3, 9, 9), 1, "layer-integrated-gradients", layer=layer)


# ---------------------------------------------------------------------- neurons


def test_any_method_explains_a_neuron():
    # The neuron as an output of its own: a network that is cut off there gives the same maps.
    module, pictures = smooth_network(), noise(2, 3, 9, 9)

    class Cut(nn.Module):
        def __init__(self, position):
            super().__init__()
            self.body, self.position = module[:3], position

        def forward(self, x):
            channel = self.body(x)[:, 5]
            value = channel.mean((1, 2)) if self.position is None else channel[:, 2, 1]
            return value[:, None]

    for position in (None, (2, 1)):
        neuron = sw.targets.Neuron("2", 5, position)
        for method in (
            "gradient",
            "integrated-gradients:steps=9",
            "conductance:layer=0,steps=7",
            "internal-influence:layer=1,steps=7",
            "guided-ig:steps=5",
            "expected-gradients:samples=5",
        ):
            found = relevance(module, pictures, neuron, method)
            cut = relevance(
                Cut(position).eval(),
                pictures,
                sw.targets.Regression(0),
                method.replace("layer=", "layer=body."),
            )
            assert found.numpy() == about(cut, 1e-4, 1e-6 * float(cut.abs().max())), method


def test_integrated_gradients_of_a_neuron_sum_to_its_activation():
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    (start,) = torch.zeros(1, *pictures.shape)
    found = explained(module, pictures, sw.targets.Neuron("3", 2, (0, 3)), "integrated-gradients")
    with torch.no_grad():
        difference = (module[:4](pictures) - module[:4](start))[:, 2, 0, 3]
    for each, own in zip(found, difference.tolist(), strict=True):
        assert float(each.relevance.sum()) == pytest.approx(own, rel=1e-4)
        assert each.checks["completeness gap"] < 1e-4
