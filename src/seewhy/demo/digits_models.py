"""Small networks that read handwritten digits, and how they are trained."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from seewhy.demo.digits_data import SIDE
from seewhy.model.model import Model
from seewhy.model.prepare import Preprocess

if TYPE_CHECKING:
    from PIL import Image

    from seewhy.demo.digits_data import Digits
    from seewhy.run import Progress

SHIFT = 2  # pixels by which a digit is shifted at most, at each sight of it
NOISE = 0.3  # its deviation, of black to white; without it prototypes are speckled
BATCH = 32
LEAST_EPOCHS = 10
LARGEST_STEP = 1.0  # norm of a gradient: without it, some seeds never learn
NAMES = tuple(map(str, range(10)))


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    flat: whether it takes a digit as 784 numbers. sights: how many digits it sees until it is
    trained, each of them several times.
    """

    title: str
    make: Callable[[], nn.Module]
    flat: bool
    sights: int
    rate: float

    def epochs(self, digits: int) -> int:
        """Return how often it sees each of so many digits."""
        return max(LEAST_EPOCHS, round(self.sights / digits))


def fully_connected(width: int = 256) -> nn.Module:
    """Return an untrained network of three linear layers, for flat digits (N, 784)."""
    return nn.Sequential(
        OrderedDict(
            linear1=nn.Linear(SIDE * SIDE, width),
            relu1=nn.ReLU(),
            linear2=nn.Linear(width, width // 2),
            relu2=nn.ReLU(),
            classifier=nn.Linear(width // 2, 10),
        )
    )


def convolutional(width: int = 24) -> nn.Module:
    """Return an untrained network for digits (N, 1, 28, 28), with the head that CAM asks for.

    The mean of each of its last 4 x width feature maps, and one linear layer. There are no norms:
    it would learn faster with them, and its prototypes would be speckled. What each layer passes
    on is as large as what it gets (He et al. 2015): with smaller weights, torch's own, learning may
    stay for ever where it began.
    """
    convolutions = [(1, width), (width, 2 * width), (2 * width, 2 * width), (2 * width, 4 * width)]
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (taken, given) in enumerate(convolutions, 1):
        layer = parts[f"conv{number}"] = nn.Conv2d(taken, given, 3, padding=1)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(cast(Tensor, layer.bias))
        parts[f"relu{number}"] = nn.ReLU()
        if number == 1:
            parts["halve"] = nn.MaxPool2d(2)
    parts["average"] = nn.AdaptiveAvgPool2d(1)
    parts["flat"] = nn.Flatten()
    parts["classifier"] = nn.Linear(4 * width, 10)
    return nn.Sequential(parts)


def opinionated(width: int = 20) -> nn.Module:
    """Return an untrained network of another make: larger kernels, fewer layers, a flat head."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, width, 5, stride=2, padding=2),
            tanh1=nn.Tanh(),
            conv2=nn.Conv2d(width, 2 * width, 5, stride=2, padding=2),
            tanh2=nn.Tanh(),
            flat=nn.Flatten(),
            classifier=nn.Linear(2 * width * (SIDE // 4) ** 2, 10),
        )
    )


FC, CNN, SECOND = "fully connected", "CNN", "second opinion"
RECIPES = (
    Recipe(FC, fully_connected, flat=True, sights=36_000, rate=3e-3),
    Recipe(CNN, convolutional, flat=False, sights=40_500, rate=6e-3),
    Recipe(SECOND, opinionated, flat=False, sights=27_000, rate=3e-3),
)


def flattened(image: Image.Image) -> Tensor:
    """Return a picture as 784 numbers, 0..1."""
    return Preprocess(SIDE, mean=(0.0,), std=(1.0,))(image).flatten()


def trained(
    recipe: Recipe,
    digits: Digits,
    *,
    seed: int,
    epochs: int | None = None,
    progress: Progress | None = None,
) -> Model:
    """Train a network from nothing; one seed, one result. torch's random state is left alone.

    epochs: None is the recipe's own. progress: called after each epoch.
    """
    epochs = recipe.epochs(len(digits)) if epochs is None else epochs
    pictures, labels = as_tensor(digits), torch.from_numpy(digits.labels)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = recipe.make()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
    draws = torch.Generator().manual_seed(seed)
    steps = max(1, len(digits) // BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=max(2, epochs * steps)
    )
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(digits), generator=draws)
        for rows in order.split(BATCH)[:steps]:
            inputs = _seen(pictures[rows], draws)
            outputs = network(inputs.flatten(1) if recipe.flat else inputs)
            loss = cross_entropy(outputs, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), LARGEST_STEP)
            optimiser.step()
            rates.step()
        if progress is not None:
            progress(epoch, epochs, f"epochs of the {recipe.title} network, loss {loss:.3f}")
    network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]
    for parameter in network.parameters():
        parameter.grad = None
    preprocess = flattened if recipe.flat else Preprocess(SIDE, mean=(0.0,), std=(1.0,))
    shape = (SIDE * SIDE,) if recipe.flat else (1, SIDE, SIDE)
    name = f"digits, {recipe.title}"
    return Model(network, preprocess, NAMES, name=name, input_shape=shape)


def as_tensor(digits: Digits) -> Tensor:
    """Return digits as float32 (N, 1, 28, 28), 0..1."""
    return torch.from_numpy(digits.pictures.astype(np.float32) / 255)[:, None]


def inputs_of(model: Model, pictures: Tensor) -> Tensor:
    """Return pictures (N, 1, 28, 28) as this model takes them."""
    return pictures.reshape(len(pictures), *(model.input_shape or pictures.shape[1:]))


def read(model: Model, pictures: Tensor) -> Tensor:
    """Return what a model says of pictures (N, 1, 28, 28): probabilities (N, 10)."""
    outputs: Tensor = model.outputs(model.prepare(inputs_of(model, pictures)))
    return outputs.softmax(1)


def accuracy(model: Model, digits: Digits) -> float:
    """Return for which share of digits a model's most probable answer is right."""
    said = read(model, as_tensor(digits)).argmax(1)
    return float((said == torch.from_numpy(digits.labels)).double().mean())


def _seen(pictures: Tensor, draws: torch.Generator) -> Tensor:
    """Pictures (N, 1, h, w) each shifted a little, under noise."""
    wide = nn.functional.pad(pictures, [SHIFT] * 4)
    begins = torch.randint(2 * SHIFT + 1, (len(pictures), 2), generator=draws).tolist()
    shifted = torch.stack(
        [row[:, y : y + SIDE, x : x + SIDE] for row, (y, x) in zip(wide, begins, strict=True)]
    )
    return shifted + NOISE * torch.randn(shifted.shape, generator=draws)
