"""What concepts speak for: the three ways of asking, and where each of them does not apply."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.data.world import generate
from seewhy.errors import MethodError, SeewhyWarning, TargetError


@pytest.fixture(scope="module")
def world():
    return generate(24, seed=5, empty=0.0)


class Rectified(nn.Module):
    """A layer below zero too, whose rectified mean is what the head reads."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, pictures):
        return self.fc(self.conv(pictures).relu().mean((2, 3)))


def test_the_head_is_asked_through_what_stands_before_it():
    torch.manual_seed(1)
    net, pictures = Rectified().eval(), torch.randn(4, 3, 12, 12)
    found = sw.factorize(sw.Model(net), pictures, 2, layer="conv", probabilities=False)
    assert found.meaning == "head"
    assert float(found.vectors.min()) < 0
    for vector, largest, scores in zip(found.vectors, found.largest, found.scores, strict=True):
        with torch.no_grad():
            expected = net.fc((vector * largest).relu()[None])[0]
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_a_layer_of_which_a_class_token_alone_is_read_says_nothing_of_its_places(world):
    model, pictures = sw.load("demo/transformer"), list(world.pictures[:4])
    found = sw.factorize(model, pictures, 2, layer="layers.3")
    assert found.meaning == "removal"
    with pytest.raises(MethodError, match="does not read its places"):
        sw.factorize(model, pictures, 2, layer="layers.3", meaning="replay")
    with pytest.raises(MethodError, match="whatever the concepts weigh"):
        sw.concept_importance(model, found, pictures, "disk")


def test_concepts_before_a_class_token_reads_them_differ(world):
    model = sw.load("demo/transformer")
    pictures = [p for p, k in zip(world.pictures, world.labels, strict=True) if k < 2][:6]
    found = sw.factorize(model, pictures, 3, layer="layers.1", meaning="replay")
    assert float((found.scores[0] - found.scores[1]).abs().max()) > 0.1


def test_probabilities_are_not_made_of_probabilities(demo, world):
    softmaxed = nn.Sequential()
    softmaxed.net, softmaxed.end = demo.module, nn.Softmax(1)
    model = sw.Model(softmaxed.eval(), demo.preprocess, demo.labels)
    plain = sw.factorize(demo, list(world.pictures[:8]), 4, meaning="replay")
    found = sw.factorize(model, list(world.pictures[:8]), 4, layer="net.block4", meaning="replay")
    assert float(found.scores.sum(1).sub(1).abs().max()) < 1e-4
    for concept in range(4):
        assert found.tops(concept)[0][1] == pytest.approx(float(found.scores[concept].max()))
    assert found.tops(0)[0][0] == plain.tops(0)[0][0]


def test_removal_is_for_pictures():
    net = nn.Sequential(nn.Conv1d(2, 6, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten())
    net.append(nn.Linear(6 * 15, 4))
    net, signals = net.eval(), torch.randn(3, 2, 32)
    with pytest.raises(MethodError, match="give another meaning"):
        sw.factorize(sw.Model(net), signals, 2, layer="1", meaning="removal")


def test_a_concept_that_is_nowhere_has_no_class():
    net = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    net.extend([nn.Flatten(), nn.Linear(4, 3)])
    net[0].weight.data = torch.tensor([1.0, 0, 0, 2]).reshape(4, 1, 1, 1)  # one concept is all
    with pytest.warns(SeewhyWarning, match="without a class"):
        found = sw.factorize(sw.Model(net.eval()), torch.rand(2, 1, 8, 8), 2, layer="1")
    assert [len(found.tops(concept)) for concept in range(2)] == [2, 0]


def test_importance_is_of_one_target_in_all_pictures(demo, world):
    found = sw.factorize(demo, list(world.pictures[:4]), 3)
    with pytest.raises(TargetError, match="one after another"):
        sw.concept_importance(demo, found, list(world.pictures[:2]), ["disk", "cross"])
