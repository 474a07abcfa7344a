"""The shipped networks as torch modules, and what they say of pictures."""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy.data.world.network import WorldNet
from seewhy.data.world.shipped import card, weights_path
from seewhy.data.world.transformer import WorldTransformer

MEAN = (0.5, 0.5, 0.5)  # of RGB in 0..1
STD = (0.25, 0.25, 0.25)

ARCHITECTURES: dict[str, type[WorldNet | WorldTransformer]] = {
    each.__name__: each for each in (WorldNet, WorldTransformer)
}
"""By the name that a card gives."""


def load_network(name: str = "object", *, trained: bool = True) -> WorldNet | WorldTransformer:
    """Give a shipped model in evaluation mode, or the same network before any training.

    A name that is not shipped raises ModelError.
    """
    network = ARCHITECTURES[card(name)["network"]]()
    if trained:
        network.load_state_dict(load_file(weights_path(name)))
    return network.eval()


def logits(network: nn.Module, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give what the network says of pictures, uint8 (M, H, W, 3): logits, float32 (M, classes).

    With `functools.partial(logits, network)` the network becomes what `effects` asks for.
    """
    with torch.inference_mode():
        outputs = [network(normalise(some)).numpy() for some in _in_batches(pictures)]
    return np.concatenate(outputs)


def normalise(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (N, H, W, 3) into what the network takes: float32 (N, 3, H, W), about -2..2."""
    unit = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    return (unit - mean) / std


def _in_batches(pictures: NDArray[np.uint8], size: int = 250) -> list[NDArray[np.uint8]]:
    return [pictures[start : start + size] for start in range(0, len(pictures), size)]
