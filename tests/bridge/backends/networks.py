"""Keras networks of every make, small, with the same weights on every backend."""

import keras
import numpy as np
from keras import layers

SIZE, CLASSES = 32, 5


def varied(model):
    """Give batch norms statistics as after training, so that they are not the identity."""
    draw = np.random.default_rng(0)
    for weight in model.weights:
        if "moving_mean" in weight.path:
            weight.assign(draw.normal(0, 0.2, weight.shape))
        elif "moving_variance" in weight.path:
            weight.assign(draw.uniform(0.5, 2, weight.shape))
    return model


def drawn(model, seed):
    """Give a model the weights of this seed, with which no norm is the identity."""
    draw = np.random.default_rng(seed)
    for weight in model.weights:
        name, shape = weight.path.rpartition("/")[2], weight.shape
        if name in ("gamma", "moving_variance"):
            weight.assign(draw.uniform(0.5, 1.5, shape))
        elif name == "kernel":
            weight.assign(draw.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape))
        else:
            weight.assign(draw.normal(0, 0.1, shape))
    return model


def sequential(end="softmax"):
    return drawn(
        keras.Sequential(
            [
                keras.Input((SIZE, SIZE, 3)),
                layers.Conv2D(8, 3, padding="same", name="conv1"),
                layers.BatchNormalization(name="norm1"),
                layers.ReLU(name="relu1"),
                layers.MaxPooling2D(2, name="pool1"),
                layers.Conv2D(12, 3, padding="same", activation="relu", name="conv2"),
                layers.GlobalAveragePooling2D(name="pool2"),
                layers.Dropout(0.5, name="drop"),
                layers.Dense(CLASSES, activation=end, name="head"),
            ],
            name="sequential",
        ),
        seed=0,
    )


def residual():
    """A shared layer, a sum that is an operation, and one that is a layer."""
    given = keras.Input((SIZE, SIZE, 3))
    stem = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(given)
    shared = layers.Conv2D(8, 3, padding="same", name="shared")
    one = keras.ops.relu(shared(stem)) + stem
    two = layers.Add(name="sum")([shared(one), one])
    features = layers.Activation("gelu", name="features")(two)
    pooled = layers.GlobalAveragePooling2D()(features)
    head = layers.Dense(CLASSES, name="head")
    return drawn(keras.Model(given, head(pooled), name="residual"), seed=1)


def nested():
    """A backbone within a model, its name with a dot, as in transfer learning."""
    given = keras.Input((SIZE, SIZE, 3))
    made = layers.Conv2D(8, 3, strides=2, padding="same", name="conv1")(given)
    made = layers.BatchNormalization(name="norm1")(made)
    made = layers.Conv2D(12, 3, padding="same", activation="relu", name="conv2")(made)
    backbone = keras.Model(given, made, name="backbone_1.00")
    outer = keras.Input((SIZE, SIZE, 3))
    features = backbone(layers.Rescaling(2.0, offset=-1.0, name="scaling")(outer))
    pooled = layers.GlobalMaxPooling2D(name="pool")(features)
    head = layers.Dense(CLASSES, activation="softmax", name="head")
    model = drawn(keras.Model(outer, head(pooled), name="nested"), seed=2)
    head.kernel.assign(head.kernel * 0.25)  # maxima are large, and no class shall be certain
    return model


class Subclassed(keras.Model):
    """Layers in a list, operations of keras.ops between them, a training flag."""

    def __init__(self):
        super().__init__(name="subclassed")
        self.blocks = [
            layers.Conv2D(8, 3, strides=2, padding="same", name="block0"),
            layers.Conv2D(12, 3, padding="same", name="block1"),
        ]
        self.drop = layers.Dropout(0.5, name="drop")
        self.head = layers.Dense(CLASSES, name="head")

    def features(self, pictures):
        for block in self.blocks:
            pictures = keras.ops.relu(block(pictures))
        return pictures

    def call(self, pictures, training=False):
        pooled = keras.ops.mean(self.features(pictures), axis=(1, 2))
        return self.head(self.drop(pooled, training=training))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, SIZE, SIZE, 3), "float32"))
    return drawn(model, seed=3)


MAKES = {
    "sequential": sequential,
    "residual": residual,
    "nested": nested,
    "subclassed": subclassed,
}


def pictures(count=3, size=SIZE):
    """Pictures (N, C, H, W) as seewhy takes them."""
    return np.random.default_rng(1).normal(0.5, 0.3, (count, 3, size, size)).astype("float32")


def native(model, cls, given, cut=None):
    """The score's gradient at the input, and what the cut gives with the gradient there.

    Computed by the framework alone. given: (N, C, H, W); cut: (what comes before, what after).
    All are returned as (N, C, H, W).
    """
    last = np.moveaxis(given, 1, -1)
    whole = gradient(lambda x: model(x, training=False)[:, cls], last)
    if cut is None:
        return np.moveaxis(whole, -1, 1), None, None
    before, after = cut
    middle = compiled(before, last)
    at = gradient(lambda x: after(x)[:, cls], middle)
    return tuple(np.moveaxis(each, -1, 1) for each in (whole, middle, at))


def gradient(function, values):
    """The gradient of the sum of function(values), by the framework's own means."""
    backend = keras.config.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        @tf.function
        def slope(given):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(given)
                score = tf.reduce_sum(function(given))
            return tape.gradient(score, given)

        return slope(tf.constant(values)).numpy()
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(lambda x: function(x).sum())(values))
    import torch

    given = torch.tensor(values, requires_grad=True)
    function(given).sum().backward()
    return given.grad.numpy()


def compiled(function, values):
    """What a function gives; on TensorFlow compiled, which rounds as compiled code does."""
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(function)(tf.constant(values)).numpy()
    return keras.ops.convert_to_numpy(function(values))
