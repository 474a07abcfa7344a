"""What Keras networks end in and begin with: probabilities, outputs, inputs, pictures' units."""

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops
from networks import CLASSES, SIZE, drawn, gradient, pictures
from PIL import Image

import seewhy as sw
from seewhy.errors import MethodError, ModelError, SeewhyWarning
from seewhy.targets import LogProbability, Probability

TORCH = keras.config.backend() == "torch"


def features(given, name="conv"):
    conv = layers.Conv2D(6, 3, padding="same", activation="relu", name=name)
    return layers.GlobalAveragePooling2D()(conv(given))


def ending(units, activation, seed=0):
    given = keras.Input((SIZE, SIZE, 3))
    head = layers.Dense(units, activation=activation, name="head")
    return drawn(keras.Model(given, head(features(given))), seed)


def natively(net, given):
    return keras.ops.convert_to_numpy(net(np.moveaxis(given, 1, -1), training=False))


# ---------------------------------------------------------------------- ends


@pytest.mark.parametrize("bias", [-2.0, 2.0])
def test_one_probability_is_that_of_class_1(bias):
    net, given = ending(1, "sigmoid"), pictures(2)
    net.get_layer("head").bias.assign([bias])
    model, likely = sw.load(net, labels=["cat", "dog"]), natively(net, given)[:, 0]
    found = sw.explain(model, torch.tensor(given), method="gradient")
    for each, one in zip(found, likely, strict=True):
        assert each.prediction[0].label == ("dog" if one > 0.5 else "cat")
        assert each.prediction[0].probability == pytest.approx(max(one, 1 - one), abs=1e-6)
        assert each.score == pytest.approx(max(one, 1 - one), abs=1e-6)
        assert "ends in a sigmoid" in each.target
    slope = gradient(lambda x: net(x, training=False)[:, 0], np.moveaxis(given, 1, -1))
    for name, sign in (("dog", 1), ("cat", -1)):
        maps = [each.relevance for each in sw.explain(model, torch.tensor(given), name, "gradient")]
        expected = sign * np.moveaxis(slope, -1, 1)
        np.testing.assert_allclose(torch.stack(maps), expected, atol=1e-3 * abs(slope).max())


def test_each_of_several_sigmoids_is_a_probability_of_its_own():
    net, given = ending(CLASSES, "sigmoid"), pictures(2)
    model, likely = sw.load(net), natively(net, given)
    found = sw.explain(model, torch.tensor(given), Probability(2), "gradient")
    assert [each.score for each in found] == pytest.approx(likely[:, 2].tolist(), abs=1e-6)
    best = found[0].prediction[0]
    assert best.number == likely[0].argmax()
    assert best.probability == pytest.approx(likely[0].max(), abs=1e-6)
    logs = sw.explain(model, torch.tensor(given), LogProbability(2), "gradient")
    assert [each.score for each in logs] == pytest.approx(np.log(likely[:, 2]).tolist(), abs=1e-5)


def test_what_is_called_within_too_is_not_left_out():
    given, gate = keras.Input((SIZE, SIZE, 3)), layers.Activation("sigmoid", name="gate")
    inner = gate(layers.Dense(CLASSES, name="inner")(features(given)))
    net = drawn(keras.Model(given, gate(layers.Dense(CLASSES, name="head")(inner))), 1)
    with pytest.raises(ModelError, match="called there alone"):
        sw.load(net, logits=True)


# ---------------------------------------------------------------------- outputs and inputs


def test_of_several_outputs_classes_are_explained_and_rivals_named():
    given = keras.Input((SIZE, SIZE, 3))
    seen = features(given)
    age, kind = layers.Dense(1, name="age")(seen), layers.Dense(CLASSES, name="kind")(seen)
    color = layers.Dense(3, name="color")(seen)
    values = torch.tensor(pictures(1))
    net = drawn(keras.Model(given, {"age": age, "kind": kind}), 2)
    expected = keras.ops.convert_to_numpy(net(np.moveaxis(values.numpy(), 1, -1))["kind"])
    found = sw.explain(net, values, method="gradient")[0]
    assert found.score == pytest.approx(expected.max(), rel=1e-4)
    both = drawn(keras.Model(given, {"color": color, "kind": kind}), 2)
    with pytest.warns(SeewhyWarning, match=r"2 outputs .*\(3,\), \(5,\).*'kind'"):
        sw.explain(both, values, method="gradient")
    other = sw.explain(both, values, lambda outputs: outputs["kind"][:, 3], "gradient")[0]
    expected = keras.ops.convert_to_numpy(both(np.moveaxis(values.numpy(), 1, -1))["kind"])
    assert other.score == pytest.approx(expected[0, 3], rel=1e-4)


def test_the_picture_need_not_be_the_first_input():
    age, image = keras.Input((2,), name="age"), keras.Input((SIZE, SIZE, 3), name="image")
    joined = layers.Concatenate()([age, features(image)])
    net = drawn(keras.Model({"age": age, "image": image}, layers.Dense(CLASSES)(joined)), 3)
    model, given = sw.load(net), pictures(2)
    ages = torch.tensor([[1.0, 2], [3, 4]])
    assert model.input_shape == (3, SIZE, SIZE)
    last = np.moveaxis(given, 1, -1)
    expected = net({"age": ages.numpy(), "image": last}, training=False)
    found = model.outputs(model.prepare(torch.tensor(given), age=ages))
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), atol=1e-5)
    assert sw.explain(model, torch.tensor(given), 1, others={"age": ages})[0].layers
    with pytest.raises(ModelError, match=r"further inputs: age; .*others=\{name: tensor\}"):
        sw.explain(model, torch.tensor(given), 1)


