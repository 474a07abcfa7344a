"""Replay of what comes after a layer, beside a forward of everything."""

from __future__ import annotations

import torch
from torchvision.models import resnet50

import seewhy as sw
from benchmarks.harness import Section, Work, interleaved, ratio_rows
from seewhy.model.tape.record import record
from seewhy.model.tape.replay import replay


def measure(*, quick: bool) -> Section:
    """Return seconds and ratios for ResNet-50 at 224 px."""
    size, rows, rounds = (96, 4, 3) if quick else (224, 16, 12)
    section = Section(
        "replay",
        "Replay",
        f"ResNet-50, {size} px: {rows} variants of one picture's activations at a layer, run "
        f"through the rest of the network, beside one plain forward of {rows} pictures. *held* is "
        "how methods replay, many times while they hold the model; *alone* takes hold of the model "
        "and gives it back each time.",
    )
    torch.manual_seed(0)
    module = resnet50(weights=None).eval()
    model, pictures = sw.Model(module, name="resnet50"), torch.randn(rows, 3, size, size)
    prepared = model.prepare(pictures[:1])
    which = torch.zeros(rows, dtype=torch.long)

    def forward() -> object:
        with torch.no_grad():
            return module(pictures)

    def replayed(name: str) -> Work:
        layer = model.layer(name, prepared)
        recording = record(model, prepared, layers=[layer])
        activations = recording.activations[layer].expand(rows, -1, -1, -1).clone()

        def work() -> object:
            with torch.no_grad():
                return replay(recording, layer, activations, which)

        return work

    sides = {"forward": forward, "layer4 alone": replayed("layer4")}
    apart = interleaved(sides, rounds)
    sides = {"forward": forward, "layer4": replayed("layer4"), "layer3": replayed("layer3")}
    with model.held():
        held = interleaved(sides, rounds)
    ratio_rows(section, held, "held", list(sides))
    ratio_rows(section, apart, "alone", ["forward", "layer4 alone"])
    for what, times, side in (("held", held, "layer4"), ("alone", apart, "layer4 alone")):
        section.at_least(
            f"replay from layer4, {what}",
            times.ratio("forward", side),
            200,
            "x faster",
            times.spread("forward", side),
        )
    section.measured(
        "replay from layer3, held",
        f"{held.ratio('forward', 'layer3'):.3g} x faster ({held.spread('forward', 'layer3')})",
    )
    return section
