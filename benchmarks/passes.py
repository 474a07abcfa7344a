"""Every method beside the passes that it needs, and some CAMs beside grad-cam."""

from __future__ import annotations

import copy
import warnings

import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchvision.models import resnet18, resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows
from seewhy.methods import as_method, perform
from seewhy.model.tape.passes import Passes, counted
from seewhy.targets import Score, as_target

AT_ONCE = 16  # rows of a plain pass
SHORT = 96  # forwards that are measured of methods with few: more rounds

SINGLE = (  # one forward, and a backward no further than the last layers
    "grad-cam",
    "hires-cam",
    "layer-cam",
    "grad-cam-plus-plus",
    "xgrad-cam",
    "grad-cam-element-wise",
    "finer-cam",
    "eigen-grad-cam",
)
TO_THE_LAYER = (
    "cam",
    "eigen-cam",
    "kpca-cam",
    "fem",
    "random-cam",
    "layer-fusion",
    "layer-activation",
    "gradient-x-activation",
    "shapley-cam",
)
TO_THE_PICTURE = (
    "gradient",
    "gradient-x-input",
    "guided-backprop",
    "deconvolution",
    "fullgrad",
    "guided-ig:steps=20",
)
HALF_TO_THE_PICTURE = ("guided-grad-cam",)  # of its backwards the other half ends at the layer
MANY_TO_THE_LAYER = (
    "smooth-grad-cam-plus-plus:samples=8",
    "score-cam:channels=32",
    "ss-cam:channels=8,samples=4",
    "is-cam:channels=8,steps=4",
    "augmentation:method=grad-cam",
    "conductance:steps=8",
    "internal-influence:steps=8",
    "occlusion:patch=56,stride=28",
    "feature-ablation:segments=patch:32",
    "rise:samples=64",
    "sobol:designs=2,grid=5",
    "hsic:samples=64",
    "lime:samples=64",
    "kernel-shap:samples=64",
    "shapley-sampling:samples=64,segments=patch:56",
)
MANY_TO_THE_PICTURE = (
    "smoothgrad:samples=8",
    "smoothgrad-squared:samples=8",
    "vargrad:samples=8",
    "integrated-gradients:steps=8",
    "expected-gradients:samples=8",
    "blur-ig:steps=8",
    "xrai",
    "extremal-perturbation:steps=8",
)


def measure(*, quick: bool) -> Section:
    """Return ratios to plain passes for ResNet-18, and seconds beside grad-cam for ResNet-50."""
    size, rounds = (96, 4) if quick else (224, 8)
    section = Section(
        "passes",
        "Methods beside the passes they need",
        f"ResNet-18, {size} px, default layer (layer4): batch 8 for those that send a picture "
        "once, or one step after another, batch 2 and few samples for those that make batches of "
        "their own, so that what a method takes beyond its passes shows; 4 to 12 rounds. *method* "
        "is `seewhy.methods.perform`, which counts its passes; *passes* are as many plain ones, 16 "
        "rows at a time, as the pictures come: "
        "forwards without a graph, and, for methods that differentiate down to the picture, as "
        "many forwards with a backward. (Methods that send many changed pictures lay them channels "
        "last, which is up to a tenth faster here and hides as much of what they take beyond.) "
        "Below, ResNet-50, one picture: *grad-cam* is grad-cam 1.5.7.",
    )
    torch.manual_seed(0)
    module = resnet18(weights=None).eval()
    model, pictures = sw.Model(module, name="resnet18"), torch.randn(8, 3, size, size)
    for methods, deep, bar in (
        (SINGLE, 0.0, 1.10),
        (TO_THE_LAYER, 0.0, 1.15),
        (TO_THE_PICTURE, 1.0, 1.15),
        (HALF_TO_THE_PICTURE, 0.5, 1.15),
        (MANY_TO_THE_LAYER, 0.0, 1.15),
        (MANY_TO_THE_PICTURE, 1.0, 1.15),
    ):
        several = methods in (MANY_TO_THE_LAYER, MANY_TO_THE_PICTURE)
        few = pictures[:2] if several else pictures
        for text in methods:
            work = alone(model, few, text)
            with counted() as passes:
                work()
            sides = {"passes": plain(module, few, passes, deep), "method": work}
            turns = max(SHORT // passes.forwards, rounds // 2)
            times = interleaved(sides, 3 if quick else turns)
            section.at_most(
                f"`{text}`: {passes}",
                times.ratio("method", "passes"),
                bar,
                "x its passes",
                times.spread("method", "passes"),
            )
    _beside_grad_cam(section, size, rounds)
    return section


def alone(model: sw.Model, pictures: torch.Tensor, text: str) -> Work:
    """Return what gives a method's raw maps."""
    method = as_method(text)

    def work() -> object:
        prepared = model.prepare(pictures)
        score = Score([as_target(0)] * len(prepared), model, prepared)
        return perform(method, model, prepared, score, sw.Run())

    return work


def plain(module: nn.Module, pictures: torch.Tensor, passes: Passes, deep: float) -> Work:
    """Return what does as many plain passes; deep: the share of backwards down to the pictures."""
    graphs = round(deep * passes.backwards)
    rows = pictures.repeat(-(-passes.forwards // len(pictures)), 1, 1, 1)[: passes.forwards]

    def work() -> object:
        found: list[torch.Tensor] = []
        with torch.inference_mode():
            if passes.forwards > graphs:
                found += [module(part) for part in rows[graphs:].split(AT_ONCE)]
        for part in rows[:graphs].split(AT_ONCE) if graphs else ():
            leaf = part.clone().requires_grad_()
            found += torch.autograd.grad(module(leaf)[:, 0].sum(), leaf)
        return found

    return work


def _beside_grad_cam(section: Section, size: int, rounds: int) -> None:
    module = resnet50(weights=None).eval()
    model, other = sw.Model(module, name="resnet50"), copy.deepcopy(module)
    picture = torch.randn(1, 3, size, size)
    for method, kind, bar, turns in (
        ("ablation-cam", pytorch_grad_cam.AblationCAM, 100, 1),
        ("eigen-cam:layer=layer1", pytorch_grad_cam.EigenCAM, 3, rounds),
        ("eigen-cam", pytorch_grad_cam.EigenCAM, 0, rounds),  # a forward is the least it takes
    ):
        layer = method.rpartition("=")[2] if "=" in method else "layer4"
        sides = {
            "seewhy": _seewhy(model, picture, method),
            "grad-cam": _grad_cam(other, picture, kind, layer),
        }
        times = interleaved(sides, turns)
        ratio_rows(section, times, f"`{method}`, ResNet-50", list(sides))
        ratio = times.ratio("grad-cam", "seewhy")
        what, spread = f"`{method}` against grad-cam, ResNet-50", times.spread("grad-cam", "seewhy")
        if bar:
            section.at_least(what, ratio, bar, "x faster", spread)
        else:
            section.measured(what, f"{ratio:.3g} x faster ({spread})")


def _seewhy(model: sw.Model, picture: torch.Tensor, method: str) -> Work:
    return lambda: sw.explain(model, picture, 0, method)


def _grad_cam(module: nn.Module, picture: torch.Tensor, kind: type, layer: str) -> Work:
    def work() -> object:
        with (
            warnings.catch_warnings(),
            kind(module, [module.get_submodule(layer)]) as cam,
        ):
            warnings.simplefilter("ignore")
            return cam(picture, [ClassifierOutputTarget(0)])

    return work
