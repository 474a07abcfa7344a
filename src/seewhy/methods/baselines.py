"""Baselines: the input that stands for nothing, where a path to the picture begins.

>>> baselines_of(Model(torch.nn.Identity()), Prepared(torch.ones(1, 1, 2)), "-1+mean", Run())
tensor([[[[-1., -1.]]],
<BLANKLINE>
<BLANKLINE>
        [[[ 1.,  1.]]]])
"""

from __future__ import annotations

import difflib
import math

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.images import Picture, read_picture
from seewhy.errors import MethodError, NoSpaceError, warn
from seewhy.fill import gaussian
from seewhy.model.model import Model
from seewhy.model.prepare import Prepared
from seewhy.model.tape.trees import full
from seewhy.run import Run, generator

Baseline = float | str
"""What a baseline is: a number in the model's units, or a description.

"black" and "white" are what pictures of that colour become in the model's own preprocessing; where
that is not known they are 0 and the input's largest value, with a warning. "mean" is the picture's
own mean colour; "blur:0.1" the picture blurred, with a standard deviation as a share of its shorter
side (.1 by default); "noise" uniform between the picture's least and largest value. Anything with a
dot or a slash is the path of another picture. Several are joined by "+", and averaged over.
"""

NAMES = ("black", "white", "mean", "noise", "blur")
BLUR = 0.1  # of the shorter side
STREAM = 3_000_000  # and one for each draw: tells them from other uses of a picture's numbers
RESERVED = ",()"  # they have a meaning of their own in a method's string


def check_baseline(baseline: object, what: str) -> None:
    """Raise MethodError unless this describes a baseline; what: the setting, for the message."""
    if isinstance(baseline, bool) or not isinstance(baseline, int | float | str):
        raise MethodError(f"{what} is {baseline!r}: give a number, {_listed()}")
    if not isinstance(baseline, str):
        if not math.isfinite(baseline):
            raise MethodError(f"{what} is {baseline!r}: give a finite number")
        return
    if _number(baseline) is not None:
        raise MethodError(f"{what} is the text {baseline!r}: give it as a number")
    if any(sign in baseline for sign in RESERVED):
        raise MethodError(
            f"{what} is {baseline!r}: commas and brackets cannot stand in a setting; give the "
            "picture another name"
        )
    for part in baseline.split("+"):
        _check_part(part, what)


def baselines_of(
    model: Model, prepared: Prepared, baseline: Baseline, run: Run, draw: int = 0
) -> Tensor:
    """Return the baselines of the pictures, (K, N, C, *space); several are joined by "+".

    draw: the number of the first draw of noise; each noise takes one. Raises MethodError where a
    baseline does not fit the input, PictureError where a picture cannot be read.
    """
    found = []
    for number, part in enumerate(parts_of(baseline)):
        found.append(_one(model, prepared, part, run, draw + number).to(prepared.tensor))
    return torch.stack(found)


def parts_of(baseline: Baseline) -> list[Baseline]:
    """Return the single baselines, numbers as numbers."""
    if not isinstance(baseline, str):
        return [baseline]
    known = [(part, _number(part)) for part in baseline.split("+")]
    return [part if number is None else number for part, number in known]


def noise(prepared: Prepared, rows: Tensor, draws: Tensor, run: Run) -> Tensor:
    """Return noise for pictures, uniform between the least and the largest value of each.

    rows, draws: (M,), which picture and the number of the draw. Returns (M, C, *space).
    """
    inputs = prepared.tensor
    shape, keys = inputs.shape[1:], prepared.keys
    values = [
        torch.rand(shape, generator=generator(run.seed, keys[row], STREAM + draw))
        for row, draw in zip(rows.tolist(), draws.tolist(), strict=True)
    ]
    flat = inputs[rows.to(inputs.device)].flatten(1)
    low, high = (_column(each, inputs) for each in (flat.amin(1), flat.amax(1)))
    return low + (high - low) * torch.stack(values).to(inputs)


