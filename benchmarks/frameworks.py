"""Keras networks over the bridge beside the same computed by their framework alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import DOCUMENT, Section, Times, Work, interleaved, ratio_rows

BARS = {"tensorflow": 1.25, "jax": 1.35, "torch": 1.10}
LAST = "conv5_block3_out"


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet50 of keras.applications on every backend."""
    size, batch, rounds = (96, 4, 3) if quick else (224, 8, 10)
    section = Section(
        "frameworks",
        "Other frameworks",
        f"ResNet50 of keras.applications, batch {batch}, {size} px, a process for each backend. "
        f"*native* is the framework alone: Grad-CAM at {LAST}, and the gradient of the highest "
        "score with respect to the pictures, compiled as its users would (tf.function, jax.jit). "
        "*seewhy* is `seewhy.explain(model, tensor, method=...)` with all that makes up its "
        "answers. *gap* is how far the maps are apart, of the largest value.",
    )
    for backend, bar in BARS.items():
        for what, found in _on(backend, size, batch, rounds).items():
            times, name = Times(found["rounds"]), f"{backend}, {what}"
            ratio_rows(section, times, name, ["native", "seewhy"])
            section.at_most(
                f"{name}: seewhy",
                times.ratio("seewhy", "native"),
                bar,
                "x native",
                times.spread("seewhy", "native"),
            )
            section.measured(f"{name}: gap", f"{found['gap']:.1e}")
    return section


def _on(backend: str, size: int, batch: int, rounds: int) -> Any:
    """What a process of its own with this backend measures."""
    command = [sys.executable, "-m", "benchmarks.frameworks", *map(str, (size, batch, rounds))]
    done = subprocess.run(  # noqa: S603 - this very package
        command,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        cwd=DOCUMENT.parents[1],
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def work(size: int, batch: int, rounds: int) -> dict[str, Any]:
    """Measure on the backend of this process."""
    import keras
    import torch

    import seewhy as sw

    keras.utils.set_random_seed(0)
    net = keras.applications.ResNet50(weights=None, input_shape=(size, size, 3))
    pictures = np.random.default_rng(0).normal(size=(batch, size, size, 3)).astype(np.float32)
    given = torch.from_numpy(pictures).movedim(-1, 1).contiguous()
    model, found = sw.load(net), {}
    native = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.config.backend()]
    for what, alone in native(keras, net, pictures).items():

        def ours(what: str = what) -> list[Any]:
            return sw.explain(model, given, method=what)

        maps = np.stack([each.relevance.numpy() for each in ours()])
        expected = alone()
        expected = expected[:, None] if what == "grad-cam" else np.moveaxis(expected, -1, 1)
        sides: dict[str, Work] = {"native": alone, "seewhy": ours}
        found[what] = {
            "gap": float(abs(maps - expected).max() / abs(expected).max()),
            "rounds": interleaved(sides, rounds).rounds,
        }
    return found


Natives = dict[str, Callable[[], np.ndarray]]


def _tensorflow(keras: Any, net: Any, pictures: np.ndarray) -> Natives:
    import tensorflow as tf

    both = keras.Model(net.inputs, [net.get_layer(LAST).output, net.outputs[0]])
    given = tf.constant(pictures)

    @tf.function
    def cam(x: Any) -> Any:
        with tf.GradientTape() as tape:
            features, scores = both(x, training=False)
            score = tf.reduce_sum(tf.reduce_max(scores, 1))
        weights = tf.reduce_mean(tape.gradient(score, features), (1, 2), keepdims=True)
        return tf.reduce_sum(weights * features, -1)

    @tf.function
    def gradient(x: Any) -> Any:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            score = tf.reduce_sum(tf.reduce_max(net(x, training=False), 1))
        return tape.gradient(score, x)

    return {
        "grad-cam": lambda: cam(given).numpy(),
        "gradient": lambda: gradient(given).numpy(),
    }


def _jax(keras: Any, net: Any, pictures: np.ndarray) -> Natives:
    import jax

    before = keras.Model(net.inputs, net.get_layer(LAST).output)
    after = keras.Model(net.get_layer(LAST).output, net.outputs[0])

    def state(part: Any) -> Any:
        both = part.trainable_variables, part.non_trainable_variables
        return tuple([each.value for each in some] for some in both)

    def run(part: Any, weights: Any, x: Any) -> Any:
        return part.stateless_call(*weights, x, training=False)[0]

    @jax.jit
    def cam(first: Any, second: Any, x: Any) -> Any:
        features = run(before, first, x)
        slope = jax.grad(lambda at: run(after, second, at).max(1).sum())(features)
        return (slope.mean((1, 2), keepdims=True) * features).sum(-1)

    @jax.jit
    def gradient(weights: Any, x: Any) -> Any:
        return jax.grad(lambda at: run(net, weights, at).max(1).sum())(x)

    return {
        "grad-cam": lambda: np.asarray(cam(state(before), state(after), pictures)),
        "gradient": lambda: np.asarray(gradient(state(net), pictures)),
    }


def _torch(keras: Any, net: Any, pictures: np.ndarray) -> Natives:
    import torch

    before = keras.Model(net.inputs, net.get_layer(LAST).output)
    after = keras.Model(net.get_layer(LAST).output, net.outputs[0])
    given = torch.from_numpy(pictures)

    def slope(part: Any, at: Any) -> Any:
        at = at.detach().clone().requires_grad_()
        return torch.autograd.grad(part(at, training=False).amax(1).sum(), at)[0]

    def cam() -> np.ndarray:
        with torch.no_grad():
            features = before(given, training=False)
        weights = slope(after, features).mean((1, 2), keepdim=True)
        return (weights * features).sum(-1).numpy()

    return {"grad-cam": cam, "gradient": lambda: slope(net, given).numpy()}


if __name__ == "__main__":
    print(json.dumps(work(*map(int, sys.argv[1:]))))
