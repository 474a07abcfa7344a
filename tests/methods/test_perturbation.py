"""Perturbation: what is removed, what is asked for, and answers that are known beforehand."""

import numpy as np
import pytest
import torch
from known import PICTURE_A, PICTURE_B, linear, network_a, network_b
from torch import nn
from torch.nn.functional import interpolate

import seewhy as sw
from seewhy.errors import CancelledError, MethodError, NoSpaceError, SeewhyWarning
from seewhy.fill import Constant, as_fill
from seewhy.methods import as_method
from seewhy.methods.perturbation import SmoothMasks
from seewhy.model.tape.passes import counted
from seewhy.targets import Regression


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def about(expected, relative=1e-4):
    return pytest.approx(torch.as_tensor(expected).double().numpy(), rel=relative, abs=1e-4)


def explained(function, pictures, method, target=0, **options):
    return sw.explain(sw.Model(function), pictures, target, method, **options)[0]


def total(pictures):
    """The sum of all numbers, as one output."""
    return pictures.flatten(1).sum(1, keepdim=True)


def middle(pictures):
    """The sum of squares of the middle of pictures (N, C, H, W)."""
    height, width = (side // 4 for side in pictures.shape[2:])
    inner = pictures[:, :, height : 3 * height, width : 3 * width]
    return inner.flatten(1).square().sum(1, keepdim=True)


def blind(pictures):
    """The same for every picture."""
    return total(pictures) * 0 + 3


# ---------------------------------------------------------------------- known answers


def test_feature_ablation_of_network_a():
    found = explained(network_a(), PICTURE_A, "feature-ablation")
    assert found.relevance.tolist() == [80, 200, 120]


def test_feature_ablation_of_the_quadrants_of_network_b():
    found = explained(network_b(), PICTURE_B, "feature-ablation:segments=patch:2")
    assert found.relevance[0].tolist() == [[7, 7, 4, 4]] * 2 + [[36, 36, 47, 47]] * 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("patch=2,stride=1,fill=(constant:10)", [200, 220, 240]),
        ("patch=2,stride=2", [280, 280, 120]),
    ],
)
def test_occlusion_of_network_a(settings, expected):
    found = explained(network_a(), PICTURE_A, f"occlusion:{settings}")
    assert found.relevance.tolist() == expected


# ---------------------------------------------------------------------- occlusion


@pytest.mark.parametrize("shape", [(9,), (2, 9), (3, 9, 6), (2, 5, 4, 6)], ids=str)
@pytest.mark.parametrize(("patch", "stride"), [(3, 2), (2, None), (4, 4)])
def test_occlusion_is_the_mean_over_the_patches_that_cover_a_place(shape, patch, stride):
    # A loop by hand over every corner, in inputs of any rank.
    pictures, step = noise(1, *shape), stride or patch // 2
    space = shape[1:] or shape
    lost, times = torch.zeros(space), torch.zeros(space)
    corners = [range(0, max(0, side - patch) + step, step) for side in space]
    network = noise(*shape, seed=2)

    def score(given):
        return (given * network).flatten(1).tanh().sum(1, keepdim=True)

    for corner in np.array(np.meshgrid(*corners)).reshape(len(space), -1).T:
        place = tuple(slice(start, start + patch) for start in corner)
        removed = pictures.clone()
        removed[(slice(None), *([slice(None)] if len(shape) > 1 else []), *place)] = 0.5
        lost[place] += (score(pictures) - score(removed))[0, 0]
        times[place] += 1
    method = sw.Occlusion(patch=patch, stride=stride, fill="constant:0.5")
    found = explained(score, pictures, method, Regression(0))
    assert found.relevance.shape == ((1, *space) if len(shape) > 1 else shape)
    assert found.relevance.reshape(space).numpy() == about(lost / times)


@pytest.mark.parametrize("fill", ["blur:0.2", "noisy-linear", "constant:0.1+0.2+0.3"])
def test_what_stands_instead_is_the_fill(fill):
    pictures, seen = noise(1, 3, 8, 8), []

    def watched(given):
        seen.extend(given.clone())
        return total(given)

    explained(watched, pictures, sw.Occlusion(patch=4, stride=4, fill=fill), Regression(0), seed=7)
    keep = torch.ones(1, 8, 8, dtype=torch.bool)
    keep[:, :4, 4:] = False
    model = sw.Model(total)
    expected = as_fill(fill)(pictures, keep, model.prepare(pictures).keys, seed=7)[0]
    assert min(float((each - expected).abs().max()) for each in seen) < 1e-6


