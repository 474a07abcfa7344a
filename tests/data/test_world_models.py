"""The models of the generated world: what they follow, and what their answers are truly due to."""

from functools import partial

import numpy as np
import pytest

import seewhy as sw
from seewhy.data import world
from seewhy.errors import ModelError, TargetError

AGREEING, CONFLICT = "shape and sticker agree, their class", "conflict, the predicted class"
NAMES = ("mixed", "object", "shortcut", "transformer")
COUNT = 250


@pytest.fixture(scope="module")
def pictures():
    """Pictures of a seed on which nothing was trained or measured, by what is known of them."""
    return {
        "random": world.generate(COUNT, seed=7),
        "class": world.generate(COUNT, seed=7, sticker="class"),
        "mixed": world.generate(COUNT, seed=7, sticker="mixed"),
        "none": world.generate(COUNT, seed=7, sticker="none"),
        "conflict": world.generate(COUNT, seed=7, conflict=True),
    }


@pytest.fixture(scope="module", params=NAMES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def named(name, pictures):
    """What the model answers to pictures as trained, in conflict and without stickers."""
    from seewhy.data.world.train import predict

    network = world.load_network(name)
    kinds = (world.card(name)["training"]["sticker"], "conflict", "none")
    return {kind: predict(network, pictures[kind]) for kind in kinds}


@pytest.fixture(scope="module")
def drops():
    """Mean effects by the card's kind of pictures, model and part, where the part is present."""
    agreeing = world.generate(120, seed=8, sticker="class", empty=0.0)
    conflict = world.generate(120, seed=8, conflict=True)
    kinds = {AGREEING: (agreeing, agreeing.labels), CONFLICT: (conflict, None)}
    found = {}
    for kind, (scenes, target) in kinds.items():
        found[kind] = {}
        for name in NAMES:
            say = partial(world.logits, world.load_network(name))
            effects = world.effects(say, scenes, target)
            rows = {part: scenes.mask(part).any((1, 2)) for part in scenes.parts}
            columns = zip(scenes.parts, effects.T, strict=True)
            found[kind][name] = {part: column[rows[part]].mean() for part, column in columns}
    return found


def test_what_is_shipped_is_listed():
    assert world.names() == NAMES


def test_models_that_are_not_shipped_are_refused_with_those_that_are():
    for ask in (world.weights_path, world.card, world.load_network):
        with pytest.raises(ModelError, match="'mixed', 'object', 'shortcut', 'transformer'"):
            ask("objekt")


def test_a_shipped_model_reaches_what_its_card_says(name, named, pictures):
    said, card = world.card(name)["accuracy"], world.card(name)
    conflict, plain = pictures["conflict"], pictures["none"]
    trained = pictures[card["training"]["sticker"]]
    shown = plain.labels != world.CLASSES.index("nothing")
    measured = {
        "as trained": named[card["training"]["sticker"]] == trained.labels,
        "conflict, follows the shape": named["conflict"] == conflict.labels,
        "conflict, follows the sticker": named["conflict"] == conflict.sticker_classes,
        "without stickers": named["none"] == plain.labels,
        "without stickers, where there is a shape": (named["none"] == plain.labels)[shown],
    }
    for what, hits in measured.items():
        # Three standard errors of a share among so many pictures, and a picture's worth.
        room = 3 * np.sqrt(said[what] * (1 - said[what]) / len(hits)) + 1 / len(hits)
        assert hits.mean() == pytest.approx(said[what], abs=room), what


def test_each_model_is_right_about_pictures_like_those_it_was_trained_on(name, named, pictures):
    sticker = world.card(name)["training"]["sticker"]
    assert (named[sticker] == pictures[sticker].labels).mean() >= 0.97


@pytest.mark.parametrize("name", ["object"], indirect=True)
def test_the_object_model_follows_the_shape(named, pictures):
    assert (named["conflict"] == pictures["conflict"].labels).mean() >= 0.98
    assert (named["none"] == pictures["none"].labels).mean() >= 0.98


@pytest.mark.parametrize("name", ["shortcut"], indirect=True)
def test_the_shortcut_model_follows_the_sticker_and_is_lost_without(named, pictures):
    assert (named["class"] == pictures["class"].labels).mean() >= 0.995
    assert (named["conflict"] == pictures["conflict"].sticker_classes).mean() >= 0.98
    shown = pictures["none"].labels != world.CLASSES.index("nothing")
    assert (named["none"] == pictures["none"].labels)[shown].mean() <= 0.25


def test_a_card_describes_its_network(name):
    network, card = world.load_network(name), world.card(name)
    assert not network.training
    assert (card["name"], card["network"]) == (name, type(network).__name__)
    assert card["training"]["command"].endswith(f"{name} --seed 0")
    assert card["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert tuple(card["classes"]) == world.CLASSES
    assert (card["input"]["mean"], card["input"]["std"]) == (list(world.MEAN), list(world.STD))
    assert world.weights_path(name).stat().st_size < 500_000


def test_the_convolutional_ones_are_one_architecture():
    shapes = [
        {key: tuple(value.shape) for key, value in world.load_network(name).state_dict().items()}
        for name in ("mixed", "object", "shortcut")
    ]
    assert shapes[0] == shapes[1] == shapes[2]


@pytest.mark.parametrize("recipe", ["object", "transformer"])
def test_one_seed_trains_one_network_and_leaves_the_random_state_alone(recipe):
    import torch

    from seewhy.data.world.train import RECIPES, Schedule, train

    before = torch.get_rng_state()
    short = Schedule(pictures=64, steps=3, batch=16)
    first, second = (train(RECIPES[recipe], seed=3, schedule=short) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    for name, values in first.state_dict().items():
        assert torch.equal(values, second.state_dict()[name]), name


@pytest.mark.parametrize("name", ["shortcut", "mixed", "transformer"])
def test_they_are_loaded_by_name(name):
    model = sw.load(f"demo/{name}")
    assert model.name == f"demo/{name}"
    scenes = world.generate(4, seed=7, conflict=True)
    inputs = model.prepare([*scenes.pictures]).tensor
    expected = world.logits(world.load_network(name), scenes.pictures)
    assert np.allclose(model.module(inputs).detach().numpy(), expected, atol=1e-4)


def test_demo_is_the_object_model():
    import torch

    one, other = (sw.load(each).module.state_dict() for each in ("demo", "demo/object"))
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert sw.load("demo/object").name == sw.load("demo").name == "demo"


def test_a_demo_without_weights_is_untrained():
    import torch

    for reference in ("demo", "demo/mixed", "demo/transformer"):
        trained, fresh = sw.load(reference).module, sw.load(f"{reference}?weights=none").module
        assert not torch.equal(trained.head.weight, fresh.head.weight)
        assert not fresh.training


def test_a_demo_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ModelError, match="'mixed', 'object', 'shortcut', 'transformer'"):
        sw.load("demo/nothing-like-it")


def test_an_effect_is_the_difference_to_the_picture_drawn_without_the_part():
    scenes = world.generate(12, seed=3, conflict=True)
    say = partial(world.logits, world.load_network("object"))
    found = world.effects(say, scenes, scenes.labels)
    redrawn = world.generate(12, seed=3, conflict=True, distractors=0)
    without = {"shape": scenes.without("shape"), "sticker": scenes.without("sticker")}
    alone = scenes.masks[:, 3].sum((1, 2)) == 0  # no second distractor: the first can be left out
    rows = np.arange(12)
    whole = say(scenes.pictures)[rows, scenes.labels]
    for column, part in enumerate(("shape", "sticker")):
        expected = whole - say(without[part])[rows, scenes.labels]
        assert found[:, column] == pytest.approx(expected, abs=1e-4)
    expected = whole - say(redrawn.pictures)[rows, scenes.labels]
    assert alone.any()
    assert found[alone, 2] == pytest.approx(expected[alone], abs=1e-4)


def test_absent_parts_have_no_effect():
    scenes = world.generate(40, seed=3)
    noise = np.random.default_rng(0)
    found = world.effects(lambda pictures: noise.normal(size=(len(pictures), 2)), scenes, 1)
    assert np.array_equal(found != 0, scenes.masks.any((2, 3)))
    assert found.shape == (40, 4)


def test_effects_of_a_linear_score_are_the_pixels_weighed():
    """Of a score that is linear in the pixels every effect is known: its part's share."""
    scenes = world.generate(10, seed=4, shapes=2, empty=0.0)
    found = world.effects(lambda pictures: pictures.sum((1, 2)), scenes, 2)
    change = scenes.pictures[..., 2].astype(float) - scenes.backgrounds[..., 2]
    assert np.array_equal(found, np.einsum("nphw,nhw->np", scenes.masks, change))
    assert found.shape == (10, len(scenes.parts)) == (10, 5)


def test_the_target_is_one_class_or_one_each_or_what_is_predicted():
    scenes = world.generate(6, seed=3, empty=0.0)
    say = partial(world.logits, world.load_network("object"))
    predicted = say(scenes.pictures).argmax(1)
    whole = world.effects(say, scenes)
    assert np.array_equal(whole, world.effects(say, scenes, predicted))
    for label in set(predicted):
        one = world.effects(say, scenes, int(label))
        assert np.array_equal(one[predicted == label], whole[predicted == label])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (5, "the classes 0 to 4"),
        (-1, "the classes 0 to 4"),
        ([0, 1], "one for each of the 3 pictures"),
        ("disk", "names no classes"),
        (0.5, "names no classes"),
    ],
)
def test_targets_that_are_no_classes_are_refused(target, message):
    with pytest.raises(TargetError, match=message):
        world.effects(lambda pictures: np.zeros((len(pictures), 5)), world.generate(3), target)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda pictures: np.zeros(len(pictures)), r"it has to give \(3, classes\)"),
        (lambda pictures: np.zeros((1, 5)), r"it has to give \(3, classes\)"),
        (lambda pictures: np.full((len(pictures), 5), np.nan), "no number"),
    ],
)
def test_scores_that_answer_nothing_are_refused(scores, message):
    with pytest.raises(ModelError, match=message):
        world.effects(scores, world.generate(3), 0)


