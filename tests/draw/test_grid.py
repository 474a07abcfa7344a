"""Panels hold every picture, undistorted, with texts that stay in their cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from seewhy.draw import Cell, panel
from seewhy.draw.text import ELLIPSIS, font, shorten, wrap
from seewhy.errors import PictureError

RED = (255, 0, 0)


def box(image: Image.Image, color: tuple[int, int, int] = RED) -> tuple[int, int]:
    """Return the width and height of what has a colour."""
    found = np.all(np.asarray(image) == color, axis=-1)
    return int(found.any(axis=0).sum()), int(found.any(axis=1).sum())


@pytest.mark.parametrize("count", range(1, 13))
def test_every_picture_is_there_and_few_places_stay_empty(count):
    colors = [(20 * index + 10, 0, 200) for index in range(count)]
    drawn = panel([Cell(Image.new("RGB", (8, 8), color)) for color in colors], width=32)
    assert all(box(drawn, color) == (32, 32) for color in colors)
    columns, rows = ((side - 4) // 36 for side in drawn.size)
    assert columns >= rows
    assert columns * rows - count <= 2


def test_columns_can_be_chosen_and_are_not_left_empty():
    cells = [Cell(Image.new("RGB", (8, 8)))] * 3
    narrow, wide = panel(cells, columns=1, width=32), panel(cells, columns=9, width=32)
    assert narrow.size == wide.size[::-1]


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(32, 200))
def test_pictures_are_never_distorted(width, height, cell):
    drawn = panel([Cell(Image.new("RGB", (width, height), RED))], width=cell)
    across, down = box(drawn)
    # Some one scale gives both sides, each rounded to whole pixels.
    assert (across - 1) / width <= (down + 1) / height
    assert (down - 1) / height <= (across + 1) / width
    assert across <= cell


def test_a_row_fits_portraits_and_landscapes_into_the_same_height():
    tall, broad = Image.new("RGB", (100, 400), RED), Image.new("RGB", (400, 100), (0, 0, 255))
    drawn = panel([Cell(tall), Cell(broad)], width=100)
    assert box(drawn) == (25, 100)
    assert box(drawn, (0, 0, 255)) == (100, 25)


@pytest.mark.parametrize("side", [8, 32])
def test_small_pictures_stay_crisp(side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    drawn = np.asarray(panel([Cell(Image.fromarray(pixels))], width=64, background="white"))
    margin = (drawn.shape[1] - 64) // 2
    enlarged = drawn[margin:-margin, margin:-margin]
    assert np.array_equal(enlarged, pixels.repeat(64 // side, axis=0).repeat(64 // side, axis=1))


def test_small_pictures_stay_crisp_where_the_factor_is_not_whole():
    checkers = (np.indices((28, 28)).sum(axis=0) % 2 * 255).astype(np.uint8)
    drawn = np.asarray(panel([Cell(Image.fromarray(checkers))], width=256, background=RED))
    enlarged = drawn[12:-12, 12:-12, 1]
    assert np.isin(enlarged, (0, 255)).mean() > 0.75


def test_large_pictures_are_reduced_with_antialiasing():
    checkers = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    drawn = np.asarray(panel([Cell(Image.fromarray(checkers))], width=64, background=RED))
    reduced = drawn[8:56, 8:56, 1].astype(int)
    assert np.abs(reduced - 127).max() < 10


def test_transparent_pictures_lie_on_the_paper():
    drawn = panel([Cell(Image.new("RGBA", (8, 8), (0, 0, 0, 0)))], width=32, background=RED)
    assert box(drawn) == drawn.size


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=100))
def test_any_text_can_be_drawn_and_no_cell_grows_wider(title, caption, heading):
    picture = Image.new("RGB", (16, 16), RED)
    drawn = panel([Cell(picture, title, caption)] * 2, title=heading, width=64)
    assert drawn.width == panel([Cell(picture)] * 2, width=64).width
    assert drawn.height <= 64 * 5


def test_text_stays_within_its_cell():
    long = "interpretability " * 20
    cells = [
        Cell(Image.new("RGB", (64, 64), "white"), long, long),
        Cell(Image.new("RGB", (64, 64), "white")),
    ]
    drawn = np.asarray(panel(cells, width=128))
    assert np.any(drawn[:, : 6 + 128] < 128)
    assert np.all(drawn[:, 6 + 128 + 2 :] == 255)


@pytest.mark.parametrize("background", ["white", "black", "#123456", (250, 240, 230)])
def test_text_stands_out_from_any_paper(background):
    picture = Image.new("RGB", (64, 64), background)
    drawn = np.asarray(panel([Cell(picture, "title")], background=background).convert("L")).astype(
        int
    )
    assert np.abs(drawn - drawn[0, 0]).max() > 120


@given(st.text(max_size=300), st.integers(24, 300), st.integers(1, 4))
@settings(deadline=None)
def test_wrapped_lines_fit_their_width_and_number(text, width, lines):
    face = font(12)
    wrapped = wrap(text, face, width, lines)
    assert len(wrapped) <= lines
    assert all(face.getlength(line) <= width or len(line) <= 2 for line in wrapped)


@settings(deadline=None)
@given(st.lists(st.text("abcdefgh", min_size=1, max_size=5), min_size=1, max_size=12))
def test_wrapping_loses_no_word_where_there_is_room(words):
    assert " ".join(wrap(" ".join(words), font(12), 80, lines=100)).split() == words


def test_what_does_not_fit_ends_in_an_ellipsis():
    wrapped = wrap("one two three four five six seven", font(12), 60, lines=2)
    assert len(wrapped) == 2
    assert wrapped[-1].endswith(ELLIPSIS)
    assert shorten("a label that is long", font(12), 40).endswith(ELLIPSIS)
    assert shorten("short", font(12), 400) == "short"


def test_line_breaks_are_kept():
    assert wrap("p = 0.9\nrank 1", font(12), 300, lines=3) == ["p = 0.9", "rank 1"]


@pytest.mark.parametrize(
    ("cells", "options", "message"),
    [
        (0, {}, "at least one"),
        (1, {"columns": 0}, "1 or more"),
        (1, {"width": 8}, "32"),
        (1, {"background": "blurple"}, "colour"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(cells, options, message):
    with pytest.raises(PictureError, match=message):
        panel([Cell(Image.new("RGB", (8, 8)))] * cells, **options)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(PictureError, match=r"\[1\]"):
        panel([Cell(Image.new("RGB", (8, 8))), Cell(Image.new("RGB", (0, 8)))])
