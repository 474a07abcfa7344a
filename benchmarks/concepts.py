"""Factorization beside scikit-learn's as grad-cam calls it, and of a stream in constant memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pytorch_grad_cam.feature_factorization.deep_feature_factorization import dff
from torch import nn
from torchvision.models import resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, peak_memory, ratio_rows
from seewhy.concepts.solvers import nmf
from seewhy.data.world import generate

AT_ONCE = 16


def measure(*, quick: bool) -> Section:
    """Return seconds, errors and memory."""
    count, rounds, many = (8, 3, 500) if quick else (32, 5, 10_000)
    section = Section(
        "concepts",
        "Concepts",
        f"The factorization of ResNet-50's layer4 on {count} pictures of the generated world, "
        "enlarged to 224 px; its weights are random, its batch norm has seen them. *seewhy* is the "
        "solver of `seewhy.factorize`, *grad-cam* is `dff` of grad-cam 1.5.7, which calls "
        "scikit-learn, on the same activations; the error is the norm of what is left, as a share "
        "of the activations'. *stream* is `seewhy.factorize('demo', iterator, 8)`: peak memory is "
        "how far a process of its own grows beyond its loaded model.",
    )
    activations, forward = _activations(count)
    places = torch.from_numpy(activations).movedim(1, -1).flatten(0, 2)[None].contiguous()
    one = places[:, : activations.shape[2] * activations.shape[3]].contiguous()
    for what, values, given, parts in (
        (f"{count} pictures, 10 concepts", places, activations, 10),
        ("1 picture, 5 concepts", one, activations[:1], 5),
    ):
        sides: dict[str, Work] = {
            "seewhy": lambda values=values, parts=parts: nmf(values, parts, _draw()),
            "grad-cam": lambda given=given, parts=parts: dff(given, parts),
            "forward": forward,
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, what, list(sides))
        ratio = times.ratio("grad-cam", "seewhy")
        error = float(nmf(values, parts, _draw()).error) / _their_error(given, parts)
        if parts == 10:
            spread = times.spread("grad-cam", "seewhy")
            section.at_least(f"{what}: seewhy against grad-cam", ratio, 3, "x faster", spread)
            section.at_most(f"{what}: error", error, 1, "x grad-cam's")
        else:
            section.measured(f"{what}: seewhy against grad-cam", f"{ratio:.2f} x as fast")
            section.measured(f"{what}: error", f"{error:.6f} x grad-cam's")
        if parts == 5:
            section.at_most(
                f"{what}: time",
                times.ratio("seewhy", "forward"),
                1.0,
                "x one forward",
                times.spread("seewhy", "forward"),
            )
    few = peak_memory("concepts", str(many // 10))
    section.measured(f"stream of {many // 10} pictures, peak memory", f"{few:.0f} MiB")
    section.at_most(
        f"stream of {many} pictures, peak memory",
        peak_memory("concepts", str(many)) / few,
        1.1,
        f"x that of {many // 10}",
    )
    return section


def work(side: str) -> Work:
    """Return what factorizes a stream of so many generated pictures."""
    model = sw.load("demo")
    return lambda: sw.factorize(model, pictures(int(side)), 8)


def pictures(count: int) -> Iterator[np.ndarray]:
    """Yield generated pictures, none of them kept."""
    for start in range(0, count, AT_ONCE):
        yield from generate(min(AT_ONCE, count - start), seed=start).pictures


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _activations(count: int) -> tuple[np.ndarray, Work]:
    """The activations of layer4 (N, C, 7, 7), and what runs the network on one picture."""
    torch.manual_seed(0)
    module = resnet50(weights=None)
    given = torch.from_numpy(np.stack(list(pictures(count)))).permute(0, 3, 1, 2).float() / 255
    given = nn.functional.interpolate((given - 0.5) / 0.25, size=(224, 224), mode="bilinear")
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    kept: list[torch.Tensor] = []
    with torch.no_grad():
        module.train()(given[:AT_ONCE])
        module.eval()
        with module.layer4.register_forward_hook(lambda *call: kept.append(call[2])):
            for part in given.split(AT_ONCE):
                module(part)

    def forward() -> object:
        with torch.inference_mode():
            return module(given[:1])

    return torch.cat(kept).numpy(), forward


def _their_error(activations: np.ndarray, parts: int) -> float:
    concepts, maps = dff(activations, parts)
    flat = activations.transpose(1, 0, 2, 3).reshape(activations.shape[1], -1)
    weights = maps.transpose(1, 0, 2, 3).reshape(parts, -1)
    offset = flat.min(1, keepdims=True)  # which it takes off first, and adds to the concepts
    left = flat - offset - (concepts - offset) @ weights
    return float(np.linalg.norm(left) / np.linalg.norm(flat))
