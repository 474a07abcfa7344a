"""Panels: squared gradients over an example of each class, and a sweep of numbers of concepts."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.concepts.sweep import same
from seewhy.data.world import CLASSES, generate
from seewhy.errors import MethodError, NoSpaceError, PictureError, SeewhyWarning, TargetError
from seewhy.prototypes import class_means
from seewhy.run import Run


@pytest.fixture(scope="module")
def world():
    return generate(32, seed=5)


@pytest.fixture(scope="module")
def model():
    return sw.load("demo")


@pytest.fixture(scope="module")
def found(model, world):
    return sw.sensitivity(model, list(world.pictures))


@pytest.fixture(scope="module")
def swept(model, world):
    return sw.sweep(model, list(world.pictures[:8]), (2, 4, 6))


class Quadratic(nn.Module):
    """Logits w_k . x^2 / 2, whose gradient is w_k x."""

    def __init__(self, *shape, classes=3):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, *shape))

    def forward(self, x):
        return (self.weight * x[:, None].square() / 2).flatten(2).sum(2)


# ---------------------------------------------------------------------- sensitivity


def test_maps_are_the_squared_gradients_summed_over_channels():
    """Simonyan et al. 2014; Montavon et al. 2018: sum over channels of (df/dx)^2."""
    net, pictures = Quadratic(3, 6, 5).eval(), torch.randn(2, 3, 6, 5)
    found = sw.sensitivity(sw.Model(net), {2: pictures[:1], 0: pictures[1:]})
    weight = net.weight.detach()
    for number, cls in enumerate((2, 0)):
        own = (weight[cls] * pictures[number]).square().sum(0)
        every = (weight.sum(0) * pictures[number]).square().sum(0)
        torch.testing.assert_close(found.maps[number], torch.stack([own, every]))
        scores = net(pictures[number : number + 1])[0].detach()
        torch.testing.assert_close(found.scores[number], torch.stack([scores[cls], scores.sum()]))


def test_flat_inputs_are_the_picture_that_is_said():
    net, flat = Quadratic(48).eval(), torch.randn(1, 48)
    expected = (net.weight.detach()[1] * flat[0]).square()
    for shape, wanted in (((6, 8), (1, 6, 8)), ((3, 4, 4), (3, 4, 4))):
        found = sw.sensitivity(sw.Model(net), {1: flat}, "class", shape=shape)
        torch.testing.assert_close(found.maps[0][0], expected.reshape(wanted).sum(0))
        assert found.heatmaps(0).shape == (1, *wanted[1:])
        assert isinstance(found.draw(), Image.Image)
    with pytest.raises(PictureError, match=r"shape=\(28, 28\)"):
        sw.sensitivity(sw.Model(net), {1: flat})
    with pytest.raises(PictureError, match="48 numbers"):
        sw.sensitivity(sw.Model(net), {1: flat}, shape=(7, 7))


def test_the_first_of_each_predicted_class_is_taken_in_the_order_of_classes(found, model, world):
    pictures = list(world.pictures)
    predicted = model.predict(model.prepare(pictures), top=1)
    numbers = [each[0].number for each in predicted]
    assert found.classes == CLASSES
    firsts = [f"picture {numbers.index(cls)}" for cls in range(len(CLASSES))]
    assert [each.source for each in found.shown] == firsts
    assert found.scores[:, 0].min() > 0


def test_a_stream_is_gone_through_only_until_each_class_was_seen(found, model, world):
    taken = []

    def come():
        for picture in list(world.pictures) * 20:
            taken.append(picture)
            yield picture

    streamed = sw.sensitivity(model, come())
    assert len(taken) <= 32
    assert [each.source for each in streamed.shown] == [each.source for each in found.shown]
    assert all(map(torch.equal, streamed.maps, found.maps))
    few = sw.sensitivity(model, list(world.pictures), most=2)
    assert len(few) == 2


def test_the_object_model_responds_to_the_shape(found, world):
    """On the four classes with a shape, most of the class score's map lies on it or its edge."""
    for number in range(4):
        row = int(found.shown[number].source.split()[1])
        mask = torch.from_numpy(world.mask("shape")[row])[None, None].float()
        near = torch.nn.functional.max_pool2d(mask, 13, 1, 6)[0, 0].bool()
        share = found.maps[number][0][near].sum() / found.maps[number][0].sum()
        assert share > 0.7 > 2 * near.float().mean()


