"""Kinds of models that methods meet, each the smallest network that has the trait."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn

from seewhy.model.function import Function
from seewhy.model.model import Model
from seewhy.targets import Region, Regression, Similarity, TargetSpec


@dataclass(frozen=True)
class Kind:
    """A kind of model: how to build its module, its input shape, a target that fits it.

    device: where the module stands; pictures are made on the CPU.
    """

    name: str
    trait: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 16, 16)
    target: TargetSpec = None
    others: tuple[int, ...] | None = None
    device: str = "cpu"

    def module(self) -> nn.Module:
        """Return the module, always with the same weights, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module = self.build().eval()
            for part in module.modules():  # as after training: not the identity
                if isinstance(part, nn.BatchNorm2d):
                    nn.init.normal_(part.get_buffer("running_mean"), 0, 0.2)
                    nn.init.uniform_(part.get_buffer("running_var"), 0.5, 2)
        return module.to(self.device)

    def model(self) -> Model:
        """Return the module as a Model."""
        module = self.module()
        given = module.function if isinstance(module, Function) else module
        return Model(given, name=self.name, input_shape=self.shape)

    def pictures(self, count: int = 3) -> Tensor:
        """Return seeded input (count, C, *space)."""
        draw = torch.Generator().manual_seed(1)
        return torch.randn(count, *self.shape, generator=draw)

    def more(self, count: int = 3) -> dict[str, Tensor] | None:
        """Return the further inputs by name, None where there are none."""
        if self.others is None:
            return None
        draw = torch.Generator().manual_seed(2)
        return {"extra": torch.randn(count, *self.others, generator=draw)}


def _plain() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 3, padding=1),
            norm1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(8, 12, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            head=nn.Linear(12, 5),
        )
    )


class _Residual(nn.Module):
    """In-place ReLUs, one of them called three times, and sums written into their operand."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(8, 5)

    def forward(self, pictures: Tensor) -> Any:
        features = self.relu(self.stem(pictures))
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(features)))))
        out += features
        return self.head(self.relu(out).mean((2, 3)))


class _Functional(nn.Module):
    """Functions instead of modules, nested modules, layers reachable under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleDict({"first": nn.Conv2d(3, 8, 3), "second": nn.Conv2d(8, 12, 3)})
        self.alias = self.body["second"]
        self.head = nn.Linear(12 * 6 * 6, 5)

    def forward(self, pictures: Tensor) -> Any:
        features = F.relu(self.body["first"](pictures), inplace=True)
        features = F.relu(self.alias(features))
        return self.head(F.max_pool2d(features, 2).flatten(1))


class _Called(nn.Module):
    """A class that overrides __call__, so that no hook on it ever fires."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _plain()

    def __call__(self, pictures: Tensor) -> Any:
        return self.net(pictures)


class _Tokens(nn.Module):
    """A vision transformer with a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.position = nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
            for _ in range(3)
        )
        self.head = nn.Linear(16, 5)

    def forward(self, pictures: Tensor) -> Any:
        tokens = self.patches(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens[:, 0] + tokens[:, 1:].mean(1))


class _ChannelsLast(nn.Module):
    """Linear layers over (N, H, W, C), as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 2)
        self.mix1, self.mix2 = nn.Linear(12, 24), nn.Linear(24, 12)
        self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 5)

    def forward(self, pictures: Tensor) -> Any:
        features = self.patches(pictures).permute(0, 2, 3, 1)
        features = self.norm(features + self.mix2(F.gelu(self.mix1(features))))
        return self.head(features.mean((1, 2)))


class _Sum(nn.Module):
    """Two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Tanh())
        self.side, self.head = nn.Linear(4, 8), nn.Linear(8, 5)

    def forward(self, pictures: Tensor, extra: Tensor) -> Any:
        return self.head(self.features(pictures).mean((2, 3)) * self.side(extra))


