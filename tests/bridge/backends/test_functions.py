"""Functions of TensorFlow and folders of SavedModels give the numbers that TensorFlow gives."""

import keras
import numpy as np
import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy.errors import MethodError, ModelError

if keras.config.backend() != "tensorflow":
    pytest.skip("these are functions of TensorFlow", allow_module_level=True)

import tensorflow as tf

SIZE, CLASSES = 8, 5


def takes(*shape, dtype=tf.float32):
    return tf.TensorSpec([None, *(shape or (SIZE, SIZE, 3))], dtype)


class Network(tf.Module):
    """Means over the squared colours, weighted; every way to call it."""

    def __init__(self):
        super().__init__()
        draw = np.random.default_rng(0)
        self.kernel = tf.Variable(draw.normal(size=(3, CLASSES)).astype("float32"))
        self.names = tf.constant(list("abcde"))

    @tf.function(input_signature=[takes()])
    def __call__(self, pictures):
        return tf.reduce_mean(pictures**2, (1, 2)) @ self.kernel

    @tf.function(input_signature=[takes()])
    def classify(self, pictures):
        rows = tf.shape(pictures)[0]
        return {"classes": tf.tile(self.names[None], [rows, 1]), "scores": self(pictures)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def encoded(self, files):
        def decoded(file):
            return tf.image.resize(tf.io.decode_png(file, 3), (SIZE, SIZE))

        return self(tf.map_fn(decoded, files, fn_output_signature=tf.float32))

    @tf.function(input_signature=[takes(dtype=tf.uint8)])
    def levels(self, pictures):
        return self(tf.cast(pictures, tf.float32) / 255)

    @tf.function(input_signature=[takes(None, None, 3, dtype=tf.int32)])
    def whole(self, pictures):
        return self(tf.cast(pictures, tf.float32) / 255)

    @tf.function(input_signature=[takes(1, dtype=tf.float64), takes()])
    def aged(self, age, picture):
        return self(picture) * tf.cast(age, tf.float32)


@pytest.fixture
def given():
    return torch.rand(3, 3, SIZE, SIZE)


@pytest.fixture(scope="module")
def network():
    return Network()  # whose methods hold it by a weak reference alone


def expected(given):
    return torch.tensor(Network()(np.moveaxis(given.numpy(), 1, -1)).numpy())


def answers(model, given, **others):
    """What it gives; of the dict that a signature gives with one output, that output."""
    found = model.outputs(model.prepare(given, **others))
    return found["output_0"] if isinstance(found, dict) and "output_0" in found else found


def saved(folder, **signatures):
    network = Network()
    chosen = {name: getattr(network, method) for name, method in signatures.items()}
    tf.saved_model.save(network, str(folder), signatures=chosen or None)
    return folder


def test_outputs_that_are_no_numbers_are_left_out(network, given, tmp_path):
    for found in (network.classify, saved(tmp_path, serving_default="classify")):
        model = sw.load(found)
        outputs = answers(model, given)
        assert outputs["classes"] is None
        torch.testing.assert_close(outputs["scores"], expected(given))
        assert sw.explain(model, given, 1, "gradient")[0].relevance.any()


def test_a_function_without_numbers_says_so(given):
    model = sw.load(tf.function(tf.as_string))
    with pytest.raises(ModelError, match="gives no tensor of numbers"):
        answers(model, given)


@pytest.mark.parametrize("signatures", [{}, {"serving_default": "__call__"}])
def test_a_folder_of_a_plain_module_runs_and_its_weights_are_known(given, tmp_path, signatures):
    model = sw.load(saved(tmp_path / "one", **signatures))
    torch.testing.assert_close(answers(model, given), expected(given))
    assert model.size == 3 * CLASSES
    other = Network()
    other.kernel.assign_add(tf.ones_like(other.kernel))
    tf.saved_model.save(other, str(tmp_path / "two"), signatures=other.classify)
    assert model.fingerprint() == sw.load(tmp_path / "one").fingerprint()
    assert model.fingerprint() != sw.load(tmp_path / "two").fingerprint()


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_a_module_gets_the_shape_and_the_dtype_of_its_call(given, dtype):
    class Other(tf.Module):
        network = Network()

        @tf.function(input_signature=[takes(dtype=dtype)])
        def __call__(self, pictures):
            assert pictures.dtype == dtype
            return tf.cast(self.network(tf.cast(pictures, tf.float32)), dtype)

    model = sw.load(Other())
    assert model.input_shape == (3, SIZE, SIZE)
    found = answers(model, given)
    assert found.dtype == (torch.float64 if dtype == tf.float64 else torch.float32)
    torch.testing.assert_close(found.float(), expected(given), atol=0.05, rtol=0.05)
    one, two = (
        sw.explain(each, given, 1, "gradient")[0].relevance for each in (model, sw.load(Network()))
    )
    torch.testing.assert_close(one, two, atol=2e-3, rtol=0.05)


def test_the_only_signature_is_taken(given, tmp_path):
    model = sw.load(saved(tmp_path, predict="classify"))
    assert model.input_shape == (3, SIZE, SIZE)
    torch.testing.assert_close(answers(model, given)["scores"], expected(given))


def test_of_several_signatures_the_object_is_called(given, tmp_path):
    loaded = tf.saved_model.load(str(saved(tmp_path, one="classify", two="levels")))
    model = sw.load(loaded)
    assert model.input_shape == (3, SIZE, SIZE)
    torch.testing.assert_close(answers(model, given), expected(given))


def test_a_function_of_files_says_what_to_give(network, tmp_path):
    for found in (network.encoded, saved(tmp_path, serving_default="encoded")):
        with pytest.raises(ModelError, match=r"'files' of .* is of type string.* decoded pictures"):
            sw.load(found)


@pytest.mark.parametrize("method", ["levels", "whole"])
def test_whole_numbers_are_0_to_255(network, method, tmp_path):
    draw = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    scores = expected(torch.tensor(draw).movedim(-1, 0)[None] / 255)
    for found in (getattr(network, method), saved(tmp_path, serving_default=method)):
        model = sw.load(found)
        outputs = answers(model, Image.fromarray(draw))
        torch.testing.assert_close(outputs, scores)
        with pytest.raises(MethodError, match="needs gradients"):
            sw.explain(model, Image.fromarray(draw), 1, "gradient")


def test_whole_numbers_do_not_wrap_around(network):
    beyond = torch.full((1, 3, SIZE, SIZE), 300.0)
    model = sw.load(network.levels)
    torch.testing.assert_close(answers(model, beyond), expected(beyond.clamp(max=255) / 255))


def test_further_inputs_come_by_name_wherever_the_picture_stands(network, given, tmp_path):
    age = torch.tensor([[1.0], [2.0], [3.0]])
    for found in (network.aged, saved(tmp_path, serving_default="aged")):
        model = sw.load(found)
        outputs = answers(model, given, age=age)
        torch.testing.assert_close(outputs, expected(given) * age)
        with pytest.raises(ModelError, match="further inputs: age; given were none: give them by"):
            answers(model, given)
        with pytest.raises(ModelError, match="further inputs: age; given were size: give them by"):
            answers(model, given, size=age)


def test_an_argument_that_is_missing_and_a_size_that_does_not_fit_are_told(network, given):
    wanting = tf.function(lambda pictures, training: network(pictures))
    model = sw.load(wanting)
    with pytest.raises(ModelError, match=r"'training'.*fill in its other arguments, sw\.load"):
        answers(model, given)
    filled = sw.load(tf.function(lambda pictures: wanting(pictures, training=False)))
    torch.testing.assert_close(answers(filled, given), expected(given))
    with pytest.raises(ModelError, match="prepare the pictures for its signature"):
        answers(sw.load(network), torch.rand(1, 3, SIZE + 1, SIZE))


def test_inputs_in_order_and_by_name_together(network, given):
    def weighted(pictures, *, weight):
        return network(pictures) * weight

    specs = takes(), takes(1)
    concrete = tf.function(weighted).get_concrete_function(specs[0], weight=specs[1])
    weight = torch.rand(3, 1)
    found = answers(sw.load(concrete), given, weight=weight)
    torch.testing.assert_close(found, expected(given) * weight)


def test_a_function_of_structures_is_called_as_it_is(given):
    @tf.function(input_signature=[{"picture": takes()}])
    def network(inputs):
        return inputs["picture"]

    with pytest.raises(ModelError, match=r"sw\.load\(tf\.function\(lambda pictures"):
        answers(sw.load(network), given)
    wrapped = sw.load(tf.function(lambda pictures: network({"picture": pictures})))
    torch.testing.assert_close(answers(wrapped, given), given)
