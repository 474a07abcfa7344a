"""Concept maps for embeddings: where in a picture is what is like a reference.

A reference is a direction of the model's embeddings. How much a picture as a whole points there is
its cosine similarity, and any method says which places that is due to.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from PIL import Image
from torch import Tensor

from seewhy.concepts.finite import check_finite
from seewhy.concepts.maps import MOST_SHOWN, ConceptMaps
from seewhy.errors import Failure, NoSpaceError, PictureError, TargetError, tell_of, warn
from seewhy.methods import Method, as_method
from seewhy.model.layers import LayerSpec
from seewhy.model.load import embedder
from seewhy.model.predictions import already_probabilities
from seewhy.model.prepare import batched
from seewhy.model.reading import name_of, read_each, sources_of
from seewhy.model.tape.record import record
from seewhy.model.tape.trees import row_of
from seewhy.result import ORIGIN
from seewhy.run import Run
from seewhy.shown import Shown, reduced
from seewhy.stream import explain_each
from seewhy.targets import Contrast, Difference, Similarity

if TYPE_CHECKING:
    from seewhy.explanation import Explanation
    from seewhy.model.model import Model

AT_ONCE = 16  # pictures of a reference that run together
REST = "rest"


class Reference(NamedTuple):
    """What a concept is called, its direction (D,), and pictures to show it by."""

    name: str
    direction: Tensor
    pictures: tuple[Image.Image, ...] = ()


def find(
    model: Model,
    pictures: Any,
    references: Any = (),
    *,
    words: str | Sequence[str] = (),
    against: Any = REST,
    method: Method | type[Method] | str | None = None,
    layer: LayerSpec | tuple[LayerSpec, ...] = None,
    absence: bool = True,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> ConceptMaps:
    """Find references in pictures; see `seewhy.find`."""
    run, began = run or Run(), time.perf_counter()
    how = None if method is None else as_method(method)
    if how is not None and how.display == "absolute":
        absence = False  # a magnitude is the same for the opposite question
    model = with_embeddings(model)
    sources = sources_of(pictures, model)
    failures: list[Failure] = []
    with model.held(run):
        known = [*_references(model, references, run, failures), *_words(model, words)]
        if not known:
            raise PictureError("there is nothing to find: give references, or words")
        known = _apart(known)
        asked, opposite, question = _questions(model, known, against, run, failures)
        targets = [*asked, *opposite] if absence else asked
        found: list[list[Explanation]] = []
        shown: list[Shown] = []
        for index, source in enumerate(sources):
            own = None if others is None else row_of(others, index, len(sources))
            name, inner = name_of(source, index), _inner(run)
            answers = list(
                explain_each(model, [source], [targets], how, layer=layer, run=inner, others=own)
            )
            failed = [each for each in answers if isinstance(each, Failure)]
            if failed:
                failures.append(Failure(name, failed[0].error))
            else:
                found.append([each for each in answers if not isinstance(each, Failure)])
                shown.append(_shown(found[-1][0], name))
            run.report(index + 1, len(sources), "pictures")
    tell_of(failures, left=bool(found), what="failed")
    count, first = len(known), found[0][0]
    return ConceptMaps(
        names=tuple(each.name for each in known),
        maps=tuple(_stacked(each[:count]) for each in found),
        absent=tuple(_stacked(each[count:]) for each in found) if absence else (),
        shown=tuple(shown),
        scores=torch.tensor([[one.score for one in each[:count]] for each in found]),
        references=tuple(each.pictures for each in known),
        question=question,
        method=first.method,
        layers=first.layers,
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
        **{name: getattr(first, name) for name in ORIGIN},
    )


def with_embeddings(model: Model) -> Model:
    """Return the model whose output is an embedding: a classifier with labels loses its head."""
    return embedder(model) if model.labels is not None else model


def embeddings(
    model: Model, pictures: Any, run: Run, failures: list[Failure]
) -> tuple[Tensor, tuple[Image.Image, ...]]:
    """Return the embeddings (N, D) of pictures, and the first of them reduced.

    failures: takes the pictures that cannot be read; where that is all, the last one is raised. The
    model is held by the caller. Raises NoAnswerError where an embedding has NaN or infinity.
    """
    found: list[Tensor] = []
    shown: list[Image.Image] = []
    for group in read_each(model, sources_of(pictures, model), None, AT_ONCE):
        if isinstance(group, Failure):
            failures.append(group)
            continue
        prepared = model.at_home(batched([each.prepared for each in group]))
        at_once = model.rows_at_once(prepared, run, gradient=False)
        for rows in torch.arange(len(prepared)).split(at_once):
            main = record(model, prepared.rows(rows)).outcome.main
            own = main.flatten(1).double().cpu()
            check_finite(own, [group[row].name for row in rows.tolist()], "the embedding")
            found.append(own)
        for each in group[: max(0, MOST_SHOWN - len(shown))]:
            picture = Shown.of(each).picture
            if picture is not None:
                shown.append(reduced(picture))
    if not found:
        raise failures[-1].error
    every = torch.cat(found)
    if already_probabilities(every, model.offers.end):
        warn(
            f"{model.name} gives probabilities, and they are compared as if they were embeddings: "
            "give the network that ends before its head, or labels= so that its head is left out"
        )
    return every, tuple(shown)


def _references(model: Model, given: Any, run: Run, failures: list[Failure]) -> list[Reference]:
    """The references, each with its direction."""
    if isinstance(given, Mapping):
        pairs: list[tuple[str | None, Any]] = [(str(key), each) for key, each in given.items()]
    else:
        several = list(given) if isinstance(given, list | tuple) else [given]
        pairs = [(None, each) for each in several]
    found = []
    for number, (name, each) in enumerate(pairs, 1):
        vectors = _as_vectors(each)
        pictures: tuple[Image.Image, ...] = ()
        called = name or _called(each, number)
        if vectors is None:
            try:
                vectors, pictures = embeddings(model, each, run, failures)
            except PictureError as error:
                raise PictureError(f"reference {called!r}: {error}") from error
        found.append(Reference(called, _mean(vectors), pictures))
    return found


def _words(model: Model, words: str | Sequence[str]) -> list[Reference]:
    """The words, encoded once by the model's text tower."""
    listed = [words] if isinstance(words, str) else list(words)
    if not listed:
        return []
    encode = getattr(model.module, "encode_words", None)
    if encode is None:
        raise TargetError(
            f"{model.name} reads no words: it has no text tower. Give reference pictures, or a "
            "model of pictures and words, such as hf/openai/clip-vit-base-patch32"
        )
    if not all(isinstance(each, str) and each.strip() for each in listed):
        raise TargetError(f"words are {listed!r}: give texts such as 'a cat'")
    with torch.no_grad():
        vectors = encode(listed).double().cpu()
    return [Reference(name, _mean(each[None])) for name, each in zip(listed, vectors, strict=True)]


