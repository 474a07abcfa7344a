"""A colour bar shows its map from end to end, between its labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seewhy.draw import colorbar, colorize
from seewhy.errors import PictureError


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("colormap", [None, "viridis", "PiYG"])
def test_the_bar_runs_through_the_whole_map(colormap, signed):
    bar = colorbar(colormap, signed=signed, width=200, height=20, labels=("", ""))
    low = -1 if signed else 0
    ramp = colorize(np.linspace(low, 1, 200)[None], colormap, signed=signed)
    assert np.abs(np.asarray(bar)[10] - 255 * ramp[0, :, :3]).max() <= 1


@settings(deadline=None, max_examples=40)
@given(st.integers(64, 400), st.integers(10, 60), st.text(max_size=40), st.booleans())
def test_a_bar_has_the_size_that_was_asked_for(width, height, label, signed):
    bar = colorbar(signed=signed, width=width, height=height, labels=(label, label))
    assert (bar.mode, bar.size) == ("RGB", (width, height))


def test_the_ends_are_named_for_what_they_mean():
    named = colorbar(signed=True, labels=("against", "for"))
    assert colorbar(signed=True).tobytes() == named.tobytes()
    assert colorbar("bwr", labels=("less", "more")).tobytes() == colorbar("bwr").tobytes()


@pytest.mark.parametrize("size", [{"width": 10}, {"height": 4}])
def test_a_bar_too_small_to_read_is_refused(size):
    with pytest.raises(PictureError, match="64 x 10"):
        colorbar(**size)
