"""Metrics: known answers by hand, identities, and what they must not depend on."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.errors import CancelledError, MethodError, PictureError
from seewhy.fill import Blur, Constant
from seewhy.methods import as_method
from seewhy.model.geometry import Geometry
from seewhy.model.tape.passes import counted
from seewhy.targets import Regression
from seewhy.trust import (
    SRG,
    Case,
    Deletion,
    GridPG,
    Insertion,
    Maps,
    PointingGame,
    RelevanceMass,
    RelevanceRank,
    patch_relevance,
    pointing_game,
    relevance_mass,
    relevance_rank,
)

ZERO = Constant(0.0)


class Linear(nn.Module):
    """The sum of weights times pixels, as one output."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, pictures):
        return (pictures * self.weights).flatten(1).sum(1, keepdim=True)


def linear_case(weights, pictures, **options):
    model = sw.Model(Linear(weights).eval(), name="linear")
    return Case.of(model, model.prepare(pictures), Regression(0), **options)


def classifier(classes=3):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return sw.Model(nn.Sequential(*layers, nn.Linear(8, classes)).eval(), name="small")


# ---------------------------------------------------------------------- removal


def test_curves_of_a_linear_model_are_cumulative_sums():
    """Four patches that contribute 1, 2, 3 and 4: removing nothing is 10, all of it 0."""
    parts = torch.tensor([[3.0, 1.0], [4.0, 2.0]])
    weights = parts.repeat_interleave(2, 0).repeat_interleave(2, 1)[None] / 4
    case = linear_case(weights, torch.ones(1, 1, 4, 4))
    maps = Maps(weights[None])
    curves = SRG(patch=2, fill=ZERO).curves(case, maps)
    assert curves.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    torch.testing.assert_close(curves.deletion[0], torch.tensor([10.0, 6, 3, 1, 0]).double())
    torch.testing.assert_close(curves.least_first[0], torch.tensor([10.0, 9, 7, 4, 0]).double())
    torch.testing.assert_close(curves.insertion[0], torch.tensor([0.0, 4, 7, 9, 10]).double())
    assert Deletion(2, fill=ZERO).measure(case, maps).item() == pytest.approx(15 / 4)
    assert Insertion(2, fill=ZERO).measure(case, maps).item() == pytest.approx(25 / 4)
    assert SRG(2, fill=ZERO).measure(case, maps).item() == pytest.approx(10 / 4)


def test_insertion_inserts_the_most_relevant_into_what_stands_there():
    """Insertion = least relevant first, reversed: checked against pictures put together by hand."""
    model, pictures = classifier(), torch.randn(2, 3, 16, 16)
    case = Case.of(model, model.prepare(pictures), 1)
    relevance = torch.randn(2, 1, 16, 16)
    curve = Insertion(patch=8, fill=Blur(0.2)).curves(case, Maps(relevance)).insertion
    behind = Blur(0.2)(pictures, torch.zeros(2, 16, 16, dtype=torch.bool))
    order = patch_relevance(relevance[:, 0], 8).argsort(1, descending=True)
    for row in range(2):
        shown = torch.zeros(4, dtype=torch.bool)
        for step in range(5):
            if step:
                shown[order[row, step - 1]] = True
            mask = shown.reshape(2, 2).repeat_interleave(8, 0).repeat_interleave(8, 1)
            whole = torch.where(mask, pictures[row], behind[row])[None]
            wanted = model.module(whole).softmax(1)[0, 1]
            assert curve[row, step].item() == pytest.approx(wanted.item(), abs=1e-6)


def test_srg_is_insertion_minus_deletion_and_turns_with_the_map():
    model = classifier()
    case = Case.of(model, model.prepare(torch.randn(3, 3, 20, 20)))
    relevance = torch.randn(3, 2, 20, 20)
    maps, turned = Maps(relevance), Maps(-relevance)
    gain = SRG(patch=4).measure(case, maps)
    apart = Insertion(patch=4).measure(case, maps) - Deletion(patch=4).measure(case, maps)
    torch.testing.assert_close(gain, apart)
    torch.testing.assert_close(SRG(patch=4).measure(case, turned), -gain)


