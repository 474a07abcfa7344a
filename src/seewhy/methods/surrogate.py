"""Surrogates: segments as players, and what each contributes to the score of those that are on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import MethodError, warn
from seewhy.methods.base import Attribution, positive
from seewhy.methods.changes import (
    Segmented,
    Switches,
    check_sampling,
    draws_of,
    own_scores,
    scores_of,
)
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

COALITIONS = 410  # tells this use of a picture's random numbers from others

Checks = dict[str, float]


@dataclass(frozen=True)
class Surrogate(Segmented):
    """A method that asks for the scores of coalitions: some segments on, the others removed.

    samples: coalitions asked for, a forward each. seconds: no more are begun after that, once there
    are enough for an answer. checks["samples"]: coalitions used.
    """

    samples: int = 1000
    seconds: float | None = field(default=None, kw_only=True)

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        super().check()
        check_sampling(self.name, self.samples, self.seconds)

    def coalitions(self, players: int, draw: torch.Generator) -> Tensor:
        """Return which segments are on, bool (K, players)."""
        raise NotImplementedError

    def contributions(self, on: Tensor, scores: Tensor, whole: float) -> tuple[Tensor, Checks]:
        """Return the contribution of each segment, float64 (players,), and what was checked.

        on: bool (k, players), the first of the coalitions; scores: theirs, float64 (k,); whole: the
        score with all of them on.
        """
        raise NotImplementedError

    def least(self, players: int) -> int:
        """Return how many coalitions are an answer."""
        return 1 + players

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Ask for all coalitions, then find the contributions."""
        switches = Switches(self, prepared, run)
        players = dict(zip(prepared.keys, switches.counts, strict=True))
        listed = {
            key: self.coalitions(players[key], draw)
            for key, draw in draws_of(prepared, run, COALITIONS).items()
        }
        counts = [len(listed[key]) for key in prepared.keys]
        number = {key: place for place, key in enumerate(listed)}
        own = torch.tensor([number[key] for key in prepared.keys])
        wide, long = max(switches.counts), max(counts)
        table = torch.stack(
            [F.pad(on, (0, wide - on.shape[1], 0, long - len(on))) for on in listed.values()]
        )
        whole = own_scores(model, prepared, score, run)
        scores = scores_of(
            model,
            prepared,
            score,
            run,
            counts,
            lambda rows, changes: switches(rows, table[own[rows], changes]),
            seconds=self.seconds,
            least=max(self.least(each) for each in switches.counts),
        )
        found, checks = torch.zeros(len(prepared), wide, dtype=torch.float64), []
        for row, key in enumerate(prepared.keys):
            known = scores[row][~scores[row].isnan()]
            on = listed[key][: len(known)]
            found[row, : on.shape[1]], said = self.contributions(on, known, float(whole[row]))
            checks.append(said)
        return Attribution(
            switches.spread(found),
            {name: torch.tensor([each[name] for each in checks]) for name in checks[0]},
            (INPUT,),
        )


@method("lime", paper="Ribeiro et al. 2016, eq. 1", cost="samples forwards: 1000")
@dataclass(frozen=True)
class LIME(Surrogate):
    """The coefficients of a linear model of the score, fitted to coalitions near the picture.

    Each segment is on with probability 1/2; a coalition weighs exp(-distance^2 / width^2) by its
    cosine distance to the whole picture, which is one of them. width: of that kernel. ridge: the
    penalty on the squares of the coefficients. checks["fit"]: the weighted R^2 of the linear model.
    The map is (N, 1, *space), in units of the score: each place has its segment's coefficient.
    """

    width: float = 0.25
    ridge: float = 1.0

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        super().check()
        positive(self.width, "lime: width")
        positive(self.ridge, "lime: ridge")

    def coalitions(self, players: int, draw: torch.Generator) -> Tensor:
        """Return which segments are on."""
        return torch.rand(self.samples, players, generator=draw) < 0.5

    def contributions(self, on: Tensor, scores: Tensor, whole: float) -> tuple[Tensor, Checks]:
        """Weighted ridge regression with a free intercept, in closed form."""
        ones = torch.ones(1, on.shape[1], dtype=torch.float64)
        present = torch.cat([ones, on.double()])
        answers = torch.cat([scores.new_tensor([whole]), scores])
        distance = 1 - (present.sum(1) / on.shape[1]).sqrt()
        weights = (-distance.square() / self.width**2).exp()[:, None]
        mean = (weights * present).sum(0) / weights.sum()
        level = (weights[:, 0] * answers).sum() / weights.sum()
        centred, rest = present - mean, (answers - level)[:, None]
        gram = centred.T @ (weights * centred) + self.ridge * torch.eye(on.shape[1]).double()
        found = torch.linalg.solve(gram, centred.T @ (weights * rest))
        left = (weights * (rest - centred @ found).square()).sum()
        spread = (weights * rest.square()).sum()
        fit = 1 - float(left / spread) if spread > 0 else 1.0
        return found[:, 0], {"samples": len(on), "fit": fit}


