"""How many concepts: where more of them explain little more, and are not found again."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from seewhy.concepts.solvers import Factors, nmf
from seewhy.errors import warn

MOST = 15
HALVES = 3  # random halves of the places that have to agree
BEND = 0.02  # of the error, below the straight line: less is no knee

Curve = tuple[tuple[int, float, float], ...]
"""(number, error, stability) of each that was tried."""


def knee(
    values: Tensor, draw: torch.Generator, solve: Callable[..., Factors] = nmf
) -> tuple[int, Curve]:
    """Return how many concepts values (1, P, C) have, and the curve that says so.

    It is the number whose error lies furthest below the straight line from one concept to the most
    (Satopaa et al. 2011), times its stability: how well the vectors that are found in one random
    half of the places are found in others, as the mean cosine of the best pairs, 0..1. Where the
    error has no knee it is 1, and a warning says so; the most that are tried are never chosen,
    since what more would explain is not known. solve: what finds concepts.
    """
    most = min(MOST, *values.shape[1:])
    places = values.shape[1]
    orders = [torch.randperm(places, generator=draw) for _ in range(HALVES)]
    halves = values[0][torch.stack(orders)[:, : max(most, places // 2)].to(values.device)]
    tried = []
    for number in range(1, most + 1):
        error = float(solve(values, number, draw).error)
        found = solve(halves, number, draw).vectors
        agree = [_agreement(one, found[0]) for one in found[1:]]
        tried.append((number, error, sum(agree) / len(agree)))
    first, last = tried[0], tried[-1]
    slope = (last[1] - first[1]) / max(1, last[0] - first[0])
    below = [first[1] + slope * (each[0] - first[0]) - each[1] for each in tried]
    if max(below) < BEND:
        warn(
            f"the error has no knee, {first[1]:.2f} with 1 concept and {last[1]:.2f} with {most}: "
            "1 is taken; give the number of concepts if you want more"
        )
        return 1, tuple(tried)
    best = max(range(len(tried)), key=lambda place: below[place] * tried[place][2])
    return tried[best][0], tuple(tried)


def _agreement(one: Tensor, other: Tensor) -> float:
    """The mean cosine of vectors (k, C), each of one with its own partner of the other."""
    from scipy.optimize import linear_sum_assignment  # which takes long to import

    cosines = (one @ other.mT).cpu().numpy()
    rows, columns = linear_sum_assignment(-cosines)
    return float(cosines[rows, columns].mean())
