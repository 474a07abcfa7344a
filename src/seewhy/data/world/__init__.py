"""A generated world with known causes, and small networks trained on it.

The network's names are imported when they are first used: the pictures alone do not need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seewhy.data.world.causes import effects
from seewhy.data.world.scene import CLASSES, PARTS, SIZE, STICKERS, Scenes, Sticker, generate
from seewhy.data.world.shipped import card, names, weights_path

if TYPE_CHECKING:
    from seewhy.data.world.network import MEAN, STD, WorldNet, load_network, logits, normalise

__all__ = [
    "generate",
    "Scenes",
    "Sticker",
    "effects",
    "CLASSES",
    "PARTS",
    "STICKERS",
    "SIZE",
    "names",
    "weights_path",
    "card",
    "WorldNet",
    "load_network",
    "logits",
    "normalise",
    "MEAN",
    "STD",
]

_OF_THE_NETWORK = ("WorldNet", "load_network", "logits", "normalise", "MEAN", "STD")


def __getattr__(name: str) -> Any:
    if name in _OF_THE_NETWORK:
        return getattr(import_module("seewhy.data.world.network"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
