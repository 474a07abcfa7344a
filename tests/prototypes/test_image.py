"""Parametrisations, units and transforms: what is known exactly."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError
from seewhy.prototypes import MACO, Fourier, Jitter, Pad, Pixels, Rotate, Scale, Units
from seewhy.prototypes.image import _colour_matrix, as_parametrisation
from seewhy.prototypes.transforms import check_transforms, seen


def draws(count, seed=0):
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def pictures(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 0.9 + 0.05


@pytest.mark.parametrize(
    "shape", [(2, 3, 12, 9), (2, 1, 8, 8), (2, 3, 7, 7), (2, 4, 11), (1, 2, 4, 5, 6)]
)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("how", [Pixels(), Fourier(), Fourier(0.5, decorrelated=False)])
def test_pictures_become_numbers_and_come_back(how, known, shape):
    given = pictures(*shape)
    numbers = how.begin(given, known=known)
    back = how.pictures(numbers, shape[2:], known=known)
    torch.testing.assert_close(back, given, atol=1e-5, rtol=1e-5)


def test_waves_are_scaled_by_their_frequency():
    """A step of one size in every wave gives a picture whose power falls as 1 / f squared."""
    how = Fourier(decorrelated=False)
    numbers = how.begin(torch.zeros(1, 1, 32, 32), known=False)
    made = how.pictures(torch.ones_like(numbers), (32, 32), known=False)
    size = torch.fft.rfft2(made, norm="ortho").abs()[0, 0]
    assert float(size[0, 4] / size[0, 8]) == pytest.approx(2, rel=1e-4)
    assert float(size[2, 0] / size[8, 0]) == pytest.approx(4, rel=1e-4)


def test_decorrelated_colours_are_those_of_photographs():
    """Independent numbers become channels that go together, as the matrix says."""
    how = Fourier(decay=0)
    numbers = torch.randn(64, 3, 16, 9, 2, generator=torch.Generator().manual_seed(0))
    made = how.pictures(numbers, (16, 16), known=False).movedim(1, 0).flatten(1)
    matrix = _colour_matrix(made)
    expected = matrix @ matrix.mT
    found = torch.cov(made)
    torch.testing.assert_close(found / found[0, 0], expected / expected[0, 0], atol=0.05, rtol=0)
    assert float(torch.corrcoef(made)[0, 2]) > 0.75


@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (2, 1, 9, 7)])
def test_maco_begins_with_noise_where_a_picture_has_no_waves(shape):
    """Phases that are all alike would make a single white point of a plain picture."""
    how, plain = MACO(), torch.full(shape, 0.3)
    made = how.pictures(how.begin(plain, known=False), shape[2:], known=False)[0]
    assert float((made - made.mean()).abs().amax() / made.std()) < 5
    torch.testing.assert_close(how.begin(plain, known=False)[:1], how.begin(plain[:1], known=False))
    waves = pictures(*shape)
    numbers = how.begin(waves, known=False)
    torch.testing.assert_close(how.begin(0.5 * waves, known=False), numbers)


def test_maco_changes_phases_only():
    photographs = pictures(5, 1, 16, 16)
    how = MACO.of(photographs)
    made = how.pictures(
        how.begin(pictures(2, 1, 16, 16, seed=1), known=True), (16, 16), known=False
    )
    size = torch.fft.rfft2(made, norm="ortho").abs()[..., 1:4, 1:4]
    given = how.spectrum[..., 1:4, 1:4]
    ratio = size / given
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio), rtol=1e-3, atol=0)
    assert how.pictures(how.begin(photographs, known=True), (16, 16), known=True).amax() < 1
    with pytest.raises(MethodError, match="take it from pictures of the model's size"):
        how.pictures(torch.zeros(1, 1, 8, 5), (8, 8), known=True)


def test_waves_need_space():
    for name in ("fourier", "maco"):
        with pytest.raises(MethodError, match="use image='pixels'"):
            as_parametrisation(name, (64,))
    with pytest.raises(MethodError, match="use pixels, fourier, maco"):
        as_parametrisation("jpeg", (3, 8, 8))


# ---------------------------------------------------------------------- units


def test_units_are_those_of_the_models_preprocessing():
    how = sw.Preprocess(8, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    model = sw.Model(nn.Conv2d(3, 2, 3).eval(), how)
    photo = Image.effect_noise((8, 8), 60).convert("RGB")
    units, given = Units.of(model), model.prepare(photo).tensor
    assert (units.shape, units.known) == ((3, 8, 8), True)
    plain = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(units.to_model(plain), given)
    torch.testing.assert_close(units.to_picture(given), plain, atol=1e-6, rtol=0)


def test_swapped_colours_are_found():
    """Preprocessing in the manner of Caffe: blue first, 0..255, the mean taken off."""

    def caffe(image):
        values = torch.from_numpy(np.array(image.resize((4, 4)).convert("RGB"))).float()
        return (values.permute(2, 0, 1) - 110.0).flip(0)

    units = Units.of(sw.Model(nn.Conv2d(3, 2, 3).eval(), caffe))
    assert units.order == (2, 1, 0)
    red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert units.to_model(red)[0, :, 0, 0].tolist() == [-110, -110, 145]
    torch.testing.assert_close(units.to_picture(units.to_model(red)), red)


def test_a_preprocessing_that_is_no_scaling_leaves_model_input():
    def squared(image):
        return torch.full((3, 4, 4), (sum(image.getpixel((0, 0))) / 765) ** 2)

    with pytest.warns(sw.errors.SeewhyWarning, match="could not be measured"):
        assert not Units.of(sw.Model(nn.Conv2d(3, 2, 3).eval(), squared)).known
    assert not Units.of(sw.Model(nn.Conv2d(3, 2, 3).eval(), input_shape=(3, 9, 9))).known


# ---------------------------------------------------------------------- transforms


def test_jitter_is_an_exact_shift():
    given = pictures(6, 3, 12, 10)
    moved = Jitter(3)(given, draws(6))
    found = set()
    for before, after in zip(given, moved, strict=True):
        fits = [
            (down, right)
            for down in range(-3, 4)
            for right in range(-3, 4)
            if torch.equal(
                after[:, 3:9, 3:7], before[:, 3 + down : 9 + down, 3 + right : 7 + right]
            )
        ]
        assert len(fits) == 1
        found.update(fits)
    assert len(found) > 2  # each row has its own


def test_each_row_has_random_numbers_of_its_own():
    given = pictures(3, 3, 16, 16)
    for each in (Jitter(4), Scale(), Rotate(20)):
        state = torch.random.get_rng_state()
        together = each(given, draws(3))
        alone = torch.cat([each(given[i : i + 1], draws(1, seed=i)) for i in range(3)])
        torch.testing.assert_close(together, alone)
        assert torch.equal(torch.random.get_rng_state(), state)


def test_a_quarter_turn_is_exact():
    square = pictures(1, 3, 9, 9)
    share = float(torch.rand(1, generator=draws(1)[0]))
    turned = Rotate(90 / (2 * share - 1))(square, draws(1))
    expected = [torch.rot90(square, sign, (2, 3)) for sign in (1, -1)]
    assert any(torch.allclose(turned, each, atol=1e-4) for each in expected)


def test_scaling_enlarges_about_the_middle():
    """Of odd size, every second pixel of a picture twice as large is one of the picture."""
    given = pictures(1, 3, 9, 13)
    doubled = Scale(2, 2)(given, draws(1))
    torch.testing.assert_close(doubled[:, :, ::2, ::2], given[:, :, 2:7, 3:10], atol=1e-5, rtol=0)


def test_transforms_keep_size_and_pass_gradients():
    given = pictures(2, 3, 12, 9).requires_grad_()
    through = seen(given, (Pad(3), Jitter(3), Scale(), Rotate(), Jitter(1)), draws(2))
    assert through.shape == given.shape
    through.sum().backward()
    assert float(given.grad.abs().sum()) > 0
    same = seen(given, (Pad(2), Scale(1, 1), Rotate(0), Jitter(0)), draws(2))
    torch.testing.assert_close(same, given)


def test_padding_is_each_pictures_mean():
    given = pictures(2, 3, 6, 6)
    wide = Pad(2)(given, draws(2))
    assert wide.shape == (2, 3, 10, 10)
    assert torch.allclose(wide[:, :, 2:-2, 2:-2], given)
    torch.testing.assert_close(wide[:, :, 0, 0], given.mean((2, 3)))


def test_transforms_that_do_not_fit_are_refused():
    with pytest.raises(MethodError, match="transforms="):
        check_transforms((Jitter(1),), ())
    with pytest.raises(MethodError, match="use Jitter and Pad"):
        check_transforms((Rotate(),), (16,))
    for wrong in (lambda: Jitter(-1), lambda: Pad(-1), lambda: Scale(0, 1)):
        with pytest.raises(MethodError):
            wrong()
    moved = Jitter(2)(pictures(2, 1, 4, 5, 6), draws(2))
    assert moved.shape == (2, 1, 4, 5, 6)
