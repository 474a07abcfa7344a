"""Concepts of a class: which matter, where they are, what they are made of."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.concepts.craft_crops import _boxes
from seewhy.concepts.importance import Importance, check_share
from seewhy.data.world import PARTS, generate
from seewhy.errors import CancelledError, MethodError, NoSpaceError, SeewhyWarning
from seewhy.model.tape.passes import counted
from seewhy.testing.conformance import difference, snapshot

SHAPES = ("disk", "square", "triangle", "cross")


@pytest.fixture(scope="module")
def model():
    return sw.load("demo")


@pytest.fixture(scope="module")
def world():
    return generate(200, seed=5)


@pytest.fixture(scope="module")
def found(model, world):
    return sw.factorize(model, list(world.pictures[:6]), 5)


@pytest.fixture(scope="module")
def triangles(model, world):
    return sw.craft(model, list(of_class(world, 2, 24).pictures), "triangle", crop=0.7)


def of_class(world, cls, count):
    return world[np.flatnonzero(world.labels == cls)[:count]]


def overlaps(found, scenes, concept):
    """Mean IoU of a concept with each part, where there is one, at the threshold best for it."""
    maps = np.stack([found.heatmaps(i)[concept] for i in range(len(scenes))])
    best = {}
    for part in PARTS:
        here = scenes.mask(part).any((1, 2))
        mask, own = scenes.mask(part)[here], maps[here]
        strong = [own > level for level in np.linspace(0.05, 0.95, 10)]
        best[part] = max(
            ((each & mask).sum((1, 2)) / np.maximum((each | mask).sum((1, 2)), 1)).mean()
            for each in strong
        )
    return best


@pytest.mark.parametrize("cls", range(4))
@pytest.mark.parametrize("crop", [0.7, pytest.param(0.5, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::seewhy.errors.SeewhyWarning")  # of crops, at 0.5
def test_a_class_depends_most_on_a_concept_that_lies_on_its_shape(model, world, cls, crop):
    scenes = of_class(world, cls, 24)
    made = sw.craft(model, list(scenes.pictures), SHAPES[cls], crop=crop, designs=16)
    lies = overlaps(made.concepts, scenes, 0)
    others = max(value for part, value in lies.items() if part != "shape")
    assert lies["shape"] >= 0.4
    assert others <= 0.1
    assert float(made.bank.drops[0]) > 0.5


@pytest.mark.parametrize("cls", range(4))
def test_a_shortcut_depends_most_on_a_concept_that_lies_on_the_sticker(cls):
    scenes = of_class(generate(100, seed=6, sticker="class"), cls, 12)
    made = sw.craft("demo/shortcut", list(scenes.pictures), SHAPES[cls], crop=1, designs=16)
    lies = overlaps(made.concepts, scenes, 0)
    assert lies["sticker"] >= 0.5
    assert max(value for part, value in lies.items() if part != "sticker") <= 0.1


def test_concepts_that_do_not_make_the_score_are_warned_of():
    """The sticker that shortcuts know is 9 pixels wide: enlarged, it is nothing to them."""
    scenes = of_class(generate(100, seed=6, sticker="class"), 0, 12)
    with pytest.warns(SeewhyWarning, match=r"rebuild .*larger crop"):
        made = sw.craft("demo/shortcut", list(scenes.pictures), "disk", crop=0.7, designs=4)
    assert made.importance.share < 0.4


@pytest.mark.parametrize(
    ("scores", "rebuilt", "emptied", "share"),
    [
        ([2, 4], [2, 4], [0, 0], 1),
        ([2, 4], [1, 3], [0, 0], 2 / 3),
        ([2, 4], [3, 5], [0, 0], 2 / 3),  # too much is as far off as too little
        ([2, 4], [4, 2], [0, 0], 1 / 3),  # the same in the mean, and not in the pictures
        ([1.2, 1.1], [9, 8], [0.9, 0.8], 0),
        ([1, 1], [1, 1], [1, 1], 1),
        ([1, 1], [2, 1], [1, 1], 0),
    ],
)
def test_the_share_is_of_what_an_empty_layer_misses(scores, rebuilt, emptied, share):
    asked = (torch.tensor(each, dtype=torch.float64) for each in (scores, rebuilt, emptied))
    nothing = torch.zeros(2, 1, dtype=torch.float64)
    made = Importance(nothing, nothing, *asked, targets=("disk",) * 2, names=("one",))
    assert made.share == pytest.approx(share)
    if share < 0.4:
        with pytest.warns(SeewhyWarning, match="not among them"):
            check_share(made, "more concepts")
    else:
        check_share(made, "more concepts")


def test_a_linear_score_has_the_indices_of_a_sum(model, found, world):
    """Of sum(m_i a_i), m_i uniform and independent: a_i^2 / sum(a^2), and a_i is lost."""
    pictures = list(world.pictures[:6])
    measured = sw.concept_importance(model, found, pictures, "disk", designs=1024)
    head = model.module.head.weight.detach()[0]
    means = torch.stack([each.flatten(1).mean(1) for each in found.maps])
    parts = (means * (found.vectors @ head)).double()
    torch.testing.assert_close(measured.drops, parts, atol=2e-3, rtol=1e-3)
    expected = parts.square() / parts.square().sum(1, keepdim=True)
    torch.testing.assert_close(measured.total, expected, atol=0.06, rtol=0)
    torch.testing.assert_close(
        measured.rebuilt,
        parts.sum(1) + float(model.module.head.bias.detach()[0]),
        atol=2e-3,
        rtol=1e-3,
    )
    assert measured.order == measured.mean.argsort(descending=True).tolist()
    assert measured.targets == ("disk",) * 6


@pytest.mark.filterwarnings("ignore:the concepts rebuild")  # at this layer they are too few
def test_with_the_rest_kept_concepts_are_taken_from_the_picture_itself(model, world):
    pictures = list(world.pictures[:2])
    found = sw.factorize(model, pictures, 3, layer="block2")
    net, inputs = model.module, model.prepare(pictures).tensor
    with torch.no_grad():
        activations = net.block2(net.block1(inputs))
    for residual in (True, False):
        measured = sw.concept_importance(
            model, found, pictures, "cross", designs=2, residual=residual
        )
        for row, weights in enumerate(found.maps):
            parts = torch.einsum("khw,kc->kchw", weights, found.vectors)
            whole = activations[row] if residual else parts.sum(0)
            scores = []
            for given in (whole, whole - parts[1], parts.sum(0), torch.zeros_like(whole)):
                with torch.no_grad():
                    features = net.mean(net.block4(net.block3(net.halve(given[None]))))
                    scores.append(float(net.head(net.flatten(features))[0, 3]))
            assert abs(float(measured.drops[row, 1]) - (scores[0] - scores[1])) < 0.02
            assert abs(float(measured.rebuilt[row]) - scores[2]) < 0.02
            assert abs(float(measured.emptied[row]) - scores[3]) < 1e-3


def test_each_picture_is_recorded_and_all_else_is_replayed(model, found, world):
    with counted() as passes:
        sw.concept_importance(model, found, list(world.pictures[:4]), designs=8)
    assert passes.forwards == 2 * 4  # of the record, and of what replays keep
    assert passes.replays == 4 * (3 + 5 + 8 * (5 + 2))


def test_a_pictures_importance_depends_on_nothing_but_the_picture(model, found, world):
    pictures = list(world.pictures[:3])
    how = {"designs": 8, "seed": 3}
    together = sw.concept_importance(model, found, pictures, "disk", **how)
    alone = sw.concept_importance(model, found, pictures[2], "disk", **how)
    small = sw.concept_importance(model, found, pictures[::-1], "disk", memory=1, **how)
    torch.testing.assert_close(alone.total[0], together.total[2], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(small.total.flip(0), together.total, atol=1e-4, rtol=1e-3)
    other = sw.concept_importance(model, found, pictures, "disk", designs=8, seed=4)
    assert not torch.allclose(other.total, together.total, atol=1e-3)


def test_principal_components_are_measured_too(model, world):
    pictures = list(world.pictures[:4])
    pca = sw.factorize(model, pictures, 3, solver="pca")
    measured = sw.concept_importance(model, pca, pictures, "disk", designs=8, precision="float64")
    assert measured.total.shape == (4, 3)
    assert bool((measured.total >= 0).all())


def test_concepts_found_in_half_precision_belong_to_the_same_weights(model, world):
    pictures = list(world.pictures[:4])
    half = sw.factorize(model, pictures, 3, precision="bfloat16")
    assert half.weights == model.fingerprint()
    assert sw.concept_importance(model, half, pictures, "disk", designs=4).weights == half.weights


def test_craft_gives_the_same_twice(model, triangles, world):
    again = sw.craft(model, list(of_class(world, 2, 24).pictures), "triangle", crop=0.7)
    assert torch.equal(again.bank.vectors, triangles.bank.vectors)
    assert str(again) == str(triangles)


def test_concepts_come_in_the_order_of_their_importance(triangles):
    assert triangles.bank.total.tolist() == sorted(triangles.bank.total.tolist(), reverse=True)
    torch.testing.assert_close(triangles.importance.mean, triangles.bank.total)
    assert triangles.crops == 24 * 4
    assert len(triangles) == len(triangles.bank.crops) == 10


def test_no_more_runs_at_once_than_fits_into_memory(world):
    model, pictures = sw.load("demo"), list(of_class(world, 0, 6).pictures)
    how = {"crop": 0.7, "designs": 2, "mixed": 0}
    whole = sw.craft(model, pictures, 0, 2, **how)
    ran = []
    hook = model.module.register_forward_pre_hook(lambda _, given: ran.append(len(given[0])))
    small = sw.craft(model, pictures, 0, 2, memory=1, **how)
    for meaning in ("head", "replay", "removal"):
        sw.factorize(model, pictures, 2, memory=1, meaning=meaning)
    hook.remove()
    assert set(ran) == {1}
    for one, other in ((small.bank, whole.bank), (small.bank.parts[0], whole.bank.parts[0])):
        torch.testing.assert_close(one.total, other.total, atol=0.01, rtol=0.01)


def test_what_could_not_be_read_is_kept(model, world, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"nothing")
    pictures = [*map(Image.fromarray, world.pictures[:2]), str(damaged)]
    with pytest.warns(SeewhyWarning, match="could not be read"):
        made = sw.craft(model, pictures, 0, 2, designs=2, crop=1.0, recursive=False)
    with pytest.warns(SeewhyWarning, match="could not be read"):
        found = sw.factorize(model, pictures, 2)
    for each, ending in ((made, "npz"), (found, "json"), (made.concepts, "npz")):
        again = sw.read(each.save(tmp_path / f"{each.kind}.{ending}"))
        assert [failure.source for failure in again.failures] == [str(damaged)]
        assert str(again.failures[0]) == str(each.failures[0])


def test_a_mixed_concept_is_taken_apart_at_the_layer_before(triangles):
    bank = triangles.bank
    chosen = [
        number
        for number in range(len(bank))
        if bank.total[number] >= 0.5 * bank.total[0] and bank.mixed[number] >= 0.5
    ]
    assert list(bank.parts) == chosen
    assert chosen[0] == 0
    parts = triangles.bank.parts[0]
    assert parts.layer == "block3"
    assert parts.vectors.shape == (3, 64)
    assert triangles.bank.mixed[0] >= 0.5
    assert "1.1" in str(triangles)


def test_recursion_goes_as_deep_as_layers_are_given(model, world):
    pictures = list(of_class(world, 0, 12).pictures)
    how = {"crop": 0.7, "designs": 4}
    deep = sw.craft(model, pictures, 0, 4, earlier=["block3", "block2"], mixed=0, **how)
    first = deep.bank.parts[0]
    assert (first.layer, first.parts[0].layer) == ("block3", "block2")
    whole = sw.craft(model, pictures, 0, 4, recursive=False, **how)
    assert whole.bank.parts == {}
    torch.testing.assert_close(whole.bank.total, deep.bank.total)


def test_crops_that_show_something_else_are_warned_of(model, world):
    pictures = list(of_class(world, 2, 24).pictures)
    with pytest.warns(SeewhyWarning, match="give a larger crop"):
        made = sw.craft(model, pictures, "triangle", crop=0.4, designs=4, recursive=False)
    assert min(made.bank.agreement[:3]) < 0.4


def test_crops_cover_pictures_and_are_cut_from_them(model, world):
    for side, overlap in ((0.4, 0.5), (1.0, 0.0), (0.3, 0.9)):
        boxes = _boxes((64, 48), side, overlap)
        seen = torch.zeros(64, 48, dtype=torch.bool)
        for top, left, high, wide in boxes.tolist():
            seen[top : top + high, left : left + wide] = True
        assert seen.all()
    picture = Image.fromarray(world.pictures[0])
    how = {"crop": 0.5, "designs": 2, "recursive": False}
    small = sw.craft(model, [picture, world.pictures[1]], "disk", 2, **how)
    crop = np.asarray(small.bank.crops[0][0])
    cut = [world.pictures[i][t : t + 32, left : left + 32] for i in (0, 1)
           for t in (0, 16, 32) for left in (0, 16, 32)]  # fmt: skip
    assert any(np.array_equal(crop, each) for each in cut)
    wide = [Image.fromarray(each).resize((192, 128)) for each in world.pictures[:2]]
    large = sw.craft(model, wide, "disk", 2, **how)
    ratios = {each.size for crops in large.bank.crops for each in crops}
    assert len(ratios) == 1


def test_it_is_drawn_saved_and_read_back(triangles, tmp_path):
    for ending in ("npz", "json"):
        again = sw.read(triangles.save(tmp_path / f"craft.{ending}"))
        assert str(again) == str(triangles)
        assert torch.equal(again.bank.parts[0].vectors, triangles.bank.parts[0].vectors)
        drawn = again.draw(2)
        assert np.array_equal(np.asarray(drawn), np.asarray(triangles.draw(2)))
        measured = sw.read(triangles.importance.save(tmp_path / f"importance.{ending}"))
        assert torch.equal(measured.total, triangles.importance.total)
        assert str(measured) == str(triangles.importance)
    assert triangles.draw(2).height < triangles.draw().height
    assert isinstance(triangles.importance.draw(), Image.Image)
    parts = sum(len(each) for each in triangles.bank.parts.values())
    assert triangles.table().count("\n") == 2 + 10 + parts
    assert triangles.plain()["concepts"][1]["name"] == "1.1"
    assert triangles.concepts.tops(0) == []


def test_concepts_can_be_asked_again_about_other_pictures(model, triangles, world):
    other = of_class(world, 0, 3)
    with pytest.warns(SeewhyWarning, match="not among them"):  # a disk's score for "triangle"
        asked = sw.concept_importance(model, triangles.concepts, list(other.pictures), 2)
    assert asked.names[0] == "concept 1"
    assert float(asked.drops[:, 0].mean()) < float(triangles.bank.drops[0])


def test_negative_activations_give_signed_concepts_and_maps_without_sign():
    module = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.GELU(), nn.Conv2d(12, 16, 3), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ).eval()  # fmt: skip
    made = sw.craft(
        sw.Model(module), torch.randn(6, 3, 24, 24), 1, 3, layer="3", designs=4, mixed=0, crop=0.8
    )
    assert float(made.bank.vectors.min()) < 0
    assert all(float(each.min()) >= 0 for each in made.maps)
    assert made.bank.parts[0].layer == "1"  # the layer before of the same kind


@pytest.mark.filterwarnings("ignore::seewhy.errors.SeewhyWarning")  # of a low share
def test_transformers_are_replayed_with_their_prefix(world):
    pictures = list(of_class(world, 1, 4).pictures)
    found = sw.factorize("demo/transformer", pictures, 40)
    measured = sw.concept_importance("demo/transformer", found, pictures, 1, designs=2)
    assert found.error < 0.2
    torch.testing.assert_close(measured.rebuilt, measured.scores, atol=0.3, rtol=0.1)


def test_what_makes_no_sense_is_said(model, found, world):
    pictures = list(world.pictures[:2])
    for wrong, said in (
        ({"concepts": 0}, "give a number from 1"),
        ({"concepts": 90}, "ask for at most 18"),
        ({"crop": 0}, "share of the picture's sides"),
        ({"overlap": 1}, "below 1"),
        ({"designs": 1}, "from 2"),
        ({"mixed": -1}, "give 0"),
        ({"earlier": "block4"}, "came twice"),
    ):
        with pytest.raises(MethodError, match=said):
            sw.craft(model, pictures, "disk", **wrong)
    volume = sw.Model(nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU()).eval())
    with pytest.raises(NoSpaceError, match="use factorize"):
        sw.craft(volume, torch.rand(2, 1, 6, 6, 6), lambda out: out.flatten(1).sum(1), layer="1")
    with pytest.raises(MethodError, match="other weights"):
        sw.concept_importance("demo/shortcut", found, pictures)
    with pytest.warns(SeewhyWarning, match="pictures of one class"):
        sw.craft(model, list(world.pictures[:6]), None, 2, designs=2, crop=1.0, recursive=False)
    with pytest.raises(CancelledError):
        sw.concept_importance(model, found, pictures, cancel=lambda: True)


def test_progress_is_told_and_the_model_comes_back(model, world):
    told = []
    before = snapshot(model.module)
    sw.craft(
        model, list(world.pictures[:4]), "disk", 2, designs=4, crop=0.7,
        progress=lambda done, total, what: told.append((what, done / total)),
    )  # fmt: skip
    difference(before, snapshot(model.module, copies=False))
    assert {what for what, _ in told} == {"pictures", "crops", "masks"}
    assert all(0 < share <= 1 for _, share in told)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_finds_the_same(model, triangles, world):
    pictures = list(of_class(world, 2, 24).pictures)
    made = sw.craft(model, pictures, "triangle", crop=0.7, device="cuda")
    torch.testing.assert_close(made.bank.total, triangles.bank.total, atol=0.02, rtol=0.02)
