"""Fit a small Keras model three times: twice without the callback, once with it. Prints JSON."""

import json
import sys


def fit(folder, explained):
    """Return the model's variables, what Keras logged, random numbers, and what explained."""
    import random

    import keras
    import numpy as np
    from keras import layers

    import seewhy as sw
    from seewhy.integrations.keras import ExplanationsCallback

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(6, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GaussianNoise(0.1),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.3),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, metrics=["accuracy"])
    draw = np.random.default_rng(0)
    pictures = draw.random((24, 16, 16, 3), dtype=np.float32)
    callbacks, watch = [], None
    if explained:
        callback = ExplanationsCallback(
            list((255 * pictures[:2]).astype(np.uint8)),
            ["grad-cam", "smoothgrad:samples=3", "rise:samples=20,grid=3"],
            target=1,
            preprocess=sw.Preprocess(16),
            folder=folder,
        )
        callbacks, watch = [callback], callback.explanations
    history = model.fit(
        pictures, np.arange(24) % 3, 8, 3, verbose=0, callbacks=callbacks, shuffle=True
    )
    values = [keras.ops.convert_to_numpy(each.value).tolist() for each in model.variables]
    values += [keras.ops.convert_to_numpy(v.value).tolist() for v in model.optimizer.variables]
    drawn = [random.random(), float(np.random.rand())]  # noqa: NPY002, S311
    return values, history.history, drawn, watch


def main(folder):
    """Fit, compare, print."""
    first, again, explained = (fit(folder, each) for each in (False, False, True))
    found = {
        "repeatable": first[:3] == again[:3],
        "untouched": first[:3] == explained[:3],
        "steps": explained[3].steps,
        "failures": list(explained[3].failures.values()),
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