def test_srg_of_random_maps_is_about_zero():
    """The two orders of a random map are alike: its mean over many pictures is 0."""
    weights = torch.rand(1, 16, 16)
    case = linear_case(weights, torch.rand(200, 1, 16, 16))
    gain = SRG(patch=2, fill=ZERO).measure(case, Maps(torch.rand(200, 1, 16, 16)))
    best = SRG(patch=2, fill=ZERO).measure(case, Maps(weights * case.prepared.tensor))
    assert abs(gain.mean()) < 3 * gain.std() / 200**0.5
    assert abs(gain.mean()) < 0.1 * best.mean()


def test_the_best_order_of_a_linear_model_is_its_contributions():
    weights, pictures = torch.randn(1, 8, 8), torch.rand(4, 1, 8, 8)
    case = linear_case(weights, pictures)
    best = SRG(patch=1, fill=ZERO).measure(case, Maps(weights * pictures))
    for _ in range(5):
        assert bool(
            (SRG(patch=1, fill=ZERO).measure(case, Maps(torch.randn(4, 1, 8, 8))) < best).all()
        )


def test_forwards_are_shared():
    """2 (K - 1) steps, one for nothing left and one to bind; nothing twice."""
    model = classifier()
    case = Case.of(model, model.prepare(torch.randn(2, 3, 16, 16)))
    maps = Maps(torch.randn(2, 1, 16, 16))
    with counted() as passes:
        SRG(patch=4).measure(case, maps)
    assert passes.forwards == 2 * (2 * 15 + 1 + 1)
    with counted() as passes:
        Insertion(patch=4).measure(case, maps)
        Deletion(patch=4).measure(case, maps)
    assert passes.forwards == 0
    with counted() as passes:
        Deletion(patch=4).measure(case, Maps(torch.randn(2, 1, 16, 16)))
    assert passes.forwards == 2 * 15


def test_the_same_maps_are_judged_anew_on_another_case():
    maps, pictures = Maps(torch.rand(1, 1, 8, 8)), torch.ones(1, 1, 8, 8)
    one, two = (
        SRG(patch=2, fill=ZERO).measure(linear_case(weights, pictures), maps)
        for weights in (torch.rand(1, 8, 8), torch.rand(1, 8, 8))
    )
    assert one != two


@pytest.mark.parametrize("fill", ["blur", "noisy-linear", "constant:0"])
def test_a_picture_is_judged_alike_in_any_batch_and_memory(fill):
    """A map with ties everywhere, so that the random order counts too."""
    model, pictures = classifier(), torch.randn(3, 3, 24, 24)
    relevance = torch.randn(3, 1, 24, 24).relu().round()
    metric = SRG(patch=4, fill=fill)
    together = metric.measure(Case.of(model, model.prepare(pictures)), Maps(relevance))
    for row in (2, 0):
        case = Case.of(model, model.prepare(pictures[row : row + 1]), run=sw.Run(memory=1))
        alone = metric.measure(case, Maps(relevance[row : row + 1]))
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=1e-6)


def test_duplicates_are_judged_alike_and_the_seed_breaks_ties():
    model, picture = classifier(), torch.randn(1, 3, 16, 16)
    flat = Maps(torch.zeros(2, 1, 16, 16))
    case = Case.of(model, model.prepare(picture.repeat(2, 1, 1, 1)))
    values = SRG(patch=4).measure(case, flat)
    assert values[0].item() == pytest.approx(values[1].item(), abs=1e-6)
    other = Case.of(model, case.prepared, run=sw.Run(seed=1))
    assert not torch.allclose(SRG(patch=4).measure(other, Maps(flat.relevance)), values)


def test_display_decides_what_ranks():
    """Magnitudes for an absolute map, both signs for a signed one, ties below zero else."""
    weights = torch.tensor([[[-4.0, 1.0], [2.0, 3.0]]])
    case = linear_case(weights, torch.ones(1, 1, 2, 2))

    def first(display):
        curve = Deletion(patch=1, fill=ZERO).curves(case, Maps(weights[None], display)).deletion
        return float(curve[0, 0] - curve[0, 1])

    assert first("absolute") == -4
    assert first("signed") == 3
    assert first("positive") == 3


def test_patches_at_the_edge_are_smaller():
    found = patch_relevance(torch.ones(1, 5, 7).double(), 4)
    assert found.tolist() == [[1, 1, 1, 1]]
    weights = torch.ones(1, 5, 7)
    case = linear_case(weights, torch.ones(1, 1, 5, 7))
    curve = Deletion(patch=4, fill=ZERO).curves(case, Maps(weights[None])).deletion
    assert curve[0, 0] == 35
    assert curve[0, -1] == 0


