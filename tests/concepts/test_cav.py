"""Concept vectors and TCAV: known directions, a known cause, and none."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp
from torch import nn
from typer.testing import CliRunner

import seewhy as sw
from seewhy.cli import app
from seewhy.concepts.cav_results import Sensitivity, holm
from seewhy.concepts.classifiers import mean_difference, ridge
from seewhy.data.world import generate
from seewhy.errors import (
    MethodError,
    NoAnswerError,
    NoSpaceError,
    PictureError,
    SeewhyWarning,
)


def with_sticker(cls, count, seed):
    """Pictures of anything beside a sticker in the colour of a class."""
    scenes = generate(6 * count + 60, seed=seed)
    found = list(scenes.pictures[scenes.sticker_classes == cls][:count])
    assert len(found) == count
    return found


def of_class(cls, count, seed):
    scenes = generate(5 * count + 60, seed=seed, empty=0.0)
    return list(scenes.pictures[scenes.labels == cls][:count])


@pytest.fixture(scope="module")
def model():
    return sw.load("demo/shortcut")


@pytest.fixture(scope="module")
def vector(model):
    return sw.concept_vector(
        model, with_sticker(0, 40, seed=1), list(generate(40, seed=2).pictures), name="sticker"
    )


class Weighted(nn.Module):
    """Channels are the colours; the classes are given weights of their means."""

    def __init__(self, weights):
        super().__init__()
        self.see = nn.Identity()
        self.head = nn.Linear(3, len(weights), bias=False)
        self.head.weight.data = torch.tensor(weights)

    def forward(self, pictures):
        return self.head(self.see(pictures).mean((2, 3)))


def coloured(count, channel, seed):
    draw = torch.Generator().manual_seed(seed)
    pictures = torch.randn(count, 3, 4, 4, generator=draw)
    if channel is not None:
        pictures[:, channel] += 3
    return pictures


@pytest.mark.parametrize("fit", [ridge, mean_difference])
def test_a_direction_points_from_the_others_to_the_examples(fit):
    draw = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 300, 6, generator=draw, dtype=torch.float64)
    one[:, 2] += 4
    found = fit(one, other)
    assert float(found.norm()) == pytest.approx(1)
    assert float(found[2]) > 0.98
    torch.testing.assert_close(fit(other, one), -found)


def test_the_ridge_is_scikit_learns():
    from sklearn.linear_model import Ridge

    draw = torch.Generator().manual_seed(1)
    one, other = torch.randn(12, 20, generator=draw).double(), torch.randn(9, 20).double() + 1
    values = torch.cat([one, other]).numpy()
    strength = 0.1 * ((values - values.mean(0)) ** 2).sum() / 20
    signs = np.repeat([1.0, -1.0], [12, 9])
    expected = Ridge(strength).fit(values, signs).coef_
    np.testing.assert_allclose(
        ridge(one, other).numpy(), expected / np.linalg.norm(expected), atol=1e-8
    )


def test_scores_of_a_linear_network_are_known():
    """A class grows along a channel that it weighs up, falls along one that it weighs down."""
    model = sw.Model(Weighted([[1.0, 0.0, -1.0], [0.0, 0.0, 1.0]]).eval())
    concepts = {str(c): coloured(80, c, seed=c) for c in range(3)}
    found = sw.tcav(
        model,
        concepts,
        coloured(80, None, seed=9),
        {0: coloured(4, None, seed=10), 1: coloured(5, None, seed=11)},
        layers="see",
        sets=8,
        classifier="mean",
    )
    told = {(each.concept, each.target[-1]): each for each in found.tests}
    assert told["0", "0"].scores == (1.0,) * 8
    assert told["2", "0"].scores == (0.0,) * 8
    assert told["2", "1"].scores == (1.0,) * 8
    assert told["0", "1"].pictures == 5
    assert told["0", "0"].p == 2.0**-7
    assert "0 for class 0 at see: 1.00 ±0.00" in str(found)
    assert found.corrected[0] == pytest.approx(6 * 2.0**-7)
    assert not any(found.significant)  # six tests of eight sets cannot be


def test_a_score_that_does_not_move_counts_half():
    model = sw.Model(Weighted([[0.0, 0.0, 0.0]] * 2).eval())
    with pytest.warns(SeewhyWarning, match="class 0 does not change with 'see' in any"):
        found = sw.tcav(
            model, {"one": coloured(20, 0, 1)}, coloured(20, None, 2), coloured(3, None, 3), 0,
            layers="see", sets=4, size=5,
        )  # fmt: skip
    assert found[0].scores == (0.5,) * 4
    assert found[0].p == 1


def test_tokens_that_a_class_does_not_read_are_warned_of():
    pictures = list(generate(8, seed=4).pictures)
    with pytest.warns(SeewhyWarning, match="of a vision transformer an earlier one"):
        found = sw.tcav(
            "demo/transformer", {"any": pictures[:4]}, pictures[4:], pictures[:2], 0,
            layers="layers.3", sets=2, size=2,
        )  # fmt: skip
    assert found[0].scores == (0.5, 0.5)


def test_a_concept_is_tested_the_same_alone_and_among_others():
    """Neither which others are asked, nor how many examples they have, nor names count."""
    model = sw.Model(Weighted([[1.0, 0.5, -1.0], [0.0, 0.2, 1.0]]).eval())
    random, pictures = coloured(40, None, 9), torch.randn(9, 3, 4, 4)
    examples = coloured(40, 1, 1) * torch.randn(40, 1, 1, 1)
    how = {"layers": "see", "size": 5}
    alone = sw.tcav(model, {"b": examples}, random, pictures, 0, sets=8, **how)
    with pytest.warns(SeewhyWarning, match="concept 'few': 10 pictures are 2 sets of 5, not 8"):
        both = sw.tcav(
            model, {"few": coloured(10, 0, 1), "c": examples}, random, pictures, 0, sets=8, **how
        )
    assert both[1].scores == alone[0].scores
    assert both[1].accuracy == alone[0].accuracy
    assert [len(each.scores) for each in both.tests] == [2, 8]
    assert "2 to 8 sets of 5" in str(both)


def test_what_cannot_be_read_is_left_out_and_said(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    bad, pictures = tmp_path / "broken.png", list(generate(8, seed=4).pictures)
    with pytest.warns(SeewhyWarning, match="1 of the pictures could not be read: .*broken"):
        vector = sw.concept_vector(model, [bad, *pictures[:4]], pictures[4:])
    assert vector.counts == (4, 4)
    assert len((vector + vector).failures) == 2
    with pytest.warns(SeewhyWarning, match="3 of the pictures could not be read: .*broken"):
        found = sw.tcav(
            model, {"any": [*pictures[:4], bad]}, [bad, *pictures[4:]], [pictures[0], bad], 0,
            sets=2, size=2,
        )  # fmt: skip
    assert found[0].pictures == 1
    with pytest.warns(SeewhyWarning, match="broken"):
        maps = sw.concept_maps(model, [bad, pictures[0]], vector)
    for each in (vector, found, maps):
        again = sw.read(each.save(tmp_path / "kept.npz"))
        assert [str(one) for one in again.failures] == [str(one) for one in each.failures]
        assert "broken" in str(again.failures[0])
    for nothing in (
        lambda: sw.concept_vector(model, pictures, bad),
        lambda: sw.tcav(model, {"any": bad}, pictures, pictures, 0),
        lambda: sw.concept_maps(model, [bad], vector),
    ):
        with pytest.raises(PictureError, match="broken"):
            nothing()


def test_the_command_says_what_is_left_out(tmp_path):
    (tmp_path / "any").mkdir()
    (tmp_path / "any" / "broken.png").write_bytes(b"no picture")
    for number, each in enumerate(generate(4, seed=4).pictures):
        Image.fromarray(each).save(tmp_path / "any" / f"{number}.png")
    Image.fromarray(generate(1, seed=5).pictures[0]).save(tmp_path / "one.png")
    one, every, out = (str(tmp_path / name) for name in ("one.png", "any", "out.npz"))
    words = ["tcav", one, "-m", "demo", "-t", "disk", "-c", every, "-r", one, "-r", every]
    ended = CliRunner().invoke(app, [*words, "--size", "2", "--sets", "2", "--out", out])
    assert ended.exit_code == 1
    assert ended.output.count("left out:") == 2
    assert len(sw.read(out).failures) == 2


def test_what_is_not_finite_is_said_of_its_picture():
    model = sw.Model(Weighted([[1.0, 0.5, -1.0]]).eval())
    good, bad = coloured(6, None, 9), coloured(6, 1, 1)
    found = sw.concept_vector(model, bad, good, layer="see")
    bad[2, 0, 0, 0] = float("nan")
    for ask in (
        lambda: sw.concept_vector(model, bad, good, layer="see"),
        lambda: sw.concept_maps(model, bad, found),
        lambda: sw.tcav(model, {"any": good}, bad, good, 0, layers="see", size=3),
    ):
        with pytest.raises(NoAnswerError, match=r"'see' gives NaN or infinity for picture 2"):
            ask()


def test_p_is_the_t_tests_and_its_correction_holms():
    scores = (0.7, 0.9, 0.4, 0.1, 0.95, 0.6, 0.7, 0.65, 0.8, 0.75)
    assert Sensitivity("a", "b", "c", scores).p == pytest.approx(ttest_1samp(scores, 0.5).pvalue)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.9, 0.8]) == (1.0, 1.0)


def test_the_shortcut_follows_its_sticker_and_the_object_model_does_not(model):
    concepts = {"sticker": with_sticker(0, 120, seed=3)}
    random, pictures = list(generate(120, seed=4).pictures), of_class(0, 20, seed=5)
    shortcut = sw.tcav(model, concepts, random, pictures, "disk", sets=12)
    assert shortcut.significant == (True,)
    assert shortcut[0].score > 0.9
    assert shortcut[0].layer == "block4"
    objects = sw.tcav("demo", concepts, random, pictures, "disk", sets=12)
    assert objects.significant == (False,)


@pytest.mark.slow
@pytest.mark.parametrize("cls", range(4))
def test_in_nine_of_ten_seeds_the_sticker_is_significant_for_its_class(model, cls):
    """The measurement, and in as many it is not for the object model.

    At the default layer, block4, with 30 sets of 10; seeds are of all pictures. Concept: pictures
    of anything with that sticker; random: pictures of anything.
    """
    follows, does_not = 0, 0
    for seed in range(10):
        concepts = {"sticker": with_sticker(cls, 300, seed=30000 + 10 * seed)}
        random = list(generate(300, seed=30001 + 10 * seed).pictures)
        pictures = of_class(cls, 50, seed=30002 + 10 * seed)
        shortcut = sw.tcav(model, concepts, random, pictures, cls, seed=seed)
        objects = sw.tcav("demo", concepts, random, pictures, cls, seed=seed)
        follows += shortcut.significant[0] and shortcut[0].score > 0.5
        does_not += not objects.significant[0] or abs(objects[0].score - 0.5) <= 0.1
    assert follows >= 9
    assert does_not >= 9


def test_a_concept_is_found_in_new_pictures(model, vector):
    scenes = generate(60, seed=6)
    scenes = scenes[scenes.sticker_classes == 0]
    found = sw.concept_maps(model, list(scenes.pictures), vector)
    assert vector.accuracy > 0.7  # a fifth of the random pictures have that sticker too
    hits = 0
    for row, mask in enumerate(scenes.mask("sticker")):
        strongest = found.heatmaps(row)[0].argmax()
        hits += bool(mask.flatten()[strongest])
    assert hits >= 0.8 * len(scenes)
    for one, other in zip(found.maps, found.absent, strict=True):
        assert torch.equal(one, -other)


def test_vectors_are_combined_saved_and_read(model, vector, tmp_path):
    other = sw.concept_vector(
        model, with_sticker(1, 30, seed=7), list(generate(30, seed=8).pictures), name="green"
    )
    both = vector - 0.5 * other
    assert both.name == "sticker - 0.5 green"
    torch.testing.assert_close(both.vector, vector.vector - 0.5 * other.vector)
    picture = generate(1, seed=9).pictures[0]
    found = sw.concept_maps(model, picture, [vector, other, both, -vector]).maps[0]
    torch.testing.assert_close(found[2], found[0] - 0.5 * found[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[3], -found[0], rtol=1e-4, atol=1e-4)
    for ending in ("npz", "json"):
        again = sw.read(both.save(tmp_path / f"vector.{ending}"))
        assert torch.equal(again.vector, both.vector)
        assert (again.zero, again.name, again.counts) == (both.zero, both.name, both.counts)
        maps = sw.concept_maps(model, picture, again).maps[0]
        torch.testing.assert_close(maps[0], found[2])
    assert isinstance(vector.draw(), Image.Image)
    assert "sticker: a direction at block4 of demo/shortcut" in str(vector)


def test_a_test_is_drawn_saved_and_read(model, tmp_path):
    concepts = {"sticker": with_sticker(0, 40, seed=3)}
    random, pictures = list(generate(40, seed=4).pictures), of_class(0, 8, seed=5)
    found = sw.tcav(model, concepts, random, pictures, 0, layers=["block3", "block4"], sets=4)
    again = sw.read(found.save(tmp_path / "tcav.npz"))
    assert again.tests == found.tests
    assert str(again) == str(found)
    assert found.draw().width == 640
    assert found.table().count("\n") >= 3
    repeated = sw.tcav(model, concepts, random, pictures, 0, layers=["block3", "block4"], sets=4)
    assert repeated.tests == found.tests
    whole = sw.tcav(model, concepts, random, pictures, 0, sets=4, disjoint=False)
    assert len(whole[0].scores) == 4
    assert np.isnan(whole[0].accuracy)
    assert "nan" not in whole.table().lower()


def test_what_makes_no_sense_is_said(model, vector):
    examples, random = with_sticker(0, 6, seed=3), list(generate(6, seed=4).pictures)
    with pytest.raises(MethodError, match="use ridge or mean"):
        sw.concept_vector(model, examples, random, classifier="svm")
    with pytest.raises(PictureError, match="too few"):
        sw.concept_vector(model, examples[:3], random)
    with pytest.raises(MethodError, match="no direction"):
        sw.concept_vector(model, [examples[0]] * 4, [examples[0]] * 4)
    with pytest.raises(MethodError, match="other weights"):
        sw.concept_maps("demo", random[0], vector)
    early = sw.concept_vector(model, examples, random, layer="halve")
    with pytest.raises(MethodError, match="one layer"):
        sw.concept_maps(model, random[0], [vector, early])
    with pytest.raises(MethodError, match="one layer"):
        early + vector
    with pytest.raises(MethodError, match="no direction is left"):
        vector - vector
    for factor in (0, float("nan"), float("inf")):
        with pytest.raises(MethodError, match="no direction is left"):
            factor * vector
    assert (vector + replace(vector, name="")).name.startswith("sticker")
    with pytest.raises(MethodError, match="give one at least"):
        sw.concept_maps(model, random[0], [])
    with pytest.raises(MethodError, match="come by target too"):
        sw.tcav(model, {"sticker": examples}, random, {0: random}, "cross", size=3)
    flat = sw.concept_vector(model, examples, random, layer="flatten")
    with pytest.raises(NoSpaceError, match="no space"):
        sw.concept_maps(model, random[0], flat)
    with pytest.raises(MethodError, match="by name"):
        sw.tcav(model, examples, random, random, 0)
    with pytest.raises(MethodError, match="no two sets of 10"):
        sw.tcav(model, {"sticker": examples}, random, random, 0)
    with pytest.raises(MethodError, match="sets is 1"):
        sw.tcav(model, {"sticker": examples}, random, random, 0, sets=1)
    with pytest.raises(MethodError, match="came twice"):
        sw.tcav(model, {"a": examples}, random, random, 0, layers=["block4", None], size=3)
    with pytest.warns(SeewhyWarning, match="6 pictures are 2 sets of 3, not 30"):
        sw.tcav(model, {"sticker": examples}, random, random, 0, size=3)


def test_the_model_comes_back_as_it_was(model, vector):
    from seewhy.testing.conformance import difference, snapshot

    before = snapshot(model.module)
    pictures = list(generate(8, seed=4).pictures)
    sw.tcav(model, {"any": pictures}, pictures, pictures, 0, sets=2, size=4)
    sw.concept_maps(model, pictures[0], vector)
    difference(before, snapshot(model.module, copies=False))
