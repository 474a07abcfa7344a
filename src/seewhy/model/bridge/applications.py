"""keras.applications: what belongs to its networks, and to others as far as it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from seewhy.model.bridge.keras_parts import PictureInput
from seewhy.model.labels import Labels
from seewhy.model.prepare import Levels, Preprocess

BLACK, WHITE = 0.0, 255.0
MOST = 8.0  # what networks see of a picture that came in the units they expect, hardly ever more
OWN_SCALING = ("Rescaling", "Normalization")
PASSED = ("Random", "Resizing", "CenterCrop", "Permute", "Gaussian", "Dropout", "Identity")
"""In the names of layers before a scaling that leave a picture's units what they are."""


def known(
    keras: Any, model: Any, picture: PictureInput, shape: tuple[int, ...] | None
) -> tuple[Callable[..., Any] | None, Labels | None]:
    """Return the preprocessing of a model and its labels, as far as its layers and name tell.

    One that scales pictures itself gets them as 0..255 or 0..1, whichever its constants make small
    numbers of; one that takes whole numbers gets 0..255. One that has the name of a network of
    keras.applications gets that one's; others get none. With 1000 classes an application's labels
    are ImageNet's. shape: (C, height, width), None where it is open.
    """
    home, labels = application(keras, model.name), None
    ends = [each.shape for each in getattr(model, "outputs", None) or ()]
    if home is not None and len(ends) == 1 and len(ends[0]) == 2 and ends[0][-1] == 1000:
        labels = Labels.imagenet()
    channels = _channels(picture)
    if channels not in (1, 3):
        return None, labels
    top = WHITE if not picture.dtype.is_floating_point else _top(keras, model)
    if top is not None:
        if shape is None:
            return Levels(channels, top), labels
        scaled = Preprocess((shape[1], shape[2]), mean=(0.0,) * channels, std=(1 / top,) * channels)
        return scaled, labels
    if home is None or channels != 3 or shape is None:
        return None, labels
    found = probed(home.preprocess_input, (shape[1], shape[2]))
    changed = max(found.std) > 2 / WHITE or any(abs(each) > 1 / WHITE for each in found.mean)
    return (found if changed else None), labels


def _channels(picture: PictureInput) -> int | None:
    """How many channels a picture has, where it is one."""
    if picture.shape is None or len(picture.shape) != 3:
        return None
    return picture.shape[-1 if picture.channels_last else 0]


def _top(keras: Any, model: Any) -> float | None:
    """What white is in a picture as a model takes it that scales pictures itself; None: unknown."""
    layer = next(_leading(keras, model), None)
    if layer is None:
        return None
    if type(layer).__name__ == "Rescaling":
        scale, offset = np.asarray(layer.scale, float), np.asarray(layer.offset, float)
    else:
        deviation = np.sqrt(np.maximum(_numbers(keras, layer.variance), 1e-12))
        scale, offset = 1 / deviation, -_numbers(keras, layer.mean) / deviation
    for top in (WHITE, 1.0):
        if max(abs(offset).max(), abs(scale * top + offset).max()) <= MOST:
            return top
    return None


def _numbers(keras: Any, values: Any) -> np.ndarray:
    found: np.ndarray = np.asarray(keras.ops.convert_to_numpy(values), float)
    return found


def _leading(keras: Any, model: Any) -> Iterator[Any]:
    """Yield the scaling that a model begins with, within the models it begins with too."""
    for layer in model.layers:
        if _passes(keras, layer):
            continue
        if isinstance(layer, keras.Model):
            yield from _leading(keras, layer)
        elif type(layer).__name__ in OWN_SCALING:
            yield layer
        return


def _passes(keras: Any, layer: Any) -> bool:
    """Whether a layer, or all in a model, leaves a picture's units what they are."""
    if isinstance(layer, keras.Model):
        return all(_passes(keras, each) for each in layer.layers)
    kind = type(layer).__name__
    return kind == "InputLayer" or any(each in kind for each in PASSED)


def application(keras: Any, name: str) -> ModuleType | None:
    """Return the module of keras.applications with the network of that name, as the class is named

    or as its instances are: "ResNet50", "resnet50", "mobilenetv2_1.00_224".
    """
    wanted = _plain(name)
    for home in vars(keras.applications).values():
        if not isinstance(home, ModuleType) or not hasattr(home, "preprocess_input"):
            continue
        for made, value in vars(home).items():
            fits = wanted == _plain(made) or name.lower().startswith(f"{made.lower()}_")
            if fits and callable(value) and made[0].isupper():
                return home
    return None


def probed(preprocess: Any, size: tuple[int, int]) -> Preprocess:
    """Return what a preprocessing does to each channel, found by giving it two colours.

    Its functions are linear in each channel, some after turning RGB into BGR.
    """

    def colour(values: tuple[float, float, float]) -> np.ndarray:
        given = np.array(values, np.float32).reshape(1, 1, 1, 3)
        made: np.ndarray = np.asarray(preprocess(given.copy(), data_format="channels_last"))
        return made.reshape(3)

    black, white, red = colour((BLACK,) * 3), colour((WHITE,) * 3), colour((WHITE, BLACK, BLACK))
    turned = bool(abs(red - black)[2] > abs(red - black)[0])
    std = 1.0 / (white - black).astype(np.float64)
    mean = -black * std
    return Preprocess(size, mean=tuple(mean.tolist()), std=tuple(std.tolist()), bgr=turned)


def _plain(name: str) -> str:
    return "".join(each for each in name.lower() if each.isalnum())
