"""The generated world: what it promises about its pictures, and what its model can do."""

import subprocess
import sys

import numpy as np
import pytest

from seewhy.data import world
from seewhy.errors import ModelError, PictureError

COUNT = 60


@pytest.fixture(scope="module")
def scenes():
    return world.generate(COUNT, seed=1)


def same(one, other):
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("pictures", "backgrounds", "labels", "sticker_classes", "masks")
    )


def test_pictures_are_bytes_with_a_label_a_sticker_and_masks(scenes):
    assert len(scenes) == COUNT
    assert scenes.pictures.shape == (COUNT, 64, 64, 3)
    assert scenes.pictures.dtype == np.uint8
    assert scenes.pictures.min() < 20
    assert scenes.pictures.max() > 235
    assert scenes.masks.shape == (COUNT, len(world.PARTS), 64, 64)
    assert scenes.masks.dtype == np.bool_
    assert scenes.labels.dtype == scenes.sticker_classes.dtype == np.int64
    assert set(scenes.labels) == set(range(len(world.CLASSES)))
    assert set(scenes.sticker_classes) == {-1, 0, 1, 2, 3}


@pytest.mark.parametrize("settings", [{}, {"sticker": "mixed"}, {"conflict": True}])
def test_a_picture_does_not_depend_on_how_many_are_drawn(settings):
    assert same(world.generate(10, seed=1, **settings), world.generate(30, seed=1, **settings)[:10])


def test_another_seed_gives_other_pictures(scenes):
    assert not np.array_equal(world.generate(1, seed=2).pictures, scenes[0].pictures)


def test_scenes_are_selected_like_an_array(scenes):
    assert same(scenes[3], scenes[3:4])
    assert same(scenes[[5, 2]][1], scenes[2])
    assert same(scenes[scenes.labels == 0][0], scenes[int(np.argmax(scenes.labels == 0))])
    assert len(list(scenes[:4])) == 4
    with pytest.raises(IndexError):
        scenes[COUNT]


def test_parts_never_overlap_and_are_never_cut_by_the_border(scenes):
    assert scenes.masks.sum(1).max() == 1
    pixels = scenes.mask("sticker").sum((1, 2))
    assert set(pixels) == {0, 81}
    # The area of a shape varies with its size alone: one cut off would be much smaller.
    many = world.generate(300, seed=2)
    for label in range(4):
        areas = many.mask("shape")[many.labels == label].sum((1, 2))
        assert areas.min() > 0.5 * areas.max()


def test_a_part_has_a_mask_where_it_is_present_and_only_there(scenes):
    present = scenes.masks.any((2, 3))
    assert np.array_equal(present[:, 0], scenes.labels != world.CLASSES.index("nothing"))
    assert np.array_equal(present[:, 1], scenes.sticker_classes >= 0)
    assert not (present[:, 3] & ~present[:, 2]).any()


@pytest.mark.parametrize("part", world.PARTS)
def test_removing_a_part_changes_its_own_pixels_alone(scenes, part):
    changed = (scenes.without(part) != scenes.pictures).any(-1)
    assert not (changed & ~scenes.mask(part)).any()
    # By chance a part's pixel may equal the background under it, a whole part never.
    assert changed.sum() > 0.99 * scenes.mask(part).sum()


@pytest.mark.parametrize(
    ("parts", "settings"),
    [
        (("sticker",), {"sticker": "none"}),
        (("shape",), {"empty": 1.0}),
        (("distractor 1", "distractor 2"), {"distractors": 0}),
        (("distractor 2", "shape", "sticker", "distractor 1"), {"empty": 1, "distractors": 0}),
    ],
)
def test_removing_a_part_is_drawing_the_picture_without_it(scenes, parts, settings):
    if len(parts) == len(world.PARTS):
        settings = {**settings, "sticker": "none"}
    redrawn = world.generate(COUNT, seed=1, **settings)
    assert np.array_equal(scenes.without(*parts), redrawn.pictures)
    assert np.array_equal(scenes.backgrounds, redrawn.backgrounds)


