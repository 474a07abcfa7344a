"""Where a place of the input is in the picture: measured, not assumed."""

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision import transforms

import seewhy as sw
from seewhy.data.images import Picture
from seewhy.errors import SeewhyWarning
from seewhy.model.geometry import Geometry, measure
from seewhy.model.prepare import Preparer

SIDES = st.integers(20, 400)
NORMALIZE = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def padded_to_square(image):
    """The picture in the middle of a grey square, at 64 x 64."""
    side = max(image.size)
    square = Image.new("RGB", (side, side), "gray")
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return transforms.functional.to_tensor(square.resize((64, 64), Image.Resampling.BILINEAR))


def flat_digit(image):
    """As an MNIST network takes it: grey, 28 x 28, in one row."""
    grey = image.convert("L").resize((28, 28), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / 255).flatten()


def mirrored(image):
    return transforms.functional.to_tensor(
        ImageOps.mirror(image).resize((48, 64), Image.Resampling.BILINEAR)
    )


def timm_transform():
    import timm.data

    return timm.data.create_transform((3, 64, 64), crop_pct=0.875, interpolation="bilinear")


PREPROCESSINGS = {
    "torchvision": transforms.Compose(
        [transforms.Resize(72), transforms.CenterCrop(64), transforms.ToTensor(), NORMALIZE]
    ),
    "stretched": transforms.Compose([transforms.Resize((48, 80)), transforms.ToTensor()]),
    "padded": padded_to_square,
    "Preprocess": sw.Preprocess(64, resize=72, mean=(0.5,) * 3, std=(0.5,) * 3),
    "Preprocess stretched": sw.Preprocess((48, 80)),
    "flat": flat_digit,
    "mirrored": mirrored,
    "timm": timm_transform(),
}


def as_picture(tensor, shape):
    """Input as one grey picture (h, w)."""
    return tensor.double().reshape(shape or tensor.shape).mean(0)


def centre_of_change(after, before):
    change = (after - before).abs()
    total = float(change.sum())
    rows = torch.arange(change.shape[0]) + 0.5
    columns = torch.arange(change.shape[1]) + 0.5
    return (
        float((change.sum(1) * rows).sum() / total),
        float((change.sum(0) * columns).sum() / total),
    )


@pytest.mark.parametrize("name", PREPROCESSINGS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SIDES, SIDES, st.floats(0.3, 0.7), st.floats(0.3, 0.7))
def test_a_bright_dot_lands_where_the_geometry_says(name, height, width, down, across):
    preprocess = PREPROCESSINGS[name]
    geometry = measure(preprocess, (height, width))
    assert geometry is not None
    # a dot of about two input pixels, so that resizing cannot lose it
    extent = [math.ceil(2 / abs(scale)) for scale in geometry.scale]
    middle = [0.5 * geometry.model[axis] for axis in (0, 1)]
    place = [
        (middle[axis] - geometry.offset[axis]) / geometry.scale[axis]
        + (share - 0.5) * geometry.model[axis] / abs(geometry.scale[axis]) * 0.6
        for axis, share in ((0, down), (1, across))
    ]
    top, left = (
        int(min(max(place[axis], 0), size - extent[axis]))
        for axis, size in ((0, height), (1, width))
    )
    dark = np.zeros((height, width, 3), dtype=np.uint8)
    dotted = dark.copy()
    dotted[top : top + extent[0], left : left + extent[1]] = 255
    before, after = (
        as_picture(preprocess(Image.fromarray(p)), geometry.shape) for p in (dark, dotted)
    )
    rows, columns = min(top + extent[0], height), min(left + extent[1], width)
    said = [
        (begin + end) / 2 * geometry.scale[axis] + geometry.offset[axis]
        for axis, begin, end in ((0, top, rows), (1, left, columns))
    ]
    inside = all(2 < said[axis] < geometry.model[axis] - 2 for axis in (0, 1))
    assume(inside)
    assert centre_of_change(after, before) == pytest.approx(said, abs=1.5)


@pytest.mark.parametrize("name", PREPROCESSINGS)
@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, st.integers(1, 6), st.integers(1, 6))
def test_a_map_of_one_place_peaks_where_that_place_is_in_the_picture(
    name, height, width, row, column
):
    geometry = measure(PREPROCESSINGS[name], (height, width))
    relevance = torch.zeros(8, 8)
    relevance[row, column] = 1
    laid = geometry.on_original(relevance).nan_to_num(-1)
    assert laid.shape == (height, width)
    wanted = [
        ((place + 0.5) / 8 * geometry.model[axis] - geometry.offset[axis]) / geometry.scale[axis]
        for axis, place in ((0, row), (1, column))
    ]
    size = (height, width)
    assume(all(0 < wanted[axis] < size[axis] for axis in (0, 1)))  # else it shows padding
    best = np.unravel_index(int(laid.argmax()), size)
    pixel = max(1.0, *(abs(geometry.model[a] / 8 / geometry.scale[a]) for a in (0, 1)))
    assert [b + 0.5 for b in best] == pytest.approx(wanted, abs=0.5 * pixel + 0.6)