class _Writing(nn.Module):
    """Normalises its input in place, and fills a buffer and an attribute when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _plain()
        self.scale: Tensor | None
        self.register_buffer("scale", None)
        self.calls = 0

    def forward(self, pictures: Tensor) -> Any:
        self.calls += 1
        if self.scale is None:
            self.scale = torch.full((1,), 2.0, dtype=pictures.dtype, device=pictures.device)
        pictures.sub_(0.5).mul_(self.scale)
        return self.net(pictures)


class _TokensFirst(nn.Module):
    """Tokens before the batch, (L, N, D), as in older transformers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(16, 2, 32, batch_first=False) for _ in range(2))
        )
        self.head = nn.Linear(16, 5)

    def forward(self, pictures: Tensor) -> Any:
        tokens = self.patches(pictures).flatten(2).permute(2, 0, 1)
        return self.head(self.blocks(tokens).mean(0))


class _Pair(nn.Module):
    """A layer that returns two tensors, of which the second goes on."""

    def forward(self, features: Tensor) -> Any:
        return features.mean((2, 3)), features.relu()


class _Tupled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.pair = nn.Conv2d(3, 8, 3, padding=1), _Pair()
        self.conv2, self.head = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, pictures: Tensor) -> Any:
        _, features = self.pair(self.conv1(pictures))
        return self.head(self.conv2(features).tanh().mean((2, 3)))


class _Answer(NamedTuple):
    logits: Tensor
    features: Tensor


class _Structured(nn.Module):
    """A named tuple with more than the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), nn.Linear(8, 5)

    def forward(self, pictures: Tensor) -> Any:
        features = self.features(pictures)
        return _Answer(self.head(features.mean((2, 3))), features)


def _volume() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv3d(6, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def _signal() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(6, 8, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def _flat() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 5))


def _one_logit() -> nn.Module:
    return nn.Sequential(_plain(), nn.Linear(5, 1))


def _softmax() -> nn.Module:
    return nn.Sequential(_plain(), nn.Softmax(1))


def _segmentation() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
    )


def _embedding() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old files still have to be explained
        trace: Any = torch.jit.trace
        module: nn.Module = trace(_plain().eval(), torch.zeros(1, 3, 16, 16))
    return module


def _function() -> nn.Module:
    network = _plain().eval()
    return Function(lambda pictures: network(pictures).detach().numpy())


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("plain", "convolutions, batch norm, pooling, a linear head", _plain),
        Kind("residual", "in-place ReLUs, a module called three times, sums in place", _Residual),
        Kind("functional", "functions for modules, a layer under two names", _Functional),
        Kind("called", "a class that overrides __call__", _Called),
        Kind("tokens", "a vision transformer with a class token", _Tokens),
        Kind("channels-last", "layers of (N, H, W, C)", _ChannelsLast),
        Kind("two-inputs", "a further input beside the pictures", _Sum, others=(4,)),
        Kind("structured", "an output that is a named tuple", _Structured),
        Kind("writing", "writes into its input, and sets attributes as it runs", _Writing),
        Kind("tokens-first", "tokens before the batch", _TokensFirst),
        Kind("tupled", "a layer of two outputs", _Tupled),
        Kind("signal", "one axis of space", _signal, (2, 64)),
        Kind("volume", "three axes of space", _volume, (2, 6, 8, 8)),
        Kind("flat", "no space at all", _flat, (64,)),
        Kind("one-logit", "a single output", _one_logit),
        Kind("softmax", "a network that ends in a softmax", _softmax),
        Kind("regression", "a number, not a class", _one_logit, target=Regression(0)),
        Kind("segmentation", "class scores for every pixel", _segmentation, target=Region()),
        Kind(
            "embedding",
            "no class head",
            _embedding,
            target=Similarity(torch.linspace(-1, 1, 6)),
        ),
        Kind("scripted", "TorchScript, which takes no hooks", _scripted),
        Kind("function", "a function that gives an array: neither gradient nor layers", _function),
    )
}
"""Every kind by name; methods are run on all of them."""
