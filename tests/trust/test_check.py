"""Checking a map by removal: true maps pass, maps drawn at random do not."""

import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy.data import world
from seewhy.errors import MethodError
from seewhy.methods import as_method, perform
from seewhy.trial import Trial, in_words
from seewhy.trust import Case, Maps, Random, RemovalCheck
from seewhy.trust.check import moves

COUNT = 24


@pytest.fixture(scope="module")
def pictures():
    scenes = world.generate(COUNT, seed=9, conflict=True)
    return [Image.fromarray(each) for each in scenes.pictures]


def share_passed(model, pictures, method):
    """The share of trials, over pictures and fills, whose verdict is "more"."""
    case = Case.of(model, model.prepare(pictures))
    how = as_method(method)
    found = perform(how, model, case.prepared, case.score, case.run)
    trials = RemovalCheck().measure(case, Maps(found.relevance, how.display))
    verdicts = [each.verdict for own in trials for each in own]
    assert len(verdicts) == 2 * len(pictures)
    return verdicts.count("more") / len(verdicts)


def test_a_map_that_follows_the_model_passes_and_a_random_one_does_not(demo, pictures):
    """Of maps drawn at random one in twenty passes by chance: here at most one in eight."""
    assert share_passed(demo, pictures, "layer-cam:layer=halve") >= 0.95
    assert share_passed(demo, pictures, Random()) <= 0.125


def test_a_map_of_the_wrong_place_does_not_pass(demo, pictures):
    """Where the map is turned over, what it points at costs no more than other places."""
    case = Case.of(demo, demo.prepare(pictures[:8]))
    how = as_method("layer-cam:layer=halve")
    found = perform(how, demo, case.prepared, case.score, case.run)
    away = found.relevance.amax((2, 3), keepdim=True) - found.relevance
    trials = RemovalCheck().measure(case, Maps(away, "positive"))
    assert all(each.verdict != "more" for own in trials for each in own)


def test_trials_do_not_depend_on_the_batch_and_follow_the_seed(demo, pictures):
    together = sw.explain(demo, pictures[:3], check=True)
    alone = sw.explain(demo, pictures[2], check=True)
    for one, other in zip(together[2].trials, alone.trials, strict=True):
        assert one.fill == other.fill
        assert one.low == pytest.approx(other.low, abs=1e-4)
        assert one.pointed == pytest.approx(other.pointed, abs=1e-4)
    other = sw.explain(demo, pictures[2], check=True, seed=1)
    assert other.trials[0].elsewhere != alone.trials[0].elsewhere


def test_an_explanation_keeps_its_trials(demo, pictures, tmp_path):
    why = sw.explain(demo, pictures[0], check=True)
    assert why.trials[0].whole == pytest.approx(why.prediction[0].probability, abs=1e-4)
    assert "What it points at counts more than other places" in str(why)
    assert sw.read(why.save(tmp_path / "why.npz")).trials == why.trials
    assert sw.explain(demo, pictures[0]).trials == ()
    page = why.save(tmp_path / "why.html").read_text()
    assert "With that part blurred, the probability of" in page


def test_a_map_that_points_at_nothing_has_no_trial(demo, pictures):
    case = Case.of(demo, demo.prepare(pictures[:1]))
    assert RemovalCheck().measure(case, Maps(-torch.ones(1, 1, 8, 8))) == [()]
    assert in_words(()) == []


def test_moves_keep_the_form_and_leave_the_place():
    region = torch.zeros(8, 8, dtype=torch.bool)
    region[1:3, 1:5] = True
    found = moves(region, 10, torch.Generator().manual_seed(0))
    assert len(found) == 10
    assert all(int(each.sum()) == 8 and not bool((each & region).any()) for each in found)


@pytest.mark.parametrize(
    ("verdicts", "begins"),
    [
        (("more", "more"), "What it points at counts more"),
        (("more", "unclear"), "Whether what it points at counts"),
        (("more", "not more"), "Whether what it points at counts"),
        (("unclear", "unclear"), "It is unclear"),
        (("not more", "unclear"), "It is unclear"),
        (("not more", "not more"), "What it points at counts less"),
    ],
)
def test_the_words_follow_all_fills(verdicts, begins):
    ends = {"more": (0.1, 0.2), "unclear": (-0.1, 0.1), "not more": (-0.2, -0.1)}
    trials = [Trial("blur", 0.1, "score", 1, 0.5, 0.5, *ends[each]) for each in verdicts]
    assert [each.verdict for each in trials] == list(verdicts)
    assert in_words(trials)[0].startswith(begins)


def test_inputs_that_are_no_pictures_are_refused():
    model = sw.Model(torch.nn.Linear(5, 2).eval())
    with pytest.raises(MethodError, match="leave check=True out"):
        sw.explain(model, torch.randn(1, 5), method="gradient", check=True)
    with pytest.raises(MethodError, match="draws"):
        RemovalCheck(draws=1)