def test_many_patches_take_32_steps():
    case = linear_case(torch.ones(1, 24, 24), torch.ones(1, 1, 24, 24))
    maps = Maps(torch.rand(1, 1, 24, 24))
    assert SRG(patch=2, fill=ZERO).curves(case, maps).shares.shape == (33,)
    assert SRG(patch=3, fill=ZERO).curves(case, maps).shares.shape == (65,)
    assert SRG(patch=3, steps=5, fill=ZERO).curves(case, maps).shares.shape == (6,)


def test_removal_tells_how_far_it_is_and_can_be_stopped():
    told = []
    case = linear_case(
        torch.ones(1, 8, 8),
        torch.ones(2, 1, 8, 8),
        run=sw.Run(memory=1, progress=lambda *each: told.append(each)),
    )
    SRG(patch=4, fill=ZERO).measure(case, Maps(torch.rand(2, 1, 8, 8)))
    assert told[-1] == (14, 14, "steps")
    stopped = linear_case(
        torch.ones(1, 8, 8), torch.ones(2, 1, 8, 8), run=sw.Run(cancel=lambda: True)
    )
    with pytest.raises(CancelledError):
        SRG(patch=4, fill=ZERO).measure(stopped, Maps(torch.rand(2, 1, 8, 8)))


def test_what_cannot_be_removed_is_refused():
    with pytest.raises(MethodError, match="above zero"):
        SRG(patch=0)
    with pytest.raises(MethodError, match="no fill"):
        SRG(fill="paint")
    case = linear_case(torch.ones(1, 8, 8), torch.ones(2, 1, 8, 8))
    with pytest.raises(MethodError, match="3 maps for 2"):
        SRG().measure(case, Maps(torch.rand(3, 1, 8, 8)))
    with pytest.raises(MethodError, match="C, h, w"):
        SRG().measure(case, Maps(torch.rand(2, 1, 3, 8, 8)))


# ---------------------------------------------------------------------- with masks


def one_hot(place, size=(6, 8)):
    heat = torch.zeros(size, dtype=torch.float64)
    heat[place] = 1.0
    return heat


def test_the_pointing_game_of_a_one_hot_map():
    mask = torch.zeros(6, 8, dtype=torch.bool)
    mask[2, 3] = True
    assert pointing_game(one_hot((2, 3)), mask) == 1
    assert pointing_game(one_hot((2, 4)), mask) == 0
    assert pointing_game(one_hot((2, 4)), mask, tolerance=1) == 1
    assert pointing_game(one_hot((3, 4)), mask, tolerance=1) == 0  # 1.41 pixels
    assert pointing_game(one_hot((3, 4)), mask, tolerance=1.5) == 1


def test_mass_and_rank_by_hand():
    heat = torch.tensor([[4.0, 1.0], [-9.0, 3.0]])
    mask = torch.tensor([[True, True], [False, False]])
    assert relevance_mass(heat, mask) == 5 / 8
    assert relevance_rank(heat, mask) == 1 / 2
    assert relevance_rank(heat, ~mask) == 1 / 2
    assert relevance_mass(heat, torch.ones(2, 2, dtype=torch.bool)) == 1


def test_ties_are_broken_at_random_not_by_place():
    heat, mask = torch.ones(10, 10), torch.zeros(10, 10, dtype=torch.bool)
    mask[:3] = True
    draws = [torch.Generator().manual_seed(seed) for seed in range(300)]
    assert np.mean([pointing_game(heat, mask, 0, each) for each in draws]) == pytest.approx(
        0.3, abs=0.08
    )
    assert np.mean([relevance_rank(heat, mask, each) for each in draws]) == pytest.approx(
        0.3, abs=0.05
    )


@pytest.mark.parametrize("judge", [pointing_game, relevance_mass, relevance_rank])
def test_what_has_no_answer_is_nan(judge):
    mask = torch.ones(3, 3, dtype=torch.bool)
    assert math.isnan(judge(torch.ones(3, 3), ~mask))
    assert math.isnan(judge(torch.zeros(3, 3), mask))
    assert math.isnan(judge(-torch.ones(3, 3), mask))


@pytest.mark.parametrize("judge", [pointing_game, relevance_mass, relevance_rank])
def test_unseen_places_do_not_count(judge):
    heat = torch.full((3, 3), math.nan)
    heat[1] = torch.tensor([1.0, 0.0, 0.0])
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[:, 0] = True
    assert judge(heat, mask) == 1
    mask[1] = False
    assert math.isnan(judge(heat, mask))


