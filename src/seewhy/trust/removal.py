"""Metrics with the model: how the score falls as the picture is removed, patch by patch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from seewhy.errors import MethodError
from seewhy.fill import Blur, Fill, as_fill
from seewhy.model.prepare import Prepared
from seewhy.model.tape.ask import ask
from seewhy.trust.metrics import TIES, Case, Maps, Metric

Order = Literal["least", "most"]
BLUR = Blur()
ORDERS: tuple[Order, ...] = ("least", "most")

FEW_PATCHES, STEPS = 64, 32


@dataclass(frozen=True)
class Curves:
    """The score of every picture as its patches are removed.

    shares: of patches removed, float64 (K + 1,) from 0 to 1. least_first, most_first: (N, K + 1),
    the least or the most relevant patches being removed first; at 0 stands the picture's score.
    """

    shares: Tensor
    least_first: Tensor
    most_first: Tensor

    @property
    def insertion(self) -> Tensor:
        """The score over the share inserted, the most relevant first: least_first reversed."""
        return self.least_first.flip(1)

    @property
    def deletion(self) -> Tensor:
        """The score over the share removed, the most relevant first."""
        return self.most_first


@dataclass(frozen=True)
class Removal(Metric):
    """What is common to insertion, deletion and their difference.

    patch: side in pixels of the model's input; a patch's relevance is the mean of the map over it,
    ties are broken at random, the same for a picture whatever its batch. steps: points of the
    curve after the first; None is every patch where there are at most 64, else 32. fill: what
    stands where something was removed, as a Fill or a string.
    """

    patch: int = 8
    steps: int | None = None
    fill: Fill | str = BLUR

    def __post_init__(self) -> None:
        object.__setattr__(self, "fill", as_fill(self.fill))
        super().__post_init__()
        if self.patch < 1 or (self.steps is not None and self.steps < 1):
            raise MethodError(
                f"{self.name}: patch is {self.patch} and steps is {self.steps}: give numbers "
                "above zero"
            )

    def curves(self, case: Case, maps: Maps) -> Curves:
        """Return both curves of each picture; what was measured for other metrics is reused."""
        shares, least, most = self._measured(case, maps, ORDERS)
        return Curves(shares, least, most)

    def area(self, case: Case, maps: Maps, order: Order) -> Tensor:
        """Return the area under one curve over the share removed, float64 (N,)."""
        shares, curve = self._measured(case, maps, (order,))
        return torch.trapezoid(curve, shares)

    def _measured(self, case: Case, maps: Maps, orders: Sequence[Order]) -> tuple[Tensor, ...]:
        if len(maps) != len(case):
            raise MethodError(f"{len(maps)} maps for {len(case)} pictures: give one for each")
        if case.prepared.tensor.ndim != 4:
            raise MethodError(
                f"{self.name} removes patches of pictures (N, C, H, W), and an input of the shape "
                f"{tuple(case.prepared.tensor.shape)} came"
            )
        patches = _numbered(case.prepared, self.patch)
        count = int(patches.max()) + 1
        steps = self.steps or (count if count <= FEW_PATCHES else STEPS)
        removed = torch.linspace(0, count, min(steps, count) + 1, dtype=torch.float64).round()
        keys = {order: (self.patch, steps, self.fill, order) for order in orders}
        known = maps.curves_of(case)
        missing = [order for order in orders if keys[order] not in known]
        if missing:
            found = self._run(case, maps, patches, removed[1:-1].long(), missing)
            known.update({keys[order]: found[order] for order in missing})
        return (removed / count, *(known[keys[order]] for order in orders))

    def _run(
        self, case: Case, maps: Maps, patches: Tensor, removed: Tensor, orders: Sequence[Order]
    ) -> dict[Order, Tensor]:
        """The curves (N, K + 1) of these orders, all steps of all pictures batched."""
        fill, ranks = as_fill(self.fill), _ranks(case, maps, self.patch)
        count = ranks.shape[1]
        # a patch stays while its rank is in low..high: the least relevant go, or the most
        low = torch.cat([removed * (order == "least") for order in orders])
        high = torch.cat([count - removed * (order == "most") for order in orders])
        new = (fill, None) not in case.known  # nothing left is the same for every map
        if new:
            low, high = (torch.cat([each, each.new_tensor([count])]) for each in (low, high))

        def kept(rows: Tensor, changes: Tensor) -> Tensor:
            own = ranks[rows]
            return (own >= low[changes, None]) & (own < high[changes, None])

        scores = scores_of_kept(case, fill, patches, len(low), kept)
        if new:
            case.known[fill, None], scores = scores[:, -1], scores[:, :-1]
        shape = (len(case), len(orders), len(removed))
        nothing, between = case.known[fill, None], scores.reshape(shape)
        return {
            order: torch.cat([case.whole[:, None], between[:, place], nothing[:, None]], 1)
            for place, order in enumerate(orders)
        }


@dataclass(frozen=True)
class Deletion(Removal):
    """The area under the score as the most relevant patches are removed first: low is good.

    Petsiuk et al. 2018, on patches. Say it together with insertion: alone it rewards
    changes that the network has never seen.
    """

    name = "deletion"
    paper = "Petsiuk et al. 2018"
    words = "the score as the most relevant patches are removed first, on average"
    better = "lower"

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return the area for each picture, float64 (N,), in units of the score."""
        return self.area(case, maps, "most")


