"""The kernels of convolutions, as they are and as pictures."""

import numpy as np
import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import LayerError, PictureError


def of(*layers):
    return sw.Model(nn.Sequential(*layers).eval(), name="net")


def test_the_first_convolution_is_drawn_in_colours(demo):
    found = sw.filters(demo)
    assert found.layer == "block1.conv"
    assert torch.equal(found.weights, demo.module.block1.conv.weight.detach())
    assert found.view == "colours"
    assert "24 filters of 6 x 6 over 3 channels" in str(found)


def test_a_kernel_of_one_colour_is_that_colour_and_zero_is_grey():
    layer = nn.Conv2d(3, 1, 2, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 0, 0] = 2.0  # red, above on the left
        layer.weight[0, 2, 1, 1] = -2.0  # no blue, below on the right
    pixels = np.asarray(sw.filters(of(layer)).draw()).reshape(-1, 3)
    colours = {tuple(each) for each in pixels.tolist()}
    assert {(255, 128, 128), (128, 128, 0), (128, 128, 128)} <= colours


def test_the_component_is_the_nearest_pattern():
    """Of a filter that is one pattern with a weight for each channel, it is that pattern."""
    pattern = torch.tensor([[0.0, 1.0], [-1.0, 3.0]])
    layer = nn.Conv2d(4, 2, 2, bias=False)
    weights = torch.tensor([1.0, 2.0, -0.5, 0.25])
    with torch.no_grad():
        layer.weight[0] = weights[:, None, None] * pattern
        layer.weight[1] = -layer.weight[0]
    found = sw.filters(of(layer))
    assert found.view == "components"
    patterns, shares = found.components()
    torch.testing.assert_close(shares, torch.ones(2))
    expected = pattern * float(weights.norm())
    torch.testing.assert_close(patterns[0], expected)
    torch.testing.assert_close(patterns[1], -expected)  # what mostly takes away is negative


def test_shares_are_of_the_squared_weights(demo):
    found = sw.filters(demo, "block3.conv")
    patterns, shares = found.components()
    flat = found.weights.flatten(2)
    sizes = torch.linalg.svdvals(flat)
    torch.testing.assert_close(shares, sizes[:, 0] ** 2 / flat.square().sum((1, 2)))
    torch.testing.assert_close(patterns.flatten(1).norm(dim=1), sizes[:, 0])


def test_transposed_convolutions_give_kernels_by_what_comes_out():
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    found = sw.filters(of(layer)).weights
    assert found.shape == (6, 2, 3, 3)
    for group in range(2):
        own = layer.weight.detach()[2 * group : 2 * group + 2]
        assert torch.equal(found[3 * group : 3 * group + 3], own.transpose(0, 1))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 3, 5),
        nn.Conv3d(1, 2, (2, 3, 3)),
        nn.Conv3d(3, 2, 3),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(5, 80, (1, 7)),
    ],
)
def test_kernels_of_any_axes_are_drawn(layer, tmp_path):
    found = sw.filters(of(layer))
    for number in (None, 1):
        assert found.draw(number=number, width=400).width <= 410
    again = sw.read(found.save(tmp_path / "filters.npz"))
    assert torch.equal(again.weights, found.weights)
    assert np.array_equal(np.asarray(again.draw()), np.asarray(found.draw()))


def test_layers_without_kernels_say_which_have_some(demo):
    with pytest.raises(LayerError, match=r"is a Block, which has no kernels .* block3\.conv$"):
        sw.filters(demo, "block3")
    with pytest.raises(LayerError, match="Linear, which has no kernels of its own: name one of bl"):
        sw.filters(demo, demo.module.head)
    with pytest.raises(LayerError, match="did you mean block3"):
        sw.filters(demo, "blok3")
    with pytest.raises(LayerError, match="single place, which only mix"):
        sw.filters(of(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3)), "0")
    with pytest.raises(LayerError, match=r"no convolution .* sw|seewhy\.activations"):
        sw.filters(of(nn.Linear(4, 2)))
    with pytest.raises(LayerError, match="is not a layer of"):
        sw.filters(demo, nn.Conv2d(3, 3, 3))


def test_views_that_do_not_fit_are_refused(demo):
    found = sw.filters(demo, "block3.conv")
    with pytest.raises(PictureError, match="48 channels come into"):
        found.draw("colours")
    with pytest.raises(PictureError, match="there is no filter 64"):
        found.draw(number=64)
    with pytest.raises(PictureError, match="there is no view"):
        found.draw("sideways")