def test_the_default_layer_is_one_that_the_picture_reaches():
    one, two = (keras.Input((SIZE, SIZE, 3), name=name) for name in ("one", "two"))
    shared = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.Conv2D(6, 3, name="conv")])
    pool = layers.GlobalAveragePooling2D()
    apart = ops.absolute(pool(shared(one)) - pool(shared(two)))
    net = drawn(keras.Model([one, two], layers.Dense(CLASSES)(apart)), 4)
    values = torch.tensor(pictures(3))
    found = sw.explain(net, values[:2], 1, "grad-cam", others={"two": values[[2, 2]]})
    changed = (found[0].relevance - found[1].relevance).abs().max()
    assert changed > 0.1 * found[0].relevance.abs().max()


def test_a_picture_that_is_turned_within_comes_with_channels_first():
    given = keras.Input((3, SIZE, SIZE))
    net = drawn(
        keras.Model(given, layers.Dense(CLASSES)(features(layers.Permute((2, 3, 1))(given)))), 5
    )
    model, values = sw.load(net), pictures(2)
    assert model.input_shape == (3, SIZE, SIZE)
    found = model.outputs(model.prepare(torch.tensor(values)))
    expected = keras.ops.convert_to_numpy(net(values, training=False))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    cam = sw.explain(model, torch.tensor(values), 1, "grad-cam")[0]
    assert cam.relevance.shape == (1, SIZE, SIZE)


# ---------------------------------------------------------------------- units of pictures


@pytest.mark.parametrize(
    ("begin", "white"),
    [
        ([layers.Rescaling(1 / 255)], 255),
        ([layers.Rescaling(1 / 127.5, offset=-1)], 255),
        ([layers.Rescaling(2.0, offset=-1.0)], 1),
        ([layers.Normalization(mean=[0.5, 0.4, 0.4], variance=[0.05, 0.05, 0.05])], 1),
        ([layers.Normalization(mean=[120.0, 110, 100], variance=[3000.0, 3000, 3000])], 255),
        (
            [
                keras.Sequential([layers.RandomFlip(), layers.RandomRotation(0.1)], name="augment"),
                layers.Resizing(SIZE, SIZE),
                keras.Sequential([layers.Rescaling(1 / 255)], name="scale"),
            ],
            255,
        ),
    ],
)
@pytest.mark.parametrize("size", [SIZE, None])
def test_a_network_that_scales_pictures_itself_gets_them_in_its_units(begin, white, size):
    begin = [each.__class__.from_config(each.get_config()) for each in begin]
    conv = layers.Conv2D(4, 3, activation="relu")
    net = keras.Sequential(
        [keras.Input((size, size, 3)), *begin, conv, layers.GlobalAveragePooling2D()]
    )
    prepared = sw.load(net).prepare(Image.new("RGB", (40, 50), "white")).tensor
    assert float(prepared.min()) == pytest.approx(white)
    assert prepared.shape[2:] == ((SIZE, SIZE) if size else (50, 40))


# ---------------------------------------------------------------------- what is kept, what is seen


class Noisy(layers.Layer):
    """Draws numbers in evaluation too."""

    def __init__(self):
        super().__init__()
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, given):
        return given + keras.random.normal(ops.shape(given), stddev=0.1, seed=self.seeds)


def test_seeds_within_a_network_are_left_alone():
    net = keras.Sequential([keras.Input((SIZE, SIZE, 3)), Noisy(), layers.Flatten()])
    before = [keras.ops.convert_to_numpy(each.value).copy() for each in net.variables]
    model, given = sw.load(net), torch.tensor(pictures(1))
    with pytest.warns(SeewhyWarning, match="draws random numbers"):
        one, two = (model.outputs(model.prepare(given)) for _ in range(2))
    assert torch.equal(one, two)
    for value, each in zip(before, net.variables, strict=True):
        assert np.array_equal(value, keras.ops.convert_to_numpy(each.value))


def test_weights_are_told_apart_when_what_is_trained_changes():
    given = keras.Input((SIZE, SIZE, 3))
    seen = features(given)
    one, two = layers.Dense(6, name="one"), layers.Dense(6, name="two")
    net = drawn(keras.Model(given, two(one(seen))), 6)
    model, values = sw.load(net), pictures(2)
    for free, fixed in ((one, two), (two, one)):
        free.trainable, fixed.trainable = True, False
        found = model.outputs(model.prepare(torch.tensor(values)))
        np.testing.assert_allclose(found, natively(net, values), atol=1e-5)


def test_a_layer_that_was_exchanged_is_seen():
    net = keras.Sequential([keras.Input((SIZE, SIZE, 3)), layers.GlobalAveragePooling2D()])
    net.add(layers.Dense(4, name="old"))
    model, values = sw.load(net), pictures(2)
    model.outputs(model.prepare(torch.tensor(values)))
    net.pop()
    net.add(layers.Dense(4, name="new"))
    found = model.outputs(model.prepare(torch.tensor(values)))
    np.testing.assert_allclose(found, natively(net, values), atol=1e-5)


@pytest.mark.skipif(not TORCH, reason="elsewhere FullGrad needs operations of torch's own")
def test_fullgrad_says_that_it_knows_no_bias_of_keras():
    net = ending(CLASSES, None)
    with pytest.raises(MethodError, match="none of the biases"):
        sw.explain(net, torch.tensor(pictures(1)), 1, "fullgrad")
