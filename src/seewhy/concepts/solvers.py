"""Splitting activations into few parts: V (places, channels) ~ W (places, k) H (k, channels).

Non-negative factorization by hierarchical alternating least squares (HALS; Cichocki et al. 2007),
several cheap sweeps for each product with V, which costs the most (Gillis & Glineur 2012), begun
with the singular vectors (NNDSVD; Boutsidis & Gallopoulos 2008), and extrapolated from step to step
(Ang & Gillis 2019). Most steps are taken on a thin product of two matrices in V's place, spanned by
its largest singular vectors (Zhou, Cichocki & Xie 2012); the last, exact ones on V itself.

Where V has negative values H has them too, and W alone is non-negative (semi-NMF; Ding et al.
2010), unless they are rounding, less than 1e-6 of its largest magnitude, and taken for zero.
Everything is batched: (B, P, C).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

ITERATIONS = 200  # products with V at most
SWEEPS = 4  # of one factor for each
SETTLED = 2e-6  # of the squared error: an iteration that takes away less is the last
ROUGHLY, FEWER = 1e-4, 2  # the same, and the sweeps, on the thin product
THIN = 4  # times the parts: the rank of that product, where that is at most a quarter of V's
STEP, ON, BACK = 0.5, 1.05, 1.5  # how far beyond a step to go: at first, more each time, or back
EXTRA, POWERS = 8, 2  # of the randomised singular value decomposition
ROUNDING = 1e-6  # of the largest: values so little below zero, singular values so small, are zero
TINY = 1e-12


class Factors(NamedTuple):
    """weights (B, P, k), not negative; vectors (B, k, C) of length 1; error (B,) of ||V||."""

    weights: Tensor
    vectors: Tensor
    error: Tensor


def nmf(values: Tensor, parts: int, draw: torch.Generator, iterations: int = ITERATIONS) -> Factors:
    """Factorize values (B, P, C) into parts by least squares; the error is ||V - W H|| / ||V||.

    draw: for the random start of the singular vectors.
    """
    low, high = values.aminmax()
    signed = bool(low < -ROUNDING * torch.maximum(high, -low))
    values = values if signed else values.clamp(min=0)
    rank = THIN * parts
    thin = 4 * rank <= min(values.shape[1:])
    basis, core, *start = singular(values, parts, draw, rank if thin else 0)
    begun = _start(*start, signed=signed)
    if thin:
        begun = _descend((basis, core), begun, iterations, ROUGHLY, FEWER, signed=signed)[0]
    (weights, vectors), error = _descend(
        (values,), begun, iterations, SETTLED, SWEEPS, signed=signed
    )
    length = vectors.norm(dim=2, keepdim=True).clamp(min=TINY)
    return Factors((weights * length).mT, vectors / length, error)


def _descend(
    product: Sequence[Tensor],
    begun: tuple[Tensor, Tensor],
    iterations: int,
    settled: float,
    sweeps: int,
    *,
    signed: bool,
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Improve weights (B, k, P) and vectors (B, k, C) of V, which is the matrices' product.

    Until an iteration takes away less than settled of the squared error. The error (B,) of ||V|| is
    returned beside them.
    """
    turned = [matrix.mT for matrix in reversed(product)]
    total = product[-1].square().sum((1, 2)).double()  # what stands before it is orthogonal
    best = ahead = weights, vectors = begun  # ahead: where the last step leads if it goes on
    error, further = total, STEP
    for _ in range(iterations):
        given, gram = _across(ahead[0], product), ahead[0] @ ahead[0].mT
        new = _least_squares(gram, given) if signed else sweep(ahead[1], given, gram, sweeps)
        tried = _beyond(new, vectors, further, signed=signed)
        given, gram = _across(tried, turned), tried @ tried.mT
        newer = sweep(ahead[0], given, gram, sweeps)
        left = _left(total, newer, given, gram)
        if bool((left > error).any()):
            if ahead is best:
                break
            ahead, further = best, further / BACK
            continue
        done = bool((error - left <= settled * left).all())
        ahead = _beyond(newer, weights, further, signed=False), tried
        best, weights, vectors, error = (newer, tried), newer, new, left
        further = min(1.0, further * ON)
        if done:
            break
    return best, (error / total.clamp(min=TINY)).sqrt()


