"""Surrogates: Shapley values and linear models whose answers are known beforehand."""

import itertools
import math

import pytest
import torch
from known import PICTURE_A, PICTURE_B, network_a, network_b

import seewhy as sw
from seewhy.errors import CancelledError, MethodError, SeewhyWarning
from seewhy.methods import as_method
from seewhy.targets import Regression

EXACT = ("shapley-sampling", "kernel-shap")


def two_and_one(_picture):
    """Groups {0, 1} and {2} of three numbers."""
    return torch.tensor([0, 0, 1])


def about(expected, relative=1e-4):
    return pytest.approx(torch.as_tensor(expected).double().numpy(), rel=relative, abs=1e-4)


def explained(function, pictures, method, target=0, **options):
    found = sw.explain(sw.Model(function), pictures, target, method, **options)
    return found[0]


def game(pictures):
    """A score of many interactions, of pictures (N, 1, 4, 4): sines of sums of products."""
    flat = pictures.flatten(1).double()
    mixed = (flat * flat.roll(1, 1)).cumsum(1).sin() + (flat.roll(5, 1) * flat).relu()
    return mixed.sum(1, keepdim=True).float()


NOISE = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))


# ---------------------------------------------------------------------- known answers


@pytest.mark.parametrize("method", EXACT)
def test_shapley_values_of_network_a(method):
    found = explained(network_a(), PICTURE_A, method)
    assert found.relevance.numpy() == about([230 / 3, 590 / 3, 350 / 3])
    assert found.checks["samples"] == 7  # all coalitions but the picture itself, which is known


@pytest.mark.parametrize("name", EXACT)
def test_shapley_values_of_groups_of_network_a(name):
    method = sw.methods()[name](segments=two_and_one)
    found = explained(network_a(), PICTURE_A, method)
    assert found.relevance.numpy() == about([275, 275, 115])


@pytest.mark.parametrize("method", EXACT)
def test_shapley_values_of_the_quadrants_of_network_b(method):
    found = explained(network_b(), PICTURE_B, f"{method}:segments=patch:2")
    one, two, three, four = 4.25, 4 + 5 / 12, 19 + 5 / 12, 25 + 11 / 12
    assert found.relevance[0].numpy() == about(
        [[one, one, two, two]] * 2 + [[three, three, four, four]] * 2
    )


@pytest.mark.parametrize("method", EXACT)
def test_exact_values_are_the_means_over_all_orders(method):
    parts = torch.arange(4).reshape(2, 2).repeat_interleave(2, 0).repeat_interleave(2, 1)
    worth, expected = {}, torch.zeros(4, dtype=torch.float64)
    for size in range(5):
        for on in itertools.combinations(range(4), size):
            kept = torch.isin(parts, torch.tensor(on, dtype=torch.long))
            worth[on] = float(game(NOISE * kept)[0, 0])
    for order in itertools.permutations(range(4)):
        for step, player in enumerate(order):
            before = tuple(sorted(order[:step]))
            after = tuple(sorted(order[: step + 1]))
            expected[player] += (worth[after] - worth[before]) / math.factorial(4)
    found = explained(game, NOISE, f"{method}:segments=patch:2", Regression(0))
    assert found.relevance[0, ::2, ::2].flatten().numpy() == about(expected)


# ---------------------------------------------------------------------- sampling


@pytest.mark.parametrize("samples", [18, 40, 300])
@pytest.mark.parametrize("method", EXACT)
def test_sampled_values_sum_to_what_the_picture_is_worth(method, samples):
    found = explained(game, NOISE, f"{method}:segments=each,samples={samples}", Regression(0))
    difference = game(NOISE) - game(torch.zeros_like(NOISE))
    assert float(found.relevance.sum()) == pytest.approx(float(difference), rel=1e-4)


@pytest.mark.parametrize("method", EXACT)
def test_more_samples_come_nearer_to_the_exact_values(method):
    settings = "segments=patch:2,fill=(constant:value=0.3)"
    exact = explained(game, NOISE, f"{method}:{settings}", Regression(0)).relevance
    errors = []
    for samples in (16, 4000):
        spec = f"{method}:{settings},samples={samples},seconds=1000"  # not enumerated then
        found = explained(game, NOISE, spec, Regression(0)).relevance
        errors.append(float((found - exact).abs().max()))
    assert errors[1] < 0.05 * float(exact.abs().max())
    assert errors[1] < errors[0]


@pytest.mark.parametrize("method", ["shapley-sampling:samples=16", "kernel-shap:samples=60"])
def test_of_a_sum_every_sample_gives_the_same(method):
    # What a segment adds does not depend on the others: one order is enough.
    def total(pictures):
        return pictures.flatten(1).sum(1, keepdim=True)

    method += ",segments=each,seconds=1000"
    found = explained(total, NOISE, method, Regression(0)).relevance
    assert found.numpy() == about(NOISE[0])


def test_an_order_and_its_reverse_cancel_what_pairs_share():
    # Of pairwise interactions half belongs to each: an order and its reverse give exactly that.
    def pairs(pictures):
        flat = pictures.flatten(1)
        return (flat.sum(1, keepdim=True)) ** 2

    found = explained(pairs, NOISE, "shapley-sampling:segments=each,samples=31", Regression(0))
    assert found.relevance.numpy() == about(NOISE[0] * NOISE.sum())
    assert found.checks["samples"] == 31  # two orders of fifteen, and nothing left


