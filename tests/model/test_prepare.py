"""A preprocessing of any form is one picture in and one input out; nothing is prepared twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torchvision import transforms

import seewhy as sw
from seewhy.data.images import Picture
from seewhy.errors import PictureError, SeewhyWarning
from seewhy.model.prepare import Preparer, Preprocess


@pytest.fixture
def photo():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    return Picture(Image.fromarray(pixels), "photo.png")


def scaled(image):
    """(3, 8, 8) in 0..1, the form that all others are compared with."""
    small = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR), dtype=np.float32)
    return torch.from_numpy(small.transpose(2, 0, 1) / 255)


def from_array(array):
    assert array.dtype == np.uint8
    return scaled(Image.fromarray(array)).numpy()


def from_list(pictures):
    if not isinstance(pictures, list):
        raise TypeError("a list of pictures is expected")
    return {"pixel_values": [scaled(each).numpy() for each in pictures]}


def from_keywords(*, images, return_tensors):
    assert return_tensors == "pt"
    return {"pixel_mask": torch.ones(1, 8, 8), "pixel_values": scaled(images)[None]}


FORMS = {
    "a picture": scaled,
    "a picture, with a batch axis": lambda image: scaled(image)[None],
    "a picture, as an array": lambda image: scaled(image).numpy(),
    "a picture, in a list": lambda image: [scaled(image)],
    "a picture, in a dict": lambda image: {"pixel_values": scaled(image)[None]},
    "an array": from_array,
    "a list": from_list,
    "keywords": from_keywords,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_preprocessing_gives_the_same_input(form, photo):
    found = Preparer(FORMS[form]).one(photo)
    assert torch.equal(found, scaled(photo.image))


def test_the_form_is_found_once(photo):
    seen = []

    def only_arrays(given):
        seen.append(type(given).__name__)
        return from_array(given)

    preparer = Preparer(only_arrays)
    for _ in range(3):
        preparer.one(photo)
    assert seen == ["Image", "ndarray", "ndarray", "ndarray"]


def test_a_preprocessing_may_write_into_the_picture_it_is_given(photo):
    def spoiling(image):
        image.paste("black", (0, 0, 20, 20))
        return scaled(image)

    before = np.asarray(photo.image).copy()
    preparer = Preparer(spoiling)
    preparer.one(photo)
    preparer.one(photo)
    assert np.array_equal(np.asarray(photo.image), before)


def test_what_is_returned_may_be_used_again_by_the_preprocessing(photo):
    buffer = torch.zeros(3, 8, 8)

    def reusing(image):
        return buffer.copy_(scaled(image))

    preparer = Preparer(reusing)
    first = preparer.one(photo)
    preparer.one(Picture(Image.new("RGB", (9, 9)), "black"))
    assert torch.equal(first, scaled(photo.image))


@pytest.mark.parametrize(
    ("returned", "shape"),
    [
        (torch.rand(192), (192,)),
        (torch.rand(1, 192), (192,)),
        (torch.rand(8, 9), (1, 8, 9)),
        (torch.rand(1, 3, 8, 9), (3, 8, 9)),
        (torch.rand(1, 8, 9), (1, 8, 9)),
    ],
)
def test_flat_grey_and_batched_inputs_are_told_apart(returned, shape, photo):
    found = Preparer(lambda image: returned).one(photo)
    assert found.shape == shape
    assert torch.equal(found.flatten(), returned.flatten())


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (torch.zeros(3, 8, 8, dtype=torch.uint8), "torch.uint8, and a model takes floating-point"),
        (torch.zeros(2, 3, 8, 8), r"\(2, 3, 8, 8\) for one picture"),
        (torch.tensor(1.0), r"the shape \(\) for one picture"),
        ("text", "photo.png"),
    ],
)
def test_what_is_no_input_is_refused_with_the_pictures_name(returned, said, photo):
    with pytest.raises(PictureError, match=f"preprocessing failed on photo.png.*{said}|{said}"):
        Preparer(lambda image: returned).one(photo)


def test_a_preprocessing_that_fails_names_the_picture_and_why(photo):
    def broken(image):
        raise KeyError("no such setting")

    with pytest.raises(PictureError, match=r"failed on photo.png \(KeyError: 'no such setting'\)"):
        Preparer(broken).one(photo)


def test_a_preprocessing_that_fails_on_one_picture_only_costs_that_picture(tmp_path):
    def picky(image):
        if image.width < 20:
            raise ValueError("too small")
        return scaled(image)

    for name, side in (("big", 30), ("small", 10), ("other", 25)):
        noise = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    model = sw.Model(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).eval(), picky)
    paths = [tmp_path / f"{name}.png" for name in ("big", "small", "other")]
    with pytest.warns(SeewhyWarning, match="1 of the pictures.*small.png.*too small"):
        found = sw.explain(model, paths, method="gradient")
    assert [each.source for each in found] == [str(paths[0]), str(paths[2])]
    assert [each.source for each in found.failures] == [str(paths[1])]


def test_without_preprocessing_pictures_are_scaled_to_one_and_a_warning_says_so(photo):
    with pytest.warns(SeewhyWarning, match=r"no preprocessing.*seewhy.Preprocess\(224"):
        (prepared,) = Preparer(None)([photo])
    pixels = np.asarray(photo.image).transpose(2, 0, 1)
    torch.testing.assert_close(prepared.tensor[0], torch.from_numpy(pixels / np.float32(255)))
    assert prepared.geometries[0].scale == pytest.approx((1, 1), rel=2e-3)


@pytest.mark.parametrize("shape", [(3, 12, 20), (1, 12, 20)])
def test_without_preprocessing_pictures_get_the_size_of_the_models_input(photo, shape):
    model = sw.Model(nn.Flatten(), input_shape=shape)
    with pytest.warns(SeewhyWarning, match=r"stretched to 12 x 20.*Preprocess\(\(12, 20\)"):
        prepared = model.prepare(photo)
    expected = Preprocess((12, 20), mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
    assert torch.equal(prepared.tensor[0], expected(photo.image))
    assert prepared.geometries[0] == expected.geometry(photo.image.size[::-1])
    with pytest.warns(SeewhyWarning, match="nothing else"):  # four channels are no colours
        assert sw.Model(nn.Flatten(), input_shape=(4, 12, 20)).prepare(photo).tensor.shape[1] == 3


def test_model_input_is_taken_as_it_is(photo):
    model = sw.Model(nn.Flatten(), preprocess=lambda image: pytest.fail("preprocessed twice"))
    given = torch.randn(2, 3, 8, 8)
    assert torch.equal(model.prepare(given).tensor, given)
    assert torch.equal(model.prepare(given.numpy()).tensor, given)


def test_uint8_batches_are_pictures():
    batch = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    prepared = sw.Model(nn.Flatten(), Preprocess(8)).prepare(batch)
    torch.testing.assert_close(prepared.tensor, batch / 255)


def test_input_without_a_batch_axis_is_refused():
    with pytest.raises(PictureError, match=r"add the batch axis with \[None\]"):
        sw.Model(nn.Flatten()).prepare(torch.randn(5))


@pytest.mark.parametrize(
    ("weights", "given"),
    [
        (torch.float64, torch.float32),
        (torch.float32, torch.float64),
        (torch.bfloat16, torch.float64),
    ],
)
def test_the_dtype_of_the_network_wins(weights, given, photo):
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval().to(weights)
    model = sw.Model(module, lambda image: scaled(image).to(given))
    prepared = model.prepare(photo.image)
    assert prepared.tensor.dtype == given
    assert model.at_home(prepared).tensor.dtype == weights
    why = sw.explain(model, photo.image, target=1, method="gradient")
    expected = module[1].weight[1].detach().float().reshape(3, 8, 8)
    torch.testing.assert_close(why.relevance.float(), expected)


def test_a_pictures_key_is_its_contents_whatever_its_batch_and_precision():
    tensor = torch.randn(3, 1, 4, 4)
    model = sw.Model(nn.Flatten())
    keys = model.prepare(tensor).keys
    assert len(set(keys)) == 3
    assert model.prepare(tensor[1:2]).keys == keys[1:2]
    assert model.prepare(tensor).rows([2, 0]).keys == [keys[2], keys[0]]
    assert model.prepare(tensor).to(torch.device("cpu"), torch.float64).keys == keys


def test_pictures_of_different_input_shapes_cannot_share_a_batch():
    model = sw.Model(
        nn.Flatten(), lambda image: torch.zeros(3, image.height, image.width) + image.width
    )
    pictures = [Image.new("RGB", (8, 6)), Image.new("RGB", (8, 8))]
    with pytest.warns(SeewhyWarning), pytest.raises(PictureError, match="different shapes"):
        model.prepare(pictures)


def test_no_pictures_are_refused():
    with pytest.raises(PictureError, match="there are no pictures"):
        sw.Model(nn.Flatten(), Preprocess(8)).prepare([])


# ---------------------------------------------------------------------- Preprocess


@settings(deadline=None)
@given(
    st.integers(3, 50),
    st.sampled_from([1, 1.5, 2, 3]),
    st.sampled_from([24, 32, 48]),
    st.booleans(),
)
def test_resize_and_crop_are_those_of_torchvision(quarter, ratio, resize, upright):
    """Where sides are whole and even numbers of pixels; elsewhere the two round differently."""
    sides = (4 * quarter, int(4 * quarter * ratio))
    height, width = sides[::-1] if upright else sides
    pixels = np.random.default_rng(quarter).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    theirs = transforms.Compose(
        [
            transforms.Resize(resize),
            transforms.CenterCrop(24),
            transforms.ToTensor(),
            transforms.Normalize(mean, std),
        ]
    )
    found = Preprocess(24, resize=resize, mean=mean, std=std)(image)
    torch.testing.assert_close(found, theirs(image))


def test_one_mean_makes_the_picture_grey(photo):
    found = Preprocess((8, 10), mean=(0.5,), std=(0.25,))(photo.image)
    grey = np.asarray(photo.image.convert("L").resize((10, 8), Image.Resampling.BILINEAR)) / 255
    torch.testing.assert_close(found[0], torch.from_numpy((grey - 0.5) / 0.25).float())


def test_a_stretched_picture_shows_all_of_the_picture():
    halves = Image.new("RGB", (100, 20), "white")
    halves.paste("black", (50, 0, 100, 20))
    found = Preprocess(8)(halves)
    assert found[:, :, :3].min() == 1
    assert found[:, :, 5:].max() == 0


def test_further_inputs_are_selected_with_their_pictures():
    model = sw.Model(nn.Flatten())
    prepared = model.prepare(torch.randn(3, 1, 2, 2), age=torch.tensor([1.0, 2.0, 3.0]))
    assert prepared.others["age"].tolist() == [1, 2, 3]
    assert prepared.rows([2, 0]).others["age"].tolist() == [3, 1]