def _across(rows: Tensor, product: Sequence[Tensor]) -> Tensor:
    """Multiply rows with one matrix after another."""
    for matrix in product:
        rows = rows @ matrix
    return rows


def weights_of(values: Tensor, vectors: Tensor, sweeps: int = 50) -> tuple[Tensor, Tensor]:
    """Return the non-negative weights (B, P, k) of given vectors (B, k, C), and the error (B,)."""
    given, gram = vectors @ values.mT, vectors @ vectors.mT
    weights = sweep(torch.zeros_like(given), given, gram, sweeps)
    total = values.square().sum((1, 2)).double()
    left = _left(total, weights, given, gram)
    return weights.mT, (left / total.clamp(min=TINY)).sqrt()


def _beyond(new: Tensor, old: Tensor, further: float, *, signed: bool) -> Tensor:
    """Go on in the direction of the last step."""
    found = torch.lerp(old, new, 1 + further)
    return found if signed else found.clamp_(min=0)


def sweep(factor: Tensor, given: Tensor, gram: Tensor, sweeps: int = SWEEPS) -> Tensor:
    """Return a factor (B, k, M) whose rows came, one after another, to their best values >= 0.

    given (B, k, M), gram (B, k, k): the products of the other factor with V, and with itself.
    """
    scale = gram.diagonal(dim1=1, dim2=2)[..., None].clamp(min=TINY)
    gram, given, factor = gram / scale, given / scale, factor.clone()
    gram.diagonal(dim1=1, dim2=2).zero_()
    rows = [each.split(1, 1) for each in (given, gram, factor)]
    for _ in range(sweeps):
        for own, others, row in zip(*rows, strict=True):
            torch.clamp(torch.baddbmm(own, others, factor, alpha=-1), min=0, out=row)
    return factor


def _left(total: Tensor, factor: Tensor, given: Tensor, gram: Tensor) -> Tensor:
    """The squared error, from the products that are there anyway."""
    crossed = (factor * given).sum((1, 2)).double()
    squared = ((gram @ factor) * factor).sum((1, 2)).double()
    return (total - 2 * crossed + squared).clamp(min=0)


def _least_squares(gram: Tensor, given: Tensor) -> Tensor:
    """The vectors of any sign that fit best; parts that are nowhere stay zero."""
    size = gram.diagonal(dim1=1, dim2=2).amax(1).clamp(min=TINY)
    ridge = torch.eye(gram.shape[1]).to(gram) * (1e-6 * size)[:, None, None]
    found: Tensor = torch.linalg.solve(gram + ridge, given)
    return found


def _start(left: Tensor, size: Tensor, right: Tensor, *, signed: bool) -> tuple[Tensor, Tensor]:
    """NNDSVD: of each pair of singular vectors the half, positive or negative, that weighs more.

    Returns weights (B, k, P) and vectors (B, k, C).
    """
    left = left.mT
    halves = []
    for sign in (1, -1):
        one, other = (sign * left).clamp(min=0), (sign * right).clamp(min=0)
        weight = one.norm(dim=2) * (1.0 if signed else other.norm(dim=2))
        halves.append((weight, one, sign * right if signed else other))
    positive = (halves[0][0] >= halves[1][0])[..., None]
    one = torch.where(positive, halves[0][1], halves[1][1])
    other = torch.where(positive, halves[0][2], halves[1][2])
    weight = torch.where(positive[..., 0], halves[0][0], halves[1][0])
    root = (size * weight).sqrt()[..., None]
    one = one / one.norm(dim=2, keepdim=True).clamp(min=TINY)
    other = other / other.norm(dim=2, keepdim=True).clamp(min=TINY)
    return (root * one).contiguous(), (root * other).contiguous()