def test_only_pictures_have_fills_that_read_their_pixels():
    for shape in ((64,), (2, 64), (1, 4, 4, 4)):
        with pytest.raises(MethodError, match=r"'blur' reads pixels of pictures .*constant"):
            explained(total, noise(1, *shape), "occlusion:patch=2,fill=blur", Regression(0))


def test_a_patch_that_covers_everything_is_refused():
    with pytest.raises(MethodError, match="a patch of 16 covers inputs of 8 x 8 whole"):
        explained(total, noise(1, 3, 8, 8), "occlusion", Regression(0))


# ---------------------------------------------------------------------- RISE


def rise_masks(how, shape, seed=0):
    model = sw.Model(total)
    prepared = model.prepare(noise(1, *shape))
    masks = SmoothMasks(how, prepared, sw.Run(seed=seed))
    return masks(torch.zeros(how.samples, dtype=torch.long), torch.arange(how.samples))


def test_rise_masks_are_grids_enlarged_linearly_and_moved_by_up_to_a_cell():
    # Petsiuk et al. 2018, sec. 3.2: a 4 x 4 grid becomes 5 x 5 cells of 8 pixels, cut to 32 x 32.
    how = sw.RISE(samples=20, grid=4)
    masks = rise_masks(how, (3, 32, 32))
    model = sw.Model(total)
    made = SmoothMasks(how, model.prepare(noise(1, 3, 32, 32)), sw.Run())
    large = interpolate(made._grids[0][:, None].float(), (40, 40), mode="bilinear")[:, 0]
    for mask, whole, (down, across) in zip(masks, large, made._moves[0].tolist(), strict=True):
        assert 0 <= min(down, across) <= max(down, across) <= 8
        assert mask.numpy() == about(whole[down : down + 32, across : across + 32])


@pytest.mark.parametrize("shape", [(3, 30, 20), (2, 50), (1, 9, 8, 7), (3, 4, 4)], ids=str)
def test_rise_masks_of_any_rank_are_shares_seen_with_probability_p(shape):
    masks = rise_masks(sw.RISE(samples=3000, p=0.3), shape)
    assert masks.shape == (3000, *shape[1:])
    assert 0 <= float(masks.min()) <= float(masks.max()) <= 1
    assert masks.mean(0).numpy() == pytest.approx(0.3, abs=0.04)


@pytest.mark.parametrize("fill", ["constant:0", "constant:0.4", "blur"])
def test_rise_is_the_mean_of_scores_weighted_by_masks_over_the_mean_mask(fill):
    how, pictures = sw.RISE(samples=70, grid=3, fill=fill), noise(1, 3, 12, 10)
    masks = rise_masks(how, (3, 12, 10))
    nothing = torch.zeros(1, 12, 10, dtype=torch.bool)
    behind = as_fill(fill)(pictures, nothing)
    shown = masks[:, None] * pictures + (1 - masks[:, None]) * behind
    scores = middle(shown)[:, 0].double()
    expected = (scores[:, None, None] * masks).sum(0) / masks.sum(0) - scores.mean()
    found = explained(middle, pictures, how, Regression(0))
    assert found.relevance[0].numpy() == about(expected)
    assert found.checks["samples"] == 70


def test_rise_points_at_what_counts_and_a_constant_score_has_an_empty_map():
    found = explained(middle, torch.ones(1, 3, 32, 32), "rise:samples=1500", Regression(0))
    relevance = found.relevance[0]
    assert float(relevance[12:20, 12:20].mean()) > 5 * float(relevance[:4].abs().mean())
    with pytest.warns(SeewhyWarning, match="the same everywhere"):
        flat = explained(blind, noise(1, 1, 8, 8), "rise:samples=20", Regression(0))
    assert float(flat.relevance.abs().max()) == 0


def test_rise_needs_space():
    with pytest.raises(NoSpaceError, match=r"rise lays masks over space.*'feature-ablation'"):
        explained(total, noise(1, 20), "rise", Regression(0))


# ---------------------------------------------------------------------- work

CHEAP = ["occlusion:patch=3,stride=2", "feature-ablation:segments=patch:3", "rise:samples=30"]


@pytest.mark.parametrize("method", CHEAP)
def test_targets_of_a_picture_share_their_forwards(method):
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5)).eval()
    model, pictures = sw.Model(network), noise(2, 3, 10, 10)
    alone = [sw.explain(model, pictures, target, method) for target in (0, 3, 4)]

    def rows_of(target):
        with counted() as passes:
            found = sw.explain(model, pictures, target, method)
        return passes.forwards, found

    one, _ = rows_of(0)
    three, together = rows_of([[0, 3, 4]] * 2)
    assert three == one + 4  # each target asks for the picture itself
    for place, each in enumerate(together):
        target, picture = place % 3, place // 3
        assert each.relevance.numpy() == about(alone[target][picture].relevance)


