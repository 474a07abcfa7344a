"""keras.applications: what belongs to its networks, and to others as far as it shows."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch

from seewhy.model.labels import Labels
from seewhy.model.prepare import Preprocess

BLACK, WHITE = 0.0, 255.0
OWN_SCALING = ("Rescaling", "Normalization")


def known(
    keras: Any, model: Any, shape: tuple[int, ...] | None, dtype: torch.dtype
) -> tuple[Preprocess | None, Labels | None]:
    """Return the preprocessing of a model and its labels, as far as its layers and name tell.

    One that rescales pictures itself, or takes whole numbers, gets them as 0..255. One that has the
    name of a network of keras.applications gets that one's; others get none. With 1000 classes an
    application's labels are ImageNet's.
    """
    if shape is None or len(shape) != 3 or shape[0] not in (1, 3):
        return None, None
    size = (shape[1], shape[2])
    home, labels = application(keras, model.name), None
    ends = model.outputs[0].shape
    if home is not None and len(ends) == 2 and ends[-1] == 1000:
        labels = Labels.imagenet()
    begins = [type(layer).__name__ for layer in model._flatten_layers(include_self=False)]  # noqa: SLF001
    if any(name in OWN_SCALING for name in begins[:4]) or not dtype.is_floating_point:
        plain = Preprocess(size, mean=(0.0,) * shape[0], std=(1 / WHITE,) * shape[0])
        return plain, labels
    if home is None or shape[0] != 3:
        return None, labels
    found = probed(home.preprocess_input, size)
    scaled = max(found.std) > 2 / WHITE or any(abs(each) > 1 / WHITE for each in found.mean)
    return (found if scaled else None), labels


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
