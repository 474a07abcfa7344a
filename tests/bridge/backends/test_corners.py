"""Keras networks off the beaten track: numbers that are theirs, or one clear error."""

import threading

import keras
import networks
import numpy as np
import pytest
import torch
from keras import layers
from networks import CLASSES, SIZE, pictures

import seewhy as sw
from seewhy.errors import MethodError, ModelError

TORCH = keras.config.backend() == "torch"


def plain(net, given):
    return keras.ops.convert_to_numpy(net(np.moveaxis(given, 1, -1), training=False))


def answers(model, given):
    return model.outputs(model.prepare(torch.tensor(given)))


class Flagged(layers.Layer):
    """Trains unless it is told otherwise."""

    def call(self, given, training=True):
        return given * (3.0 if training else 1.0)


class Unflagged(keras.Model):
    """Knows no training flag, holds a layer that does, and calls one layer in a loop."""

    def __init__(self):
        super().__init__(name="unflagged")
        self.conv = layers.Conv2D(3, 3, padding="same", activation="relu")
        self.flagged = Flagged()
        self.head = layers.Dense(CLASSES)
        self.gate = layers.Dense(3, activation="sigmoid")

    def call(self, given):
        for _ in range(2):
            given = self.conv(given)
        pooled = keras.ops.mean(self.flagged(given), axis=(1, 2))
        return self.head(pooled * self.gate(pooled))


def unflagged():
    keras.utils.set_random_seed(8)
    net = Unflagged()
    net(np.zeros((1, SIZE, SIZE, 3), "float32"))
    return net


def test_a_call_without_a_training_flag_runs_as_in_evaluation():
    net, given = unflagged(), pictures(2)
    np.testing.assert_allclose(answers(sw.Model(net), given), plain(net, given), atol=1e-5)


def test_a_layer_called_in_a_loop_has_a_number_for_each_call():
    model, given = sw.Model(unflagged()), torch.tensor(pictures(1))
    names = [str(layer) for layer in model.layers(model.prepare(given))]
    calls = [name.partition("#")[2] for name in names if name.startswith("conv2d")]
    assert calls == ["0", "1"]


def test_a_gate_is_no_end():
    with pytest.raises(ModelError, match="does not end in a softmax"):
        sw.load(unflagged(), logits=True)
    given = keras.Input((SIZE, SIZE, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(given))
    end = layers.Dense(CLASSES, activation="softmax", name="end")(pooled)
    gate = layers.Dense(CLASSES, activation="sigmoid")(pooled)
    with pytest.raises(ModelError, match="does not end in a softmax"):
        sw.load(keras.Model(given, end * gate), logits=True)
    both, values = keras.Model(given, [end, gate]), pictures(2)
    opened = answers(sw.load(both, logits=True), values)
    probabilities = keras.ops.convert_to_numpy(both(np.moveaxis(values, 1, -1))[0])
    np.testing.assert_allclose(torch.softmax(opened[0], 1), probabilities, atol=1e-5)


@pytest.mark.skipif(TORCH, reason="there the layers are torch's own and keep their layout")
def test_sequences_have_their_channels_first():
    keras.utils.set_random_seed(9)
    net = keras.Sequential(
        [keras.Input((40, 3)), layers.Conv1D(8, 5, name="conv"), layers.GlobalMaxPooling1D()]
    )
    model = sw.Model(net)
    assert model.input_shape == (3, 40)
    given = np.random.default_rng(0).normal(size=(2, 3, 40)).astype("float32")
    np.testing.assert_allclose(answers(model, given), plain(net, given), atol=1e-5)
    found = sw.explain(model, torch.tensor(given), 1, "grad-cam:layer=conv")[0]
    assert found.relevance.shape == (1, 36)


@pytest.mark.skipif(TORCH, reason="there the layers are torch's own and keep their layout")
def test_time_is_no_place():
    keras.utils.set_random_seed(10)
    given = keras.Input((4, 16, 16, 3))
    frames = layers.TimeDistributed(layers.Conv2D(4, 3), name="frames")(given)
    pooled = layers.TimeDistributed(layers.GlobalAveragePooling2D())(frames)
    net = keras.Model(given, layers.Dense(CLASSES)(layers.GRU(6, name="gru")(pooled)))
    model = sw.Model(net)
    values = torch.rand(2, 3, 4, 16, 16)
    found = {str(each): each.spatial for each in model.layers(model.prepare(values))}
    assert not found["gru"]
    assert not found["time_distributed_1"] if "time_distributed_1" in found else True


def test_other_threads_run_the_model_as_it_is():
    net, given = networks.sequential(), pictures(2)
    expected, last = plain(net, given), np.moveaxis(given, 1, -1)
    wrong, stop = [], threading.Event()

    def use():
        while not stop.is_set():
            made = keras.ops.convert_to_numpy(net(last, training=False))
            wrong.append(float(abs(made - expected).max()))

    user = threading.Thread(target=use)
    user.start()
    try:
        for _ in range(3):
            model = sw.load(net, logits=True)
            sw.explain(model, torch.tensor(given), 1, "grad-cam:layer=conv1")
    finally:
        stop.set()
        user.join()
    assert wrong
    assert max(wrong) < 1e-5


def test_a_changed_network_is_seen():
    net, given = networks.sequential(end=None), pictures(2)
    model = sw.Model(net)
    answers(model, given)
    net.get_layer("conv2").activation = keras.activations.tanh
    np.testing.assert_allclose(answers(model, given), plain(net, given), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_batch_that_the_network_counts_on(batch):
    keras.utils.set_random_seed(11)
    given = keras.Input(batch_shape=(batch, SIZE, SIZE, 3))
    made = layers.Conv2D(4, 3, activation="relu", name="conv")(given)
    made = keras.ops.reshape(made, (batch, 30, 30, 4))
    net = keras.Model(given, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(made)))
    values = pictures(2)
    padded = np.concatenate([values, values])[:batch] if batch > 2 else values[:1]
    found = sw.explain(net, torch.tensor(values), 1, "grad-cam:layer=conv")
    assert len(found) == 2
    np.testing.assert_allclose(answers(sw.Model(net), padded), plain(net, padded), atol=1e-5)


def test_a_layer_may_be_given_as_the_object():
    net, given = networks.sequential(), torch.tensor(pictures(1))
    one = sw.explain(net, given, 1, "grad-cam", layer=net.get_layer("conv1"))[0]
    two = sw.explain(net, given, 1, "grad-cam", layer="conv1")[0]
    assert torch.equal(one.relevance, two.relevance)


class Holder(layers.Layer):
    """Calls something else its layers."""

    def __init__(self):
        super().__init__(name="holder")
        self.layers = {"a": layers.Conv2D(4, 3, name="inner")}

    def call(self, given):
        return self.layers["a"](given)


def test_a_layer_with_layers_of_its_own_kind():
    net = keras.Sequential(
        [keras.Input((SIZE, SIZE, 3)), Holder(), layers.GlobalAveragePooling2D()]
    )
    given = pictures(2)
    np.testing.assert_allclose(answers(sw.Model(net), given), plain(net, given), atol=1e-5)


def test_outputs_keep_their_structure():
    keras.utils.set_random_seed(12)
    given = keras.Input((SIZE, SIZE, 3))
    features = layers.Conv2D(4, 3, name="conv")(given)
    scores = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(features))
    net = keras.Model(given, {"logits": scores, "aux": [features, features]})
    model, values = sw.Model(net), pictures(2)
    found = answers(model, values)
    assert set(found) == {"logits", "aux"}
    assert [tuple(each.shape) for each in found["aux"]] == [(2, 4, 30, 30)] * 2
    assert sw.explain(model, torch.tensor(values), 1, "gradient")[0].relevance.any()