@dataclass(frozen=True)
class Insertion(Removal):
    """The area under the score as the most relevant patches are inserted first: high is good.

    Petsiuk et al. 2018, on patches: removal of the least relevant first, reversed.
    """

    name = "insertion"
    paper = "Petsiuk et al. 2018"
    words = "the score as the most relevant patches are put in first, on average"

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return the area for each picture, float64 (N,), in units of the score."""
        return self.area(case, maps, "least")


@dataclass(frozen=True)
class SRG(Removal):
    """The symmetric relevance gain: the area between removing the least and the most relevant.

    It is insertion - deletion, 0 for a random map, and largely free of what the fill does to every
    map alike. Bluecher et al. 2024 (TMLR).
    """

    name = "srg"
    paper = "Bluecher et al. 2024"
    words = "symmetric relevance gain: insertion less deletion; 0 for a random map"

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return the gain for each picture, float64 (N,), in units of the score."""
        curves = self.curves(case, maps)
        return torch.trapezoid(curves.least_first - curves.most_first, curves.shares)


def scores_of_kept(
    case: Case,
    fill: Fill,
    patches: Tensor,
    counts: int | Sequence[int],
    kept: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Return the scores of pictures of which only some patches are left, float64 (N, most).

    patches: the number of each pixel's patch, (H, W). counts: how many changes each picture has;
    where one has fewer than another, the rest is NaN. kept: which patches stay, bool (m, P), for
    these rows and changes (m,).
    """
    model, run = case.model, case.run
    most = counts if isinstance(counts, int) else max(counts)
    found = torch.full((len(case), most), torch.nan, dtype=torch.float64)
    with model.held(run), torch.no_grad():
        pictures = model.at_home(case.prepared)
        case.score.bind(model, pictures)
        filler = case.filler(fill, pictures.tensor)
        home = patches.to(pictures.tensor.device)

        def changed(rows: Tensor, changes: Tensor) -> Tensor:
            return filler(rows, kept(rows, changes).to(home.device)[:, home])

        for answers in ask(
            model, pictures, case.score, run, counts, changed, what="steps", shared=False
        ):
            found[answers.rows, answers.changes] = answers.scores
    return found


def patch_relevance(values: Tensor, patch: int) -> Tensor:
    """Return the mean of maps (N, H, W) over each patch, (N, P); those at the edges are smaller."""
    return avg_pool2d(values[:, None], patch, ceil_mode=True).flatten(1)


def _ranks(case: Case, maps: Maps, patch: int) -> Tensor:
    """The place of each patch from the least relevant on, (N, P); random among equals."""
    height, width = (int(side) for side in case.prepared.tensor.shape[2:])
    relevance = patch_relevance(maps.on_input((height, width)), patch)
    shuffled = torch.stack(
        [
            torch.randperm(relevance.shape[1], generator=case.draw(row, TIES))
            for row in range(len(case))
        ]
    )
    order = shuffled.gather(1, relevance.gather(1, shuffled).argsort(dim=1, stable=True))
    return order.argsort(1)


def _numbered(prepared: Prepared, patch: int) -> Tensor:
    """The number of each pixel's patch, (H, W), row by row from 0."""
    height, width = prepared.tensor.shape[2:]
    across = -(-width // patch)
    return torch.arange(height)[:, None] // patch * across + torch.arange(width) // patch
