"""Inputs, outputs, precisions and layouts of Keras networks; what they are asked in vain."""

import keras
import networks
import numpy as np
import pytest
import torch
from keras import layers
from networks import CLASSES, SIZE, pictures
from PIL import Image

import seewhy as sw
from seewhy.errors import MethodError, ModelError
from seewhy.targets import Neuron, Region


def test_layers_are_listed_in_order_with_what_they_are():
    model = sw.Model(networks.sequential())
    found = {layer.name: layer for layer in model.layers(model.prepare(torch.tensor(pictures(2))))}
    assert list(found)[:5] == ["conv1", "norm1", "relu1", "pool1", "conv2"]
    conv = found["conv1"]
    assert (conv.kind, conv.kernel, conv.channels) == ("Conv2D", (3, 3), (3, 8))
    assert sorted(conv.shape) == [8, SIZE, SIZE]  # on torch in the network's own layout
    assert conv.parameters == 3 * 3 * 3 * 8 + 8
    assert model.size == sum(weight.size for weight in networks.sequential().get_weights())


def test_a_shared_layer_has_two_calls_of_its_own():
    net, given = networks.residual(), torch.tensor(pictures(2))
    model = sw.Model(net)
    names = [str(layer) for layer in model.layers(model.prepare(given))]
    assert {"shared#0", "shared#1"} <= set(names)
    one, two = (sw.explain(model, given, 0, f"grad-cam:layer=shared#{call}") for call in (0, 1))
    assert not torch.equal(one[0].relevance, two[0].relevance)


def test_many_layers_are_read_in_one_run():
    net, given = networks.sequential(), pictures(2)
    model = sw.Model(net)
    asked = ["conv1", "norm1", "relu1", "conv2"]
    found = sw.activations(model, torch.tensor(given), layers=asked, channels="all")
    inner = keras.Model(net.inputs, [net.get_layer(name).output for name in asked])
    for name, values in zip(asked, inner(np.moveaxis(given, 1, -1), training=False), strict=True):
        expected = np.moveaxis(keras.ops.convert_to_numpy(values), -1, 1)
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_a_neuron_is_a_target_like_in_torch():
    net, given = networks.sequential(), pictures(2)
    found = sw.explain(sw.Model(net), torch.tensor(given), Neuron("conv2", 3), "gradient")
    before = keras.Model(net.inputs, net.get_layer("conv2").output)
    native = networks.gradient(
        lambda x: keras.ops.mean(before(x)[..., 3], axis=(1, 2)), np.moveaxis(given, 1, -1)
    )
    found = torch.stack([each.relevance for each in found]).numpy()
    np.testing.assert_allclose(found, np.moveaxis(native, -1, 1), atol=1e-3 * abs(native).max())


def test_inputs_by_name_and_outputs_by_name():
    keras.utils.set_random_seed(4)
    picture = keras.Input((SIZE, SIZE, 3), name="picture")
    weight = keras.Input((4,), name="weight")
    features = layers.Conv2D(4, 3, name="conv")(picture)
    pooled = layers.GlobalAveragePooling2D()(features)
    outputs = {
        "logits": layers.Dense(CLASSES)(layers.Multiply()([pooled, weight])),
        "features": features,
    }
    net = keras.Model([picture, weight], outputs)
    given, more = torch.tensor(pictures(2)), torch.tensor([[1.0, 2, 3, 4], [4, 3, 2, 1]])
    model = sw.Model(net)
    prepared = model.prepare(given, weight=more)
    plain = net([np.moveaxis(given.numpy(), 1, -1), more.numpy()], training=False)
    np.testing.assert_allclose(
        model.outputs(prepared)["logits"], keras.ops.convert_to_numpy(plain["logits"]), atol=1e-5
    )
    together = sw.explain(model, given, 1, "grad-cam", others={"weight": more})
    alone = sw.explain(model, given[1:], 1, "grad-cam", others={"weight": more[1:]})
    torch.testing.assert_close(together[1].relevance, alone[0].relevance, atol=1e-5, rtol=1e-4)
    with pytest.raises(ModelError, match=r"takes further inputs: weight; .* size with one"):
        sw.explain(model, given, 1, "grad-cam", others={"size": more})


def test_mixed_precision_is_the_networks_own():
    keras.utils.set_random_seed(5)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        net = networks.sequential()
    finally:
        keras.mixed_precision.set_global_policy("float32")
    given = torch.tensor(pictures(2))
    half = sw.explain(net, given, 1, "grad-cam")[0].relevance
    plain = networks.sequential()
    plain.set_weights(net.get_weights())
    full = sw.explain(plain, given, 1, "grad-cam")[0].relevance
    assert half.dtype == torch.float32
    assert float(torch.corrcoef(torch.stack([half.ravel(), full.ravel()]))[0, 1]) > 0.99