def test_the_geometry_of_a_known_crop_is_known():
    """Resize(72) and CenterCrop(64) of 144 x 288: halved to 72 x 144, 4 rows and 40 columns cut."""
    found = measure(PREPROCESSINGS["torchvision"], (144, 288))
    assert found.model == (64, 64)
    assert found.scale == pytest.approx((0.5, 0.5), rel=1e-2)
    assert found.offset == pytest.approx((-4, -40), abs=0.3)


def test_the_geometry_of_a_known_padding_is_known():
    """128 x 64 in the middle of a square of 128, halved: 16 columns of padding at each side."""
    found = measure(padded_to_square, (128, 64))
    assert found.scale == pytest.approx((0.5, 0.5), rel=1e-2)
    assert found.offset == pytest.approx((0, 16), abs=0.3)


def test_a_mirrored_picture_has_its_map_mirrored_back():
    found = measure(mirrored, (48, 64))
    relevance = torch.zeros(8, 8)
    relevance[:, 0] = 1  # left in the input is right in the picture
    laid = found.on_original(relevance)
    assert float(laid[:, -4:].mean()) > 0.9
    assert float(laid[:, :32].max()) == 0


def test_a_flat_input_is_known_as_a_picture():
    found = measure(flat_digit, (56, 84))
    assert found.shape == (1, 28, 28)
    assert found.scale == pytest.approx((0.5, 1 / 3), rel=1e-2)


def test_what_a_crop_cut_off_is_nan_and_the_rest_is_not():
    """A halved picture, 4 rows and 40 columns of it cut; half an input pixel is spared."""
    geometry = Geometry((144, 288), (64, 64), (0.5, 0.5), (-4.0, -40.0))
    laid = geometry.on_original(torch.ones(4, 4))
    seen = ~laid.isnan()
    assert seen[8:136, 80:208].all()
    assert int(seen.sum()) == 130 * 130
    assert torch.allclose(laid[seen], torch.ones(130 * 130))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_a_constant_map_stays_constant_on_any_picture(rows, columns, height, width):
    laid = Geometry.stretched((height, width), (32, 32)).on_original(
        torch.full((rows, columns), 3.0)
    )
    assert torch.allclose(laid, torch.full((height, width), 3.0))


@given(st.integers(1, 24), st.integers(1, 24), st.integers(1, 60), st.integers(1, 60))
def test_a_map_is_laid_on_a_stretched_picture_as_pillow_resizes_it(rows, columns, height, width):
    """Against Pillow's bilinear resizing: averaged where the map is the finer one."""
    relevance = torch.rand(rows, columns, generator=torch.Generator().manual_seed(rows))
    laid = Geometry.stretched((height, width), (32, 32)).on_original(relevance)
    expected = Image.fromarray(relevance.numpy()).resize((width, height), Image.Resampling.BILINEAR)
    torch.testing.assert_close(laid, torch.tensor(np.asarray(expected)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["stretched", "Preprocess stretched", "flat", "mirrored"])
@settings(max_examples=15, deadline=None)
@given(st.integers(20, 1500), st.integers(20, 1500))
def test_where_nothing_is_cut_off_all_of_the_picture_is_seen(name, height, width):
    geometry = measure(PREPROCESSINGS[name], (height, width))
    assert not geometry.on_original(torch.ones(7, 7)).isnan().any()


def rotated(image):
    return transforms.functional.to_tensor(image.rotate(30).resize((64, 64)))


def randomly_cropped():
    generator = np.random.default_rng(0)

    def crop(image):
        left, top = generator.integers(0, 20, 2)
        return transforms.functional.to_tensor(image.crop((left, top, left + 64, top + 64)))

    return crop


@pytest.mark.parametrize(
    "make", [lambda: rotated, randomly_cropped], ids=["rotation", "random crop"]
)
def test_what_is_no_resize_crop_or_padding_is_warned_of_and_stretched(make):
    preparer = Preparer(make())
    with pytest.warns(SeewhyWarning, match="could not be measured.*stretched over the whole"):
        found = preparer.geometry(Picture(Image.new("RGB", (120, 96)), "one"))
    assert found == Geometry.stretched((96, 120), (64, 64))


def test_a_preprocessing_is_measured_once_for_each_size():
    seen = []

    def preprocess(image):
        seen.append(image.size)
        return transforms.functional.to_tensor(image.resize((32, 32)))

    preparer = Preparer(preprocess)
    for _ in range(3):
        preparer.geometry(Picture(Image.new("RGB", (50, 40)), "one"))
    assert len(seen) == 5
    preparer.geometry(Picture(Image.new("RGB", (40, 50)), "two"))
    assert seen.count((40, 50)) == 5


def test_measuring_leaves_no_warning_where_all_is_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Preparer(PREPROCESSINGS["torchvision"]).geometry(Picture(Image.new("RGB", (90, 70)), "one"))