def _questions(
    model: Model,
    known: Sequence[Reference],
    against: Any,
    run: Run,
    failures: list[Failure],
) -> tuple[list[Similarity], list[Similarity], str]:
    """The targets of presence and of absence, and what they ask in words."""
    names = [each.name for each in known]
    directions = [each.direction for each in known]
    if isinstance(against, str) and against == REST:
        if len(known) == 1:
            against = None
        else:
            rest = [
                torch.stack([each for other, each in enumerate(directions) if other != number])
                for number in range(len(known))
            ]
            said = "more like the reference than the others are"
    elif against is not None:
        what = _as_vectors(against)
        what = embeddings(model, against, run, failures)[0] if what is None else what
        rest = [_mean(what)[None]] * len(known)
        said = "more like the reference than what it is held against"
    if against is None:
        plain: list[Similarity] = [
            Similarity(each, name) for each, name in zip(directions, names, strict=True)
        ]
        away: list[Similarity] = [
            Difference(each, f"not {name}") for each, name in zip(directions, names, strict=True)
        ]
        return plain, away, "cosine similarity to the reference"
    triples = list(zip(directions, rest, names, strict=True))
    here: list[Similarity] = [Contrast(one, name, other) for one, other, name in triples]
    gone: list[Similarity] = [Contrast(other, f"not {name}", one) for one, other, name in triples]
    return here, gone, f"difference of cosine similarities, {said}"


def _as_vectors(given: Any) -> Tensor | None:
    """Embeddings (R, D) where that is what is given: a vector, or a matrix of them."""
    if isinstance(given, Tensor | np.ndarray) and given.ndim in (1, 2):
        vectors = torch.as_tensor(given)
        if not vectors.is_floating_point() or not bool(torch.isfinite(vectors).all()):
            raise TargetError("an embedding is made of finite floating-point numbers: give (D,)")
        return vectors.detach().reshape(-1, vectors.shape[-1]).double().cpu()
    return None


def _mean(vectors: Tensor) -> Tensor:
    """The mean direction (D,) of embeddings (R, D)."""
    mean = F.normalize(vectors, dim=1).mean(0)
    if not bool(mean.abs().max() > 0):
        raise TargetError("a reference whose embedding is zero has no direction: give another")
    return F.normalize(mean, dim=0)


def _called(given: Any, number: int) -> str:
    if isinstance(given, str | Path):
        return Path(str(given).partition("?")[0]).stem or str(given)
    if isinstance(given, list | tuple) and len(given) > 1:
        return f"mean of {len(given)} pictures"
    known = name_of(given, number)
    return f"reference {number}" if known == f"picture {number}" else Path(known).stem


def _apart(known: Sequence[Reference]) -> list[Reference]:
    """The references with names of which no two are equal."""
    names: list[str] = []
    for each in known:
        name, number = each.name, 2
        while name in names:
            name, number = f"{each.name} ({number})", number + 1
        names.append(name)
    return [each._replace(name=name) for each, name in zip(known, names, strict=True)]


def _stacked(answers: Sequence[Explanation]) -> Tensor:
    """Maps (k, *space), channels summed."""
    for each in answers:
        if each.relevance.ndim < 2:
            raise NoSpaceError(
                f"the map of {each.method} has the shape {tuple(each.relevance.shape)}, without "
                "places: give pictures, or name a layer with space, see model.layers()"
            )
    magnitude = answers[0].display == "absolute"
    maps = [each.relevance.abs() if magnitude else each.relevance for each in answers]
    return torch.stack([each.sum(0) for each in maps]).float()


def _shown(answer: Explanation, name: str) -> Shown:
    return Shown(name, answer.picture, answer.geometry, answer.size)


def _inner(run: Run) -> Run:
    """The run of one of several pictures: their number is told by whoever goes through them."""
    tell = run.progress
    if tell is None:
        return run

    def steps(done: int, total: int, what: str) -> None:
        if what != "pictures":
            tell(done, total, what)

    return replace(run, progress=steps)
