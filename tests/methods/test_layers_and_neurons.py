"""Methods at a layer, and any method at a neuron."""

import pytest
import torch
from known import network_a
from smooth import about, bound, explained, noise, relevance, smooth_network
from torch import nn

import seewhy as sw
from seewhy.errors import LayerError, MethodError

# ---------------------------------------------------------------------- layers


def test_conductance_and_internal_influence_of_network_a():
    # At the first of the two linear layers that do something, for x = (0, 100, 0): the unit with
    # the bias -10 is silent for a tenth of the way.
    pictures = torch.tensor([[0.0, 100, 0]])
    (flow,) = explained(network_a(), pictures, 0, "conductance:layer=1,steps=1000")
    assert flow.relevance.numpy() == about([90.0, 100, 100, 100], 1e-3)
    assert flow.checks["completeness gap"] < 1e-3
    influence = relevance(network_a(), pictures, 0, "internal-influence:layer=1,steps=1000")
    assert influence[0].numpy() == about([0.9, 1, 1, 1], 1e-3)


def test_conductance_at_the_input_is_integrated_gradients():
    module, pictures = smooth_network(torch.float64), noise(2, 3, 8, 8).double()
    flow = relevance(module, pictures, 1, "conductance:layer=input,steps=200,baseline=mean")
    plain = relevance(module, pictures, 1, "integrated-gradients:baseline=mean")
    assert flow.numpy() == about(plain, 1e-3, 1e-4 * float(plain.abs().max()))


@pytest.mark.parametrize("layer", ["0", "3", "5", "output"])
def test_conductance_flows_completely_through_every_layer_of_a_chain(layer):
    module, pictures = smooth_network(torch.float64), noise(2, 3, 9, 9).double()
    found = explained(module, pictures, 1, "conductance:steps=100", layer=layer)
    with torch.no_grad():
        difference = (module(pictures) - module(torch.zeros_like(pictures)))[:, 1]
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(difference, 1e-3)
    assert all(e.checks["completeness gap"] < 1e-3 for e in found)


@pytest.mark.parametrize("memory", [1, 200_000])
def test_conductance_over_several_baselines_does_not_depend_on_the_memory(memory):
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    method = "conductance:steps=5,baseline=1+mean+noise"
    whole = relevance(module, pictures, 1, method)
    assert relevance(module, pictures, 1, method, memory=memory).numpy() == about(whole, 1e-4, 1e-6)
    each = [
        relevance(module, pictures, 1, sw.Conductance(steps=5, baseline=baseline))
        for baseline in (1.0, "mean")
    ]
    both = relevance(module, pictures, 1, "conductance:steps=5,baseline=1+mean")
    assert both.numpy() == about(sum(each) / 2, 1e-4, 1e-6)


def test_activations_and_their_product_with_gradients():
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    with torch.no_grad():
        activations = module[:3](pictures)
    found = relevance(module, pictures, 1, "layer-activation:layer=2")
    assert torch.equal(found, activations)
    activations.requires_grad_()
    (gradients,) = torch.autograd.grad(module[3:](activations)[:, 1].sum(), activations)
    product = relevance(module, pictures, 1, "gradient-x-activation:layer=2")
    assert product.numpy() == about(gradients * activations, absolute=1e-7)
    hires = relevance(module, pictures, 1, "hires-cam:layer=2")
    assert product.sum(1, keepdim=True).numpy() == about(hires, absolute=1e-6)


@pytest.mark.parametrize(
    "name", ["layer-activation", "gradient-x-activation", "conductance", "internal-influence"]
)
def test_a_layer_without_space_has_a_value_for_each_unit(name):
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.Tanh(), nn.Linear(7, 2)).eval()
    (found,) = explained(module, noise(1, 3, 2, 2), 1, name, layer="1")
    assert found.relevance.shape == (7,)
    assert found.layers == ("1",)
    with pytest.raises(MethodError, match="takes one layer, and 2 came"):
        explained(module, noise(1, 3, 2, 2), 1, name, layer=("1", "2"))
    with pytest.raises(LayerError, match="no layer 'nowhere'"):
        explained(module, noise(1, 3, 2, 2), 1, name, layer="nowhere")


class Branching(nn.Module):
    """A second way around the layer `inner`, and a product of both."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, pictures):
        ways = self.inner(pictures).tanh() * self.outer(pictures)
        return self.head(ways.mean((2, 3)))


def test_layer_integrated_gradients_leave_what_flows_around_the_layer_as_it_is():
    # The sum is what the score loses when the layer alone gives the baseline's activations.
    module, pictures = Branching().eval().double(), noise(2, 3, 6, 6).double()
    method = "layer-integrated-gradients:baseline=mean+0,layer=inner"
    found = explained(module, pictures, 1, method)
    lost = 0
    with torch.no_grad():
        for start in bound(sw.Model(module), pictures, "mean+0"):
            replaced = module.inner(start).tanh() * module.outer(pictures)
            lost = lost + (module(pictures) - module.head(replaced.mean((2, 3))))[:, 1] / 2
    summed = torch.stack([e.relevance.sum() for e in found])
    assert summed.numpy() == about(lost, 1e-6)
    assert found[0].relevance.shape == (4, 6, 6)
    assert all(e.checks["completeness gap"] < 1e-6 for e in found)
    # conductance gives the layer only its part of a path on which all changes
    flow = explained(module, pictures, 1, "conductance:layer=inner")
    assert all(e.checks["completeness gap"] > 0.01 for e in flow)


@pytest.mark.parametrize("layer", ["input", "output"])
def test_layer_integrated_gradients_need_something_after_a_layer(layer):
    with pytest.raises(MethodError, match="use integrated-gradients"):
        explained(smooth_network(), noise(1, 3, 9, 9), 1, "layer-integrated-gradients", layer=layer)


# ---------------------------------------------------------------------- neurons


def test_any_method_explains_a_neuron():
    # The neuron as an output of its own: a network that is cut off there gives the same maps.
    module, pictures = smooth_network(), noise(2, 3, 9, 9)

    class Cut(nn.Module):
        def __init__(self, position):
            super().__init__()
            self.body, self.position = module[:3], position

        def forward(self, x):
            channel = self.body(x)[:, 5]
            value = channel.mean((1, 2)) if self.position is None else channel[:, 2, 1]
            return value[:, None]

    for position in (None, (2, 1)):
        neuron = sw.targets.Neuron("2", 5, position)
        for method in (
            "gradient",
            "integrated-gradients:steps=9",
            "conductance:layer=0,steps=7",
            "internal-influence:layer=1,steps=7",
            "guided-ig:steps=5",
            "expected-gradients:samples=5",
        ):
            found = relevance(module, pictures, neuron, method)
            cut = relevance(
                Cut(position).eval(),
                pictures,
                sw.targets.Regression(0),
                method.replace("layer=", "layer=body."),
            )
            assert found.numpy() == about(cut, 1e-4, 1e-6 * float(cut.abs().max())), method


def test_integrated_gradients_of_a_neuron_sum_to_its_activation():
    module, pictures = smooth_network(), noise(2, 3, 9, 9)
    (start,) = torch.zeros(1, *pictures.shape)
    found = explained(module, pictures, sw.targets.Neuron("3", 2, (0, 3)), "integrated-gradients")
    with torch.no_grad():
        difference = (module[:4](pictures) - module[:4](start))[:, 2, 0, 3]
    for each, own in zip(found, difference.tolist(), strict=True):
        assert float(each.relevance.sum()) == pytest.approx(own, rel=1e-4)
        assert each.checks["completeness gap"] < 1e-4