def smoothed(pictures: Tensor, deviation: float) -> Tensor:
    """Return pictures (..., C, *space) as float32 at least, blurred by a Gaussian over space.

    pictures: with one batch axis. deviation: in pixels, 0 for none. At the edges only what is in
    the picture is averaged.
    """
    found = full(pictures)
    if deviation <= 0:
        return found
    for axis in range(2, pictures.ndim):
        weights = gaussian(pictures.shape[axis], deviation).to(found)
        found = (found.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return found


def need_space(prepared: Prepared, what: str) -> None:
    """Raise NoSpaceError for flat inputs: what cannot be done with them."""
    if prepared.tensor.ndim < 3:
        raise NoSpaceError(
            f"{what} needs pictures, and an input of the shape {tuple(prepared.tensor.shape)} "
            "has no space: take integrated-gradients with baseline=mean or a number"
        )


# ---------------------------------------------------------------------- one baseline


def _one(model: Model, prepared: Prepared, part: Baseline, run: Run, draw: int) -> Tensor:
    inputs = prepared.tensor
    if not isinstance(part, str):
        return torch.full_like(inputs, part)
    name, _, option = part.partition(":")
    if name in ("black", "white"):
        return _of_colour(model, prepared, name)
    if name == "mean":
        over = tuple(range(2, inputs.ndim)) or (1,)
        return full(inputs).mean(over, keepdim=True).expand(inputs.shape)
    if name == "noise":
        rows = torch.arange(len(inputs))
        return noise(prepared, rows, torch.full_like(rows, draw), run)
    if name == "blur":
        need_space(prepared, "a blurred baseline")
        return smoothed(inputs, (_number(option) or BLUR) * min(inputs.shape[2:]))
    return _of_file(model, prepared, part)


def _of_colour(model: Model, prepared: Prepared, colour: str) -> Tensor:
    """What a picture of one colour becomes, for each picture of the size that it had."""
    inputs, originals = prepared.tensor, prepared.originals or (None,) * len(prepared)
    if model.preprocess is None:
        if all(each is not None for each in originals):  # they are scaled to 0..1
            return torch.full_like(inputs, float(colour == "white"))
        warn(
            f"the preprocessing of {model.name} is not known: {colour} is taken to be "
            f"{'0' if colour == 'black' else 'the largest value of the input'}; give "
            "Model(..., preprocess=...), or the baseline as a number"
        )
        largest = _column(inputs.flatten(1).amax(1), inputs).expand(inputs.shape)
        return largest if colour == "white" else torch.zeros_like(inputs)
    own = (int(inputs.shape[-1]), int(inputs.shape[-2])) if inputs.ndim == 4 else (64, 64)
    sizes = [own if each is None else each.image.size for each in originals]
    known = {
        size: _fitted(_prepared(model, Image.new("RGB", size, colour), colour), inputs[0], colour)
        for size in set(sizes)
    }
    return torch.stack([known[size] for size in sizes])


def _fitted(found: Tensor, like: Tensor, colour: str) -> Tensor:
    """A coloured input; for one of another size than the preprocessing makes, its colour."""
    if found.shape == like.shape:
        return found.to(like)
    if found.ndim == like.ndim and found.ndim > 1 and len(found) == len(like):
        mean = found.flatten(1).mean(1).reshape(-1, *(1,) * (like.ndim - 1))
        return mean.to(like).expand(like.shape)
    raise MethodError(
        f"a {colour} picture becomes an input of the shape {tuple(found.shape)}, and what is "
        f"explained has {tuple(like.shape)}: give the baseline as a number"
    )


def _of_file(model: Model, prepared: Prepared, path: str) -> Tensor:
    inputs = prepared.tensor
    if model.preprocess is None and not any(prepared.originals):
        warn(
            f"the preprocessing of {model.name} is not known: {path} is scaled to 0..1 and nothing "
            "else; give Model(..., preprocess=...)"
        )
    found = _prepared(model, read_picture(path).image, path)
    if found.shape != inputs.shape[1:]:
        raise MethodError(
            f"the baseline {path} becomes an input of the shape {tuple(found.shape)}, and what is "
            f"explained has {tuple(inputs.shape[1:])}: give a picture of its size"
        )
    return found.to(inputs).expand(inputs.shape)


def _prepared(model: Model, image: Image.Image, what: str) -> Tensor:
    return model.preparer.one(Picture(image, f"the baseline {what}"))


# ---------------------------------------------------------------------- descriptions


def _check_part(part: str, what: str) -> None:
    name, colon, option = part.partition(":")
    if _number(part) is not None or (name in NAMES and not colon):
        return
    if name == "blur":
        sigma = _number(option)
        if sigma is None or sigma <= 0:
            raise MethodError(
                f"{what} is {part!r}: write blur:0.1, a share of the shorter side above zero"
            )
        return
    if name in NAMES or part != part.strip() or not any(sign in part for sign in "./\\"):
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else f"give a number, {_listed()}"
        raise MethodError(f"{what}: there is no baseline {part!r}: {hint}")


def _listed() -> str:
    return "black, white, mean, noise, blur:0.1, the path of a picture, or several joined by +"


def _number(text: str) -> float | None:
    """The finite number that is written there, None where there is none."""
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _column(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))
