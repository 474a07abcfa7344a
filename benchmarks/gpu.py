"""Methods on a GPU, beside one plain forward and beside the packages."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable

import captum.attr
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows

AT_ONCE = 256  # rows that the packages send at once where they can
MASKS, STEPS = 2000, 50


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet-50 at 224 px; RuntimeError where there is no GPU."""
    if not torch.cuda.is_available():
        raise RuntimeError("this benchmark needs a GPU that torch can use")
    rounds = 3 if quick else 10
    section = Section(
        "gpu",
        "On a GPU",
        "ResNet-50, 224 px, pictures in the GPU's memory, class scores. *forward* is one plain "
        "forward of the batch without gradients. *package* is grad-cam 1.5.7 or captum 0.9.0, "
        f"{AT_ONCE} rows at a time where it can; *seewhy* is `seewhy.explain(model, tensor, ...)` "
        "with equal masks, patches and steps; *bfloat16* the same with `precision='bfloat16'`. "
        f"The GPU is an {torch.cuda.get_device_name()}.",
    )
    torch.manual_seed(0)
    module = resnet50(weights=None).eval().cuda()
    model, other = sw.Model(module, name="resnet50"), copy.deepcopy(module)
    many = torch.randn(64, 3, 224, 224, device="cuda")
    one = many[:1]
    for method, package in {
        "grad-cam": pytorch_grad_cam.GradCAM,
        "layer-cam": pytorch_grad_cam.LayerCAM,
    }.items():
        sides = {
            "forward": _forward(module, many),
            "package": _cam(package, other, many),
            "seewhy": _seewhy(model, many, method, None),
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, f"{method}, batch {len(many)}", list(sides))
        section.measured(
            f"{method}: seewhy against a forward",
            _times(times, "seewhy", "forward") + " x its time",
        )
        section.measured(
            f"{method}: seewhy against the package",
            _times(times, "package", "seewhy") + " x faster",
        )
    cases: dict[str, tuple[str, Work]] = {
        "score-cam": ("score-cam", _cam(pytorch_grad_cam.ScoreCAM, other, one)),
        "ablation-cam": ("ablation-cam", _cam(pytorch_grad_cam.AblationCAM, other, one)),
        "integrated gradients": (
            f"integrated-gradients:steps={STEPS}",
            _captum(captum.attr.IntegratedGradients(other), one, n_steps=STEPS),
        ),
        "occlusion": (
            "occlusion",
            _captum(
                captum.attr.Occlusion(other),
                one,
                sliding_window_shapes=(3, 16, 16),
                strides=(3, 8, 8),
                perturbations_per_eval=AT_ONCE,
            ),
        ),
    }
    for name, (method, package_work) in cases.items():
        sides = {
            "package": package_work,
            "seewhy": _seewhy(model, one, method, None),
            "bfloat16": _seewhy(model, one, method, "bfloat16"),
        }
        times = interleaved(sides, rounds)
        ratio_rows(section, times, f"{name}, one picture", list(sides))
        for side in ("seewhy", "bfloat16"):
            section.measured(
                f"{name}: {side} against the package", _times(times, "package", side) + " x faster"
            )
    rows = many[:1].expand(MASKS, -1, -1, -1)
    sides = {
        "forwards": _forward(module, rows),
        "seewhy": _seewhy(model, one, f"rise:samples={MASKS}", None),
        "bfloat16": _seewhy(model, one, f"rise:samples={MASKS}", "bfloat16"),
    }
    times = interleaved(sides, rounds)
    ratio_rows(section, times, f"rise, {MASKS} masks", list(sides))
    for side in ("seewhy", "bfloat16"):
        section.measured(
            f"rise: {side} against its forwards", _times(times, side, "forwards") + " x their time"
        )
    return section


def _times(times: object, side: str, other: str) -> str:
    return f"{times.ratio(side, other):.3g} ({times.spread(side, other)})"  # type: ignore[attr-defined]


def _done(work: Callable[[], object]) -> Work:
    """Return the work until the GPU has done it."""

    def waited() -> object:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = work()
        torch.cuda.synchronize()
        return found

    return waited


def _forward(module: nn.Module, pictures: torch.Tensor) -> Work:
    def work() -> object:
        with torch.no_grad():
            return [module(part) for part in pictures.split(AT_ONCE)]

    return _done(work)


def _seewhy(model: sw.Model, pictures: torch.Tensor, method: str, precision: str | None) -> Work:
    return _done(lambda: sw.explain(model, pictures, 0, method, precision=precision))


def _cam(package: type, module: nn.Module, pictures: torch.Tensor) -> Work:
    def work() -> object:
        with package(module, [module.layer4]) as cam:
            cam.batch_size = AT_ONCE
            return cam(pictures, [ClassifierOutputTarget(0)] * len(pictures))

    return _done(work)


def _captum(method: captum.attr.Attribution, picture: torch.Tensor, **options: object) -> Work:
    return _done(lambda: method.attribute(picture, target=0, **options))
