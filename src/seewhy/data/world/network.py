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
    """A convolution, batch norm and ReLU, after halving the resolution where asked to."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, halve: bool = False
    ) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if halve else nn.Identity()
        self.conv = nn.Conv2d(
            inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False
        )
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H', W'), not negative."""
        activations: Tensor = self.relu(self.norm(self.conv(self.pool(features))))
        return activations


class WorldNet(nn.Module):
    """Four blocks, the mean over space and a linear layer: 96,061 parameters.

    `block1` to `block4` give (24, 32, 32), (48, 32, 32), (64, 16, 16) and (96, 16, 16) for a
    picture of 64x64.
    """

    def __init__(self, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.block1 = Block(3, 24, kernel=5, stride=2)
        self.block2 = Block(24, 40)
        self.block3 = Block(40, 48, kernel=5, halve=True)
        self.block4 = Block(48, 80)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(80, classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Map normalised pictures, float (N, 3, H, W), to logits, (N, classes)."""
        features = self.block4(self.block3(self.block2(self.block1(pictures))))
        logits: Tensor = self.head(self.flatten(self.pool(features)))
        return logits


def load_network(name: str = "object") -> WorldNet:
    """Give a shipped model in evaluation mode; a name that is not shipped raises ModelError."""
    network = WorldNet()
    network.load_state_dict(load_file(weights_path(name)))
    return network.eval()


def normalise(pictures: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 (N, H, W, 3) into what the network takes: float32 (N, 3, H, W), about -2..2."""
    unit = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    return (unit - mean) / std
