"""Paths: what their papers say, on networks small enough to know."""

import math

import pytest
import torch
from known import linear, network_a
from smooth import Square, about, bound, explained, noise, relevance, smooth_network
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, SeewhyWarning
from seewhy.methods import as_method
from seewhy.methods.baselines import smoothed
from seewhy.methods.path_adaptive import _GuidedPath

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
