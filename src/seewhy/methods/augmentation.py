"""Wrappers that average any method over changed copies of the picture: turned, brighter, larger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoSpaceError, SeewhyError
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.copies import in_copies, one_by_one
from seewhy.methods.gradient import Gradient
from seewhy.methods.registry import method
from seewhy.methods.smoothing import check_wrapped, mean
from seewhy.model.outputs import detects
from seewhy.model.tape.record import Outcome
from seewhy.model.tape.trees import float_tensors, full, map_leaves, put
from seewhy.run import Run
from seewhy.targets.score import Score, Seen

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

Ways = list[tuple[int, ...]]
"""Axes of space along which a copy may be flipped, one way after another."""

FLIPS: dict[str, Ways] = {
    "none": [()],
    "horizontal": [(), (-1,)],
    "both": [(), (-1,), (-2,), (-2, -1)],
}


@method(
    "augmentation",
    paper="Gildenblat 2021 (pytorch-grad-cam), as test-time augmentation",
    cost="6 x the method, 1 forward",
)
@dataclass(frozen=True)
class Augmentation(Method):
    """The mean of a method's maps over flipped, brighter and darker copies of the picture.

    method: any method, the gradient by default. flips: "none", "horizontal", or "both" ways.
    brightness: what is added to the picture and taken from it, as a share of its range (max - min)
    as the model sees it; 0 for none.
    Maps of flipped copies are turned back before they are averaged; where the target has a place
    (a region, a neuron), it is flipped with the picture. The map has the shape of the method's own.
    checks: the means of the method's own. It is for pictures, (N, C, H, W).
    """

    method: Method = field(default_factory=Gradient)
    flips: Literal["none", "horizontal", "both"] = "horizontal"
    brightness: float = 0.1

    family: ClassVar[str] = "smoothing"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_wrapped(self, self.method)
        if not 0 <= self.brightness < float("inf"):
            raise MethodError(
                f"augmentation: brightness is {self.brightness!r}: give a share, 0 or more"
            )

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it averages."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The mean over all copies."""
        if prepared.tensor.ndim != 4:
            raise NoSpaceError(
                "augmentation flips pictures (N, C, H, W), and an input of the shape "
                f"{tuple(prepared.tensor.shape)} came: use smoothgrad, which takes any input"
            )
        score.bind(model, prepared)
        return mean(self._copies(model, prepared, score, run))

    def _copies(
        self, model: Model, prepared: Prepared, score: Score, run: Run
    ) -> Iterator[Attribution]:
        inputs, ways = prepared.tensor, FLIPS[self.flips]
        flat = inputs.flatten(1)
        spread = (flat.amax(1) - flat.amin(1)).reshape(-1, 1, 1, 1)
        lights = [0.0, self.brightness, -self.brightness] if self.brightness else [0.0]
        light = torch.tensor(lights).to(spread).reshape(-1, 1, 1, 1)

        def changed(rows: Tensor, changes: Tensor) -> Tensor:
            own, lit = rows.to(inputs.device), (changes % len(lights)).to(inputs.device)
            return _flipped(inputs[own] + light[lit] * spread[own], ways, changes // len(lights))

        def explain(copies: Prepared, rows: Tensor, changes: Tensor) -> Attribution:
            way = changes // len(lights)
            back = partial(_turned_back, ways=ways, way=way)
            found = self.method.attribute(model, copies, _ScoreOf(score.of(rows), back), run)
            return replace(found, relevance=_flipped(found.relevance, ways, way))

        count = len(ways) * len(lights)
        for _, found in in_copies(model, prepared, run, count, changed, explain, "copies"):
            yield from one_by_one(found, len(inputs))


@method(
    "multi-scale",
    paper="as multi-scale inference of segmentation networks",
    cost="3 x the method, on larger and smaller pictures",
)
@dataclass(frozen=True)
class MultiScale(Method):
    """The mean of a method's maps of the picture at several sizes.

    method: any method, the gradient by default. scales: of the picture's sides, joined by "+".
    Maps are brought to the grid of the map at the picture's own size by the transpose of the
    resize, as the chain rule does; it keeps their sums. Where the target has a place
    (a region, a neuron), it is scaled with the picture. The map has the shape of the method's own.
    checks: the means of the method's own. MethodError where the network takes one size only.
    """

    method: Method = field(default_factory=Gradient)
    scales: str = "0.75+1+1.25"

    family: ClassVar[str] = "smoothing"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_wrapped(self, self.method)
        if not isinstance(self.scales, str):
            raise MethodError(f"multi-scale: scales is {self.scales!r}: write them as '0.5+1+2'")
        try:
            fit = all(0 < each < float("inf") for each in self._scales)
        except ValueError:
            fit = False
        if not fit:
            raise MethodError(
                f"multi-scale: scales is {self.scales!r}: write numbers above zero, as '0.5+1+2'"
            )

    @property
    def _scales(self) -> list[float]:
        return [float(each) for each in self.scales.split("+")]

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it averages."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """The mean over all sizes, on the grid of the picture's own."""
        if prepared.tensor.ndim < 3:
            raise NoSpaceError(
                "multi-scale resizes pictures, and an input of the shape "
                f"{tuple(prepared.tensor.shape)} has no space: use smoothgrad, which takes any"
            )
        own = self.method.attribute(model, prepared, score, run)
        score.bind(model, prepared)  # where the method did not ask for it
        found = []
        for number, scale in enumerate(self._scales):
            found.append(own if scale == 1 else self._at(scale, own, model, prepared, score, run))
            run.report(number + 1, len(self._scales), "scales")
        return mean(found)

    def _at(
        self,
        scale: float,
        own: Attribution,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,
    ) -> Attribution:
        space = prepared.tensor.shape[2:]
        size = tuple(max(1, round(side * scale)) for side in space)
        changed = prepared.changed(_resized(prepared.tensor, size))
        clean = score.answered[0]
        asked = _ScoreOf(score, lambda outcome, _: _as_clean(outcome, clean))
        try:
            found = self.method.attribute(model, changed, asked, run)
        except (SeewhyError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, ValueError, AssertionError) as error:
            raise MethodError(
                f"multi-scale: {model.name} does not take its picture at the size "
                f"{'x'.join(map(str, size))} ({str(error).splitlines()[0]}): use augmentation, "
                "which keeps the size, or other scales"
            ) from error
        back = _resized(found.relevance, own.relevance.shape[2:], back=True)
        return Attribution(back, found.checks, own.layers)


# ---------------------------------------------------------------------- the score of a changed copy


class _ScoreOf(Seen):
    """A bound score for copies: what the network gives for them is laid on the picture first."""

    def __init__(self, score: Score, back: Callable[[Outcome, Tensor], Outcome]) -> None:
        super().__init__(score)
        self._back = back

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        return self.score(self._back(outcome, rows), rows)


def _turned_back(outcome: Outcome, rows: Tensor, ways: Ways, way: Tensor) -> Outcome:
    """What the network gave for flipped pictures, flipped: whatever of it has space."""
    if ways == FLIPS["none"]:
        return outcome
    _refuse_boxes(outcome)

    def flip(leaf: Any) -> Any:
        return _flipped(leaf, ways, way[rows]) if isinstance(leaf, Tensor) else leaf

    return Outcome(
        map_leaves(flip, outcome.outputs),
        {layer: flip(found) for layer, found in outcome.activations.items()},
        outcome.clean,
        outcome.end,
    )


def _as_clean(outcome: Outcome, clean: Outcome) -> Outcome:
    """What the network gave for resized pictures, in the sizes of what it gave for them."""
    _refuse_boxes(outcome)
    found, wanted = float_tensors(outcome.outputs), float_tensors(clean.outputs)
    new = {
        number: _resized(one, other.shape[2:])
        for number, (one, other) in enumerate(zip(found, wanted, strict=False))
    }
    return Outcome(
        put(outcome.outputs, new),
        {
            layer: _resized(one, clean.activations[layer].shape[2:])
            for layer, one in outcome.activations.items()
        },
        outcome.clean,
        outcome.end,
    )


def _refuse_boxes(outcome: Outcome) -> None:
    if detects(outcome.outputs):
        raise MethodError(
            "the boxes of a detector cannot be laid back on the picture: use smoothgrad, or "
            "augmentation with flips=none"
        )


def _flipped(tensor: Tensor, ways: Ways, way: Tensor) -> Tensor:
    """Flip what has two axes of space, and leave the rest; way: that of each row, of `ways`."""
    found = tensor
    for number, axes in enumerate(ways):
        if axes and tensor.ndim == 4:
            own = (way == number).to(tensor.device).reshape(-1, 1, 1, 1)
            found = torch.where(own, tensor.flip(axes), found)
    return found


def _resized(tensor: Tensor, size: Sequence[int], *, back: bool = False) -> Tensor:
    """Bring (N, C, *space) to another size, linear, every pixel counting; what does not fit stays.

    back: by the transpose of the resize that goes the other way, which keeps the sum.
    """
    space = tuple(tensor.shape[2:])
    if space == tuple(size) or len(space) != len(size):
        return tensor
    found = full(tensor)
    for axis, (given, wanted) in enumerate(zip(space, size, strict=True), 2):
        weights = _weights(wanted, given).T if back else _weights(given, wanted)
        found = (found.movedim(axis, -1) @ weights.to(found).T).movedim(-1, axis)
    return found.to(tensor)


def _weights(given: int, wanted: int) -> Tensor:
    """How much of each of the given places is in each of the wanted ones; rows sum to one."""
    centres = (torch.arange(wanted) + 0.5) * given / wanted - 0.5
    distance = (centres[:, None] - torch.arange(given)).abs() / max(1, given / wanted)
    weights = (1 - distance).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)
