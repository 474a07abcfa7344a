"""What a heat does to its picture."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from seewhy.draw import colorize, heatmap_image, mask_out, overlay
from seewhy.errors import PictureError

SIDES = st.tuples(st.integers(1, 12), st.integers(1, 12))
MAPS = st.sampled_from([None, "viridis", "turbo", "inferno", "RdBu_r", "tab10", "gray"])


def photograph(height: int, width: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def values(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@st.composite
def heats(draw: st.DrawFn, *, signed: bool, nan: bool = True) -> np.ndarray:
    low = -1.0 if signed else 0.0
    number = st.floats(low, 1.0, width=32)
    elements = st.one_of(number, st.just(float("nan"))) if nan else number
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    return draw(hnp.arrays(dtype, draw(SIDES), elements=elements))


def signed_heats(*, nan: bool = True) -> st.SearchStrategy[tuple[np.ndarray, bool]]:
    return st.booleans().flatmap(
        lambda signed: st.tuples(heats(signed=signed, nan=nan), st.just(signed))
    )


# overlay


@settings(deadline=None)
@given(signed_heats(), MAPS, st.floats(0, 1))
def test_any_heat_in_range_draws_a_picture_of_its_size(drawn, colormap, opacity):
    heat, signed = drawn
    picture = photograph(*heat.shape)
    laid = overlay(picture, heat, colormap=colormap, opacity=opacity, signed=signed)
    alone = heatmap_image(heat, colormap=colormap, signed=signed)
    assert (laid.mode, laid.size) == ("RGB", picture.size)
    assert (alone.mode, alone.size) == ("RGB", picture.size)


@settings(deadline=None)
@given(signed_heats(), MAPS)
def test_without_opacity_the_photograph_is_untouched(drawn, colormap):
    heat, signed = drawn
    picture = photograph(*heat.shape)
    laid = overlay(picture, heat, colormap=colormap, opacity=0, signed=signed)
    assert np.array_equal(values(laid), values(picture))


@settings(deadline=None)
@given(signed_heats(nan=False), MAPS, st.floats(0, 1))
def test_brightness_is_kept_wherever_there_is_no_relevance(drawn, colormap, opacity):
    heat, signed = drawn
    heat[:: 2 if heat.shape[0] > 1 else 1] = 0
    picture = photograph(*heat.shape)
    laid = overlay(picture, heat, colormap=colormap, opacity=opacity, signed=signed)
    nothing = heat == 0
    assert np.array_equal(values(laid)[nothing], values(picture)[nothing])


@settings(deadline=None)
@given(signed_heats(), MAPS, st.floats(0, 1), st.floats(0, 1))
def test_more_opacity_is_never_nearer_to_the_photograph(drawn, colormap, one, other):
    heat, signed = drawn
    picture = photograph(*heat.shape)
    far = [
        np.abs(
            values(overlay(picture, heat, colormap=colormap, opacity=opacity, signed=signed))
            - values(picture)
        )
        for opacity in sorted((one, other))
    ]
    assert np.all(far[0] <= far[1])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("opacity", [0.3, 0.6, 1.0])
def test_the_weight_of_the_colour_is_the_opacity_where_the_heat_is_one(opacity, signed):
    picture = photograph(3, 5)
    laid = overlay(picture, np.ones((3, 5)), opacity=opacity, signed=signed)
    color = 255 * colorize([[1.0]], signed=signed)[0, 0, :3]
    expected = (1 - opacity) * values(picture) + opacity * color
    assert np.abs(values(laid) - expected).max() <= 0.5 + 1e-3


def test_the_weight_grows_with_relevance_and_middling_relevance_shows():
    black = Image.new("RGB", (101, 1))
    white = ["white", "white"]
    colormap = mpl.colors.ListedColormap(white)
    ramp = np.linspace(0, 1, 101)[None]
    weight = values(overlay(black, ramp, colormap=colormap, opacity=1))[0, :, 0] / 255
    assert np.all(np.diff(weight) >= 0)
    assert weight[50] > 0.6
    assert weight[2] < 0.05


def test_signed_relevance_weighs_the_same_for_and_against():
    picture = photograph(4, 4)
    heat = np.linspace(-1, 1, 16).reshape(4, 4)
    laid = overlay(picture, heat, colormap="bwr", signed=True)
    mirrored = overlay(picture, -heat, colormap="bwr_r", signed=True)
    assert np.abs(values(laid) - values(mirrored)).max() <= 1


def test_red_is_for_and_blue_is_against():
    picture = Image.new("RGB", (2, 1), "gray")
    (favour, contra) = values(overlay(picture, [[1.0, -1.0]], signed=True))[0]
    assert favour[0] > favour[2]
    assert contra[2] > contra[0]


def test_what_the_model_did_not_see_turns_grey_and_loses_contrast():
    picture = photograph(20, 20)
    heat = np.zeros((20, 20))
    heat[:, :5] = np.nan
    laid, photo = values(overlay(picture, heat)), values(picture)
    unseen = laid[:, :5]
    assert np.all(unseen.max(axis=-1) == unseen.min(axis=-1))
    assert unseen.std() < 0.6 * photo[:, :5].std()
    assert np.array_equal(laid[:, 5:], photo[:, 5:])


def test_the_callers_heat_and_picture_are_left_alone():
    picture, heat = photograph(4, 4), np.full((4, 4), 0.5, dtype=np.float32)
    heat[0] = np.nan
    before = (picture.tobytes(), heat.tobytes())
    overlay(picture, heat)
    mask_out(picture, heat, keep=0.5)
    assert (picture.tobytes(), heat.tobytes()) == before


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan"), float("inf")])
def test_an_opacity_outside_its_range_is_refused(opacity):
    with pytest.raises(PictureError, match="from 0"):
        overlay(photograph(2, 2), np.ones((2, 2)), opacity=opacity)


def test_a_heat_of_another_size_is_refused_and_both_sizes_are_named():
    with pytest.raises(PictureError, match=r"5 x 3 .*the heat 3 x 5"):
        overlay(photograph(3, 5), np.ones((5, 3)))


@pytest.mark.parametrize(
    ("heat", "signed", "message"),
    [
        ([[-0.5]], False, "pass signed=True"),
        ([[1.5]], False, "0..1"),
        ([[-1.5]], True, "-1..1"),
        ([[float("inf")]], False, "inf"),
        ([0.5], False, "matrix"),
        (np.zeros((1, 2, 2)), False, "matrix"),
        (np.zeros((0, 2)), False, "matrix"),
        ([["warm"]], False, "matrix"),
    ],
)
def test_what_is_no_heat_is_refused(heat, signed, message):
    with pytest.raises(PictureError, match=message):
        colorize(heat, signed=signed)


def test_rounding_beyond_the_range_is_forgiven():
    assert np.array_equal(colorize([[1.0005, -0.0005]]), colorize([[1.0, 0.0]]))


# colours


@settings(deadline=None)
@given(heats(signed=False), MAPS)
def test_colours_are_float32_in_range_and_transparent_where_unseen(heat, colormap):
    colors = colorize(heat, colormap)
    assert (colors.dtype, colors.shape) == (np.float32, (*heat.shape, 4))
    assert np.all((colors >= 0) & (colors <= 1))
    assert np.array_equal(colors[..., 3] == 0, np.isnan(heat))


@pytest.mark.parametrize("name", ["viridis", "turbo", "magma"])
def test_colours_are_those_of_matplotlib(name):
    ramp = np.linspace(0, 1, 256)[None]
    assert np.abs(colorize(ramp, name) - mpl.colormaps[name](ramp)).max() < 0.01


@pytest.mark.parametrize("name", ["RdBu_r", "bwr", "coolwarm", "seismic"])
def test_signed_zero_has_the_colour_of_the_maps_centre(name):
    table = mpl.colormaps[name](np.arange(256))
    assert np.allclose(colorize([[0.0]], name, signed=True)[0, 0], table[127:129].mean(axis=0))


@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_signed_zero_is_neutral_by_default(zero):
    red, green, blue, _ = colorize([[zero]], signed=True)[0, 0]
    assert red == pytest.approx(blue)
    assert red == pytest.approx(green, abs=0.01)


@settings(deadline=None)
@given(heats(signed=True, nan=False), st.sampled_from(["RdBu", "bwr", "coolwarm", "PiYG"]))
def test_signed_colours_are_symmetric_around_zero(heat, name):
    forwards = colorize(heat, name, signed=True)
    backwards = colorize(-heat, mpl.colormaps[name].reversed(), signed=True)
    # Values between two steps of the table may round to either.
    assert np.abs(forwards - backwards).max() < 0.01


def test_a_map_of_few_colours_keeps_its_steps():
    ramp = np.linspace(0, 1, 500)[None]
    assert len(np.unique(colorize(ramp, "tab10")[0], axis=0)) == 10


def test_a_colour_map_object_does_as_well_as_its_name():
    ramp = np.linspace(0, 1, 9)[None]
    assert np.array_equal(colorize(ramp, mpl.colormaps["magma"]), colorize(ramp, "magma"))


@pytest.mark.parametrize(
    ("name", "near"), [("virids", "viridis"), ("rdbu", "RdBu"), ("?", "turbo")]
)
def test_an_unknown_colour_map_is_answered_with_close_names(name, near):
    with pytest.raises(PictureError, match=near):
        colorize([[0.5]], name)


def test_what_is_no_colour_map_is_refused():
    with pytest.raises(PictureError, match="Colormap"):
        colorize([[0.5]], 3)


# masks


@settings(deadline=None)
@given(signed_heats(), st.floats(0, 1))
def test_keep_shows_exactly_its_share_of_the_pixels(drawn, keep):
    heat, _ = drawn
    white = Image.new("RGB", heat.shape[::-1], "white")
    shown = values(mask_out(white, heat, fill="black", keep=keep))[..., 0] == 255
    assert shown.sum() == round(keep * heat.size)


@settings(deadline=None)
@given(signed_heats(), st.floats(0, 1))
def test_keep_shows_nothing_less_relevant_than_what_it_hides(drawn, keep):
    heat, _ = drawn
    white = Image.new("RGB", heat.shape[::-1], "white")
    shown = values(mask_out(white, heat, fill="black", keep=keep))[..., 0] == 255
    ranked = np.where(np.isnan(heat), -np.inf, heat)
    if shown.any() and not shown.all():
        assert ranked[shown].min() >= ranked[~shown].max()


def test_ties_favour_no_side_of_the_picture():
    white = Image.new("RGB", (40, 40), "white")
    shown = values(mask_out(white, np.zeros((40, 40)), fill="black", keep=0.5))[..., 0] == 255
    quarters = [shown[:20, :20], shown[:20, 20:], shown[20:, :20], shown[20:, 20:]]
    assert all(0.35 < quarter.mean() < 0.65 for quarter in quarters)


@settings(deadline=None)
@given(heats(signed=False))
def test_a_soft_mask_mixes_picture_and_fill_by_the_heat(heat):
    picture = photograph(*heat.shape)
    share = np.nan_to_num(heat)[..., None]
    expected = values(picture) * share + np.array([10, 20, 30]) * (1 - share)
    masked = values(mask_out(picture, heat, fill=(10, 20, 30)))
    assert np.abs(masked - expected).max() <= 0.5 + 1e-3


def test_a_picture_can_stand_behind():
    picture, behind = photograph(3, 4, seed=1), photograph(3, 4, seed=2)
    assert mask_out(picture, np.zeros((3, 4)), fill=behind).tobytes() == behind.tobytes()
    assert mask_out(picture, np.ones((3, 4)), fill=behind).tobytes() == picture.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 1.5}, "keep"),
        ({"keep": float("nan")}, "keep"),
        ({"fill": "blurple"}, "colour"),
        ({"fill": (1, 2)}, "colour"),
        ({"fill": (1, 2, 300)}, "0..255"),
        ({"fill": Image.new("RGB", (9, 9))}, "9 x 9"),
    ],
)
def test_a_mask_refuses_what_it_cannot_mean(options, message):
    with pytest.raises(PictureError, match=message):
        mask_out(photograph(2, 2), np.ones((2, 2)), **options)


def test_grey_pictures_are_taken_as_colour_pictures():
    assert overlay(Image.new("L", (2, 2), 90), np.ones((2, 2))).mode == "RGB"