@pytest.mark.parametrize("count", [1, 3])
def test_rise_cut_short_uses_the_masks_there_are(count):
    # At least two of each picture, whatever the time; one picture in a part of one row.
    pictures = noise(count, 3, 12, 12)
    model = sw.Model(middle)
    for each in sw.explain(model, pictures, Regression(0), "rise:seconds=1e-9", memory=1):
        assert each.checks["samples"] == 2
    found = sw.explain(model, pictures, Regression(0), "rise:seconds=1e-9,grid=3")[0]
    assert 2 <= found.checks["samples"] <= 64
    first = sw.explain(model, pictures, Regression(0), "rise:samples=2,grid=3", memory=1)[0]
    again = sw.explain(model, pictures, Regression(0), "rise:seconds=1e-9,grid=3", memory=1)[0]
    asked = as_method("rise:samples=2,grid=3")
    assert first.method == str(asked)
    assert first.relevance.shape == again.relevance.shape
    assert bool(torch.isfinite(again.relevance).all())


def test_rise_cancelled_gives_what_it_has():
    calls = []

    def cancel():
        calls.append(True)
        return len(calls) == 5

    model, pictures = sw.Model(middle), noise(1, 3, 12, 12)
    found = sw.explain(model, pictures, Regression(0), "rise:samples=4000", cancel=cancel)[0]
    assert found.checks["samples"] == 5 * 64
    assert bool(torch.isfinite(found.relevance).all())


@pytest.mark.parametrize("method", CHEAP[:2])
def test_a_sweep_that_is_cancelled_has_no_answer(method):
    with pytest.raises(CancelledError):
        explained(middle, noise(1, 3, 12, 12), method, Regression(0), cancel=lambda: True)


@pytest.mark.parametrize("method", CHEAP)
def test_progress_is_told(method):
    told = []
    explained(
        middle,
        noise(1, 3, 12, 12),
        method,
        Regression(0),
        progress=lambda done, count, what: told.append((done, count, what)),
    )
    assert any(what in ("patches", "segments", "masks") for _, _, what in told)
    assert all(done <= count for done, count, _ in told)


@pytest.mark.parametrize("method", CHEAP[:2])
def test_a_method_within_smoothing_explains_the_noisy_picture(method):
    # Of a sum the map of a picture is linear in it: the mean over noise that is tiny is the same.
    network = nn.Sequential(nn.Flatten(), linear([[1.0] * 300, [0.0] * 300], [0.0, 0.0])).eval()
    pictures = noise(1, 3, 10, 10)
    plain = explained(network, pictures, method).relevance
    smooth = sw.SmoothGrad(as_method(method), samples=2, noise=1e-6)
    found = explained(network, pictures, smooth).relevance
    scale = float(plain.abs().max())
    difference = float((found - plain).abs().max())
    assert difference < 1e-3 * scale


# ---------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("occlusion:patch=0", "patch is 0: give a number above zero"),
        ("occlusion:patch=4,stride=5", "stride is 5 and patch is 4: .*never removed"),
        ("occlusion:stride=0", "stride is 0"),
        ("occlusion:fill=water", "there is no fill 'water': there are constant"),
        ("feature-ablation:segments=slic", "there is no segmentation 'slic'"),
        ("rise:p=1", "p is 1.0: give a probability"),
        ("rise:grid=0", "grid is 0: give a number above zero"),
        ("rise:samples=-3", "samples is -3: give a number above zero"),
        ("rise:seconds=0", "seconds is 0.0: give a number above zero"),
    ],
)
def test_settings_without_sense_are_refused(spec, message):
    with pytest.raises(MethodError, match=message):
        as_method(spec)


@pytest.mark.parametrize(
    "how",
    [
        sw.Occlusion(8, 4, fill="blur"),
        sw.Occlusion(fill=Constant((0.1, 0.2, 0.3))),
        sw.FeatureAblation(segments="patch:7", fill="noisy-linear:noise=0"),
        sw.RISE(100, fill="constant:0.5", seconds=2.5),
        sw.SmoothGrad(sw.Occlusion(4, fill="blur:0.3"), samples=2),
    ],
    ids=str,
)
def test_what_is_written_is_read_back(how):
    assert as_method(str(how)) == how
    assert hash(as_method(str(how))) == hash(how)


def test_a_fill_that_is_the_default_is_not_written():
    assert str(sw.RISE(fill="constant:0")) == "rise"
    assert sw.RISE(fill="constant") == sw.RISE()
