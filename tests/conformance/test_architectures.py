"""The architectures that people use: the layer found, how it is read, its map, replay from it."""

import warnings

import pytest
import torch
from zoo import QUICK, ZOO, everything, model_of, spread

import seewhy as sw
from seewhy.errors import SeewhyWarning
from seewhy.model.tape import replay as replaying
from seewhy.model.tape.record import record
from seewhy.model.tape.trees import float_tensors

SWEEP = [
    pytest.param(each, id=each.id, marks=() if each.name in QUICK else pytest.mark.slow)
    for each in ZOO
]


@pytest.mark.parametrize("entry", SWEEP)
def test_the_layer_is_found_and_its_map_is_not_constant(entry):
    model = model_of(entry)
    layer = model.layer()
    found = (str(layer), layer.layout, layer.prefix, layer.grid)
    assert found == (entry.layer, entry.layout, entry.prefix, entry.grid)
    assert not model.findings.table().remark

    pictures = torch.randn(2, *entry.shape)
    for why in sw.explain(model, pictures, everything(), "grad-cam"):
        assert why.relevance.shape == (1, *entry.grid)
        assert torch.isfinite(why.relevance).all()
        assert float(why.relevance.std()) > 1e-3 * float(why.relevance.abs().max()) > 0


@pytest.mark.parametrize("entry", SWEEP)
def test_replay_equals_a_full_forward(entry):
    """With changed activations, from the default layer and one in the middle."""
    model = model_of(entry)
    pictures = model.findings.noise(2)
    spatial = [each for each in model.layers() if each.spatial]
    for spec in (None, spatial[len(spatial) // 2]):
        layer = model.layer(spec)
        recording = record(model, pictures, layers=[layer])
        rows = torch.tensor([1, 0, 1])
        given = recording.activations[layer][rows] * torch.rand(3, *layer_shape(recording, layer))
        outcome = replaying.replay(recording, layer, given, rows)
        expected = full_forward(model, recording, layer, given, rows)
        for one, two in zip(float_tensors(outcome.outputs), float_tensors(expected), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5 * float(two.abs().max()))


@pytest.mark.parametrize("name", QUICK)
def test_replay_skips(name):
    """None of these networks needs a full forward after its default layer."""
    entry = next(each for each in ZOO if each.name == name)
    model = model_of(entry)
    plan = model_plan(model, model.layer())
    assert plan.mode is not replaying.Mode.FULL


def test_gradients_through_replay_are_those_of_the_whole():
    entry = next(each for each in ZOO if each.name == "timm/vit_tiny_patch16_224")
    model = model_of(entry)
    pictures = model.findings.noise(2)
    layer = model.layer()

    class Score:
        layers = ()

        def __call__(self, outcome, rows):
            return spread(outcome.main)

    recording = record(model, pictures, Score(), [layer])
    given = recording.activations[layer].clone().requires_grad_()
    outcome = replaying.replay(recording, layer, given, torch.arange(2))
    (gradient,) = torch.autograd.grad(spread(outcome.main).sum(), given)
    torch.testing.assert_close(gradient, recording.gradients[layer])


def test_a_zero_head_is_said():
    entry = next(each for each in ZOO if each.name == "timm/mixer_s32_224")
    model = sw.Model(entry.build(), input_shape=entry.shape)
    with pytest.warns(SeewhyWarning, match="weights are all zero"):
        assert str(model.layer()) == entry.layer


def test_layers_by_name_module_number_and_description():
    from seewhy.model.layers import Layer
    from seewhy.testing import KINDS

    model = KINDS["residual"].model()
    relu = model.module.relu
    assert model.layer("relu") == model.layer(relu) == model.layer("relu#2")
    assert model.layer("relu#0") != model.layer("relu#2")
    with pytest.raises(sw.errors.LayerError, match="called 3 times"):
        model.layer("relu#3")
    with pytest.raises(sw.errors.LayerError, match="did you mean conv1"):
        model.layer("conv11")
    with pytest.raises(sw.errors.LayerError, match="not a layer of"):
        model.layer(torch.nn.ReLU())

    functional = KINDS["functional"].model()
    assert functional.layer("alias") == functional.layer("body.second")

    tokens = KINDS["tokens"].model()
    own = Layer("blocks.1", "tokens", 1, (4, 4))
    pictures = KINDS["tokens"].pictures()
    by_hand = sw.explain(tokens, pictures, method=sw.GradCAM(own))[0].relevance
    by_name = sw.explain(tokens, pictures, method="grad-cam:layer=blocks.1")[0].relevance
    assert torch.equal(by_hand, by_name)


def test_an_ambiguous_shape_is_settled_by_an_experiment():
    """16 channels on a grid of 16 x 16: which axis is which shows in what a patch changes."""

    class ChannelsLast(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 16, 2, 2)
            self.mix = torch.nn.Linear(16, 16)
            self.head = torch.nn.Linear(16, 4)

        def forward(self, pictures):
            features = self.mix(self.patches(pictures).permute(0, 2, 3, 1)).tanh()
            return self.head(features.mean((1, 2)))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = sw.Model(ChannelsLast().eval(), input_shape=(3, 32, 32)).layer("mix")
    assert layer.layout == "channels-last"
    assert layer.grid == (16, 16)


def layer_shape(recording, layer):
    return recording.activations[layer].shape[1:]


def model_plan(model, layer):
    return model.findings.plan(layer, model.findings.noise(1))


def full_forward(model, recording, layer, given, rows):
    """Everything runs, and a plain hook replaces what the layer gives."""
    module, prepared = model.find(layer), recording.prepared.rows(rows)
    number = -1

    def hook(_, args, output):
        nonlocal number
        number += 1
        if layer.call not in (-1, number):
            return output
        own = float_tensors(output)[layer.output]
        new = layer.reading.restore(given, own)
        if isinstance(output, torch.Tensor):
            return new
        return type(output)((new, *output[1:]))

    handle = module.register_forward_hook(hook)
    try:
        with torch.no_grad():
            return model.module(prepared.tensor)
    finally:
        handle.remove()