class Singular(NamedTuple):
    """basis (B, P, r), orthogonal; core (B, r, C): what V is in it; and of the largest k of V:

    left (B, P, k), size (B, k), right (B, k, C).
    """

    basis: Tensor
    core: Tensor
    left: Tensor
    size: Tensor
    right: Tensor


def singular(values: Tensor, parts: int, draw: torch.Generator, rank: int = 0) -> Singular:
    """Return the largest singular vectors and values, and the subspace they were found in.

    A random one, multiplied a few times (Halko et al. 2011). parts: at most min(P, C); rank: that
    of the subspace, a few more than parts unless it is given.
    """
    count, rows, columns = values.shape
    wide = min(rank or parts + EXTRA, rows, columns)
    start = torch.randn(columns, wide, generator=draw, dtype=values.dtype).to(values.device)
    basis = torch.linalg.qr(values @ start.expand(count, -1, -1)).Q
    for _ in range(POWERS):
        basis = torch.linalg.qr(values @ torch.linalg.qr(values.mT @ basis).Q).Q
    core = basis.mT @ values
    right, size, inner = torch.linalg.svd(core.mT, full_matrices=False)  # faster tall than wide
    left = basis @ inner.mT[..., :parts]
    size = size * (size > ROUNDING * size[:, :1])
    return Singular(basis, core, left, size[:, :parts], right.mT[:, :parts])


def pca(values: Tensor, parts: int, draw: torch.Generator) -> Factors:
    """Return principal components of values (B, P, C): weights and vectors of either sign.

    The mean is not subtracted, so that weights are of the activations themselves. Each vector has
    the sign with which more of its weights are positive, by their squares.
    """
    _, _, left, size, right = singular(values, parts, draw)
    weights = left * size[:, None]
    plus, minus = weights.clamp(min=0).square().sum(1), weights.clamp(max=0).square().sum(1)
    sign = torch.where(plus >= minus, 1.0, -1.0).to(values)
    total = values.square().sum((1, 2)).double()
    missed = (total - size.square().sum(1).double()).clamp(min=0)
    error = (missed / total.clamp(min=TINY)).sqrt()
    return Factors(weights * sign[:, None], right * sign[..., None], error)


def k_means(values: Tensor, parts: int, draw: torch.Generator, iterations: int = 100) -> Factors:
    """Return clusters of values (B, P, C): a place weighs its cluster's centre, and no other.

    Begun with k-means++ (Arthur & Vassilvitskii 2007).
    """
    found = [_clusters(each, parts, draw, iterations) for each in values]
    vectors = torch.stack([centres for centres, _ in found])
    length = vectors.norm(dim=2).clamp(min=TINY)
    own = torch.stack([F.one_hot(chosen, parts) for _, chosen in found]).to(values)
    weights = own * length[:, None]
    missed = (values - own @ vectors).square().sum((1, 2)).double()
    total = values.square().sum((1, 2)).double().clamp(min=TINY)
    return Factors(weights, vectors / length[..., None], (missed / total).sqrt())


def _clusters(
    values: Tensor, parts: int, draw: torch.Generator, iterations: int
) -> tuple[Tensor, Tensor]:
    """The centres (k, C) of values (P, C), and which one each is nearest to (P,)."""
    first = int(torch.randint(len(values), (1,), generator=draw))
    centres = values[first, None]
    while len(centres) < parts:
        apart = torch.cdist(values, centres).amin(1).square().cpu() + TINY
        centres = torch.cat([centres, values[torch.multinomial(apart, 1, generator=draw)]])
    chosen = torch.cdist(values, centres).argmin(1)
    for _ in range(iterations):
        member = F.one_hot(chosen, parts).to(values)
        size = member.sum(0)[:, None]
        centres = torch.where(size > 0, member.mT @ values / size.clamp(min=1), centres)
        before, chosen = chosen, torch.cdist(values, centres).argmin(1)
        if torch.equal(before, chosen):
            break
    return centres, chosen
