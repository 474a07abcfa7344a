"""Ablation-CAM, Score-CAM and their kin: by hand on a tiny network, costs, errors."""

import math

import pytest
import torch
from small_cam import Small, about, at_features, noise, relevance, summed
from torch import nn
from torch.nn.functional import interpolate

import seewhy as sw
from seewhy.errors import CancelledError, MethodError, SeewhyWarning
from seewhy.run import generator


@pytest.fixture
def module():
    return Small().eval()


# ---------------------------------------------------------------------- ablation


def ablated(module, activations, target):
    """The scores with each channel at zero, one at a time (N, C)."""
    scores = []
    for k in range(activations.shape[1]):
        without = activations.clone()
        without[:, k] = 0
        scores.append(module.head(without)[:, target])
    return torch.stack(scores, 1).detach()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("memory", [None, 1])
def test_ablation_cam_is_the_share_of_the_score_that_goes_with_each_channel(module, sign, memory):
    # Desai & Ramaswamy 2020, w = (y - y_k) / y; with y negative that would turn the map round.
    pictures = noise(3, 3, 8, 8)
    module.classifier.bias.data[2] = sign * 3
    activations, _ = at_features(module, pictures, 2)
    full = module.head(activations)[:, 2].detach()
    assert bool((full * sign > 0).all())
    weights = (full[:, None] - ablated(module, activations, 2)) / full.abs()[:, None]
    found = relevance(module, pictures, 2, "ablation-cam", layer="features", memory=memory)
    assert found[:, 0].numpy() == about(summed(weights, activations), 1e-3)


def test_ablation_cam_replays_what_follows_and_only_channels_that_are_not_zero(module):
    module.features[2].weight.data[[1, 4, 5]] = 0
    module.features[2].bias.data[[1, 4, 5]] = -1
    pictures = noise(1, 3, 8, 8)
    active = int(module.features(pictures).flatten(2).any(2).sum())
    (found,) = sw.explain(sw.Model(module), pictures, 2, "ablation-cam", layer="features")
    assert active <= 7
    assert found.passes.replays == active
    assert found.passes.forwards == 2


def test_ablation_cam_of_several_classes_of_a_picture_replays_once_for_all(module):
    model, pictures = sw.Model(module), noise(1, 3, 8, 8)
    options = {"method": "ablation-cam", "layer": "features"}
    both = sw.explain(model, pictures, [2, 4], **options)
    each = [sw.explain(model, pictures, target, **options)[0] for target in (2, 4)]
    for own, alone in zip(both, each, strict=True):
        assert own.relevance.numpy() == about(alone.relevance)
        assert own.passes.replays == -(-alone.passes.replays // 2)  # a row's share


def test_ablation_cam_of_a_linear_head_is_cam_over_the_score():
    # Average pooling and a linear layer: y - y_k = w_k mean(A_k).
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
    ).eval()
    pictures = noise(2, 3, 8, 8)
    activations = module[:2](pictures).detach()
    weights = module[4].weight[1] * activations.mean((2, 3)) / module(pictures)[:, 1:2].abs()
    found = relevance(module, pictures, 1, "ablation-cam", layer="1")
    assert found[:, 0].numpy() == about(summed(weights.detach(), activations))


def test_ablation_cam_needs_a_layer_within_the_network(module):
    with pytest.raises(MethodError, match=r"ablation-cam.*'input'.*score-cam"):
        sw.explain(sw.Model(module), noise(1, 3, 8, 8), 0, "ablation-cam", layer="input")


def test_ablation_cam_can_be_cancelled(module):
    model = sw.Model(module)
    with pytest.raises(CancelledError):
        sw.explain(model, noise(1, 3, 8, 8), 0, "ablation-cam", memory=1, cancel=lambda: True)


# ---------------------------------------------------------------------- masks


def through(module, picture, activations, target, *, view=lambda picture, mask: picture * mask):
    """The score of one picture through each of its channels, -inf for a constant channel."""
    scores = []
    for channel in activations:
        if channel.max() == channel.min():
            scores.append(-math.inf)
            continue
        large = interpolate(
            channel[None, None], picture.shape[-2:], mode="bilinear", align_corners=False
        )
        mask = (large - large.min()) / (large.max() - large.min())
        scores.append(float(module(view(picture[None], mask))[0, target].detach()))
    return torch.tensor(scores, dtype=torch.float64)


@pytest.mark.parametrize("memory", [None, 1])
def test_score_cam_is_the_softmax_of_the_scores_through_each_channel(module, memory):
    module.features[2].weight.data[3] = 0
    module.features[2].bias.data[3] = -1  # a dead channel
    pictures = noise(2, 3, 8, 8)
    activations = module.features(pictures).detach()
    expected = [
        summed(through(module, x, a, 2).softmax(0)[None], a[None])[0]
        for x, a in zip(pictures, activations, strict=True)
    ]
    found = relevance(module, pictures, 2, "score-cam", layer="features", memory=memory)
    assert found[:, 0].numpy() == about(torch.stack(expected))