def test_too_few_samples_say_so():
    with pytest.raises(MethodError, match=r"10 samples are less than the 16 segments: .*slic"):
        explained(game, NOISE, "shapley-sampling:segments=each,samples=10", Regression(0))
    with pytest.warns(SeewhyWarning, match="9 samples do not tell 16 segments apart"):
        explained(game, NOISE, "kernel-shap:segments=each,samples=10", Regression(0))


# ---------------------------------------------------------------------- LIME


def test_lime_of_a_sum_finds_it():
    def total(pictures):
        return pictures.flatten(1).sum(1, keepdim=True)

    found = explained(total, NOISE, "lime:segments=each,samples=400,ridge=1e-6", Regression(0))
    assert found.relevance.numpy() == about(NOISE[0])
    assert found.checks["fit"] == pytest.approx(1)


def test_lime_is_the_weighted_ridge_regression_of_its_formula():
    # By hand: the same coalitions, a column for the intercept that is not penalised.
    seen = []

    def watched(pictures):
        seen.append(pictures.clone())
        return game(pictures)

    method = "lime:segments=each,samples=50,width=0.4,ridge=0.7"
    found = explained(watched, NOISE, method, Regression(0))
    asked = torch.cat([each for each in seen if len(each) > 2])[-50:]
    on = torch.cat([torch.ones(1, 16), (asked != 0).flatten(1).float()]).double()
    scores = torch.cat([game(NOISE), game(asked)])[:, 0].double()
    cosine = on.sum(1) / (16 * on.sum(1)).sqrt()
    weights = (-((1 - cosine) ** 2) / 0.4**2).exp()
    design = torch.cat([on, torch.ones(51, 1)], 1)
    penalty = 0.7 * torch.eye(17).double()
    penalty[-1, -1] = 0
    gram = design.T @ (weights[:, None] * design) + penalty
    expected = torch.linalg.solve(gram, design.T @ (weights * scores))[:16]
    assert found.relevance.flatten().numpy() == about(expected)
    assert 0 < found.checks["fit"] < 1


# ---------------------------------------------------------------------- work


@pytest.mark.parametrize("name", ["lime", "kernel-shap", "shapley-sampling"])
def test_targets_of_a_picture_share_their_forwards(name):
    rows = []

    def counted(pictures):
        rows.append(len(pictures))
        flat = pictures.flatten(1)
        return torch.stack([flat.sum(1), flat[:, 3], flat.square().sum(1)], 1)

    method, model = f"{name}:segments=each,samples=40", sw.Model(counted)
    alone = [sw.explain(model, NOISE, target, method)[0] for target in range(3)]
    model.prepare(NOISE)
    rows.clear()
    together = sw.explain(model, NOISE, [0, 1, 2], method)
    shared, rows[:] = sum(rows), []
    sw.explain(model, NOISE, 0, method)
    assert shared == sum(rows) + 2  # each target asks for the picture itself
    for one, two in zip(alone, together, strict=True):
        assert torch.equal(one.relevance, two.relevance)


@pytest.mark.parametrize("name", ["lime", "kernel-shap", "shapley-sampling"])
@pytest.mark.parametrize("cut", ["seconds", "cancel"])
def test_cut_short_the_coalitions_there_are_make_the_answer(name, cut):
    def total(pictures):
        return pictures.flatten(1).sum(1, keepdim=True)

    method, asked = f"{name}:segments=each,samples=3000", []

    def cancel():
        asked.append(True)
        return len(asked) > 3

    if cut == "seconds":
        found = explained(total, NOISE, method + ",seconds=1e-9", Regression(0))
    else:
        model = sw.Model(total)
        with pytest.raises(CancelledError):
            sw.explain(model, NOISE, Regression(0), method, cancel=lambda: True, memory=1)
        run = sw.Run(cancel=cancel)
        prepared = model.prepare(NOISE)
        score = sw.targets.Score([Regression(0)], model, prepared)
        with model.held(), torch.no_grad():
            found = as_method(method).attribute(model, prepared, score, run)
    used = float(torch.as_tensor(found.checks["samples"]))
    assert 17 <= used < 300
    if name != "lime":
        assert found.relevance.reshape(1, 4, 4).numpy() == about(NOISE[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lime:segments=squares", "there is no segmentation 'squares': write slic:50"),
        ("lime:segments=patch:0", "there is no segmentation"),
        ("lime:fill=water", "there is no fill 'water'"),
        ("lime:samples=0", "samples is 0: give a number above zero"),
        ("lime:width=0", "width is 0.0: give a number above zero"),
        ("kernel-shap:seconds=-1", "seconds is -1.0: give a number above zero"),
    ],
)
def test_settings_without_sense_are_refused(spec, message):
    with pytest.raises(MethodError, match=message):
        as_method(spec)


@pytest.mark.parametrize("name", ["lime", "kernel-shap", "shapley-sampling"])
def test_fills_and_segments_are_settings_like_others(name):
    how = sw.methods()[name](samples=7, fill="blur:0.2", segments="patch:4")
    assert str(how) == f"{name}:fill=(blur:sigma=0.2),segments=patch:4,samples=7"
    assert as_method(str(how)) == how
    assert str(sw.methods()[name](segments=two_and_one)) == f"{name}:segments=two_and_one"
