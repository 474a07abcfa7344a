"""Two networks whose answers are known: those by which packages of the field test themselves."""

import torch
from torch import nn


def linear(weight, bias):
    weight, bias = torch.tensor(weight), torch.tensor(bias)
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight, bias
    return layer


def network_a():
    """x in R^3 -> I -> ones(4x3) + (-10,1,1,1) -> ReLU -> ones(2x4) + (-1,1)."""
    return nn.Sequential(
        linear([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]], [0.0, 0, 0]),
        linear([[1.0] * 3] * 4, [-10.0, 1, 1, 1]),
        nn.ReLU(),
        linear([[1.0] * 4] * 2, [-1.0, 1]),
    ).eval()


def network_b(*, inplace=False):
    """4x4 -> 3x3 convolution to 2 channels -> ReLU -> linear 8->4, rows (1 x5, -1 x3) -> ReLU."""
    convolution = nn.Conv2d(1, 2, 3)
    nn.init.ones_(convolution.weight)
    convolution.bias.data = torch.tensor([-50.0, -75.0])
    return nn.Sequential(
        convolution,
        nn.ReLU(inplace=inplace),
        nn.Flatten(),
        linear([[1.0] * 5 + [-1.0] * 3] * 4, [0.0] * 4),
        nn.ReLU(),
    ).eval()


PICTURE_A = torch.tensor([[20.0, 50, 30]])
PICTURE_B = torch.arange(16.0).reshape(1, 1, 4, 4)
