"""Perturbation methods and surrogates beside the packages, in full and in half precision."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import numpy as np
import pytorch_grad_cam
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from captum.attr import FeatureAblation, KernelShap, Lime, Occlusion, ShapleyValueSampling
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from scipy.stats import spearmanr
from torch import nn
from torchray.attribution.rise import rise
from torchvision.models import resnet18

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows
from seewhy.data.world import generate

AT_ONCE = 32  # rows that the packages send at once where they can
SEGMENT = 32  # pixels a side of the segments of feature ablation


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet-18 at 224 px and for a small network."""
    size, masks, rounds = (96, 64, 3) if quick else (224, 500, 5)
    section = Section(
        "perturbation",
        "Perturbation and surrogates",
        f"ResNet-18, one picture of {size} px of the generated world, class scores. Its features "
        "are random, its batch norm and its head fitted to the world, so that a score follows from "
        "what is seen. *package* is grad-cam 1.5.7 (Score-CAM), TorchRay 1.0 (RISE) and captum "
        f"0.9.0 (the others), {AT_ONCE} rows at a time where they can; *seewhy* is "
        "`seewhy.explain(model, tensor, ...)` with equal masks, patches and segments, *bfloat16* "
        "the same with `precision='bfloat16'`, and Spearman's correlation is between the two. "
        "Surrogates: a net of two convolutions for digits of 28 px, 49 segments, equal samples; "
        f"*captum* with what it does by itself, *in batches* {AT_ONCE} samples at a time.",
    )
    _precision(section, size, masks, rounds)
    _surrogates(section, rounds)
    return section


def fitted(size: int, count: int = 64) -> tuple[nn.Module, torch.Tensor]:
    """Return a ResNet-18 whose head is fitted to the generated world, and a picture of it."""
    torch.manual_seed(0)
    module, scenes = resnet18(weights=None), generate(count, seed=0)
    pictures = torch.from_numpy(np.stack(scenes.pictures)).permute(0, 3, 1, 2).float() / 255
    pictures = F.interpolate((pictures - 0.5) / 0.25, size=(size, size), mode="bilinear")
    module.fc = nn.Identity()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None
    with torch.no_grad():
        module.train()(pictures)
        features = module.eval()(pictures)
        wanted = F.one_hot(torch.as_tensor(np.asarray(scenes.labels))).float()
        centre, level = features.mean(0), wanted.mean(0)
        gram = (features - centre) @ (features - centre).T
        gram += 0.1 * gram.trace() / count * torch.eye(count)
        weights = torch.linalg.solve(gram, wanted - level).T @ (features - centre)
        head = nn.Linear(features.shape[1], wanted.shape[1])
        head.weight.copy_(weights)
        head.bias.copy_(level - weights @ centre)
    module.fc = head
    return module.eval(), pictures[:1].contiguous()  # as transforms give it


def _precision(section: Section, size: int, masks: int, rounds: int) -> None:
    module, picture = fitted(size)
    model, other = sw.Model(module, name="resnet18"), copy.deepcopy(module)
    half = copy.deepcopy(module).bfloat16().to(memory_format=torch.channels_last)
    with torch.no_grad():
        target = int(module(picture).argmax())
    rows = picture.repeat(AT_ONCE, 1, 1, 1)
    few = rows.bfloat16().contiguous(memory_format=torch.channels_last)
    sides = {"float32": _forward(module, rows), "bfloat16": _forward(half, few)}
    times = interleaved(sides, rounds)
    ratio_rows(section, times, f"{AT_ONCE} plain forwards", list(sides))
    section.measured(
        "a plain forward in bfloat16",
        f"{times.ratio('float32', 'bfloat16'):.3g} x faster "
        f"({times.spread('float32', 'bfloat16')})",
    )
    patch = size // 8
    cases: dict[str, tuple[str, Work]] = {
        "score-cam": ("score-cam", _score_cam(other, picture, target)),
        "rise": (f"rise:samples={masks}", _rise(other, picture, target, masks)),
        "occlusion": (f"occlusion:patch={patch}", _occlusion(other, picture, target, patch)),
        "feature-ablation": (
            f"feature-ablation:segments=patch:{SEGMENT}",
            _ablation(other, picture, target),
        ),
    }
    for name, (method, package) in cases.items():
        sides = {
            "package": package,
            "seewhy": _seewhy(model, picture, target, method, None),
            "bfloat16": _seewhy(model, picture, target, method, "bfloat16"),
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, f"`{method}`", list(sides))
        section.at_least(
            f"{name}: seewhy against the package",
            times.ratio("package", "seewhy"),
            1,
            "x faster",
            times.spread("package", "seewhy"),
        )
        section.at_least(
            f"{name}: bfloat16 against the package",
            times.ratio("package", "bfloat16"),
            2.2,
            "x faster",
            times.spread("package", "bfloat16"),
        )
        maps = [
            sw.explain(model, picture, target, method, precision=each)[0].relevance.flatten()
            for each in (None, "bfloat16")
        ]
        section.at_least(
            f"{name}: bfloat16 and float32", float(spearmanr(*maps).statistic), 0.98, "(Spearman)"
        )


