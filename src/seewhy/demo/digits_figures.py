"""The figures of the demonstration on digits: rows of small pictures, and what they are."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from PIL import Image

from seewhy.api import explain
from seewhy.demo.digits_models import CNN, FC, SECOND, read
from seewhy.draw import Cell, heatmap_image
from seewhy.draw.report.strips import Strips
from seewhy.errors import SeewhyWarning
from seewhy.targets import LogitSum

if TYPE_CHECKING:
    from torch import Tensor

    from seewhy.demo.digits_data import Digits, Parts
    from seewhy.explanation import Explanation
    from seewhy.model.model import Model
    from seewhy.prototypes import Prototype
    from seewhy.run import Progress

KINDS = list(range(10))
FEW = 20  # feature maps

Row = tuple[str, list[Cell]]


@dataclass(frozen=True, eq=False)
class Material:
    """What figures are drawn of.

    means: of each kind's digits, (10, 1, 28, 28). near, free: prototypes near the mean of their
    kind, and near that of all digits; turned: an 8 on its way to other digits; all by network.
    """

    digits: Parts
    models: Mapping[str, Model]
    means: Tensor
    near: Mapping[str, Prototype]
    free: Mapping[str, Prototype]
    turned: Mapping[str, Prototype]


def figures(found: Material, progress: Progress | None) -> dict[str, Strips]:
    """Return the figures by name."""
    shown = found.digits.tested.first_of_each()
    return {
        "prototypes": _prototypes(found),
        "free": _free(found),
        "eight": _eight(found),
        "sensitivity": _sensitivity(found, shown, progress),
        "cam": _cam(found, shown, progress),
        "layers": _layers(found, shown, progress),
    }


def _prototypes(found: Material) -> Strips:
    asked = (
        "Each picture began black and was changed, step by step, until cross-entropy + "
        f"{_set(found.near, 'distance')} x squared distance to the mean of the kind's training "
        "digits was small (Montavon et al. 2018): a typical digit, as the network has it. Below "
        "each: what the network itself reads, and what the second opinion reads."
    )
    lesson = (
        "The mean has the larger part in this. What the network changed of it stands below: "
        "brighter where red, darker where blue, on one scale for all ten."
    )
    rows: list[Row] = [("the mean of each kind", _plain(found.means))]
    for title, made in found.near.items():
        rows.append((title, _judged(found, made)))
        rows.append((f"{title}: what it changed", _changes(made.pictures - found.means)))
    return Strips("Prototypes of the ten digits", rows, (asked, lesson))


def _free(found: Material) -> Strips:
    asked = (
        "The same, but each picture is held near the mean of all digits, which says nothing of the "
        f"kind ({_set(found.free, 'distance')} x squared distance), and smooth "
        f"({_set(found.free, 'variation')} x the differences of neighbours). What there is of a "
        "digit in it, the network has drawn."
    )
    lesson = (
        "They are paler and rougher, and truer to the network: what it does not need to tell a "
        "digit from the others is missing."
    )
    everything = found.means.mean(0, keepdim=True)
    rows: list[Row] = [("the mean of all digits", _plain(everything))]
    rows += [(title, _judged(found, made)) for title, made in found.free.items()]
    return Strips("Without a hint which digit it is to be", rows, (asked, lesson))


def _eight(found: Material) -> Strips:
    asked = (
        "A new digit, an 8, is changed step by step: cross-entropy of another digit + "
        f"{_set(found.turned, 'distance')} x squared distance to its mean becomes small, from the "
        "8 on. Below each step: what the network itself reads, and what the second opinion reads."
    )
    lesson = (
        "The network that is asked gives in long before the picture is what it is to become: to "
        "change an answer takes less than to change a digit."
    )
    rows: list[Row] = []
    for title, made in found.turned.items():
        for row, target in enumerate(made.targets):
            frames = made.trajectory[:, row]
            own, second = (_said(read(found.models[each], frames)) for each in (title, SECOND))
            cells = [
                Cell(_picture(frame), f"step {step}", f"itself {one}\nsecond {other}")
                for step, frame, one, other in zip(made.steps, frames, own, second, strict=True)
            ]
            rows.append((f"{title}: the 8 becomes a {target}", cells))
    return Strips("An 8 becomes a 3, and a 1", rows, (asked, lesson))


def _sensitivity(found: Material, shown: Digits, progress: Progress | None) -> Strips:
    asked = (
        "How much a small change of a pixel changes an answer: the squared gradient, for a new "
        "digit of each kind, of the score of that digit and of the sum of all ten scores (Simonyan "
        "et al. 2014, Montavon et al. 2018; gradient:power=squared). The brighter, the more; each "
        "map on its own scale."
    )
    lesson = (
        "This says where the network is sensitive, not what it saw there: places beside the stroke "
        "are bright, where ink would make it another digit."
    )
    rows: list[Row] = [("the digits", _named(shown))]
    for title in (FC, CNN):
        model = found.models[title]
        for name, target in (("the digit's score", KINDS), ("all scores", LogitSum())):
            maps = _explained(model, shown, target, "gradient:power=squared", progress)
            cells = [Cell(heatmap_image(why.drawn("positive"), colormap="inferno")) for why in maps]
            rows.append((f"{title}: {name}", cells))
    return Strips("Where they are sensitive", rows, (asked, lesson))


def _cam(found: Material, shown: Digits, progress: Progress | None) -> Strips:
    model = found.models[CNN]
    count = (model.layer().shape or (0,))[0]
    every, few = (
        _explained(model, shown, KINDS, method, progress)
        for method in ("cam", f"cam:channels={FEW}")
    )
    asked = (
        f"The CNN ends in the mean of each of its {count} feature maps and one linear layer, so "
        "the score of a digit is the mean of a single map: the feature maps times that digit's "
        "weights (class activation mapping, Zhou et al. 2016; cam). The warmer, the more it speaks "
        "for the digit; each map on its own scale."
    )
    lesson = (
        f"Below, with no more than {FEW} feature maps, those of the highest mean in the picture "
        f"(cam:channels={FEW}). The two maps of a digit have a cosine of {_alike(every, few):.2f}, "
        "on average."
    )
    rows: list[Row] = [
        ("the digits", _named(shown)),
        (f"all {count} feature maps", _warm(every)),
        (f"{FEW} of them", _warm(few)),
    ]
    return Strips("Which places spoke for the digit", rows, (asked, lesson))


def _layers(found: Material, shown: Digits, progress: Progress | None) -> Strips:
    asked = (
        "Grad-CAM (Selvaraju et al. 2017) at every layer of the CNN that has space, from the first "
        "to the last, for the score of the digit: the feature maps times the means of their "
        "gradients. The warmer, the more it speaks for the digit; each map on its own scale."
    )
    lesson = (
        "Early feature maps are of edges and of plain ground, which speak for a digit in one place "
        "and against it in another, so that little is left of them in the mean. At the last layer "
        "it is CAM."
    )
    model = found.models[CNN]
    rows: list[Row] = [("the digits", _named(shown))]
    for layer in model.layers():
        if not layer.spatial or not layer.shape:
            continue
        maps = _explained(model, shown, KINDS, f"grad-cam:layer={layer}", progress)
        count, *space = layer.shape
        size = " x ".join(map(str, space))
        rows.append((f"{layer}: {count} maps of {size}", _warm(maps)))
    return Strips("Grad-CAM at every layer", rows, (asked, lesson))


def _explained(
    model: Model, shown: Digits, target: Any, method: str, progress: Progress | None
) -> list[Explanation]:
    found = explain(model, shown.images, target, method, progress=progress)
    return list(cast("Sequence[Explanation]", found))


def _named(shown: Digits) -> list[Cell]:
    return [
        Cell(image, str(label)) for image, label in zip(shown.images, shown.labels, strict=True)
    ]


def _plain(pictures: Tensor) -> list[Cell]:
    return [
        Cell(_picture(each), str(kind) if len(pictures) > 1 else "")
        for kind, each in enumerate(pictures)
    ]


def _judged(found: Material, made: Prototype) -> list[Cell]:
    second = _said(read(found.models[SECOND], made.pictures))
    return [
        Cell(_picture(each), target, f"itself {label} {share:.0%}\nsecond {other}")
        for each, target, (label, share), other in zip(
            made.pictures, made.targets, made.predictions, second, strict=True
        )
    ]


def _changes(differences: Tensor) -> list[Cell]:
    """Differences (N, 1, h, w), red where brighter, blue where darker."""
    scaled = differences / differences.abs().max().clamp(min=1e-12)
    return [Cell(heatmap_image(each[0].numpy(), signed=True)) for each in scaled]


def _said(shares: Tensor) -> list[str]:
    """The most probable digit of each row of probabilities (N, 10), in words."""
    best = shares.max(1)
    return [
        f"{digit} {share:.0%}"
        for digit, share in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def _picture(values: Tensor) -> Image.Image:
    levels = (values[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(np.repeat(levels.numpy()[..., None], 3, axis=2))


def _warm(maps: Sequence[Explanation]) -> list[Cell]:
    """What speaks for the target, over the pictures, and a word where nothing does."""
    cells = []
    for why in maps:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SeewhyWarning)  # that it is empty stands below it
            image = why.overlay(opacity=0.85, sign="positive")
        empty = not bool((why.relevance.sum(0) > 0).any())
        cells.append(Cell(image, "", "nothing for it" if empty else ""))
    return cells


def _alike(one: Sequence[Explanation], other: Sequence[Explanation]) -> float:
    """The mean cosine of two maps of the same picture."""
    flat = [torch.stack([why.relevance.flatten() for why in maps]) for maps in (one, other)]
    return float(torch.cosine_similarity(flat[0], flat[1], dim=1).mean())


def _set(made: Mapping[str, Prototype], name: str) -> str:
    return f"{next(iter(made.values())).settings[name]:g}"
