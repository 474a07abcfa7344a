"""What the maps of every registered method are worth on an embedded model."""

from __future__ import annotations

import seewhy as sw
from benchmarks.harness import Section
from benchmarks.truth import METRICS
from seewhy.data.world import generate
from seewhy.methods import as_method
from seewhy.trust import CONTROLS, Evaluation

MODEL, TRANSFORMER = "demo", "demo/transformer"

OF_ATTENTION = ("attention", "attention-rollout", "gradient-attention-rollout")
COMPANIONS = ("attn-lrp", "gradient", "grad-cam", "layer-cam", "lrp")
"""What is measured on the transformer: the methods for it alone, and some for any network."""

SETTINGS = {
    "extremal-perturbation": "extremal-perturbation:steps=100",
    "occlusion": "occlusion:patch=8,stride=4",  # 16 pixels are nearly all of a shape
    "rise": "rise:samples=1000",
    "shapley-sampling": "shapley-sampling:samples=1000",
    "sobol": "sobol:designs=16",
}
"""Where a method is not run as it comes: a patch that suits 64 pixels, or fewer samples."""

OTHERWISE = {
    model: tuple(str(as_method(each)) for each in methods)
    for model, methods in {
        MODEL: (
            "attn-lrp:convolution=gamma:0.25",
            "extremal-perturbation:steps=100,areas=0.05",
            "integrated-gradients:baseline=black+white",
            "internal-influence:layer=halve",
            "xrai:baseline=0",
        ),
        TRANSFORMER: (
            "attn-lrp:convolution=gamma:0.25",
            "grad-cam:layer=layers.2.norm1",
            "grad-cam:layer=layers.3.norm1",
            "layer-cam:layer=layers.1",
            "layer-cam:layer=layers.2.norm1",
            "layer-cam:layer=layers.3.norm1",
        ),
    }.items()
}
"""By model, rows for the pages that say why a method is below a control, and what helps."""

RANDOM_CAM = "random-cam"
JUDGES = ("relevance-mass", "srg")

EXPLAINED: dict[str, dict[str, frozenset[str]]] = {
    MODEL: {
        "relevance-mass": frozenset(
            ["deconvolution", "internal-influence", "layer-activation", "xrai"]
        ),
        "srg": frozenset(["attn-lrp", "deconvolution", "gradient-x-input", "internal-influence"]),
    },
    TRANSFORMER: {
        "relevance-mass": frozenset(),
        "srg": frozenset(["grad-cam", "layer-cam"]),
    },
}
"""By model and metric, the methods below a control of which the page of their family says why."""


def measure(*, quick: bool) -> Section:
    """Return the table of all methods, the best by SRG first, and which are below a control."""
    count = 4 if quick else 48
    section = Section(
        "world",
        "All methods on the generated world",
        f"Every registered method on the object model and {count} pictures whose shape and sticker "
        "disagree; the mask is the shape's. Methods of attention, and some others beside them, are "
        f"measured in the same way on {TRANSFORMER}, the embedded vision transformer. SRG removes "
        "patches of 8 px, blurred. Settings are the methods' own where a row shows none. "
        "*control*: the edges of the picture, its centre and random numbers know nothing of the "
        "model; random-cam, the model's own channels weighted at random, knows what the last layer "
        "sees and nothing of the class. A method below one of the four, by the mean, is one that "
        "its page explains under *Fails*. Milliseconds are a picture's, and rough: methods ran one "
        "after the other, whatever else the machine did.",
    )
    for model in (MODEL, TRANSFORMER):
        report(section, judge(count, model), model)
    return section


def report(section: Section, found: Evaluation, model: str) -> None:
    """Add the rows and the bars of one model."""
    on = "" if model == MODEL else f", {model}"
    for name in sorted(found.methods, key=lambda each: -found.interval(each, "srg").mean):
        gain = found.interval(name, "srg")
        said = [f"{metric} {found.interval(name, metric).mean:.2f}" for metric in METRICS]
        said[-1] += f" [{gain.low:.2f}, {gain.high:.2f}]"
        unanswered = int(found.values[name]["relevance-mass"].isnan().sum())
        said += [f"no answer for {unanswered}"] if unanswered else []
        said.append(f"{found.costs[name].milliseconds:.3g} ms")
        kind = " (control)" if name in found.controls else ""
        kind = " (another setting)" if name in OTHERWISE[model] else kind
        section.measured(name + on + kind, ", ".join(said))
    for failure in found.failures:
        section.measured(failure.source, f"does not apply: {' '.join(str(failure.error).split())}")
    of = f"of {len(real(found))}"
    blind = [name for name in found.controls if name != RANDOM_CAM]
    for metric in JUDGES:
        for whom, controls in (("a control", found.controls), ("a blind control", blind)):
            low = below(found, metric, controls)
            new = [each for each in low if each not in EXPLAINED[model][metric]]
            section.at_most(
                f"below {whom} and not explained, {metric}{on}",
                len(new),
                0,
                of,
                f"below are {len(low)}: {', '.join(low) or 'none'}",
            )
    both = [each for each in below(found, "srg") if each in below(found, "relevance-mass")]
    explained = EXPLAINED[model]["srg"] & EXPLAINED[model]["relevance-mass"]
    new = [each for each in both if each not in explained]
    section.at_most(
        f"below a control in both and not explained{on}", len(new), 0, of, ", ".join(both)
    )


def judge(count: int, model: str = MODEL) -> Evaluation:
    """Evaluate the methods for a model, and all controls with random-cam among them."""
    scenes = generate(count, seed=0, conflict=True)
    elsewhere = (RANDOM_CAM, *OF_ATTENTION)
    everything = [SETTINGS.get(name, name) for name in sw.methods() if name not in elsewhere]
    methods = everything if model == MODEL else [*OF_ATTENTION, *COMPANIONS]
    return sw.evaluate(
        model,
        list(scenes.pictures),
        [*methods, *OTHERWISE[model]],
        list(scenes.mask("shape")),
        METRICS,
        controls=[*CONTROLS, as_method(RANDOM_CAM)],
        examples=0,
    )


def real(found: Evaluation) -> list[str]:
    """Return the methods that are judged: no controls, no other settings."""
    others = (*found.controls, *OTHERWISE[found.model])
    return [name for name in found.methods if name not in others]


def below(found: Evaluation, metric: str, controls: tuple[str, ...] | list[str] = ()) -> list[str]:
    """Return the names of the methods whose mean is smaller than that of the best control.

    controls: those to compare with, all where none are given.
    """
    most = max(found.interval(name, metric).mean for name in controls or found.controls)
    low = [name for name in real(found) if not found.interval(name, metric).mean >= most]
    return [name.partition(":")[0] for name in low]