def small() -> nn.Sequential:
    """Return a small network for pictures of 28 px, as one trains on handwritten digits."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 10),
    ).eval()


def _surrogates(section: Section, rounds: int) -> None:
    module, picture = small(), torch.rand(1, 1, 28, 28)
    model, side, count = sw.Model(small(), name="small"), 4, 49
    numbers = torch.arange(count).reshape(7, 7)
    numbers = numbers.repeat_interleave(side, 0).repeat_interleave(side, 1)
    segments, orders = f"segments=patch:{side}", 20
    samples = orders * count

    def captums(at_once: int) -> dict[str, Callable[[], object]]:
        how = {"target": 0, "feature_mask": numbers[None, None], "perturbations_per_eval": at_once}
        return {
            "lime": lambda: Lime(module).attribute(picture, n_samples=samples, **how),
            "kernel-shap": lambda: KernelShap(module).attribute(picture, n_samples=samples, **how),
            "shapley-sampling": lambda: ShapleyValueSampling(module).attribute(
                picture, n_samples=orders, **how
            ),
        }

    alone, batched = captums(1), captums(AT_ONCE)
    for name in alone:
        sides = {
            "captum": _quiet(alone[name]),
            "in batches": _quiet(batched[name]),
            "seewhy": _seewhy(model, picture, 0, f"{name}:samples={samples},{segments}", None),
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, f"{name}, {samples} samples", list(sides))
        section.at_least(
            f"{name} against captum",
            times.ratio("captum", "seewhy"),
            10,
            "x faster",
            times.spread("captum", "seewhy"),
        )
        section.measured(
            f"{name} against captum in batches",
            f"{times.ratio('in batches', 'seewhy'):.3g} x faster "
            f"({times.spread('in batches', 'seewhy')})",
        )


def _forward(module: nn.Module, rows: torch.Tensor) -> Work:
    def work() -> object:
        with torch.inference_mode():
            return module(rows)

    return work


def _seewhy(
    model: sw.Model, picture: torch.Tensor, target: int, method: str, precision: str | None
) -> Work:
    return lambda: sw.explain(model, picture, target, method, precision=precision)


def _score_cam(module: nn.Module, picture: torch.Tensor, target: int) -> Work:
    def work() -> object:
        with pytorch_grad_cam.ScoreCAM(module, [module.layer4]) as cam:
            cam.batch_size = AT_ONCE
            return cam(picture, [ClassifierOutputTarget(target)])

    return _quiet(work)


def _rise(module: nn.Module, picture: torch.Tensor, target: int, masks: int) -> Work:
    def work() -> object:
        with torch.no_grad():
            return rise(module, picture, target, num_masks=masks, batch_size=AT_ONCE)

    return work


def _occlusion(module: nn.Module, picture: torch.Tensor, target: int, patch: int) -> Work:
    window, step = (3, patch, patch), (3, patch // 2, patch // 2)
    return lambda: Occlusion(module).attribute(
        picture, window, strides=step, target=target, perturbations_per_eval=AT_ONCE
    )


def _ablation(module: nn.Module, picture: torch.Tensor, target: int) -> Work:
    size = picture.shape[-1]
    line = torch.arange(size) // SEGMENT
    mask = (line[:, None] * (int(line[-1]) + 1) + line)[None, None]
    return lambda: FeatureAblation(module).attribute(
        picture, target=target, feature_mask=mask, perturbations_per_eval=AT_ONCE
    )


def _quiet(work: Work) -> Work:
    """The packages print and warn about themselves."""

    def quietly() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return work()

    return quietly