@pytest.mark.skipif(
    keras.config.backend() == "tensorflow",
    reason="TensorFlow has no convolutions with channels first on a CPU",
)
def test_channels_first():
    keras.utils.set_random_seed(6)
    how = {"data_format": "channels_first"}
    net = keras.Sequential(
        [
            keras.Input((3, SIZE, SIZE)),
            layers.Conv2D(8, 3, padding="same", activation="relu", name="conv", **how),
            layers.GlobalAveragePooling2D(**how),
            layers.Dense(CLASSES),
        ]
    )
    model, given = sw.Model(net), pictures(2)
    assert model.input_shape == (3, SIZE, SIZE)
    found = sw.explain(model, torch.tensor(given), 1, "grad-cam")[0]
    assert [str(each) for each in found.layers] == ["conv"]
    assert found.relevance.shape == (1, SIZE, SIZE)
    native = networks.gradient(lambda x: net(x, training=False)[:, 1], given)
    gradients = sw.explain(model, torch.tensor(given), 1, "gradient")
    for one, two in zip(gradients, native, strict=True):
        np.testing.assert_allclose(one.relevance, two, atol=1e-3 * abs(native).max())


def test_a_segmentation_gives_maps_with_channels_first():
    keras.utils.set_random_seed(7)
    given = keras.Input((SIZE, SIZE, 3))
    made = layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(given)
    net = keras.Model(given, layers.Conv2D(CLASSES, 1, name="classes")(made))
    model, values = sw.Model(net), torch.tensor(pictures(2))
    assert model.outputs(model.prepare(values)).shape == (2, CLASSES, SIZE, SIZE)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:8, :8] = True
    relevance = sw.explain(model, values, Region(2, mask), "gradient")[0].relevance.abs()
    assert float(relevance[:, :9, :9].sum()) == pytest.approx(float(relevance.sum()))


def test_pictures_go_in_as_the_network_expects_them():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    for name, build in (
        ("VGG16", keras.applications.vgg16),
        ("MobileNetV2", keras.applications.mobilenet_v2),
        ("DenseNet121", keras.applications.densenet),
        ("EfficientNetB0", keras.applications.efficientnet),
    ):
        net = getattr(keras.applications, name)(weights=None, input_shape=(64, 64, 3), classes=3)
        found = sw.Model(net).prepare(picture).tensor[0]
        resized = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR), np.float32)
        expected = build.preprocess_input(resized[None].copy())[0]
        np.testing.assert_allclose(found, np.moveaxis(expected, -1, 0), atol=1e-3)


def test_labels_of_applications_come_along():
    net = keras.applications.MobileNetV2(weights=None)
    assert sw.Model(net).labels[281] == "tabby"
    assert sw.Model(networks.sequential()).labels is None


@pytest.mark.parametrize("how", [{"precision": "bfloat16"}, {"precision": "float64"}])
def test_where_and_how_it_computes_is_the_framework_s_affair(how):
    with pytest.raises(MethodError, match="leave device= and precision= out"):
        sw.explain(networks.sequential(), torch.tensor(pictures(1)), 0, "gradient", **how)


def test_a_network_without_shapes_says_what_to_do():
    with pytest.raises(ModelError, match="call it once"):
        sw.Model(networks.Subclassed())


def test_logits_where_there_is_no_softmax():
    with pytest.raises(ModelError, match="does not end in a softmax"):
        sw.load(networks.residual(), logits=True)


def test_new_weights_are_seen():
    net, given = networks.sequential(), torch.tensor(pictures(1))
    model = sw.Model(net)
    before, mark = sw.explain(model, given, 1, "grad-cam")[0], model.fingerprint()
    net.set_weights([weight * 1.1 for weight in net.get_weights()])
    after = sw.explain(model, given, 1, "grad-cam")[0]
    assert model.fingerprint() != mark
    assert not torch.allclose(before.relevance, after.relevance)


@pytest.mark.skipif(keras.config.backend() == "torch", reason="there torch itself watches over it")
def test_what_was_changed_meanwhile_gives_no_wrong_gradient():
    model = sw.Model(networks.sequential())
    given = torch.tensor(pictures(1)).requires_grad_()
    inner = given * 1
    with model.held():
        total = model.module(inner).sum()
        inner.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            total.backward()
