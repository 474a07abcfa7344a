"""Propagation beside zennit's, captum's and one plain gradient: time and peak memory."""

from __future__ import annotations

import captum.attr
import torch
import zennit.composites
import zennit.torchvision
from torchvision.models import get_model
from zennit.attribution import Gradient

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, peak_memory, ratio_rows

NETWORK = "resnet50"


def measure(*, quick: bool) -> Section:
    """Return seconds, ratios and MiB for ResNet-50 at 224 px."""
    batches, size, rounds = ((2,), 96, 3) if quick else ((2, 8), 224, 8)
    section = Section(
        "propagation",
        "Propagation",
        f"ResNet-50 if not said otherwise, {size} px, one class. *seewhy* is `seewhy.explain(model,"
        " tensor, ...)` with all that makes up an Explanation, LRP's books too, within the 512 MiB "
        "that it takes where nothing is given. *zennit* is zennit 0.5.1 with EpsilonPlusFlat and "
        "its canonizer for ResNets; *captum* is captum 0.9.0, whose DeepLIFT refuses networks that "
        "use a ReLU twice. Neither bounds its memory. *gradient* is one forward and one backward "
        "to the picture. Peak memory is that of a first call.",
    )
    for batch in batches:
        what = f"LRP epsilon-plus-flat, batch {batch}"
        sides = _lrp(NETWORK, batch, size)
        times = interleaved(sides, rounds)
        ratio_rows(section, times, what, list(sides))
        against = times.ratio("seewhy", "zennit"), 1.0, "x zennit"
        section.at_most(f"{what}: time", *against, times.spread("seewhy", "zennit"))
        ratio = times.ratio("seewhy", "gradient")
        spread = times.spread("seewhy", "gradient")
        section.measured(f"{what}: time", f"{ratio:.3g} x gradient ({spread})")
        peaks = {
            name: peak_memory(section.name, f"lrp/{name}/{NETWORK}/{batch}/{size}")
            for name in sides
        }
        section.measured(f"{what}: gradient, peak memory", f"{peaks['gradient']:.0f} MiB")
        section.at_most(f"{what}: peak memory", peaks["seewhy"] / peaks["zennit"], 1.0, "x zennit",
                        f"{peaks['seewhy']:.0f} of {peaks['zennit']:.0f} MiB")  # fmt: skip
    for method, network in (("guided-backprop", NETWORK), ("deeplift", "vgg11")):
        sides = _captum(method, network, batches[0], size)
        times = interleaved(sides, rounds)
        what = f"{method}, {network}, batch {batches[0]}"
        ratio_rows(section, times, what, list(sides))
        ratio, spread = times.ratio("seewhy", "captum"), times.spread("seewhy", "captum")
        section.measured(f"{what}: time", f"{ratio:.3g} x captum ({spread})")
    return section


def work(side: str) -> Work:
    """Return what `peak_memory` runs alone: "lrp/zennit/resnet50/2/224"."""
    _, name, network, *numbers = side.split("/")
    return _lrp(network, *map(int, numbers))[name]


def _lrp(network: str, batch: int, size: int) -> dict[str, Work]:
    module, pictures = _given(network, batch, size)
    model = sw.Model(module, name=network)
    canonizer = zennit.torchvision.ResNetCanonizer()
    composite = zennit.composites.EpsilonPlusFlat(canonizers=[canonizer])
    target = torch.eye(1000)[[0] * batch]

    def of_zennit() -> object:
        with Gradient(module, composite) as attributor:
            return attributor(pictures, lambda output: output * target)

    return {
        "gradient": lambda: _gradient(module, pictures),
        "seewhy": lambda: sw.explain(model, pictures, 0, "lrp"),
        "zennit": of_zennit,
    }


def _captum(method: str, network: str, batch: int, size: int) -> dict[str, Work]:
    module, pictures = _given(network, batch, size)
    model, twin = sw.Model(module, name=network), _given(network, batch, size)[0]
    kind = {"guided-backprop": captum.attr.GuidedBackprop, "deeplift": captum.attr.DeepLift}[method]
    return {
        "gradient": lambda: _gradient(module, pictures),
        "seewhy": lambda: sw.explain(model, pictures, 0, method),
        "captum": lambda: kind(twin).attribute(pictures, target=0),
    }


def _gradient(module: torch.nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    given = pictures.clone().requires_grad_()
    return torch.autograd.grad(module(given)[:, 0].sum(), given)[0]


def _given(network: str, batch: int, size: int) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    module = get_model(network, weights=None).eval().requires_grad_(False)
    return module, torch.randn(batch, 3, size, size)