@dataclass(frozen=True)
class _Shapley(Surrogate):
    """A method for Shapley values: all coalitions where there are as few as samples."""

    def enumerates(self, players: int) -> bool:
        """Whether all coalitions are asked for, and the values are exact."""
        return players == 1 or (self.seconds is None and 2**players <= self.samples)

    def least(self, players: int) -> int:
        """Return how many coalitions are an answer."""
        return 2**players if self.enumerates(players) else super().least(players)

    def coalitions(self, players: int, draw: torch.Generator) -> Tensor:
        """Return which segments are on, none of them first; all of them are not asked for."""
        if not self.enumerates(players):
            nobody = torch.zeros(1, players, dtype=torch.bool)
            return torch.cat([nobody, self.sampled(players, draw)])
        numbers = torch.arange(2**players - 1)
        return (numbers[:, None] >> torch.arange(players)) % 2 == 1

    def sampled(self, players: int, draw: torch.Generator) -> Tensor:
        """Return samples - 1 coalitions at most, bool (K, players)."""
        raise NotImplementedError


@method(
    "kernel-shap",
    paper="Lundberg & Lee 2017, theorem 2",
    cost="samples forwards: 1000",
)
@dataclass(frozen=True)
class KernelSHAP(_Shapley):
    """Shapley values of the segments, as the additive model that fits coalitions best.

    Coalitions are drawn by the Shapley kernel, each with its complement (Covert & Lee 2021); all of
    them are asked for, and the values are exact, where there are no more than samples. The values
    of the segments sum to score(picture) - score(nothing left).
    The map is (N, 1, *space), in units of the score: each place has its segment's value.
    """

    def sampled(self, players: int, draw: torch.Generator) -> Tensor:
        """Return coalitions, each followed by its complement."""
        sizes = torch.arange(1, players)
        share = 1 / (sizes * (players - sizes)).double()
        pairs = self.samples // 2
        size = 1 + torch.multinomial(share, pairs, replacement=True, generator=draw)
        order = torch.rand(pairs, players, generator=draw).argsort(1).argsort(1)
        on = order < size[:, None]
        return torch.stack([on, ~on], 1).flatten(0, 1)[: self.samples - 1]

    def contributions(self, on: Tensor, scores: Tensor, whole: float) -> tuple[Tensor, Checks]:
        """Weighted least squares under the constraint that the values sum to the difference."""
        players, difference = on.shape[1], whole - scores[0]
        present, gained = on[1:].double(), scores[1:] - scores[0]
        weights = torch.ones_like(gained)
        if self.enumerates(players):
            size = present.sum(1)
            ways = (torch.lgamma(size + 1) + torch.lgamma(players - size + 1)).exp()
            weights = ways / (size * (players - size))
        elif len(gained) < players:
            warn(
                f"kernel-shap: {len(gained)} samples do not tell {players} segments apart: give at "
                "least a few for each, or fewer segments"
            )
        # an equal share of the difference, and a part that sums to zero: the shortest that fits
        share = present.mean(1, keepdim=True)
        rest = (gained - share[:, 0] * difference) * weights.sqrt()
        apart = (present - share) * weights.sqrt()[:, None]
        found = torch.linalg.lstsq(apart, rest[:, None], driver="gelsd").solution[:, 0]
        return difference / players + found, {"samples": len(on)}


@method(
    "shapley-sampling",
    paper="Castro et al. 2009",
    cost="samples forwards: 2000",
)
@dataclass(frozen=True)
class ShapleySampling(_Shapley):
    """Shapley values of the segments: what each adds to those before it, in random orders.

    Every order is followed by its reverse. All coalitions are asked for, and the values are exact,
    where there are no more than samples; an order takes as many samples as there are segments, less
    one. The values of the segments sum to score(picture) - score(nothing left).
    The map is (N, 1, *space), in units of the score: each place has its segment's value.
    """

    samples: int = 2000

    def sampled(self, players: int, draw: torch.Generator) -> Tensor:
        """Return the beginnings of all orders, from one segment to all but one."""
        steps = players - 1
        orders = (self.samples - 1) // steps
        if orders < 1:
            raise MethodError(
                f"shapley-sampling: {self.samples} samples are less than the {players} segments: "
                "give more samples, or fewer segments such as segments=slic:50"
            )
        rank = torch.rand(-(-orders // 2), players, generator=draw).argsort(1)
        ranks = torch.stack([rank, steps - rank], 1).flatten(0, 1)[:orders]
        return (ranks[:, None] < torch.arange(1, players)[:, None]).flatten(0, 1)

    def contributions(self, on: Tensor, scores: Tensor, whole: float) -> tuple[Tensor, Checks]:
        """What each segment adds, averaged over all coalitions or over the orders drawn."""
        players = on.shape[1]
        if self.enumerates(players):
            return _exact(on, scores, whole), {"samples": len(on)}
        steps = players - 1
        orders = (len(on) - 1) // steps
        asked = 1 + orders * steps
        ranks = (~on[1:asked].reshape(orders, steps, players)).sum(1)
        path = F.pad(scores[1:asked].reshape(orders, steps), (1, 1))
        path[:, 0], path[:, -1] = scores[0], whole
        return path.diff(dim=1).gather(1, ranks).mean(0), {"samples": asked}


def _exact(on: Tensor, scores: Tensor, whole: float) -> Tensor:
    """Shapley's formula. scores: of all coalitions but the whole, numbered by their bits."""
    players, worth = on.shape[1], torch.cat([scores, scores.new_tensor([whole])])
    size = torch.arange(players).double()
    ways = torch.lgamma(size + 1) + torch.lgamma(players - size) - torch.lgamma(size[-1] + 2)
    share, numbers = ways.exp()[on.sum(1).clamp(max=players - 1)], torch.arange(len(on))
    found = []
    for player in range(players):
        without = ~on[:, player]
        joined = numbers[without] + 2**player
        found.append((share[without] * (worth[joined] - worth[:-1][without])).sum())
    return torch.stack(found)
