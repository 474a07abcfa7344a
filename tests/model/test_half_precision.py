"""In half precision a network's last linear layer answers in float32."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import seewhy as sw
from seewhy.data.world import generate
from seewhy.errors import SeewhyWarning
from seewhy.model.tape.record import record
from seewhy.model.tape.replay import replay


def scores(model, pictures, run=None):
    """What `record` says of pictures, under a run."""
    with model.held(run):
        return record(model, model.at_home(model.prepare(pictures))).outcome.main


HALF = sw.Run(precision="bfloat16")


def test_logits_are_not_rounded():
    model = sw.load("demo")
    pictures = list(generate(4, seed=0).pictures)
    found, exact = scores(model, pictures, HALF), scores(model, pictures)
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())
    torch.testing.assert_close(found, exact, rtol=0.02, atol=0.02)


def test_an_answer_that_is_changed_after_the_layer_is_left_alone():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, given):
            return self.head(given.flatten(1)).mul_(2)

    model = sw.Model(Scaled().eval(), input_shape=(3, 1, 1))
    pictures = torch.randn(2, 3, 1, 1)
    found = scores(model, pictures, HALF)
    torch.testing.assert_close(found.float(), scores(model, pictures), rtol=0.02, atol=0.02)


def test_a_replay_answers_as_the_record_does():
    model = sw.load("demo")
    with model.held(HALF):
        prepared = model.at_home(model.prepare(list(generate(2, seed=0).pictures)))
        layer, rows = model.layer(), torch.arange(2)
        recording = record(model, prepared, layers=[layer])
        again = replay(recording, layer, recording.activations[layer], rows)
        assert again.main.dtype == torch.float32
        torch.testing.assert_close(again.main, recording.outcome.main, rtol=1e-3, atol=1e-3)


def test_maps_of_small_changes_keep_their_order():
    model, picture = sw.load("demo"), generate(1, seed=3).pictures[0]
    for method in ("feature-ablation:segments=patch:8", "feature-ablation"):
        full, half = (
            sw.explain(model, picture, method=method, precision=each).relevance.flatten()
            for each in (None, "bfloat16")
        )
        assert spearmanr(full, half).statistic > 0.98


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, pictures):
        return self.head(self.conv(pictures).relu().mean((2, 3)))


def test_a_hook_of_the_users_on_the_layer_is_respected():
    module, pictures = Classifier().eval(), torch.randn(2, 3, 8, 8)
    module.head.register_forward_hook(lambda _, __, output: 10 * output)
    model = sw.Model(module)
    found = scores(model, pictures, HALF)
    torch.testing.assert_close(found.float(), scores(model, pictures), rtol=0.05, atol=0.05)


def test_gradients_at_the_layer_itself_come_back():
    model, pictures = sw.Model(Classifier().eval()), torch.randn(1, 3, 8, 8)
    for precision in (None, "bfloat16"):
        (why,) = sw.explain(
            model, pictures, 2, "internal-influence:layer=head,steps=2", precision=precision
        )
        assert why.relevance.flatten().tolist() == [0, 0, 1, 0, 0]


def test_compiled_it_would_be_rounded_again():
    model, pictures = sw.Model(Classifier().eval()), torch.randn(1, 3, 8, 8)
    with pytest.warns(SeewhyWarning, match="half precision runs as it is"):
        (why,) = sw.explain(
            model, pictures, 0, "occlusion:patch=4", precision="bfloat16", compile="eager"
        )
    (plain,) = sw.explain(model, pictures, 0, "occlusion:patch=4", precision="bfloat16")
    assert torch.equal(why.relevance, plain.relevance)
