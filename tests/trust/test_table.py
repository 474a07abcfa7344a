"""The measures tell known methods apart as they were told apart before, on another network."""

import pytest
from benchmarks import truth

import seewhy as sw
from seewhy.data import world

pytestmark = pytest.mark.slow

COUNT = 96


@pytest.fixture(scope="module")
def scenes():
    return world.generate(COUNT, seed=0, conflict=True)


@pytest.fixture(scope="module")
def found(demo, scenes):
    return truth.judge(demo, list(scenes.pictures), list(scenes.mask("shape")), COUNT)


@pytest.mark.parametrize(("metric", "place"), [("relevance-mass", 1), ("srg", 3)])
def test_the_order_of_methods_is_that_of_the_reference(found, metric, place):
    """Spearman's rank correlation with a table measured in a world of the same kind."""
    assert truth.agreement(found, metric, place) >= 0.7


def test_methods_point_better_than_any_control(found):
    assert truth.above(found, "pointing-game") == truth.METHODS


def test_methods_gain_more_than_any_control_but_gradient_x_input(found):
    """Gradient x input, summed over a patch with its signs, gains no more than an edge map."""
    for name in truth.METHODS:
        if name != "gradient-x-input":
            assert found.beats_controls(name, "srg"), name
    tie = found.difference("gradient-x-input", "sobel", "srg")
    assert tie.low < 0.1


def test_the_order_does_not_depend_on_the_training_seed(found, scenes):
    again = truth.judge(
        truth.second_model(),
        list(scenes.pictures),
        list(scenes.mask("shape")),
        COUNT,
        metrics=["srg"],
    )
    assert truth.same_order(found, again) >= 0.8


def test_every_method_tells_the_shortcut_and_no_control_does(found, scenes):
    other = truth.judge(
        sw.load("demo/shortcut"),
        list(scenes.pictures),
        list(scenes.mask("shape")),
        COUNT,
        metrics=["relevance-mass"],
    )
    for name in found.methods:
        told = truth.told_apart(found, other, name, scenes.mask("sticker"))
        if name in found.controls:
            assert told == pytest.approx(0.5, abs=0.1)
        else:
            assert told >= 0.99, name
