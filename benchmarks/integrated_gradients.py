"""Integrated gradients beside captum's, with equal steps: time and peak memory."""

from __future__ import annotations

import captum.attr
import torch
from torchvision.models import get_model

import seewhy as sw
from benchmarks.harness import MIB, Section, Work, interleaved, peak_memory, ratio_rows

MEMORY = {"300 MB": 300_000_000, "1 GB": 1_000_000_000}


def measure(*, quick: bool) -> Section:
    """Return seconds, ratios and MiB for ResNet-18 at 224 px."""
    cases, size, rounds = ([(4, 1)], 96, 3) if quick else ([(50, 1), (20, 4)], 224, 8)
    section = Section(
        "integrated_gradients",
        "Integrated gradients",
        f"ResNet-18 if not said otherwise, {size} px, Gauss-Legendre, equal steps. *captum* is "
        "captum 0.9.0, which runs all steps at once and checks nothing; *seewhy* is "
        "`seewhy.explain(model, tensor, ...)`, whose completeness gap costs a forward of the "
        "picture and one of the baseline. Memory is what is given as `memory=`, 512 MiB "
        "where nothing is; peak memory is that of a first call, which gets to know the model.",
    )
    for steps, batch in cases:
        what = f"{steps} steps, batch {batch}"
        names = ["captum", "seewhy", *(f"seewhy in {each}" for each in MEMORY)]
        sides = _sides(steps, batch, size)
        times = interleaved({name: sides[name] for name in names}, rounds)
        ratio_rows(section, times, what, names)
        peaks = {
            name: peak_memory(section.name, f"{name}/resnet18/{steps}/{batch}/{size}")
            for name in names
        }
        for name in names[1:]:
            section.at_most(
                f"{what}: {name}, time",
                times.ratio(name, "captum"),
                1.0,
                "x captum",
                times.spread(name, "captum"),
            )
        section.measured(f"{what}: captum, peak memory", f"{peaks['captum']:.0f} MiB")
        for name in names[1:]:
            given = MEMORY.get(name.removeprefix("seewhy in "), 1 << 29)
            section.at_most(f"{what}: {name}, peak memory", peaks[name], given // MIB, "MiB")
    name, given = "seewhy in 1 GB", MEMORY["1 GB"]
    peak = peak_memory(section.name, f"{name}/resnet50/20/1/{size}")
    section.at_most(f"ResNet-50, 20 steps: {name}, peak memory", peak, given // MIB, "MiB")
    return section


def work(side: str) -> Work:
    """Return what `peak_memory` runs alone: "seewhy in 1 GB/resnet18/50/1/224"."""
    name, network, *numbers = side.split("/")
    return _sides(*map(int, numbers), network)[name]


def _sides(steps: int, batch: int, size: int, network: str = "resnet18") -> dict[str, Work]:
    torch.manual_seed(0)
    module = get_model(network, weights=None).eval()
    model, pictures = sw.Model(module, name=network), torch.randn(batch, 3, size, size)
    method = sw.IntegratedGradients(steps)
    captums = captum.attr.IntegratedGradients(module)

    def seewhy(memory: int | None) -> Work:
        return lambda: sw.explain(model, pictures, 0, method, memory=memory)

    return {
        "captum": lambda: captums.attribute(pictures, target=0, n_steps=steps),
        "seewhy": seewhy(None),
        **{f"seewhy in {name}": seewhy(given) for name, given in MEMORY.items()},
    }
