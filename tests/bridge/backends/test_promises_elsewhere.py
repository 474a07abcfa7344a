"""What methods promise holds for functions of TensorFlow and JAX, SavedModels, flax modules."""

import keras
import numpy as np
import pytest

import seewhy as sw
from seewhy.testing.conformance import check_method
from seewhy.testing.kinds import KINDS, Kind

SIZE, CLASSES = 16, 5
BACKEND = keras.config.backend()
DRAW = np.random.default_rng(0)
KERNEL = DRAW.normal(0, 0.3, (3, 3, 3, 8)).astype("float32")
HEAD = DRAW.normal(0, 0.5, (8, CLASSES)).astype("float32")


def of_tensorflow():
    import tensorflow as tf

    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.head = tf.Variable(KERNEL), tf.Variable(HEAD)

        @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3])])
        def __call__(self, pictures):
            made = tf.nn.relu(tf.nn.conv2d(pictures, self.kernel, 1, "SAME"))
            return tf.reduce_mean(made, (1, 2)) @ self.head

    network = Network()
    return {"tf.Module": lambda _: network, "SavedModel": lambda folder: written(network, folder)}


def written(network, folder):
    import tensorflow as tf

    tf.saved_model.save(network, str(folder), signatures=network.__call__)
    return folder


def of_jax():
    import jax
    from flax import linen, nnx

    def network(pictures):
        how = ("NHWC", "HWIO", "NHWC")
        made = jax.lax.conv_general_dilated(pictures, KERNEL, (1, 1), "SAME", dimension_numbers=how)
        return jax.nn.relu(made).mean((1, 2)) @ HEAD

    class Linen(linen.Module):
        @linen.compact
        def __call__(self, pictures):
            made = linen.relu(linen.Conv(8, (3, 3), name="conv")(pictures))
            return linen.Dense(CLASSES, name="head")(made.mean((1, 2)))

    class Nnx(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
            self.head = nnx.Linear(8, CLASSES, rngs=rngs)

        def __call__(self, pictures):
            return self.head(nnx.relu(self.conv(pictures)).mean((1, 2)))

    module, pictures = Linen(), np.zeros((1, SIZE, SIZE, 3), "float32")
    bound = module.bind(module.init(jax.random.key(0), pictures))
    found = {"function": jax.jit(network), "linen": bound, "nnx": Nnx()}
    return {name: lambda _, each=each: each for name, each in found.items()}


MADE = {"tensorflow": of_tensorflow, "jax": of_jax}.get(BACKEND, dict)()


@pytest.mark.parametrize("method", ["integrated-gradients:steps=8", "rise:samples=16", "grad-cam"])
@pytest.mark.parametrize("name", MADE)
def test_promises(name, method, monkeypatch, tmp_path):
    module = sw.load(MADE[name](tmp_path / "saved")).module
    kind = Kind(name, "of another framework", lambda: module, (3, SIZE, SIZE), 1)
    monkeypatch.setitem(KINDS, name, kind)
    said = check_method(method, [name])[name]
    seen_within = name in ("linen", "nnx") or method != "grad-cam"
    assert said == "applies" if seen_within else "layers" in said
