"""The small convolutional network that is trained on the generated world."""

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy.data.world.scene import CLASSES
from seewhy.data.world.shipped import weights_path

MEAN = (0.5, 0.5, 0.5)  # of RGB in 0..1
STD = (0.25, 0.25, 0.25)


class Block(nn.Module):
    """A convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride), not negative."""
        activations: Tensor = self.relu(self.norm(self.conv(features)))
        return activations


class WorldNet(nn.Module):
    """Four blocks, the mean over space and a linear layer: 96,853 parameters.

    For pictures of 64x64, `block1` gives (N, 24, 32, 32), `block2` (N, 48, 32, 32), `halve`
    (N, 48, 16, 16), `block3` (N, 64, 16, 16), `block4` (N, 96, 16, 16), `mean` (N, 96, 1, 1).
    """

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        # An even kernel: with an odd one, a stride of two would shift every map by half a pixel.
        self.block1 = Block(3, 24, kernel=6, stride=2)
        self.block2 = Block(24, 48)
        self.halve = nn.MaxPool2d(2)
        # Not halved again: a shape is 20 pixels wide, and a map of 8x8 cannot point into it.
        self.block3 = Block(48, 64)
        self.block4 = Block(64, 96)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(96, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures, float (N, 3, H, W), to logits, (N, classes)."""
        features = self.halve(self.block2(self.block1(pictures)))
        features = self.mean(self.block4(self.block3(features)))
        logits: Tensor = self.head(self.flatten(features))
        return logits


def load_network(name: str = "object", *, trained: bool = True) -> WorldNet:
    """Give a shipped model in evaluation mode, or the same network before any training.

    A name that is not shipped raises ModelError.
    """
    path, network = weights_path(name), WorldNet()
    if trained:
        network.load_state_dict(load_file(path))
    return network.eval()


def logits(network: WorldNet, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
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
