"""Sensitivity analysis on masks, and regions: answers that are known beforehand."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, NoSpaceError
from seewhy.methods import as_method
from seewhy.methods.xrai import _ranked
from seewhy.targets import Regression


def cells(pictures):
    """The means of four quadrants of pictures (N, 1, 8, 8), (N, 4)."""
    return nn.functional.avg_pool2d(pictures, 4).flatten(1)


def total(pictures):
    return pictures.flatten(1).sum(1, keepdim=True)


def explained(function, method, pictures=None, **options):
    pictures = torch.ones(1, 1, 8, 8) if pictures is None else pictures
    return sw.explain(sw.Model(function), pictures, Regression(0), method, **options)[0]


def about(expected, absolute):
    return pytest.approx(torch.as_tensor(expected).double().numpy(), abs=absolute)


# ---------------------------------------------------------------------- Sobol


def test_total_sobol_indices_of_a_sum_are_the_squares_of_its_weights():
    # Independent uniform shares: Var = sum a^2 / 12, and each cell takes part in a^2 / 12.
    weights = torch.tensor([3.0, -2.0, 1.0, 0.0])

    def score(pictures):
        return (cells(pictures) @ weights)[:, None]

    found = explained(score, "sobol:grid=2,designs=512")
    assert found.relevance[0].flatten().numpy() == about(weights**2 / 14, 0.01)
    assert found.checks["samples"] == 512 * 6


def test_total_sobol_indices_of_a_product_count_what_cells_do_together():
    # xy of two uniform shares: Var = 1/9 - 1/16 = 7/144, and of each alone 1/48, so that the total
    # index is (7/144 - 1/48) / (7/144) = 4/7.
    def score(pictures):
        return cells(pictures)[:, :2].prod(1, keepdim=True)

    found = explained(score, "sobol:grid=2,designs=1024")
    assert found.relevance[0].flatten().numpy() == about([4 / 7, 4 / 7, 0, 0], 0.02)


def test_sobol_cut_short_uses_whole_designs():
    found = explained(total, "sobol:grid=2,designs=500,seconds=1e-9", memory=1)
    assert found.checks["samples"] == 2 * 6


# ---------------------------------------------------------------------- HSIC


def test_hsic_is_the_trace_of_its_formula():
    def score(pictures):
        return cells(pictures).cumsum(1).sin().sum(1, keepdim=True)

    seen = []

    def watched(pictures):
        seen.append(pictures.clone())
        return score(pictures)

    found = explained(watched, "hsic:grid=2,samples=60")
    asked = torch.cat([each for each in seen if len(each) > 2])[-60:]
    masks, scores = cells(asked), score(asked).double()  # of a picture of ones
    centre = torch.eye(60).double() - 1 / 60
    apart = (scores - scores.T).abs()
    kernel = (-apart.square() / (2 * apart[apart > 0].median() ** 2)).exp()
    expected = []
    for cell in range(4):
        same = (masks[:, cell, None] == masks[:, cell]).double()
        expected.append(torch.trace(same @ centre @ kernel @ centre) / 59**2)
    assert found.relevance.shape == (1, 2, 2)
    assert found.relevance[0].flatten().numpy() == about(expected, 1e-6)


def test_hsic_finds_the_cell_that_counts():
    def score(pictures):
        return cells(pictures)[:, 2:3]

    found = explained(score, "hsic:grid=2,samples=300").relevance[0].flatten()
    assert float(found[2]) > 20 * float(found[[0, 1, 3]].max())


# ---------------------------------------------------------------------- XRAI


def test_regions_are_ranked_by_the_mean_of_what_they_add():
    # The small region has the highest mean; of the large one only the new pixels count after it.
    pixels = torch.tensor([[4.0, 1.0, 0.0, -2.0]], dtype=torch.float64)
    regions = torch.tensor(
        [[[True, True, False, False]], [[True, False, False, False]], [[False, True, True, False]]]
    )
    assert _ranked(pixels, regions).tolist() == [[4, 1, 0, -2]]
    assert _ranked(pixels, regions[[0, 2]]).tolist() == [[2.5, 2.5, 0, -2]]
    assert _ranked(pixels, regions[:1]).tolist() == [[2.5, 2.5, -1, -1]]


def test_xrai_sums_to_what_integrated_gradients_do_and_keeps_to_regions():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(6 * 900, 3))
    pictures = torch.zeros(1, 3, 32, 32)
    pictures[:, :, 8:20, 6:18] = 1
    model = sw.Model(network.eval())
    found = sw.explain(model, pictures, 1, "xrai:steps=20,baseline=0.3")[0]
    inner = sw.explain(model, pictures, 1, "integrated-gradients:steps=20,baseline=0.3")[0]
    assert float(found.relevance.sum()) == pytest.approx(float(inner.relevance.sum()), rel=1e-4)
    assert found.relevance.shape == (1, 32, 32)
    assert len(found.relevance.unique()) < 12


# ---------------------------------------------------------------------- extremal perturbation


class Corner(nn.Module):
    """The mean of the upper left quarter of pictures, as one output."""

    def forward(self, pictures):
        height, width = (side // 2 for side in pictures.shape[2:])
        return pictures[:, :, :height, :width].mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("shape", [(3, 24, 24), (2, 40), (1, 8, 8, 8)], ids=str)
def test_an_extremal_mask_of_the_right_area_shows_what_counts_and_nothing_else(shape):
    space = shape[1:]

    class First(nn.Module):
        def forward(self, pictures):
            return pictures[:, :, : space[0] // 2].flatten(1).mean(1)[:, None]

    method = sw.ExtremalPerturbation(0.5, steps=150, fill="constant:0")
    found = explained(First().eval(), method, torch.ones(1, *shape))
    mask = found.relevance[0]
    assert 0 <= float(mask.min()) <= float(mask.max()) <= 1
    assert float(mask[: space[0] // 2].mean()) > 0.85
    assert float(mask[space[0] // 2 :].mean()) < 0.25
    assert found.checks["area"] == 0.5


def test_the_mean_of_several_areas_and_the_smallest_that_keeps_half_the_score():
    method = "extremal-perturbation:areas=0.05+0.2,steps=150,fill=constant"
    found = explained(Corner().eval(), method, torch.ones(1, 3, 32, 32))
    mask = found.relevance[0]
    assert found.checks["area"] == 0.2  # a twentieth shows a fifth of the quarter that counts
    assert float(mask.mean()) == pytest.approx(0.125, abs=0.03)
    assert float(mask[:16, :16].mean()) > 10 * float(mask[16:].mean())


@pytest.mark.parametrize("areas", [(0.1,), 0.1, "0.1", [0.1]])
def test_areas_are_given_in_any_way(areas):
    how = sw.ExtremalPerturbation(areas)
    assert how.areas == "0.1"
    assert as_method(str(how)) == how
    assert str(sw.ExtremalPerturbation((0.05, 0.1, 0.2))) == "extremal-perturbation"


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("sobol:designs=1", "designs is 1: a variance takes at least 2"),
        ("sobol:grid=0", "grid is 0: give a number above zero"),
        ("hsic:samples=1", "samples is 1: a dependence takes at least 2"),
        ("xrai:steps=0", "steps is 0: give a number above zero"),
        ("extremal-perturbation:areas=0.1+2", "areas is '0.1.2': give shares between 0 and 1"),
        ("extremal-perturbation:areas=few", "areas is 'few': give shares between 0 and 1"),
        ("extremal-perturbation:smooth=0", "smooth is 0.0: give a number above zero"),
    ],
)
def test_settings_without_sense_are_refused(spec, message):
    with pytest.raises(MethodError, match=message):
        as_method(spec)


def test_inputs_without_space_and_grids_that_are_too_fine_are_refused():
    for name in ("sobol", "hsic", "rise"):
        with pytest.raises(NoSpaceError, match="lays masks over space"):
            explained(total, name, torch.ones(1, 8))
    with pytest.raises(MethodError, match=r"14400 cells are more than .* smaller grid"):
        explained(total, "sobol:grid=120", torch.ones(1, 1, 128, 128))


def test_equal_masks_are_no_distance_apart():
    """In a batch they score alike to the last bit, alone they may not."""
    masks = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    scores = torch.tensor([0.1, 0.1, 0.2, 0.9], dtype=torch.float64)
    nearly = scores + torch.tensor([0, 2e-16, 0, 0], dtype=torch.float64)
    one, other = (sw.HSIC(samples=4).indices(masks, each)[0] for each in (scores, nearly))
    torch.testing.assert_close(one, other)
