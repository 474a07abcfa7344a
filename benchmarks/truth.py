"""What maps of the embedded models are worth, beside a table measured on other models."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import kendalltau, spearmanr

import seewhy as sw
from benchmarks.harness import Section
from seewhy.data.world import generate
from seewhy.data.world.train import RECIPES, Schedule, train
from seewhy.trust import Evaluation, auroc, mass_of

REFERENCE = {  # pointing game, relevance mass, rank, SRG (blur, 8 px), sticker: object, shortcut
    "occlusion:patch=8,stride=4": (0.99, 0.73, 0.83, 0.888, 0.01, 0.59),
    "rise:samples=300": (1.00, 0.49, 0.83, 0.873, 0.01, 0.36),
    "layer-cam:layer=halve": (1.00, 0.60, 0.84, 0.868, 0.04, 0.56),
    "grad-cam": (0.84, 0.45, 0.80, 0.865, 0.01, 0.21),
    "guided-backprop": (0.99, 0.48, 0.73, 0.861, 0.05, 0.43),
    "gradient": (0.97, 0.34, 0.64, 0.854, 0.03, 0.28),
    "smoothgrad": (1.00, 0.29, 0.74, 0.853, 0.03, 0.16),
    "integrated-gradients:baseline=blur:0.1": (0.95, 0.63, 0.53, 0.804, 0.05, 0.75),
    "integrated-gradients": (0.98, 0.59, 0.44, 0.785, 0.05, 0.66),
    "gradient-x-input": (0.99, 0.58, 0.38, 0.590, 0.03, 0.58),
    "sobel": (0.05, 0.11, 0.16, -0.130, 0.19, 0.19),
    "random": (0.14, 0.08, 0.08, -0.030, 0.04, 0.04),
}
"""By method, of a network of the same size on 96 pictures of a world of the same kind."""

METRICS = ("pointing-game", "relevance-mass", "relevance-rank", "srg")
METHODS = [name for name in REFERENCE if name not in ("sobel", "random")]


def measure(*, quick: bool) -> Section:
    """Return the table for the embedded models, and how it agrees with the reference."""
    count, steps = (8, 60) if quick else (96, Schedule().steps)
    section = Section(
        "truth",
        "Maps where the truth is known",
        f"The object model of the generated world on {count} pictures whose shape and sticker "
        "disagree; the mask is the shape's. SRG removes patches of 8 px, blurred. *reference* are "
        "the same numbers of another network in a world of the same kind. The *sticker* is its "
        "share of the map, for the object model and for the shortcut model on the same pictures, "
        "and the AUROC says how often the latter is larger. *controls* know nothing of a model.",
    )
    scenes = generate(count, seed=0, conflict=True)
    pictures, masks = list(scenes.pictures), list(scenes.mask("shape"))
    models = {name: sw.load(name) for name in ("demo", "demo/shortcut")}
    found = judge(models["demo"], pictures, masks, count)
    other = judge(models["demo/shortcut"], pictures, masks, count, metrics=["relevance-mass"])
    told: dict[str, float] = {}
    for name in found.methods:
        shares = [mass_of(each.examples[name], scenes.mask("sticker")) for each in (found, other)]
        told[name] = told_apart(found, other, name, scenes.mask("sticker"))
        said = ", ".join(f"{metric} {found.interval(name, metric).mean:.2f}" for metric in METRICS)
        gain = found.interval(name, "srg")
        said += f" [{gain.low:.2f}, {gain.high:.2f}]"
        said += f", sticker {float(shares[0].mean()):.2f} to {float(shares[1].mean()):.2f}"
        said += f", AUROC {told[name]:.2f}"
        if name in REFERENCE:
            known = REFERENCE[name]
            said += f"; reference {', '.join(f'{each:.2f}' for each in known[:4])}"
            said += f", sticker {known[4]:.2f} to {known[5]:.2f}"
        section.measured(name, said)
    for place, metric in ((1, "relevance-mass"), (3, "srg")):
        section.at_least(
            f"rank correlation with the reference, {metric}",
            agreement(found, metric, place),
            0.7,
            "(Spearman)",
        )
    for metric in ("pointing-game", "srg"):
        surely = [name for name in METHODS if found.beats_controls(name, metric)]
        section.at_least(
            f"methods above every control, {metric}",
            len(above(found, metric)),
            len(METHODS),
            f"of {len(METHODS)}",
            "surely, by the interval of the difference: all"
            + "".join(f" but {name}" for name in METHODS if name not in surely),
        )
    real = [told[name] for name in METHODS]
    section.at_least("object told from shortcut model, methods", min(real), 0.99, "AUROC")
    controls = [abs(told[name] - 0.5) for name in found.controls]
    section.at_most("object told from shortcut model, controls", max(controls), 0.1, "from .5")
    again = judge(second_model(steps), pictures, masks, count, metrics=["srg"])
    section.at_least(
        "order by SRG, of a second training seed", same_order(found, again), 0.8, "(Kendall)"
    )
    return section


def judge(
    model: sw.Model,
    pictures: list[object],
    masks: list[object],
    count: int,
    metrics: tuple[str, ...] | list[str] = METRICS,
) -> Evaluation:
    """Evaluate the methods of the reference, and all controls."""
    return sw.evaluate(model, pictures, METHODS, masks, metrics, examples=count)


def agreement(found: Evaluation, metric: str, place: int) -> float:
    """Return Spearman's rank correlation of a metric's means with a column of the reference."""
    means = [found.interval(name, metric).mean for name in REFERENCE]
    return float(spearmanr(means, [each[place] for each in REFERENCE.values()]).statistic)


def above(found: Evaluation, metric: str) -> list[str]:
    """Return the methods whose mean is larger than every control's."""
    most = max(found.interval(name, metric).mean for name in found.controls)
    return [name for name in METHODS if found.interval(name, metric).mean > most]


def same_order(one: Evaluation, other: Evaluation) -> float:
    """Return Kendall's rank correlation of the methods and controls by their mean SRG."""
    means = [[each.interval(name, "srg").mean for name in one.methods] for each in (one, other)]
    return float(kendalltau(*means).statistic)


def told_apart(found: Evaluation, other: Evaluation, name: str, masks: Sequence[object]) -> float:
    """Return how often a map of the other model lies more in the masks than one of the first."""
    one, two = (mass_of(each.examples[name], masks) for each in (found, other))
    return auroc(two, one)


def second_model(steps: int = Schedule().steps) -> sw.Model:
    """Train the object model from another seed: two minutes."""
    network = train(RECIPES["object"], seed=1, schedule=Schedule(steps=steps))
    like = sw.load("demo")
    return sw.Model(network, preprocess=like.preprocess, labels=like.labels)
