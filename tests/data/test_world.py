"""The generated world: what it promises about its pictures."""

import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from seewhy.data import world
from seewhy.errors import PictureError

COUNT = 60


@pytest.fixture(scope="module")
def scenes():
    return world.generate(COUNT, seed=1)


def same(one, other):
    names = [field.name for field in fields(world.Scenes)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


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


@pytest.mark.parametrize("settings", [{}, {"sticker": "mixed"}, {"conflict": True}, {"shapes": 3}])
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


def test_one_shape_is_the_default(scenes):
    assert same(scenes, world.generate(COUNT, seed=1, shapes=1))
    assert scenes.parts == world.PARTS
    assert scenes.shape_classes.shape == (COUNT, 1)


@pytest.mark.parametrize("settings", [{}, {"conflict": True}, {"sticker": "mixed"}])
@pytest.mark.parametrize("shapes", [2, 3])
def test_further_shapes_only_add_themselves_to_the_picture(shapes, settings):
    several = world.generate(COUNT, seed=1, shapes=shapes, **settings)
    fewer = world.generate(COUNT, seed=1, shapes=shapes - 1, **settings)
    assert several.parts == (*fewer.parts, f"shape {shapes}")
    assert np.array_equal(several.without(several.parts[-1]), fewer.pictures)
    assert np.array_equal(several.masks[:, :-1], fewer.masks)
    assert np.array_equal(several.shape_classes[:, :-1], fewer.shape_classes)
    for name in ("backgrounds", "labels", "sticker_classes"):
        assert np.array_equal(getattr(several, name), getattr(fewer, name))


@pytest.fixture(scope="module")
def crowded():
    return world.generate(COUNT, seed=1, shapes=3, distractors=2)


def test_several_shapes_are_of_different_classes_the_first_is_the_label(crowded):
    shown = crowded.labels != world.CLASSES.index("nothing")
    assert shown.sum() > COUNT / 2
    assert np.array_equal(crowded.shape_classes[shown, 0], crowded.labels[shown])
    for classes in crowded.shape_classes[shown]:
        assert len(set(classes)) == 3
        assert set(classes) < {0, 1, 2, 3}
    assert (crowded.shape_classes[~shown] == -1).all()
    # The further ones are drawn, not counted on from the first.
    pairs = {tuple(classes) for classes in crowded.shape_classes[shown, :2]}
    assert len(pairs) == 12


def test_several_shapes_have_masks_of_their_own_that_overlap_nothing(crowded):
    assert crowded.masks.shape[1] == len(crowded.parts) == 6
    assert crowded.masks.sum(1).max() == 1
    for column, part in enumerate(("shape", "shape 2", "shape 3")):
        present = crowded.mask(part).any((1, 2))
        assert np.array_equal(present, crowded.shape_classes[:, column] >= 0)
        changed = (crowded.without(part) != crowded.pictures).any(-1)
        assert not (changed & ~crowded.mask(part)).any()
        assert changed.sum() > 0.99 * crowded.mask(part).sum()


def test_all_shapes_of_a_class_look_alike_wherever_they_stand():
    """The area in pixels tells that a further shape is of the class that it is said to be."""
    many = world.generate(300, seed=2, shapes=2, empty=0.0)
    for label in range(4):
        first = many.mask("shape")[many.shape_classes[:, 0] == label].sum((1, 2))
        second = many.mask("shape 2")[many.shape_classes[:, 1] == label].sum((1, 2))
        assert second.mean() == pytest.approx(first.mean(), rel=0.06)


def test_without_all_shapes_nothing_is_left_to_name(crowded):
    redrawn = world.generate(COUNT, seed=1, shapes=3, distractors=2, empty=1.0)
    rest = crowded.without("shape", "shape 2", "shape 3")
    assert np.array_equal(rest, redrawn.pictures)
    assert not redrawn.masks[:, [0, 4, 5]].any()


def test_in_a_conflict_the_sticker_is_of_none_of_the_shapes():
    scenes = world.generate(COUNT, seed=1, shapes=3, conflict=True)
    assert (scenes.shape_classes >= 0).all()
    assert not (scenes.shape_classes == scenes.sticker_classes[:, None]).any()


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
        ({"shapes": 0}, "shapes=0; give a whole number, 1 to 3"),
        ({"shapes": 4}, "shapes=4; give a whole number, 1 to 3"),
        ({"shapes": None}, "shapes=None; give a whole number, 1 to 3"),
    ],
)
def test_settings_that_make_no_world_are_refused_with_what_to_do(settings, message):
    with pytest.raises(PictureError, match=message):
        world.generate(**{"count": 1, **settings})


def test_a_part_that_does_not_exist_is_refused_with_those_that_do(scenes):
    with pytest.raises(PictureError, match="'shape', 'sticker', 'distractor 1'"):
        scenes.without("shapes")
    with pytest.raises(PictureError, match="no part 'shape 2' in these pictures"):
        scenes.mask("shape 2")


def test_the_world_is_drawn_without_torch():
    code = (
        "import sys; from seewhy.data import world; world.card('object'); "
        "world.effects(lambda pictures: pictures.mean((1, 2)), world.generate(1), 0); "
        "sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, check=False).returncode == 0  # noqa: S603