def test_in_a_conflict_shape_and_sticker_are_present_and_disagree():
    scenes = world.generate(COUNT, seed=1, conflict=True, empty=1.0)
    assert set(scenes.labels) == set(scenes.sticker_classes) == {0, 1, 2, 3}
    assert (scenes.labels != scenes.sticker_classes).all()


def test_a_sticker_follows_what_it_was_told_to_follow():
    follows = world.generate(COUNT, seed=1, sticker="class")
    nothing = world.CLASSES.index("nothing")
    expected = np.where(follows.labels == nothing, -1, follows.labels)
    assert np.array_equal(follows.sticker_classes, expected)

    shares = {}
    for sticker in ("random", "mixed"):
        many = world.generate(400, seed=1, sticker=sticker, empty=0.0)
        shares[sticker] = (many.sticker_classes == many.labels).mean()
    # A quarter of the three quarters that have one; and 60 % plus that share of the rest.
    assert shares["random"] == pytest.approx(0.19, abs=0.06)
    assert shares["mixed"] == pytest.approx(0.6 + 0.4 * 0.19, abs=0.07)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_distractors_are_as_many_as_asked_for(number):
    scenes = world.generate(10, distractors=number)
    assert (scenes.masks[:, 2:].any((2, 3)).sum(1) == number).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "count=0; give a whole number, 1 or more"),
        ({"count": 2.5}, "count=2.5; give a whole number"),
        ({"seed": -1}, "seed=-1; give a whole number, 0 or more"),
        ({"sticker": "blue"}, "choose from 'random', 'class', 'mixed', 'none'"),
        ({"sticker": "none", "conflict": True}, "leave one of the two out"),
        ({"empty": 15}, r"give a number in 0\.\.1"),
        ({"empty": float("nan")}, r"give a number in 0\.\.1"),
        ({"distractors": 3}, "give 0, 1 or 2"),
    ],
)
def test_settings_that_make_no_world_are_refused_with_what_to_do(settings, message):
    with pytest.raises(PictureError, match=message):
        world.generate(**{"count": 1, **settings})


def test_a_part_that_does_not_exist_is_refused_with_those_that_do(scenes):
    with pytest.raises(PictureError, match="'shape', 'sticker', 'distractor 1'"):
        scenes.without("shapes")


def test_the_world_is_drawn_without_torch():
    code = "import sys; from seewhy.data import world; world.generate(1); world.card('object')"
    command = [sys.executable, "-c", code + "; sys.exit('torch' in sys.modules)"]
    assert subprocess.run(command, check=False).returncode == 0  # noqa: S603


def test_models_that_are_not_shipped_are_refused_with_those_that_are():
    assert "object" in world.names()
    for ask in (world.weights_path, world.card, world.load_network):
        with pytest.raises(ModelError, match="'object'"):
            ask("objekt")


@pytest.mark.parametrize(
    ("settings", "measured"),
    [
        ({"sticker": "random"}, "as trained"),
        ({"conflict": True}, "conflict, follows the shape"),
        ({"sticker": "none"}, "without stickers"),
    ],
)
def test_the_shipped_model_reaches_what_its_card_says(settings, measured):
    from seewhy.data.world.train import predict

    scenes = world.generate(500, seed=7, **settings)
    accuracy = (predict(world.load_network("object"), scenes) == scenes.labels).mean()
    card = world.card("object")
    assert accuracy == pytest.approx(card["accuracy"][measured], abs=0.01)
    assert accuracy >= 0.98


def test_the_card_describes_the_shipped_network():
    network = world.load_network("object")
    card = world.card("object")
    assert not network.training
    assert card["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert tuple(card["classes"]) == world.CLASSES
    assert (card["input"]["mean"], card["input"]["std"]) == (list(world.MEAN), list(world.STD))
    assert world.weights_path("object").stat().st_size < 500_000


def test_one_seed_trains_one_network_and_leaves_the_random_state_alone():
    import torch

    from seewhy.data.world.train import RECIPES, Schedule, train

    before = torch.get_rng_state()
    short = Schedule(pictures=64, steps=3, batch=16)
    first, second = (train(RECIPES["object"], seed=3, schedule=short) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for name, values in first.state_dict().items():
        assert torch.equal(values, second.state_dict()[name]), name
