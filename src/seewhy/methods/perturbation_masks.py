"""Sensitivity analysis: which cells of a mask the score depends on, alone or with others."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Display, positive
from seewhy.methods.changes import (
    Removing,
    as_map,
    check_sampling,
    check_space,
    draws_of,
    faded,
    laid,
    scores_of,
    space_of,
)
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

DESIGNS, BITS = 420, 430  # tell these uses of a picture's random numbers from others


@dataclass(frozen=True)
class _Cells(Removing):
    """A method that fades the cells of a grid laid over space.

    grid: cells along each axis, no more than there are places. seconds: no more masks are begun
    after that, once there are enough for an answer. checks["samples"]: masks used.
    """

    grid: int = 8
    seconds: float | None = field(default=None, kw_only=True)

    display: ClassVar[Display] = "positive"

    def masks(self, draw: torch.Generator, cells: int) -> Tensor:
        """Return what is seen of each cell, (K, cells) in 0..1."""
        raise NotImplementedError

    def indices(self, masks: Tensor, scores: Tensor) -> tuple[Tensor, int]:
        """Return a number for each cell, float64 (cells,), and how many masks were used.

        masks: (k, cells), the first of all; scores: theirs, float64 (k,).
        """
        raise NotImplementedError

    def least(self, cells: int) -> int:
        """Return how many masks are an answer."""
        raise NotImplementedError

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Ask for the scores under all masks, then find the index of each cell."""
        check_space(prepared, self.name)
        space = space_of(prepared)
        shape = tuple(min(self.grid, side) for side in space)
        cells = math.prod(shape)
        draws = draws_of(prepared, run, DESIGNS if self.name == "sobol" else BITS)
        listed = {key: self.masks(draw, cells) for key, draw in draws.items()}
        number = {key: place for place, key in enumerate(listed)}
        device = prepared.tensor.device
        own = torch.tensor([number[key] for key in prepared.keys])
        table = torch.stack(list(listed.values())).to(device)
        factors = [_inside(*each).to(device) for each in zip(space, shape, strict=True)]
        fade = faded(self.fill, prepared, run)

        def seen(rows: Tensor, changes: Tensor) -> Tensor:
            chosen = table[own[rows].to(device), changes.to(device)]
            return fade(rows, laid(chosen.reshape(-1, *shape), factors))

        score.bind(model, prepared)
        scores = scores_of(
            model,
            prepared,
            score,
            run,
            table.shape[1],
            seen,
            seconds=self.seconds,
            least=self.least(cells),
            what="masks",
        )
        found, used = [], []
        for row, key in enumerate(prepared.keys):
            known = scores[row][~scores[row].isnan()]
            values, asked = self.indices(listed[key][: len(known)], known)
            found.append(values.reshape(shape))
            used.append(asked)
        checks = {"samples": torch.tensor(used, dtype=torch.float64)}
        return Attribution(as_map(torch.stack(found), prepared), checks, (INPUT,))


@method(
    "sobol",
    paper="Fel et al. 2021",
    cost="designs x (cells + 2) forwards: 2112",
)
@dataclass(frozen=True)
class Sobol(_Cells):
    """The share of the score's variance that a cell takes part in, alone and with others.

    Total Sobol indices under masks that fade each cell by a random share (Jansen's estimator on a
    scrambled Sobol sequence). designs: points of the sequence, each asked for twice and once more
    for each cell. The map is (N, 1, *grid) and never negative: it does not say for or against.
    """

    designs: int = 32

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_sampling(self.name, self.designs, self.seconds)
        positive(self.grid, "sobol: grid")
        if self.designs < 2:
            raise MethodError("sobol: designs is 1: a variance takes at least 2")

    def least(self, cells: int) -> int:
        """Return how many masks are an answer."""
        return 2 * (cells + 2)

    def masks(self, draw: torch.Generator, cells: int) -> Tensor:
        """Return for each point A and B, and A with each cell of B in turn."""
        if 2 * cells > SobolEngine.MAXDIM:
            raise MethodError(
                f"sobol: {cells} cells are more than the {SobolEngine.MAXDIM // 2} that Sobol "
                "sequences are known for: give a smaller grid"
            )
        engine = SobolEngine(2 * cells, scramble=True, seed=draw.initial_seed())
        one, two = engine.draw(self.designs).split(cells, 1)
        turned = torch.where(torch.eye(cells, dtype=torch.bool), two[:, None], one[:, None])
        return torch.cat([one[:, None], two[:, None], turned], 1).flatten(0, 1)

    def indices(self, masks: Tensor, scores: Tensor) -> tuple[Tensor, int]:
        """Jansen: the mean square of what a cell alone changes, over twice the variance."""
        each = masks.shape[1] + 2
        used = len(scores) // each * each
        answers = scores[:used].reshape(-1, each)
        changed = (answers[:, :1] - answers[:, 2:]).square().mean(0)
        variance = answers[:, :2].flatten().var(correction=0)
        return changed / (2 * variance) if variance > 0 else torch.zeros_like(changed), used


@method("hsic", paper="Novello et al. 2022", cost="samples forwards: 1000")
@dataclass(frozen=True)
class HSIC(_Cells):
    """How much the score depends on whether a cell is seen: the Hilbert-Schmidt criterion.

    samples: masks that show each cell with probability 1/2. The kernel of a cell is whether two
    masks agree there; that of the score is Gaussian, as wide as the median distance of two scores.
    The map is (N, 1, *grid) and never negative: it does not say for or against.
    """

    grid: int = 7
    samples: int = 1000

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_sampling(self.name, self.samples, self.seconds)
        positive(self.grid, "hsic: grid")
        if self.samples < 2:
            raise MethodError("hsic: samples is 1: a dependence takes at least 2")

    def least(self, cells: int) -> int:
        """Return how many masks are an answer."""
        return cells + 1

    def masks(self, draw: torch.Generator, cells: int) -> Tensor:
        """Return which cells are seen."""
        return (torch.rand(self.samples, cells, generator=draw) < 0.5).float()

    def indices(self, masks: Tensor, scores: Tensor) -> tuple[Tensor, int]:
        """Return tr(K H L H) / (n - 1)^2, K = (1 + u u^T) / 2 for signs u of a cell."""
        count = len(scores)
        apart = (scores[:, None] - scores).abs()
        # between masks that are the same there is only rounding
        other = (torch.cdist(masks, masks) > 0) & (apart > 0)
        width = apart[other].median() if bool(other.any()) else apart.new_ones(())
        kernel = (-apart.square() / (2 * width**2)).exp()
        centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
        signs = 2 * masks.double() - 1
        traces = (signs * (centred @ signs)).sum(0) / 2
        return traces.clamp(min=0) / (count - 1) ** 2, count


def _inside(side: int, cells: int) -> Tensor:
    """In which of the cells each place of an axis lies, (side, cells)."""
    return (torch.arange(side)[:, None] * cells // side == torch.arange(cells)).float()
