"""What comes over the bridge is what the framework computes by itself."""

import keras
import networks
import numpy as np
import pytest
import torch
from networks import MAKES, pictures
from torch import nn

import seewhy as sw

CLOSE = 1e-3 if keras.config.backend() == "jax" else 1e-5
APPLICATIONS = {
    "VGG16": "block5_conv3",
    "ResNet50": "conv5_block3_out",
    "MobileNetV2": "out_relu",
    "EfficientNetB0": "top_activation",
}


def close(found, expected, share=CLOSE):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= share * abs(expected).max() > 0


def cut_at(model, layer):
    """What comes before a layer's output, and what after, in a functional model."""
    at = model.get_layer(layer).output
    return keras.Model(model.inputs, at), keras.Model(at, model.outputs[0])


def native_cam(middle, at):
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) before it is rectified."""
    return (at.mean((2, 3), keepdims=True) * middle).sum(1)


def raw(explanations):
    return torch.stack([each.relevance for each in explanations])


def inner_features(model):
    """Before and after the last features of the networks whose graph has no layer's output."""
    if model.name == "subclassed":
        return model.features, lambda x: model.head(keras.ops.mean(x, axis=(1, 2)))
    backbone = model.get_layer("backbone_1.00")
    scaling, pool, head = (model.get_layer(each) for each in ("scaling", "pool", "head"))
    return (lambda x: backbone(scaling(x), training=False)), lambda x: head(pool(x))


def last_block(model):
    """Before and after the last block of the subclassed network, which ends before a rectifier."""
    one, two = model.blocks
    pooled = lambda x: keras.ops.mean(keras.ops.relu(x), axis=(1, 2))  # noqa: E731
    return (lambda x: two(keras.ops.relu(one(x)))), lambda x: model.head(pooled(x))


@pytest.mark.parametrize("make", MAKES)
def test_outputs_and_input_gradients_are_the_framework_s(make):
    net, given = MAKES[make](), pictures()
    model = sw.Model(net)
    outputs = net(np.moveaxis(given, 1, -1), training=False)
    close(model.outputs(model.prepare(torch.tensor(given))), keras.ops.convert_to_numpy(outputs))
    found = sw.explain(model, torch.tensor(given), 2, "gradient")
    close(raw(found), networks.native(net, 2, given)[0])


@pytest.mark.parametrize(
    ("make", "layer"),
    [
        ("sequential", "conv2"),
        ("residual", "features"),
        ("nested", "backbone_1.00"),
        ("subclassed", None),
    ],
)
def test_grad_cam_is_the_framework_s(make, layer):
    net, given = MAKES[make](), pictures()
    model = sw.Model(net)
    if layer is None:  # rectified by an operation: the layer itself has no place after it
        layer, cut = "block1", last_block(net)
    else:
        cut = inner_features(net) if make == "nested" else cut_at(net, layer)
    found = sw.explain(model, torch.tensor(given), 2, "grad-cam")
    assert [str(each) for each in found[0].layers] == [layer.replace(".", "_")]
    _, middle, at = networks.native(net, 2, given, cut)
    close(raw(found)[:, 0], native_cam(middle, at))


@pytest.mark.parametrize("logits", [False, True])
def test_a_softmax_is_explained_as_it_is_or_left_out(logits):
    given = pictures()
    net, plain = networks.sequential(), networks.sequential(end=None)
    model = sw.load(net, logits=logits)
    found = sw.explain(model, torch.tensor(given), 1, "gradient")
    close(raw(found), networks.native(plain if logits else net, 1, given)[0])
    assert ("probability" in found[0].target) is not logits
    assert net.layers[-1].activation is keras.activations.softmax


@pytest.mark.slow
@pytest.mark.parametrize("end", ["softmax", None])
@pytest.mark.parametrize("name", APPLICATIONS)
def test_applications(name, end):
    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    net = networks.varied(
        build(weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=end)
    )
    given = pictures(2, 64)
    model = sw.Model(net)
    found = sw.explain(model, torch.tensor(given), 2, "grad-cam")
    assert [str(each) for each in found[0].layers] == [APPLICATIONS[name]]
    whole, middle, at = networks.native(net, 2, given, cut_at(net, APPLICATIONS[name]))
    close(raw(found)[:, 0], native_cam(middle, at))
    close(raw(sw.explain(model, torch.tensor(given), 2, "gradient")), whole)
    if end is not None:
        plain = build(weights=None, input_shape=(64, 64, 3), classes=10, classifier_activation=None)
        plain.set_weights(net.get_weights())
        open_ended = sw.load(net, logits=True)
        found = sw.explain(open_ended, torch.tensor(given), 2, "gradient")
        close(raw(found), networks.native(plain, 2, given)[0])


def test_replays_are_the_rest_of_the_network():
    net, given = networks.residual(), pictures(2)
    model = sw.Model(net)
    ablated = sw.explain(model, torch.tensor(given), 2, "ablation-cam:layer=sum")
    before, after = cut_at(net, "sum")
    middle = keras.ops.convert_to_numpy(before(np.moveaxis(given, 1, -1)))
    score = keras.ops.convert_to_numpy(after(middle))[:, 2]
    maps = np.zeros_like(middle[..., 0])
    for channel in range(middle.shape[-1]):
        without = middle.copy()
        without[..., channel] = 0
        left = keras.ops.convert_to_numpy(after(without))[:, 2]
        share = (score - left) / abs(score)
        maps += share[:, None, None] * middle[..., channel]
    close(raw(ablated)[:, 0], maps, 1e-3)


@pytest.mark.skipif(
    keras.config.backend() != "torch",
    reason="elsewhere these methods say that they need operations of torch's own",
)
@pytest.mark.parametrize(
    "method", ["lrp", "attn-lrp", "guided-backprop", "deconvolution", "deeplift"]
)
def test_rules_are_the_same_as_for_a_network_of_torch(method):
    net, given = networks.sequential(end=None), torch.tensor(pictures())
    conv1, norm1, conv2, head = (net.get_layer(n) for n in ("conv1", "norm1", "conv2", "head"))
    twin = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8, eps=norm1.epsilon),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, networks.CLASSES),
    ).eval()
    for layer, part in ((conv1, twin[0]), (conv2, twin[4])):
        kernel, bias = layer.get_weights()
        part.weight.data = torch.tensor(kernel).permute(3, 2, 0, 1).contiguous()
        part.bias.data = torch.tensor(bias)
    gamma, beta, mean, variance = map(torch.tensor, norm1.get_weights())
    twin[1].load_state_dict(
        {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}, strict=False
    )
    twin[8].weight.data = torch.tensor(head.get_weights()[0]).T.contiguous()
    expected = sw.explain(sw.Model(twin, input_shape=given.shape[1:]), given, 1, method)
    close(raw(sw.explain(net, given, 1, method)), raw(expected), 1e-4)