@pytest.mark.parametrize("metric", [PointingGame(), RelevanceMass(), RelevanceRank()])
def test_the_sign_counts_unless_the_display_is_absolute(metric):
    relevance = torch.tensor([[[[-2.0, 1.0]]]])
    mask = torch.tensor([[[True, False]]])
    case = linear_case(torch.ones(1, 1, 2), torch.ones(1, 1, 1, 2), masks=mask)
    assert metric.measure(case, Maps(relevance, "signed")).item() == 0
    assert metric.measure(case, Maps(relevance, "positive")).item() == 0
    assert metric.measure(case, Maps(relevance, "absolute")).item() > 0.5


def test_masks_are_those_of_the_original_pictures(demo):
    """Pictures of different sizes, and a map of the model's input."""
    pictures = [Image.new("RGB", size) for size in ((64, 64), (128, 32))]
    masks = [torch.zeros(64, 64, dtype=torch.bool), torch.zeros(32, 128, dtype=torch.bool)]
    masks[0][:32, :32] = masks[1][:16, 64:] = True
    relevance = torch.zeros(2, 1, 64, 64)
    relevance[:, :, 5:20, 40:60] = 1
    prepared = demo.prepare(pictures)
    assert {each.original for each in prepared.geometries} == {(64, 64), (32, 128)}
    case = Case.of(demo, prepared, masks=masks)
    for metric in (PointingGame(), RelevanceMass()):
        first, second = metric.measure(case, Maps(relevance)).tolist()
        assert first == 0
        assert second == pytest.approx(1, abs=0.05)


def test_masks_that_do_not_fit_are_refused(demo):
    prepared = demo.prepare([Image.new("RGB", (64, 64))])
    for masks in ([np.ones((64, 64))], [np.ones((8, 8), bool)], []):
        with pytest.raises(PictureError):
            Case.of(demo, prepared, masks=masks)
    with pytest.raises(MethodError, match="masks"):
        RelevanceMass().measure(Case.of(demo, prepared), Maps(torch.ones(1, 1, 4, 4)))


def test_coarse_maps_lie_where_explanations_draw_them():
    relevance = torch.randn(1, 3, 4, 4)
    geometry = Geometry((30, 20), (16, 16), (16 / 30, 16 / 20))
    laid = Maps(relevance).laid(0, geometry)
    torch.testing.assert_close(laid, geometry.on_original(relevance[0].double().sum(0)))


# ---------------------------------------------------------------------- the grid


def colours(count):
    """A network that names the strongest of four channels, and pictures of one channel each."""
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4, bias=False))
    module[2].weight.data = 20 * torch.eye(4)
    pictures = torch.zeros(count, 4, 8, 8)
    pictures[torch.arange(count), torch.arange(count) % 4] = 0.5 + torch.rand(count, 8, 8)
    return sw.Model(module.eval(), name="colours"), pictures


def test_gradient_x_input_of_pure_channels_stays_in_its_cell():
    """What is zero in the other cells cannot be relevant there: 1 by hand."""
    model, pictures = colours(8)
    found = GridPG().measure(model, model.prepare(pictures), as_method("gradient-x-input"))
    torch.testing.assert_close(found, torch.ones(8).double())
    even = GridPG().measure(model, model.prepare(pictures), as_method("gradient"))
    torch.testing.assert_close(even, torch.full((8,), 0.25).double())


def test_pictures_without_partners_are_nan_and_too_few_an_error():
    model, pictures = colours(5)
    found = GridPG().measure(model, model.prepare(pictures), as_method("gradient-x-input"))
    assert int(found.isnan().sum()) == 1
    with pytest.raises(MethodError, match="4 classes"):
        GridPG().measure(model, model.prepare(pictures[:3]), as_method("gradient"))
    with pytest.raises(MethodError, match="confidence"):
        GridPG(confidence=1.0).measure(model, model.prepare(pictures * 0.01), as_method("gradient"))


def test_a_network_of_fixed_size_is_told_from_others():
    _, pictures = colours(4)
    module = nn.Sequential(nn.Flatten(), nn.Linear(256, 4))
    module[1].weight.data = torch.eye(4).repeat_interleave(64, 1)
    model = sw.Model(module.eval(), name="fixed")
    with pytest.raises(MethodError, match="global pooling"):
        GridPG().measure(model, model.prepare(pictures), as_method("gradient"))
