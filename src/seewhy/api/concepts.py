"""The verbs on concepts and prototypes: what a model finds in pictures, and what it looks for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from seewhy.api.models import ModelSpec, as_model
from seewhy.concepts import (
    TCAV,
    Classifier,
    ConceptMaps,
    ConceptVector,
    Factorization,
    Head,
    How,
    Solver,
)
from seewhy.concepts import concept_maps as mapped
from seewhy.concepts import concept_vector as vector_of
from seewhy.concepts import factorize as factorized
from seewhy.concepts import find as found_in
from seewhy.concepts import tcav as sensitivities
from seewhy.methods import Method
from seewhy.model.layers import LayerSpec
from seewhy.prototypes import Objective, Parametrisation, Prototype, Transform
from seewhy.prototypes import prototype as prototyped
from seewhy.run import Progress, Run
from seewhy.targets import TargetSpec


def factorize(
    model: ModelSpec,
    pictures: Any,
    concepts: int | Literal["auto"] = 5,
    *,
    layer: LayerSpec = None,
    head: Head | None = None,
    meaning: How | Literal["auto"] = "auto",
    solver: Solver = "nmf",
    top_k: int = 2,
    probabilities: bool = True,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Factorization:
    """Find all that a layer sees in pictures, as a few concepts, and what each speaks for.

    pictures: as for `explain`; concepts are found over all of them together. An iterator is gone
    through once, in memory that does not grow. concepts: how many; "auto" takes the knee of the
    error among the numbers that are stable, and keeps the curve. layer: None is the default.
    solver: "nmf", "pca" or "k-means". Where activations have negative values, so have the concepts,
    and only the maps do not (semi-NMF).
    meaning: how a concept is asked which classes it speaks for: "head", the classifier on the
    concept alone, where pooling and a linear layer follow; "replay", the network from the layer on;
    "removal", what the classes lose where it is removed from the pictures; "auto" is the first that
    applies. head: a function of vectors (k, C) in its place, such as `model.module.fc`. top_k:
    classes that are named; probabilities: as such, or as raw scores. The rest is as for `Run`.

    Raises MethodError for settings without sense, NoSpaceError for a layer without places.
    Collins et al. 2018.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60)]
    >>> found = factorize("demo", pictures, 3)
    >>> found.vectors.shape, found.heatmaps(0).shape
    (torch.Size([3, 96]), (3, 64, 64))
    """
    return factorized(
        as_model(model),
        pictures,
        concepts,
        layer=layer,
        head=head,
        meaning=meaning,
        solver=solver,
        top_k=top_k,
        probabilities=probabilities,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def find(
    model: ModelSpec,
    pictures: Any,
    references: Any = (),
    *,
    words: str | Sequence[str] = (),
    against: Any = "rest",
    method: Method | type[Method] | str | None = None,
    layer: LayerSpec | tuple[LayerSpec, ...] = None,
    absence: bool = True,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ConceptMaps:
    """Find where in pictures is what is like a reference, and where is what is not.

    model: one that gives embeddings (N, D); a classifier with labels is cut before its head (see
    `embedder`). pictures: as for `explain`. references: a list or a mapping of names, each a
    picture, several pictures or a folder (their mean direction), an embedding (D,) or several
    (R, D). words: texts, for a model with a text tower, such as "hf/openai/clip-vit-base-patch32".
    against: what a reference is held against: "rest", the other references and words, where there
    are any; None, nothing, which leaves its cosine similarity; or a reference of its own. method,
    layer: as for `explain`; any method. absence: map the opposite question too, unless the
    method's maps are magnitudes. The rest is as for `Run`.

    Pictures that fail are left out, of references too, warned of, and listed in `.failures`. Raises
    PictureError where none is left, TargetError for embeddings of another size and for words where
    there is no text tower, NoAnswerError for embeddings with NaN, NoSpaceError for maps without
    places.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60)]
    >>> found = find("demo", pictures[0], {"calm": pictures[0], "wild": pictures[1]})
    >>> found.names, found.heatmaps(0).shape
    (('calm', 'wild'), (2, 64, 64))
    """
    return found_in(
        as_model(model),
        pictures,
        references,
        words=words,
        against=against,
        method=method,
        layer=layer,
        absence=absence,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def prototype(
    model: ModelSpec,
    target: TargetSpec | Objective | Sequence[TargetSpec | Objective] = None,
    *,
    mean: Any = None,
    classes: Sequence[int | str] | None = None,
    distance: float = 0.1,
    start: Any = None,
    image: Parametrisation | str | None = None,
    transforms: Sequence[Transform] | None = None,
    steps: int = 256,
    rate: float = 0.05,
    each: int = 1,
    diversity: float = 0.0,
    variation: float = 0.0,
    layer: LayerSpec = None,
    frames: int = 8,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Prototype:
    """Make pictures of what a class, a channel or a concept looks like to the model.

    target: as for `explain`, or an objective (`seewhy.prototypes.objective("disk") - 0.5 *
    objective("cross")`, `concept(found, 2)`); a list gives one picture for each, all made at once;
    None is every class, up to 100. Without `mean` its score is made large (Olah et al. 2017), from
    noise, in waves, seen a little differently at each step. With `mean`, of a class minus its
    log-probability + distance x squared distance to the mean is made small (Montavon et al. 2018),
    from zeros, pixel by pixel: model input (1, ...) for all, (targets, ...) for each, a
    number for every place, or pictures, whose classes are `classes`, or what the model predicts.

    start: "zeros" (of model input), "noise", or pictures: one for all, one for each target, or
    several for one. image: "pixels", "fourier", "maco", or one of `seewhy.prototypes`. transforms:
    what happens to pictures before each look, such as `seewhy.prototypes.Jitter(4)`. steps, rate:
    of Adam; the rate falls to zero. each: pictures of each target; diversity: a weight on how much
    they differ at a layer. variation: a weight against differences of neighbours, all added.
    frames: pictures on the way that are kept. Pictures are 0..1 as far as the preprocessing can be
    read off, and plain model input where there is none. The rest is as for `Run`.

    Stopped by `cancel` or by KeyboardInterrupt, it warns and returns the best until then. Raises
    MethodError for settings without sense, TargetError for targets that the model does not have.

    >>> found = prototype("demo", ["disk", "cross"], steps=4)
    >>> found.targets, found.pictures.shape
    (('disk', 'cross'), torch.Size([2, 3, 64, 64]))
    """
    return prototyped(
        as_model(model),
        target,
        mean=mean,
        classes=classes,
        distance=distance,
        start=start,
        image=image,
        transforms=transforms,
        steps=steps,
        rate=rate,
        each=each,
        diversity=diversity,
        variation=variation,
        layer=layer,
        frames=frames,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def concept_vector(
    model: ModelSpec,
    examples: Any,
    random: Any,
    *,
    name: str = "concept",
    layer: LayerSpec = None,
    classifier: Classifier = "ridge",
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ConceptVector:
    """Return a concept activation vector: what a layer has in examples and not in random pictures.

    examples, random: pictures as for `explain`, a folder for instance, 30 or more of each. layer:
    None is the default. classifier: "ridge", the normal of a ridge regression on the layer's
    channels, averaged over places, or "mean", the difference of the means. Vectors of one layer add
    and subtract; `concept_maps` finds them in new pictures; they are saved and read. The rest is
    as for `Run`.

    Pictures that fail are left out, warned of, and listed in `.failures`. Raises PictureError for
    fewer than 4 of each, MethodError where both are the same to the layer, NoAnswerError where it
    gives NaN or infinity.
    Kim et al. 2018, who take a linear classifier of all places instead of their average.

    >>> wild = [Image.effect_noise((64, 64), 60) for _ in range(4)]
    >>> calm = [Image.effect_noise((64, 64), 20) for _ in range(4)]
    >>> concept_vector("demo", wild, calm, name="wild").vector.shape
    torch.Size([96])
    """
    run = Run(device, precision, memory, seed, progress, cancel)
    how: dict[str, Any] = {"name": name, "layer": layer, "classifier": classifier}
    return vector_of(as_model(model), examples, random, **how, run=run)


def concept_maps(
    model: ModelSpec,
    pictures: Any,
    vectors: ConceptVector | Sequence[ConceptVector],
    *,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> ConceptMaps:
    """Show where concept vectors of one layer are in pictures.

    A map is the projection of the layer's activations on the vector, minus the mean projection of
    the random pictures that it was made with: positive where there is more of the concept. The rest
    is as for `Run`. Raises MethodError for vectors of another model or of several layers,
    NoSpaceError where the layer has no places.

    >>> wild = [Image.effect_noise((64, 64), 60) for _ in range(4)]
    >>> calm = [Image.effect_noise((64, 64), 20) for _ in range(4)]
    >>> vector = concept_vector("demo", wild, calm, name="wild")
    >>> concept_maps("demo", calm[0], [vector, -vector]).names
    ('wild', '-wild')
    """
    run = Run(device, precision, memory, seed, progress, cancel)
    return mapped(as_model(model), pictures, vectors, others=others, run=run)


def tcav(
    model: ModelSpec,
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
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> TCAV:
    """Test whether a class depends on concepts: how often its score grows along their vectors.

    concepts: example pictures by name. random: pictures to tell them from. pictures: of the class,
    and target: its number, name or any Target; or a mapping of targets to pictures. layers: one or
    several. sets: for each of so many sets of `size` examples and as many random pictures a vector
    is made, and the share of pictures whose score grows along it: the TCAV score, where a half says
    nothing. disjoint: sets share no example, as the t-test assumes; False makes each vector from
    all examples and another random set, as in the paper, where what is peculiar to the examples
    passes for significant. classifier: as for `concept_vector`. The rest is as for `Run`.

    The two-sided t-test is against a score of a half, and p is corrected for the number of tests
    (Holm). A score says in which direction, not how much. A concept's sets and scores are the same
    whichever others are asked. Warns where there are pictures for fewer sets, and where the score
    does not change with a layer; raises MethodError where there are not two sets or for settings
    without sense, NoAnswerError where a layer gives NaN or infinity. Pictures that fail are left
    out, warned of, and listed in `.failures`. Kim et al. 2018.

    >>> wild = [Image.effect_noise((64, 64), 60) for _ in range(20)]
    >>> calm = [Image.effect_noise((64, 64), 20) for _ in range(20)]
    >>> found = tcav("demo", {"wild": wild}, calm, calm[:4], "disk", sets=4, size=5)
    >>> len(found[0].scores), found[0].layer
    (4, 'block4')
    """
    return sensitivities(
        as_model(model),
        concepts,
        random,
        pictures,
        target,
        layers=layers,
        sets=sets,
        size=size,
        disjoint=disjoint,
        classifier=classifier,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )
