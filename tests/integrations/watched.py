"""A small network, and what watches it: for the tests of what is explained at each epoch."""

import numpy as np
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.integrations import EpochExplanations

METHODS = ("grad-cam", "smoothgrad:samples=3", "rise:samples=20,grid=3")
SIDE, CELL, GAP = 16, 128, 6  # of the pictures; of a panel's cells and between them


def small():
    """A CNN with all that training changes beside the weights."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout2d(0.2),
        nn.Conv2d(6, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(8, 3),
    )


def examples():
    draw = torch.Generator().manual_seed(1)
    return torch.rand(24, 3, SIDE, SIDE, generator=draw), torch.arange(24) % 3


def photos(count=2):
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (20, 24, 3), np.uint8)) for _ in range(count)]


def watching(**options):
    """EpochExplanations of two pictures that write nothing, unless told otherwise."""
    given = {"target": 1, "preprocess": sw.Preprocess(SIDE), "folder": None} | options
    return EpochExplanations(given.pop("pictures", photos()), **given)
