"""CAMs beside one plain forward of the same batch, and beside grad-cam."""

from __future__ import annotations

import copy

import pytorch_grad_cam
import torch
from torchvision.models import resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows
from seewhy.methods import as_method, perform
from seewhy.targets import Score, as_target

METHODS = {
    "grad-cam": pytorch_grad_cam.GradCAM,
    "hires-cam": pytorch_grad_cam.HiResCAM,
    "layer-cam": pytorch_grad_cam.LayerCAM,
}


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet-50 at 224 px."""
    size, batch, rounds = (96, 4, 3) if quick else (224, 8, 16)
    section = Section(
        "cam",
        "Class activation maps",
        f"ResNet-50, batch {batch}, {size} px, layer4. *forward* is one plain forward of the batch "
        "without gradients. *seewhy* is `seewhy.explain(model, tensor, method=...)` with all that "
        "makes up an Explanation; *method alone* is `seewhy.methods.perform`, which gives raw "
        "maps. *grad-cam* is grad-cam 1.5.7.",
    )
    torch.manual_seed(0)
    module = resnet50(weights=None).eval()
    model, other = sw.Model(module, name="resnet50"), copy.deepcopy(module)
    pictures = torch.randn(batch, 3, size, size)
    for method in METHODS:
        sides = {
            "forward": _forward(module, pictures),
            "seewhy": _seewhy(model, pictures, method),
            "method alone": _alone(model, pictures, method),
            "grad-cam": _grad_cam(other, pictures, method),
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, method, list(sides))
        for side in ("seewhy", "method alone"):
            section.at_most(
                f"{method}: {side}",
                times.ratio(side, "forward"),
                1.10,
                "x forward",
                times.spread(side, "forward"),
            )
        section.at_least(
            f"{method}: seewhy against grad-cam",
            times.ratio("grad-cam", "seewhy"),
            2.5,
            "x faster",
            times.spread("grad-cam", "seewhy"),
        )
    return section


def _forward(module: torch.nn.Module, pictures: torch.Tensor) -> Work:
    def work() -> object:
        with torch.no_grad():
            return module(pictures)

    return work


def _seewhy(model: sw.Model, pictures: torch.Tensor, method: str) -> Work:
    return lambda: sw.explain(model, pictures, method=method)


def _alone(model: sw.Model, pictures: torch.Tensor, method: str) -> Work:
    def work() -> object:
        prepared = model.prepare(pictures)
        score = Score([as_target(None)] * len(prepared), model, prepared)
        return perform(as_method(method), model, prepared, score, sw.Run())

    return work


def _grad_cam(module: torch.nn.Module, pictures: torch.Tensor, method: str) -> Work:
    def work() -> object:
        with METHODS[method](module, [module.layer4]) as cam:
            return cam(pictures, None)

    return work
