"""Concept activation vectors, and whether a class depends on them (TCAV; Kim et al. 2018).

A concept is shown by example pictures. Its vector is the direction of a layer's channels, averaged
over places, that parts them from random pictures; a class is sensitive to it where its score grows
along the vector.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from seewhy.concepts.cav_results import TCAV, ConceptVector, Sensitivity
from seewhy.concepts.classifiers import Classifier, accuracy, classifier_of
from seewhy.concepts.finite import check_finite
from seewhy.concepts.maps import ConceptMaps
from seewhy.concepts.seen import named, scorer
from seewhy.errors import Failure, MethodError, NoSpaceError, PictureError, tell_of, warn
from seewhy.model.layers import Layer, LayerSpec
from seewhy.model.prepare import Prepared, batched
from seewhy.model.reading import read_each, sources_of
from seewhy.model.tape.record import Recording, record
from seewhy.result import origin
from seewhy.run import Run, generator, is_number
from seewhy.shown import Shown, reduced
from seewhy.targets import Score, TargetSpec

if TYPE_CHECKING:
    from seewhy.model.model import Model

AT_ONCE = 16  # pictures that run together
SETS = 700  # tells this use of random numbers from others
KEPT = 9  # examples that are kept to be shown
FEWEST = 2  # examples of a set


def concept_vector(
    model: Model,
    examples: Any,
    random: Any,
    *,
    name: str = "concept",
    layer: LayerSpec = None,
    classifier: Classifier = "ridge",
    run: Run | None = None,
) -> ConceptVector:
    """Return the direction that parts examples from others; see `seewhy.concept_vector`."""
    run = run or Run()
    fit, failures = classifier_of(classifier), list[Failure]()
    with model.held(run):
        seen, where, shown = _pooled(model, examples, [layer], run, failures)
        rest, _, _ = _pooled(model, random, where, run, failures)
    tell_of(failures, left=True)
    (one,), (other,) = seen, rest
    if min(len(one), len(other)) < 2 * FEWEST:
        raise PictureError(
            f"{len(one)} examples and {len(other)} random pictures are too few for a direction: "
            f"give at least {2 * FEWEST} of each, better 30"
        )
    halves = [(one[0::2], other[0::2]), (one[1::2], other[1::2])]
    right = [accuracy(fit(*half), half, seen_not) for half, seen_not in (halves, halves[::-1])]
    vector = fit(one, other)
    return ConceptVector(
        vector=vector.float(),
        zero=float(other.mean(0) @ vector),
        name=name,
        layer=str(where[0]),
        accuracy=sum(right) / 2,
        counts=(len(one), len(other)),
        classifier=classifier,
        examples=shown,
        failures=tuple(failures),
        **origin(model, run),
    )


def concept_maps(
    model: Model,
    pictures: Any,
    vectors: ConceptVector | Sequence[ConceptVector],
    *,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> ConceptMaps:
    """Return where concepts are in pictures; see `seewhy.concept_maps`."""
    run = run or Run()
    listed = [vectors] if isinstance(vectors, ConceptVector) else list(vectors)
    if not listed:
        raise MethodError("there is no concept vector to map: give one at least")
    weights = model.fingerprint()
    for each in listed:
        if each.weights != weights:
            raise MethodError(
                f"{each.name!r} is a direction of {each.model} with other weights: make it with "
                f"{model.name}, concept_vector(model, examples, random)"
            )
    layers = tuple(dict.fromkeys(each.layer for each in listed))
    if len(layers) != 1:
        raise MethodError(
            f"vectors of {len(layers)} layers {layers} came: their maps differ in size, so map "
            "those of one layer at a time"
        )
    maps: list[Tensor] = []
    shown: list[Shown] = []
    failures: list[Failure] = []
    with model.held(run):
        for group, (recording, _) in _recorded(model, pictures, layers, run, others, failures):
            (found,) = recording.activations.values()
            _check_space(found, layers[0])
            for row, each in enumerate(group):
                own = found[row].cpu()
                maps.append(torch.stack([vector.project(own) for vector in listed]))
                shown.append(Shown.of(each))
    tell_of(failures, left=True)
    return ConceptMaps(
        names=tuple(each.name for each in listed),
        maps=tuple(maps),
        absent=tuple(-each for each in maps),
        shown=tuple(shown),
        scores=torch.stack([each.flatten(1).mean(1) for each in maps]),
        references=tuple(each.examples[:4] for each in listed),
        question="activations along the concept, beyond those of random pictures",
        method="projection",
        layers=layers,
        failures=tuple(failures),
        **origin(model, run),
    )


def tcav(
    model: Model,
    concepts: Mapping[str, Any],
    random: Any,
    pictures: Any,
    target: TargetSpec = None,
    *,
    layers: LayerSpec | Sequence[LayerSpec] = None,
    sets: int = 30,
    size: int = 10,
    disjoint: bool = True,
    classifier: Classifier = "ridge",
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> TCAV:
    """Test whether classes depend on concepts; see `seewhy.tcav`."""
    run, fit = run or Run(), classifier_of(classifier)
    for what, value, least in (("sets", sets, 2), ("size", size, FEWEST)):
        if not (is_number(value) and value >= least):
            raise MethodError(f"{what} is {value!r}: give a number from {least}")
    if not isinstance(concepts, Mapping) or not concepts:
        raise MethodError("concepts are example pictures by name: give {'stripes': pictures}")
    asked: list[Any] = list(layers) if isinstance(layers, list | tuple) else [layers]
    questions = pictures.items() if isinstance(pictures, Mapping) else [(target, pictures)]
    if isinstance(pictures, Mapping) and target is not None:
        raise MethodError(
            f"target is {target!r}, and the pictures come by target too: give only one of them"
        )
    tests: list[Sensitivity] = []
    failures: list[Failure] = []
    with model.held(run):
        seen = {
            str(name): _pooled(model, each, asked, run, failures)[0]
            for name, each in concepts.items()
        }
        rest, where, _ = _pooled(model, random, asked, run, failures)
        most = _count("the random pictures", len(rest[0]), sets, size)
        # the same numbers for each concept, whichever others are asked
        parts = _shuffled(len(rest[0]), run.seed, 0).split(size)
        vectors: dict[tuple[str, int], list[Tensor]] = {}
        right: dict[tuple[str, int], float] = {}
        for name, every in seen.items():
            order = _shuffled(len(every[0]), run.seed, 1)
            count = _count(f"concept {name!r}", len(order), most, size) if disjoint else most
            own = order.split(size)[:count] if disjoint else [order] * count
            for place in range(len(where)):
                groups = [
                    (every[place][one], rest[place][other])
                    for one, other in zip(own, parts[:count], strict=True)
                ]
                found = [fit(*group) for group in groups]
                vectors[name, place] = found
                right[name, place] = math.nan  # where sets share examples, none are held out
                if disjoint:
                    asked_of = [*groups[1:], groups[0]]
                    told = map(accuracy, found, groups, asked_of)
                    right[name, place] = sum(told) / count
        for spec, of_class in questions:
            gradients, names = _gradients(model, of_class, spec, where, run, others, failures)
            for (name, place), found in vectors.items():
                slopes = gradients[place] @ torch.stack(found, 1)  # (pictures, sets)
                tests.append(
                    Sensitivity(
                        concept=name,
                        target=names,
                        layer=str(where[place]),
                        scores=tuple(((slopes.sign() + 1) / 2).mean(0).tolist()),
                        accuracy=right[name, place],
                        pictures=len(slopes),
                    )
                )
    tell_of(failures, left=True)
    return TCAV(
        tests=tuple(tests),
        size=size,
        classifier=classifier,
        disjoint=disjoint,
        failures=tuple(failures),
        **origin(model, run),
    )


def _count(what: str, pictures: int, sets: int, size: int) -> int:
    """How many of the sets there are pictures for; MethodError where not for two."""
    most = pictures // size
    if most < 2:
        raise MethodError(
            f"{what}: {pictures} pictures are no two sets of {size}: give more, or a smaller size"
        )
    if most < sets:
        warn(
            f"{what}: {pictures} pictures are {most} sets of {size}, not {sets}; the test is less "
            "sure: give more pictures, or a smaller size"
        )
    return min(most, sets)


def _shuffled(count: int, seed: int, stream: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, stream, SETS))


def _gradients(
    model: Model,
    pictures: Any,
    target: TargetSpec,
    layers: Sequence[Layer],
    run: Run,
    others: Any,
    failures: list[Failure],
) -> tuple[list[Tensor], str]:
    """What a score gains where a layer's channels grow everywhere: (N, C) for each layer."""
    found: list[list[Tensor]] = [[] for _ in layers]
    names: list[str] = []
    score = scorer(model, target)
    for _, (recording, asked) in _recorded(model, pictures, layers, run, others, failures, score):
        for place, gradient in enumerate(recording.gradients.values()):
            found[place].append(_over_places(gradient, torch.sum))
        names += asked.names if asked else ()
    called = named(names)
    gradients = [torch.cat(each) for each in found]
    for layer, gradient in zip(layers, gradients, strict=True):
        if not bool(gradient.any()):
            warn(
                f"the score of {called} does not change with {str(layer)!r} in any of the "
                "pictures, so that a half there says nothing: name another layer, of a vision "
                "transformer an earlier one"
            )
    return gradients, called


