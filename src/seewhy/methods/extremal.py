"""Extremal perturbation: the small smooth regions that alone keep the score highest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.fill import Blur, Fill
from seewhy.methods.base import Attribution, Display, positive
from seewhy.methods.changes import (
    Removing,
    as_map,
    check_space,
    faded,
    scores_of,
    space_of,
)
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

BLUR = Blur()
WEIGHT = 100.0  # of the area, beside a score that goes from 0 to 1
RATE, MOMENTUM = 0.01, 0.9  # of the ascent, for masks in 0..1 and slopes of a cell's own
CELLS = 3  # to the standard deviation of a bump
KEPT = 0.5  # of what the score loses when all is removed: the area that keeps it is told


@method(
    "extremal-perturbation",
    paper="Fong et al. 2019",
    cost="steps x areas forwards and backwards: 600",
    needs=("gradient",),
)
@dataclass(frozen=True)
class ExtremalPerturbation(Removing):
    """For each of several areas the smooth mask under which the score is highest; their mean.

    areas: shares of the picture that may be seen, joined by "+" in a string. steps: of ascent with
    momentum, along which the area's weight grows to where it holds. smooth: standard deviation of
    the bumps that masks are made of, as a share of the shorter side. Outside a mask the picture
    fades into the fill, by default its blur. checks["area"]: the smallest of the areas that keeps
    at least half of what the score loses when all is removed, 1 where none does.
    The map is (N, 1, *space) in 0..1: the share of the masks that show a place.
    """

    areas: str | float | tuple[float, ...] = "0.05+0.1+0.2"
    steps: int = 200
    smooth: float = 0.09
    fill: Fill | str = field(default=BLUR, kw_only=True)

    display: ClassVar[Display] = "positive"

    def __post_init__(self) -> None:
        object.__setattr__(self, "areas", "+".join(map(str, _numbers(self.areas))))
        super().__post_init__()

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.steps, "extremal-perturbation: steps")
        positive(self.smooth, "extremal-perturbation: smooth")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Find a mask for each area, and the smallest under which enough of the score is left."""
        check_space(prepared, self.name)
        score.bind(model, prepared)
        run = model.steady(run)
        areas, device = _numbers(self.areas), prepared.tensor.device
        fade = faded(self.fill, prepared, run)

        def asked(masks: Tensor) -> Tensor:
            return scores_of(
                model,
                prepared,
                score,
                run,
                masks.shape[1],
                lambda rows, changes: fade(rows, masks[rows.to(device), changes.to(device)]),
                shared=False,
            )

        both = torch.stack([torch.zeros(space_of(prepared)), torch.ones(space_of(prepared))])
        nothing, whole = asked(both.to(device).expand(len(prepared), *both.shape)).unbind(1)
        drop = (whole - nothing).abs().clamp(min=1e-6)
        masks = self._ascended(model, prepared, score, run, fade, drop)
        kept = (asked(masks) - nothing[:, None]) / (whole - nothing)[:, None] >= KEPT
        smallest = torch.where(kept, torch.tensor(areas, dtype=torch.float64), 1.0).amin(1)
        return Attribution(as_map(masks.mean(1), prepared), {"area": smallest}, (INPUT,))

    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _ascended(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        run: Run,
        fade: Callable[[Tensor, Tensor], Tensor],
        drop: Tensor,
    ) -> Tensor:
        """Return the masks, (N, areas, *space), under which the score is highest.

        It counts as a share of its drop, less how far the mask's sorted values are from its area's.
        """
        areas, space = _numbers(self.areas), space_of(prepared)
        device, at_once = prepared.tensor.device, model.rows_at_once(prepared, run)
        bumps = [each.to(device) for each in _bumps(space, self.smooth)]
        rows = torch.arange(len(prepared)).repeat_interleave(len(areas))
        wanted = _sorted(areas, math.prod(space)).to(device).repeat(len(prepared), 1)
        shape = tuple(each.shape[1] for each in bumps)
        grids = torch.full((len(rows), *shape), 0.5, device=device)
        speed, cells = torch.zeros_like(grids), math.prod(shape)

        def slope(grids: Tensor, weight: float, start: int, stop: int) -> Tensor:
            own, place = rows[start:stop], torch.arange(start, stop, device=device)
            with torch.enable_grad():
                grid = grids[place].requires_grad_()
                masks = _smooth(grid, bumps)
                pictures = fade(own, masks)
            shown = prepared.changed(pictures.detach(), own)
            gained = record(model, shown, score.of(own), [INPUT]).gradients[INPUT]
            with torch.enable_grad():
                reward = (pictures * gained).flatten(1).sum(1) / drop[own].to(pictures)
                apart = masks.flatten(1).sort(stable=True).values - wanted[place]
                gain = reward.sum() - weight * apart.square().mean(1).sum()
                found: Tensor = torch.autograd.grad(gain, grid)[0]
            return found

        for step in range(self.steps):
            weight = WEIGHT * step / self.steps  # none at first: then all places are alike
            parts = in_parts(len(rows), at_once, partial(slope, grids, weight))
            slopes = [found for _, _, found in parts]
            speed = MOMENTUM * speed + cells * torch.cat(slopes)
            grids = (grids + RATE * speed).clamp(0, 1)
            run.report(step + 1, self.steps, "steps")
        return _smooth(grids, bumps).reshape(len(prepared), len(areas), *space)


def _numbers(areas: str | float | tuple[float, ...]) -> tuple[float, ...]:
    """The areas, however they were given."""
    given: Any = areas
    listed = given.split("+") if isinstance(given, str) else given
    try:
        found = tuple(map(float, (listed,) if isinstance(listed, int | float) else listed))
    except (TypeError, ValueError):
        found = ()
    if not found or not all(0 < each < 1 for each in found):
        raise MethodError(
            f"extremal-perturbation: areas is {areas!r}: give shares between 0 and 1, such as "
            "0.05+0.1+0.2"
        )
    return found


def _sorted(areas: tuple[float, ...], places: int) -> Tensor:
    """The values of an ideal mask of each area in ascending order, (K, places)."""
    seen = torch.tensor([round(area * places) for area in areas])
    return (torch.arange(places) >= places - seen[:, None]).float()


def _bumps(space: tuple[int, ...], smooth: float) -> list[Tensor]:
    """How much of each cell's bump each place of an axis sees, (side, cells), at most 1."""
    width = max(smooth * min(space), 0.5)
    found = []
    for side in space:
        cells = max(1, min(side, round(CELLS * side / width)))
        centres = (torch.arange(cells) + 0.5) * side / cells
        apart = (torch.arange(side) + 0.5)[:, None] - centres
        found.append((-(apart / width).square() / 2).exp())
    return found


def _smooth(grids: Tensor, bumps: list[Tensor]) -> Tensor:
    """The highest bump at each place: a maximum in place of a convolution's sum; (m, *space)."""
    for bump in bumps:
        lines = grids.reshape(len(grids), 1, grids.shape[1], -1)
        # not amax: its gradient goes to every equal cell and takes several times as long
        highest = (bump[:, :, None] * lines).max(2).values
        grids = highest.reshape(len(grids), -1, *grids.shape[2:]).movedim(1, -1)
    return grids