def test_one_question_alone_and_pictures_by_class(model, world):
    picture = world.pictures[1]
    one = sw.sensitivity(model, {"cross": picture}, "class")
    both = sw.sensitivity(model, {"cross": picture, "disk": picture})
    assert one.of == ("class",)
    assert one.alike == ()
    torch.testing.assert_close(one.maps[0][0], both.maps[0][0], rtol=1e-3, atol=1e-7)
    torch.testing.assert_close(both.maps[0][1], both.maps[1][1])
    assert (both.maps[0][0] - both.maps[1][0]).norm() > 0.1 * both.maps[0][0].norm()
    assert both.classes == ("cross", "disk")
    assert sw.sensitivity(model, {0: picture}).classes == ("disk",)
    assert 0 <= both.alike[0] <= 1


def test_the_map_does_not_depend_on_the_other_pictures(found, model, world):
    row = int(found.shown[2].source.split()[1])
    alone = sw.sensitivity(model, {found.classes[2]: world.pictures[row]})
    torch.testing.assert_close(alone.maps[0], found.maps[2])


def test_what_has_no_sense_is_said_and_what_fails_is_left_out(model, world, tmp_path):
    for wrong, said in (("both", "give 'class'"), ((), "give 'class'"), (("all", "all"), "give")):
        with pytest.raises(MethodError, match=said):
            sw.sensitivity(model, world.pictures[0], wrong)
    with pytest.raises(MethodError, match="from 1"):
        sw.sensitivity(model, world.pictures[0], most=0)
    with pytest.raises(TargetError):
        sw.sensitivity(model, {"zebra": world.pictures[0]})
    with pytest.raises(PictureError):
        sw.sensitivity(model, {})
    function = sw.Model(lambda x: x.mean((2, 3)), input_shape=(3, 8, 8))
    with pytest.raises(MethodError, match="gradient"):
        sw.sensitivity(function, torch.rand(1, 3, 8, 8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.warns(SeewhyWarning, match="broken"):
        left = sw.sensitivity(model, [tmp_path / "broken.png", world.pictures[0]])
    assert len(left) == 1
    again = sw.read(left.save(tmp_path / "left.npz"))
    assert [str(each) for each in again.failures] == [str(left.failures[0])]
    assert "broken" in str(again.failures[0])


@pytest.mark.parametrize("of", ["sensitivity", "means"])
def test_pictures_run_within_the_memory_that_is_given(of):
    """With memory for one row, no more than one runs at once, and the answer stays."""
    sizes = []

    class Counted(Quadratic):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    net, pictures = Counted(3, 6, 5).eval(), torch.randn(6, 3, 6, 5)
    model = sw.Model(net)

    def ask(memory):
        sizes.clear()
        if of == "means":
            return class_means(model, pictures, run=Run(memory=memory))
        return sw.sensitivity(model, pictures, "class", memory=memory).scores

    free = ask(None)
    assert max(sizes) == 6
    torch.testing.assert_close(ask(1), free, equal_nan=True)
    assert max(sizes) == 1


def test_sensitivity_is_drawn_printed_saved_and_read_back(found, tmp_path):
    for ending in ("npz", "json"):
        again = sw.read(found.save(tmp_path / f"found.{ending}"))
        assert all(map(torch.equal, again.maps, found.maps))
        assert str(again) == str(found)
        assert np.array_equal(np.asarray(again.draw()), np.asarray(found.draw()))
    said = str(found)
    assert all(f"{name}: " in said for name in CLASSES)
    heat = found.heatmaps(0)
    assert heat.shape == (2, 64, 64)
    assert heat.max() == 1
    assert found.plain()["pictures"][0]["class"] == "disk"
    wide = sw.concepts.sensitivity.COLUMNS
    assert found.draw(width=64).width < wide * 72


def test_models_come_back_and_the_run_is_told(model, world):
    before, training = model.fingerprint(), model.module.training
    told = []
    sw.sensitivity(model, list(world.pictures[:4]), progress=lambda *each: told.append(each))
    assert {what for *_, what in told} >= {"pictures", "maps"}
    assert (model.fingerprint(), model.module.training) == (before, training)
    assert all(each.grad is None for each in model.module.parameters())


# ---------------------------------------------------------------------- sweep


def test_each_column_is_what_factorize_finds(swept, model, world):
    pictures = list(world.pictures[:8])
    for place, number in enumerate((2, 4, 6)):
        alone = sw.factorize(model, pictures, number)
        assert torch.equal(swept[place].vectors, alone.vectors)
        assert all(map(torch.equal, swept[place].maps, alone.maps))
        assert torch.equal(swept[place].scores, alone.scores)
        assert swept.errors[place] == alone.error
    auto = sw.factorize(model, pictures, "auto")
    assert (swept.knee, swept.curve) == (len(auto), auto.curve)


def test_more_concepts_explain_more_and_are_ordered(swept, model, world):
    assert swept.numbers == (2, 4, 6)
    assert sorted(swept.errors, reverse=True) == list(swept.errors)
    turned = sw.sweep(model, list(world.pictures[:3]), (4, 2), curve=False)
    assert turned.numbers == (2, 4)
    assert (turned.knee, turned.curve) == (0, ())


def test_numbers_come_as_any_numbers(model, world):
    for numbers in ((each for each in (4, 2)), np.array([2, 4])):
        found = sw.sweep(model, list(world.pictures[:3]), numbers, curve=False)
        assert found.numbers == (2, 4)


def test_activations_are_recorded_once_whatever_the_numbers(model, world):
    def forwards(numbers):
        calls = []
        handle = model.module.register_forward_hook(lambda *_: calls.append(1))
        try:
            head = model.module.head
            sw.sweep(model, list(world.pictures[:4]), numbers, head=head, curve=False)
        finally:
            handle.remove()
        return len(calls)

    forwards((2,))  # the first finds out what the model is
    assert forwards((2, 3, 4, 5)) == forwards((2,))


def test_a_concept_that_stays_keeps_its_number():
    """Three directions; then one is turned a little, one is split in two, one stays."""
    x, y, z, w = torch.eye(4)

    def unit(vector):
        return vector / vector.norm()

    first = torch.stack([unit(x + 0.1 * w), unit(y + z), w])
    second = torch.stack([w, z, unit(x - 0.1 * w), y])
    assert same([first, second]) == ((0, 1, 2), (2, 3, 0, 4))
    near = torch.stack([unit(y + 0.3 * z), z])  # nearer to what was split than its other half
    assert same([first, near]) == ((0, 1, 2), (1, 3))
    assert same([first, first[[2, 0, 1]]])[1] == (2, 0, 1)


def test_a_concept_that_comes_back_is_the_same_one():
    x, y, z = torch.eye(3)
    assert same([torch.stack([x, y]), y[None], torch.stack([z, x])]) == ((0, 1), (1,), (2, 0))


def test_a_sweep_is_drawn_printed_saved_and_read_back(swept, tmp_path):
    for ending in ("npz", "json"):
        again = sw.read(swept.save(tmp_path / f"swept.{ending}"))
        assert again.concepts == swept.concepts
        assert all(torch.equal(a.vectors, b.vectors) for a, b in zip(again, swept, strict=True))
        assert str(again) == str(swept)
        assert np.array_equal(np.asarray(again.draw(picture=1)), np.asarray(swept.draw(picture=1)))
    assert swept.draw(width=96).width > 4 * 96
    assert swept.draw(picture=0).height < swept.draw().height
    assert f"knee of the error: {swept.knee}" in str(swept)
    assert [each["same"] for each in swept.plain()["columns"]] == list(map(list, swept.concepts))


def test_other_solvers_and_networks_without_classes_are_swept(world):
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU()).eval()
    how = {"layer": "1", "solver": "pca", "curve": False}
    found = sw.sweep(sw.Model(module), torch.randn(2, 3, 12, 12), (1, 3), **how)
    assert found.concepts == ((0,), (0, 1, 2))  # the first components are the same
    assert found.knee == 0
    assert "concept 1, concept 2, concept 3" in str(found)
    assert isinstance(found.draw(width=64), Image.Image)


def test_what_makes_no_sweep_is_said(model, world):
    pictures = list(world.pictures[:2])
    for wrong, said in (((), "one or more"), ((3, 3), "differ"), ((2, "auto"), "knee")):
        with pytest.raises(MethodError, match=said):
            sw.sweep(model, pictures, wrong)
    with pytest.raises(MethodError, match="from 1"):
        sw.sweep(model, pictures, (0, 2))
    with pytest.raises(MethodError, match="top_k"):
        sw.sweep(model, pictures, (2, 3), top_k=-1)
    with pytest.raises(MethodError, match="at most 96"):
        sw.sweep(model, pictures, (2, 500))
    with pytest.raises(NoSpaceError, match="has no space"):
        sw.sweep(model, pictures, layer="head")
