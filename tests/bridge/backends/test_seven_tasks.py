"""What tf-explain's seven explainers are for, on networks on which tf-explain fails."""

import keras
import networks
import numpy as np
import pytest
import torch
from test_numbers import close, inner_features, last_block, native_cam, raw

import seewhy as sw

CLASS = 2


@pytest.fixture(params=["nested", "subclassed"])
def net(request):
    return networks.MAKES[request.param]()


@pytest.fixture
def given():
    return networks.pictures()


def scores(net, pictures):
    """The class's score of pictures (N, C, H, W), by Keras alone."""
    found = net(np.moveaxis(pictures, 1, -1), training=False)
    return keras.ops.convert_to_numpy(found)[:, CLASS]


def explained(net, pictures, method):
    return sw.explain(sw.load(net), torch.tensor(pictures), CLASS, method)


def test_extract_activations(net, given):
    last = np.moveaxis(given, 1, -1)
    if net.name == "nested":
        layer, backbone = "backbone_1_00/conv1", net.get_layer("backbone_1.00")
        part = keras.Model(backbone.inputs, backbone.get_layer("conv1").output)
        expected = part(net.get_layer("scaling")(last))
    else:
        layer, expected = "block0", net.blocks[0](last)
    found = sw.activations(sw.load(net), torch.tensor(given), [layer], "all")
    close(found[layer], np.moveaxis(keras.ops.convert_to_numpy(expected), -1, 1))


def test_vanilla_gradients(net, given):
    close(raw(explained(net, given, "gradient")), networks.native(net, CLASS, given)[0])


def test_gradients_inputs(net, given):
    slope = networks.native(net, CLASS, given)[0]
    close(raw(explained(net, given, "gradient-x-input")), slope * given)


def test_integrated_gradients(net, given):
    found = raw(explained(net, given, "integrated-gradients:steps=1000,baseline=0.5"))
    changes = scores(net, given) - scores(net, np.full_like(given, 0.5))
    close(found.sum((1, 2, 3)), changes, share=0.01)  # Sundararajan et al. 2017, proposition 1


def test_smoothgrad(net, given):
    nearly = raw(explained(net, given, "smoothgrad:samples=4,noise=1e-5"))
    slope = torch.tensor(networks.native(net, CLASS, given)[0].copy())
    assert (nearly - slope).abs().mean() < 0.01 * slope.abs().mean()
    wide = raw(explained(net, given, "smoothgrad:samples=4,noise=0.3"))
    assert (wide - slope).abs().mean() > 0.1 * slope.abs().mean()


def test_grad_cam(net, given):
    functional = net.name == "nested"
    layer, cut = ("backbone_1_00", inner_features) if functional else ("block1", last_block)
    _, middle, at = networks.native(net, CLASS, given, cut(net))
    found = explained(net, given, "grad-cam")
    assert [str(each) for each in found[0].layers] == [layer]
    close(raw(found)[:, 0], native_cam(middle, at))


def test_occlusion_sensitivity(net, given):
    half = networks.SIZE // 2
    method = f"occlusion:patch={half},stride={half},fill=(constant:value=0.5)"
    found = raw(explained(net, given, method)).numpy()
    for row in (0, 1):
        for column in (0, 1):
            place = np.s_[:, :, row * half : (row + 1) * half, column * half : (column + 1) * half]
            changed = given.copy()
            changed[place] = 0.5
            falls = scores(net, given) - scores(net, changed)
            assert abs(found[place] - falls.reshape(-1, 1, 1, 1)).max() <= 1e-5