@pytest.mark.parametrize("kind", [AGREEING, CONFLICT])
def test_the_object_model_is_moved_by_the_shape_the_shortcut_model_by_the_sticker(drops, kind):
    by_shape, by_sticker = drops[kind]["object"], drops[kind]["shortcut"]
    assert by_shape["shape"] > 2
    assert abs(by_shape["sticker"]) < 0.02 * by_shape["shape"]
    assert by_sticker["sticker"] > 2
    assert abs(by_sticker["shape"]) < 0.02 * by_sticker["sticker"]


def test_the_mixed_model_listens_a_little_to_the_sticker(drops):
    share = {
        name: found["sticker"] / (found["shape"] + found["sticker"])
        for name, found in drops[AGREEING].items()
    }
    assert share["object"] < 0.02
    assert 0.04 < share["mixed"] < 0.2
    assert share["shortcut"] > 0.9


@pytest.mark.parametrize("kind", [AGREEING, CONFLICT])
def test_a_card_says_the_causal_drop(name, drops, kind):
    assert world.card(name)["causal drop"][kind] == pytest.approx(drops[kind][name], abs=0.1)


def test_among_several_shapes_the_score_of_each_class_hangs_on_its_own():
    scenes = world.generate(60, seed=8, shapes=3, empty=0.0)
    say = partial(world.logits, world.load_network("object"))
    for position, part in enumerate(("shape", "shape 2", "shape 3")):
        found = world.effects(say, scenes, scenes.shape_classes[:, position])
        assert (found.argmax(1) == scenes.parts.index(part)).mean() >= 0.95
