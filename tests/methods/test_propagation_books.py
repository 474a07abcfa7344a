"""What biases and stabilisers took, and which operations no rule covers."""

import pytest
import torch
from ruled import LRP_METHODS, Mixed, OfItsOwn, explained
from test_known_answers import (
    about,
    linear,
    network_b,
    noise,
    relevance,
)
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, ModelError, SeewhyWarning
from seewhy.methods import as_method
from seewhy.testing import KINDS

# ---------------------------------------------------------------------- the books


@pytest.mark.parametrize("method", LRP_METHODS)
def test_the_books_of_lrp_close_in_every_picture(method):
    # What is not in the map is what was measured to be absorbed, operation by operation.
    pictures = noise(3, 3, 16, 16).double()
    for each in explained(Mixed(), pictures, 2, method, precision="float64"):
        assert each.checks["conservation gap"] < 1e-10
        summed = float(each.relevance.sum())
        scale = max(abs(each.score), abs(summed))
        assert abs(each.checks["absorbed"] * scale) == pytest.approx(abs(each.score - summed))


@pytest.mark.parametrize("kind", ["residual", "tokens", "tokens-first", "embedding", "volume"])
@pytest.mark.parametrize("method", ["lrp", "attn-lrp", "deeplift"])
def test_the_books_close_on_every_kind(kind, method):
    kind = KINDS[kind]
    found = sw.explain(kind.model(), kind.pictures(), kind.target, method, precision="float64")
    for each in found:
        assert each.checks.get("conservation gap", 0) < 1e-9, each.checks
        assert each.checks.get("completeness gap", 0) < 1e-8, each.checks


def test_what_biases_take_is_reported():
    # z = 4 x + 4 with x = 1: the bias takes half of the score.
    (each,) = explained(linear([[4.0]], [4.0]), torch.ones(1, 1), 1, "lrp:composite=epsilon")[:1]
    assert each.checks["absorbed"] == pytest.approx(0.5, abs=1e-5)
    assert each.checks["conservation gap"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("baseline", ["0", "mean", "noise", "0.3"])
def test_deeplift_is_complete_on_everything_that_has_a_rule(baseline):
    pictures = noise(3, 3, 16, 16).double()
    for each in explained(
        Mixed(), pictures, 2, f"deeplift:baseline={baseline}", precision="float64"
    ):
        assert each.checks["completeness gap"] < 1e-9


def test_deeplift_of_a_linear_network_is_the_gradient_times_the_difference():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, 3))
    pictures = noise(2, 3, 6, 6)
    gradient = relevance(module.eval(), pictures, 1, "gradient")
    found = relevance(module, pictures, 1, "deeplift:baseline=0.25")
    assert found.numpy() == about(gradient * (pictures - 0.25), 1e-4)


@pytest.mark.parametrize("method", ["deeplift", "guided-backprop", "lrp:composite=epsilon"])
def test_a_picture_of_which_a_batch_norm_makes_tokens_is_the_same_alone(method):
    # torch 2.13 on a CPU gives a batch norm another gradient there, for a single picture.
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.norm = nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8)
            self.before, self.head = nn.LayerNorm(8), nn.Linear(8, 5)
            nn.init.normal_(self.norm.weight)
            nn.init.normal_(self.norm.running_mean)

        def forward(self, pictures):
            tokens = self.norm(self.patches(pictures)).flatten(2).transpose(1, 2)
            return self.head(self.before(tokens).relu().mean(1))

    module, pictures = Tokens().eval(), noise(2, 3, 16, 16)
    together = relevance(module, pictures, 1, method)
    assert relevance(module, pictures[:1], 1, method).numpy() == about(together[:1], 1e-4)


def test_deeplift_shap_sums_to_the_score_minus_the_mean_of_the_baselines():
    module, pictures = network_b(), noise(2, 1, 4, 4) * 20 + 30
    found = explained(module, pictures, 0, "deeplift-shap:baseline=0+10+20")
    with torch.no_grad():
        empty = [module(torch.full_like(pictures, value))[:, 0] for value in (0.0, 10, 20)]
        expected = module(pictures)[:, 0] - torch.stack(empty).mean(0)
    sums = torch.stack([each.relevance.sum() for each in found])
    assert sums.numpy() == about(expected)
    alone = [relevance(module, pictures, 0, f"deeplift:baseline={value}") for value in (0, 10, 20)]
    whole = torch.stack([each.relevance for each in found])
    assert whole.numpy() == about(torch.stack(alone).mean(0))


# ---------------------------------------------------------------------- what has no rule


@pytest.mark.parametrize("method", ["lrp:first=epsilon", "attn-lrp", "deeplift", "guided-backprop"])
def test_a_function_of_unknown_backward_is_named(method):
    with pytest.warns(SeewhyWarning, match="1 Doubling"):
        explained(OfItsOwn(), noise(2, 6), 1, method)


def test_other_activations_are_named_by_guided_backprop():
    mixed = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3))
    for method in ("guided-backprop", "deconvolution"):
        with pytest.warns(SeewhyWarning, match="1 Gelu"):
            explained(mixed, noise(2, 6), 1, method)
        with pytest.raises(MethodError, match=r"2 Gelu.*'lrp'"):
            explained(nn.Sequential(mixed[0], mixed[3], mixed[2], mixed[3], mixed[4]), noise(2, 6),
                      1, method)  # fmt: skip


def test_torchscript_cannot_be_seen_and_the_error_says_so():
    kind = KINDS["scripted"]
    with pytest.raises(MethodError, match=r"TorchScript.*integrated-gradients"):
        sw.explain(kind.model(), kind.pictures(), None, "lrp")


@pytest.mark.parametrize("method", ["lrp", "deeplift"])
def test_a_batch_norm_of_the_batchs_statistics_is_refused(method):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(MethodError, match="every picture depends on the others"):
        explained(
            nn.Sequential(module, nn.Flatten(), nn.Linear(64, 3)), noise(2, 3, 6, 6), 1, method
        )


def test_a_network_that_goes_another_way_for_the_baseline_is_an_error():
    class Branching(nn.Module):
        def forward(self, x):
            return x.tanh() if float(x.detach().sum()) > 0 else x.sigmoid().tanh()

    with pytest.raises(ModelError, match="another way"):
        explained(Branching(), torch.ones(1, 3), 1, "deeplift")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("lrp:dense=flat", "first=flat"),
        ("lrp:dense=delta", "there are epsilon, gamma"),
        ("lrp:dense=alpha2-beta2", "alpha - beta is 1"),
        ("lrp:first=gamma:a", "is no rule"),
        ("lrp:composite=z-plus", "epsilon-plus-flat"),
        ("attn-lrp:dense=z-box", "first layer"),
        ("deeplift-shap:samples=0", "above zero"),
    ],
)
def test_settings_without_sense_are_errors_that_say_what_there_is(spec, said):
    with pytest.raises(MethodError, match=said):
        as_method(spec)
