"""A generated world with known causes, and small networks trained on it.

The networks' names are imported when they are first used: the pictures alone do not need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seewhy.data.world.causes import effects
from seewhy.data.world.scene import CLASSES, PARTS, SIZE, STICKERS, Scenes, Sticker, generate
from seewhy.data.world.shipped import card, names, weights_path

if TYPE_CHECKING:
    from seewhy.data.world.load import MEAN, STD, load_network, logits, normalise
    from seewhy.data.world.network import WorldNet
    from seewhy.data.world.transformer import WorldTransformer

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
    "WorldTransformer",
    "load_network",
    "logits",
    "normalise",
    "MEAN",
    "STD",
]

_HOMES = {
    "WorldNet": "network",
    "WorldTransformer": "transformer",
    **dict.fromkeys(("load_network", "logits", "normalise", "MEAN", "STD"), "load"),
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"seewhy.data.world.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