def _pooled(
    model: Model,
    pictures: Any,
    layers: Sequence[LayerSpec],
    run: Run,
    failures: list[Failure],
) -> tuple[list[Tensor], list[Layer], tuple[Image.Image, ...]]:
    """The layers' channels, averaged over places, (N, C) each; the layers; the first pictures."""
    found: list[list[Tensor]] = [[] for _ in layers]
    where: list[Layer] = []
    shown: list[Image.Image] = []
    for group, (recording, _) in _recorded(model, pictures, layers, run, None, failures):
        where = list(recording.activations)
        for place, activations in enumerate(recording.activations.values()):
            found[place].append(_over_places(activations, torch.mean))
        pictures_of = (Shown.of(each).picture for each in group[: max(0, KEPT - len(shown))])
        shown += [reduced(each) for each in pictures_of if each is not None]
    return [torch.cat(each) for each in found], where, tuple(shown)


def _recorded(
    model: Model,
    pictures: Any,
    layers: Sequence[LayerSpec],
    run: Run,
    others: Any,
    failures: list[Failure],
    scored: Callable[[Prepared], Score] | None = None,
) -> Any:
    """Yield pictures, some at a time, with what was recorded at the layers, and its score.

    failures: takes those that cannot be read; where that is all of them, the last one is raised.
    """
    sources, done, lost = sources_of(pictures, model), 0, 0
    for group in read_each(model, sources, others, AT_ONCE):
        if isinstance(group, Failure):
            failures.append(group)
            lost += 1
            continue
        whole = model.at_home(batched([each.prepared for each in group]))
        where = [model.layer(each, whole) for each in layers]
        if len(set(where)) < len(where):
            raise MethodError(f"a layer came twice in {list(map(str, where))}: leave one out")
        fit = model.rows_at_once(whole, run, gradient=scored is not None)
        for rows in torch.arange(len(group)).split(fit):
            prepared = whole.rows(rows)
            score = scored(prepared) if scored else None
            watch = [] if scored else where
            found: Recording = record(model, prepared, score, where if scored else [], watch=watch)
            some = [group[row] for row in rows.tolist()]
            for each, values in (*found.activations.items(), *found.gradients.items()):
                check_finite(values, [ready.name for ready in some], f"layer {str(each)!r}")
            yield some, (found, score)
        done += len(group)
        run.report(done + lost, len(sources), "pictures")
    if not done:
        raise failures[-1].error


def _over_places(values: Tensor, how: Callable[..., Tensor]) -> Tensor:
    """Values (N, C, *space) as float64 (N, C)."""
    flat = values.double().flatten(2) if values.ndim > 2 else values.double()[..., None]
    return how(flat, 2).cpu()


def _check_space(found: Tensor, layer: str) -> None:
    if found.ndim < 3 or found[0, 0].numel() < 2:
        raise NoSpaceError(
            f"layer {layer!r} has no space to map a concept in: make its vector at a layer with "
            "space, see model.layers()"
        )
