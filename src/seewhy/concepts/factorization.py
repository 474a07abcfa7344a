"""Deep feature factorization (Collins et al. 2018): what a layer finds in pictures, as parts.

A layer's activations over all places of all pictures are V (places, channels). V ~ W H with few
rows in H: each is a concept, a direction of the channels, and W says where it is, how strongly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from seewhy.concepts.found import Factorization
from seewhy.concepts.meaning import HOW, Head, How, spoken_for
from seewhy.concepts.number import Curve, knee
from seewhy.concepts.seen import Seen, seen_by
from seewhy.concepts.solvers import Factors, Online, k_means, nmf, pca, weights_of
from seewhy.errors import Failure, MethodError, PictureError, warn
from seewhy.model.layers import LayerSpec
from seewhy.result import versions
from seewhy.run import Run, generator, is_number
from seewhy.shown import Shown

if TYPE_CHECKING:
    from seewhy.model.model import Model

Solver = Literal["nmf", "pca", "k-means"]
SOLVERS: dict[str, Callable[..., Factors]] = {"nmf": nmf, "pca": pca, "k-means": k_means}

CONCEPTS = 500  # tells this use of random numbers from others
SHOWN = 16  # pictures of a stream that are kept, the first


def factorize(
    model: Model,
    pictures: Any,
    concepts: int | Literal["auto"] = 5,
    *,
    layer: LayerSpec = None,
    head: Head | None = None,
    meaning: How | Literal["auto"] = "auto",
    solver: Solver = "nmf",
    top_k: int = 2,
    probabilities: bool = True,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Factorization:
    """Find the concepts of pictures; see `seewhy.factorize`."""
    run, began = run or Run(), time.perf_counter()
    check(concepts, solver, meaning, pictures)
    draw = generator(run.seed, 0, CONCEPTS)
    with model.held(run):
        seen: list[Seen] = []
        failures: list[Failure] = []
        online: Online | None = None
        for each in seen_by(model, pictures, layer, run, others):
            if isinstance(each, Failure):
                failures.append(each)
            elif isinstance(pictures, Iterator) and isinstance(concepts, int):
                online = online or Online(concepts, draw)
                online.update(each.places.float())
                if sum(len(one.pictures) for one in seen) < SHOWN:
                    seen.append(each)
            else:
                seen.append(each)
        if not seen:
            raise failures[0].error if failures else PictureError("there are no pictures")
        if failures:
            warn(f"{len(failures)} of the pictures could not be read: {failures[0]}")
        curve: Curve = ()
        if online is not None:
            vectors, error = online.vectors, online.error
            weights = [weights_of(each.places[None].float(), vectors)[0][0] for each in seen]
        else:
            values = torch.cat([each.places for each in seen]).float()[None]
            if concepts == "auto":
                concepts, curve = knee(values, draw)
            check_size(concepts, values)
            found = SOLVERS[solver](values, concepts, draw)
            vectors, error = found.vectors, float(found.error)
            weights = list(found.weights[0].split([len(each.places) for each in seen]))
        named = described(model, seen, vectors[0], weights, error, head, meaning, run)
    return replace(
        named,
        solver=solver,
        top_k=top_k,
        probabilities=probabilities,
        curve=curve,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
    )


def described(
    model: Model,
    seen: Sequence[Seen],
    vectors: Tensor,
    weights: Sequence[Tensor],
    error: float,
    head: Head | None,
    meaning: How | Literal["auto"],
    run: Run,
) -> Factorization:
    """Return concepts (k, C), their weights (N * places, k) in each batch, and what they speak for.

    How they came about is for the caller to add. The model is held by the caller.
    """
    maps = [each.maps(own) for each, own in zip(seen, weights, strict=True)]
    scores, asked = spoken_for(model, seen, maps, vectors, head, meaning, run)
    return Factorization(
        vectors=vectors.cpu(),
        maps=tuple(own.cpu() for each in maps for own in each),
        shown=tuple(Shown.of(ready) for each in seen for ready in each.pictures),
        error=error,
        scores=scores,
        meaning=asked,
        labels=tuple(map(str, model.labels or ())),
        layer=str(seen[0].layer),
        seed=run.seed,
        model=model.name,
        weights=model.fingerprint(),
        versions=versions(),
    )


def check(concepts: Any, solver: str, meaning: str, pictures: Any) -> None:
    """Raise MethodError where a setting has no sense."""
    if concepts != "auto" and not (is_number(concepts) and concepts >= 1):
        raise MethodError(f"concepts is {concepts!r}: give a number from 1, or 'auto'")
    if solver not in SOLVERS:
        raise MethodError(f"solver {solver!r} is not known: use one of {', '.join(SOLVERS)}")
    if meaning not in ("auto", *HOW):
        raise MethodError(f"meaning {meaning!r} is not known: use auto, {', '.join(HOW)}")
    if isinstance(pictures, Iterator) and (concepts == "auto" or solver != "nmf"):
        raise MethodError(
            "pictures that can be gone through once are factorized as they come: give the number "
            "of concepts, and leave solver out"
        )


def check_size(concepts: int, values: Tensor) -> None:
    """Raise MethodError for more concepts than values (1, P, C) can have."""
    most = min(values.shape[1:])
    if concepts > most:
        raise MethodError(
            f"{concepts} concepts are more than the {values.shape[1]} places or the "
            f"{values.shape[2]} channels: ask for at most {most}, or give more pictures"
        )