def test_whole_numbers_have_no_gradient_and_say_so():
    keras.utils.set_random_seed(13)
    net = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), dtype="uint8"),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3),
            layers.GlobalAveragePooling2D(),
        ]
    )
    model = sw.Model(net)
    values = torch.randint(0, 256, (1, 3, SIZE, SIZE)).float()
    with pytest.raises(MethodError, match="needs gradients"):
        sw.explain(model, values, 1, "gradient")
    assert sw.explain(model, values, 1, "occlusion:patch=8")[0].relevance.any()
    given = np.moveaxis(values.numpy().astype("uint8"), 1, -1)
    np.testing.assert_allclose(
        answers(model, values.numpy()), keras.ops.convert_to_numpy(net(given)), atol=1e-5
    )


def test_what_the_layers_say_goes_before_the_name():
    given = keras.Input((64, 64, 3))
    scaled = layers.Rescaling(1 / 255)(given)
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(scaled))
    model = sw.Model(keras.Model(given, layers.Dense(3)(pooled), name="vgg16_finetuned"))
    assert model.preprocess.mean == (0, 0, 0)
    assert not model.preprocess.bgr
    bare = keras.applications.EfficientNetV2B0(
        weights=None, input_shape=(64, 64, 3), include_preprocessing=False, classes=3
    )
    assert sw.Model(bare).preprocess is None


def test_the_default_layer_is_passed_by_everything():
    net = keras.applications.InceptionV3(weights=None, input_shape=(96, 96, 3), classes=3)
    model, values = sw.Model(net), torch.tensor(pictures(1, 96))
    # after it a map of 96 pixels has a single place
    assert str(model.layer(like=model.prepare(values))) == "mixed7"


def test_names_that_are_taken_or_have_a_dot():
    keras.utils.set_random_seed(14)
    given = keras.Input((SIZE, SIZE, 3))
    made = layers.Conv2D(4, 3, name="engine")(given)
    made = layers.MaxPooling2D(1, name="block.1")(made)
    made = layers.Conv2D(4, 3, name="block_1")(made)
    net = keras.Model(given, layers.GlobalAveragePooling2D(name="weights")(made))
    model, values = sw.Model(net), pictures(2)
    names = [str(each) for each in model.layers(model.prepare(torch.tensor(values)))]
    assert names[:4] == ["engine_", "block_1", "block_1_", "weights_"]
    np.testing.assert_allclose(answers(model, values), plain(net, values), atol=1e-5)
