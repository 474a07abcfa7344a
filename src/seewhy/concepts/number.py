"""How many concepts: where more of them explain little more, and are not found again."""

from __future__ import annotations

import torch
from torch import Tensor

from seewhy.concepts.solvers import nmf

FEWEST, MOST = 2, 15
HALVES = 3  # random halves of the places that have to agree

Curve = tuple[tuple[int, float, float], ...]
"""(number, error, stability) of each that was tried."""


def knee(values: Tensor, draw: torch.Generator) -> tuple[int, Curve]:
    """Return how many concepts values (1, P, C) have, and the curve that says so.

    It is the number whose error lies furthest below the straight line from the fewest to the most
    (Satopaa et al. 2011), times its stability: how well the vectors that are found in one random
    half of the places are found in others, as the mean cosine of the best pairs, 0..1.
    """
    most = min(MOST, *values.shape[1:])
    if most <= FEWEST:
        return most, ((most, float(nmf(values, most, draw).error), 1.0),)
    places = values.shape[1]
    orders = [torch.randperm(places, generator=draw) for _ in range(HALVES)]
    halves = values[0][torch.stack(orders)[:, : max(most, places // 2)].to(values.device)]
    tried = []
    for number in range(FEWEST, most + 1):
        error = float(nmf(values, number, draw).error)
        found = nmf(halves, number, draw).vectors
        agree = [_agreement(one, found[0]) for one in found[1:]]
        tried.append((number, error, sum(agree) / len(agree)))
    first, last = tried[0], tried[-1]
    slope = (last[1] - first[1]) / (last[0] - first[0])
    below = [first[1] + slope * (each[0] - first[0]) - each[1] for each in tried]
    best = max(range(len(tried)), key=lambda place: below[place] * tried[place][2])
    return tried[best][0], tuple(tried)


def _agreement(one: Tensor, other: Tensor) -> float:
    """The mean cosine of vectors (k, C), each of one with its own partner of the other."""
    from scipy.optimize import linear_sum_assignment  # which takes long to import

    cosines = (one @ other.mT).cpu().numpy()
    rows, columns = linear_sum_assignment(-cosines)
    return float(cosines[rows, columns].mean())