def test_score_cam_asks_no_dead_channel_and_equal_masks_once(module):
    # Channel 1 is dead; 5 is three times 4, which makes the same mask: both have the same weight.
    weight, bias = module.features[2].weight.data, module.features[2].bias.data
    weight[1], bias[1] = 0, -1
    weight[5], bias[5] = 4 * weight[4], 4 * bias[4]
    pictures = noise(1, 3, 8, 8)
    activations = module.features(pictures).detach()
    alive = int((activations.flatten(2).amax(2) > 0).sum())
    (found,) = sw.explain(sw.Model(module), pictures, 2, "score-cam", layer="features")
    assert found.checks["samples"] == alive - 1
    assert found.passes.forwards == alive
    weights = through(module, pictures[0], activations[0], 2).softmax(0)
    assert float(weights[4]) == pytest.approx(float(weights[5]), rel=1e-4)
    assert found.relevance.numpy() == about(summed(weights[None], activations))


@pytest.mark.parametrize("channels", [1, 4, 99])
def test_score_cam_with_k_channels_uses_the_most_active(module, channels):
    module.features[2].weight.data[6], module.features[2].bias.data[6] = 0, 99  # constant: no mask
    pictures = noise(1, 3, 8, 8)
    (activations,) = module.features(pictures).detach()
    kept = activations.mean((1, 2)).argsort(descending=True)[1 : channels + 1]
    weights = through(module, pictures[0], activations[kept], 2).softmax(0)
    expected = summed(weights[None], activations[None, kept])
    method = f"score-cam:channels={channels}"
    assert relevance(module, pictures, 2, method, layer="features")[0].numpy() == about(expected)


def test_score_cam_within_no_time_uses_the_most_active_channels_first(module):
    pictures = noise(1, 3, 8, 8)
    method = "score-cam:seconds=0.000000001"
    (found,) = sw.explain(sw.Model(module), pictures, 2, method, layer="features", memory=1)
    assert found.checks["samples"] == 1
    only = relevance(module, pictures, 2, "score-cam:channels=1", layer="features")
    assert found.relevance.numpy() == about(only[0])


def test_score_cam_of_constant_maps_is_zero():
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()
    nn.init.zeros_(module[0].weight)
    with pytest.warns(SeewhyWarning, match="same everywhere"):
        found = relevance(module, noise(1, 1, 4, 4), 1, "score-cam", layer="1")
    assert not found.any()


def test_is_cam_is_the_softmax_of_the_mean_over_masks_that_open_to_one(module):
    pictures, steps = noise(2, 3, 8, 8), 4
    activations = module.features(pictures).detach()
    expected = []
    for x, a in zip(pictures, activations, strict=True):
        scores = [
            through(module, x, a, 2, view=lambda picture, mask, i=i: picture * mask * i / steps)
            for i in range(1, steps + 1)
        ]
        expected.append(summed(torch.stack(scores).mean(0).softmax(0)[None], a[None])[0])
    found = relevance(module, pictures, 2, f"is-cam:steps={steps}", layer="features")
    assert found[:, 0].numpy() == about(torch.stack(expected))


def test_is_cam_of_one_step_and_ss_cam_without_noise_are_score_cam(module):
    pictures = noise(2, 3, 8, 8)
    plain = relevance(module, pictures, 2, "score-cam", layer="features")
    for method in (
        sw.ISCAM(steps=1),
        sw.SSCAM(samples=2, noise=1e-9),
        sw.SSCAM(samples=2, noise=1e-9, where="mask"),
    ):
        assert relevance(module, pictures, 2, method, layer="features").numpy() == about(plain)


@pytest.mark.parametrize("where", ["input", "mask"])
def test_ss_cam_averages_scores_over_seeded_noise(module, where):
    pictures, samples = noise(1, 3, 8, 8), 3
    (activations,) = module.features(pictures).detach()
    (key,) = sw.Model(module).prepare(pictures).keys
    shape = (3, 8, 8) if where == "input" else (1, 8, 8)
    spread = 0.5 * float(pictures.max() - pictures.min())
    scores = []
    for sample in range(samples):
        drawn = torch.randn(shape, generator=generator(7, key + sample, 103))

        def view(picture, mask, drawn=drawn):
            if where == "mask":
                return picture * (mask + 0.5 * drawn)
            return (picture + spread * drawn) * mask

        scores.append(through(module, pictures[0], activations, 2, view=view))
    expected = summed(torch.stack(scores).mean(0).softmax(0)[None], activations[None])
    method = sw.SSCAM(samples=samples, noise=0.5, where=where)
    found = relevance(module, pictures, 2, method, layer="features", seed=7)
    assert found[0].numpy() == about(expected)
    other = relevance(module, pictures, 2, method, layer="features", seed=8)
    assert not torch.allclose(found, other)


def test_random_cam_is_seeded_by_the_picture_and_has_weights_from_minus_one_to_one(module):
    pictures = noise(2, 3, 8, 8)
    activations = module.features(pictures).detach()
    keys = sw.Model(module).prepare(pictures).keys
    weights = [2 * torch.rand(10, generator=generator(3, key, 101)) - 1 for key in keys]
    found = relevance(module, pictures, 2, "random-cam", layer="features", seed=3)
    assert found[:, 0].numpy() == about(summed(torch.stack(weights), activations))
    assert not torch.equal(found, relevance(module, pictures, 2, "random-cam", layer="features"))
