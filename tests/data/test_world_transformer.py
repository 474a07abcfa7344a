"""The vision transformer of the generated world: what it is for, maps of attention."""

import pytest
import torch
from attending import METHODS

import seewhy as sw
from seewhy.data import world


@pytest.fixture(scope="module")
def model():
    return sw.load("demo/transformer")


@pytest.fixture(scope="module")
def pictures():
    return list(world.generate(4, seed=9, conflict=True).pictures)


def test_it_follows_the_shape():
    scenes = world.generate(250, seed=7, conflict=True)
    named = world.logits(world.load_network("transformer"), scenes.pictures).argmax(1)
    assert (named == scenes.labels).mean() >= 0.97


def test_the_default_layer_is_the_last_one_after_which_all_places_count(model):
    """After the next one, the head reads the class token alone."""
    layer = model.layer(None)
    assert (str(layer), layer.layout, layer.prefix, layer.grid) == ("layers.2", "tokens", 1, (8, 8))


def test_a_token_sees_what_lies_around_its_own_patch(model):
    """As far to the left as to the right: a map is not shifted by strides."""
    inputs = torch.randn(1, 3, 64, 64, requires_grad=True)
    model.module.stem(inputs)[0, :, 3, 4].sum().backward()
    seen = inputs.grad.abs().sum((0, 1))
    for axis, place in ((1, 3), (0, 4)):
        reached = seen.sum(axis).nonzero()[:, 0]
        assert float(reached[0] + reached[-1]) / 2 == 8 * place + 3.5


@pytest.mark.parametrize("method", METHODS)
def test_methods_of_attention_give_maps_of_its_places(model, pictures, method):
    for why in sw.explain(model, pictures, method=method):
        assert why.relevance.shape == (1, 8, 8)
        assert float(why.relevance.min()) >= 0
        assert float(why.relevance.std()) > 0


def test_each_of_its_four_layers_has_a_map(model, pictures):
    for number in range(4):
        (one, other) = (
            sw.explain(model, pictures[0], method=f"attention:layer={layer}")
            for layer in (number, f"layers.{number}")
        )
        assert torch.equal(one.relevance, other.relevance)
