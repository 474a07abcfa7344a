"""Baselines: what each of them is for a picture, and how it is written."""

import pytest
import torch
from known import network_a
from PIL import Image
from smooth import about, bound, explained, noise
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, NoSpaceError, PictureError, SeewhyWarning
from seewhy.methods import as_method
from seewhy.methods.baselines import smoothed

# ---------------------------------------------------------------------- baselines


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
