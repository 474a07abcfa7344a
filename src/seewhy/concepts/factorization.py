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
from seewhy.concepts.seen import Sample, Seen, seen_by
from seewhy.concepts.solvers import Factors, k_means, nmf, pca, weights_of
from seewhy.errors import Failure, MethodError, tell_of, warn
from seewhy.model.layers import LayerSpec
from seewhy.result import origin
from seewhy.run import Run, generator, is_number
from seewhy.shown import Shown

if TYPE_CHECKING:
    from seewhy.model.model import Model

Solver = Literal["nmf", "pca", "k-means"]
SOLVERS: dict[str, Callable[..., Factors]] = {"nmf": nmf, "pca": pca, "k-means": k_means}

CONCEPTS, PLACES = 500, 501  # tell these uses of random numbers from others
SHOWN = 16  # pictures of a stream that are kept, the first
SAMPLED = 16_384  # places of a stream that its concepts are found in: of 2,048 channels, 128 MiB
SAME = 1e-6  # of the largest magnitude: activations that differ less are the same


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
    check(concepts, solver, meaning, top_k, pictures)
    streamed = isinstance(pictures, Iterator)
    sample, looked = Sample(SAMPLED, generator(run.seed, 0, PLACES)), 0
    with model.held(run):
        seen: list[Seen] = []
        failures: list[Failure] = []
        for each in seen_by(model, pictures, layer, run, others):
            if isinstance(each, Failure):
                failures.append(each)
                continue
            if concepts != "auto":
                check_size(concepts, each.activations.shape[1])
            if streamed:
                sample.add(each)
            if not streamed or looked < SHOWN:
                seen.append(each)
            looked += len(each.pictures)
        values = values_of(seen, failures, sample if streamed else None)
        draw = generator(run.seed, 0, CONCEPTS)
        curve: Curve = ()
        if concepts == "auto":
            concepts, curve = knee(values, draw, SOLVERS[solver])
        check_size(concepts, values.shape[2], values.shape[1])
        found = SOLVERS[solver](values, int(concepts), draw)
        weights = None
        if streamed:
            weights = [weights_of(each.places[None].float(), found.vectors)[0] for each in seen]
        named = described(model, seen, found, head, meaning, run, weights)
    return replace(
        named,
        looked=looked,
        solver=solver,
        top_k=int(top_k),
        probabilities=probabilities,
        curve=curve,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
    )


def values_of(
    seen: Sequence[Seen], failures: Sequence[Failure], sample: Sample | None = None
) -> Tensor:
    """Return the places to find concepts in, (1, P, C): a sample, or all that was seen.

    Raises PictureError, or why the first cannot be read, where there is no picture; warns where
    some cannot be read, and where there is nothing to find.
    """
    tell_of(failures, left=bool(seen))
    values = sample.places if sample else torch.cat([each.places for each in seen]).float()
    size = values.abs().amax()
    if bool((values.amax(0) - values.amin(0)).amax() <= SAME * size):
        layer = str(seen[0].layer)
        warn(
            f"layer {layer!r} gives {'the same' if size else 'zero'} in every place of every "
            "picture: there are no concepts to find; see whether the model is meant so, or name "
            "another layer"
        )
    return values[None]


def described(
    model: Model,
    seen: Sequence[Seen],
    found: Factors,
    head: Head | None,
    meaning: How | Literal["auto"],
    run: Run,
    weights: Sequence[Tensor] | None = None,
) -> Factorization:
    """Return concepts, their weights in each batch, and what they speak for.

    weights: (1, N * places, k) of each batch, where those found are of a sample. How they came
    about is for the caller to add. The model is held by the caller.
    """
    if weights is None:
        weights = found.weights.split([len(each.places) for each in seen], 1)
    maps = [each.maps(own[0]) for each, own in zip(seen, weights, strict=True)]
    largest = torch.cat([found.weights, *weights], 1).amax((0, 1))
    vectors = found.vectors[0]
    scores, asked = spoken_for(model, seen, maps, vectors, head, meaning, run, largest)
    return Factorization(
        vectors=vectors.cpu(),
        maps=tuple(own.cpu() for each in maps for own in each),
        shown=tuple(Shown.of(ready) for each in seen for ready in each.pictures),
        largest=tuple(largest.tolist()),
        error=float(found.error),
        scores=scores,
        meaning=asked,
        labels=tuple(map(str, model.labels or ())),
        layer=str(seen[0].layer),
        **origin(model, run),
    )


def check(concepts: Any, solver: str, meaning: str, top_k: Any, pictures: Any) -> None:
    """Raise MethodError where a setting has no sense."""
    if concepts != "auto" and not (is_number(concepts) and concepts >= 1):
        raise MethodError(f"concepts is {concepts!r}: give a number from 1, or 'auto'")
    if solver not in SOLVERS:
        raise MethodError(f"solver {solver!r} is not known: use one of {', '.join(SOLVERS)}")
    if meaning not in ("auto", *HOW):
        raise MethodError(f"meaning {meaning!r} is not known: use auto, {', '.join(HOW)}")
    if not (is_number(top_k) and top_k >= 1):
        raise MethodError(f"top_k is {top_k!r}: give a number of classes from 1")
    if isinstance(pictures, Iterator) and solver != "nmf":
        raise MethodError(
            f"pictures that can be gone through once are factorized by 'nmf', not {solver!r}: "
            "leave solver out, or give a list"
        )


def check_size(concepts: int, channels: int, rows: int | None = None, what: str = "places") -> None:
    """Raise MethodError for more concepts than there are channels, or rows where these count.

    what: how the rows are called, such as "crops".
    """
    most = channels if rows is None else min(rows, channels)
    if concepts > most:
        several = f"{channels} channels" if most == channels else f"{rows} {what}"
        raise MethodError(
            f"{concepts} concepts are more than the {several}: ask for at most {most}"
            + (", or give more pictures" if most < channels else "")
        )
