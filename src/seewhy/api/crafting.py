"""The verbs on what concepts matter: those of a class (CRAFT), and given ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from seewhy.api.models import ModelSpec, as_model
from seewhy.concepts import Craft, Factorization, Importance
from seewhy.concepts.craft import Settings
from seewhy.concepts.craft import craft as crafted
from seewhy.concepts.importance import concept_importance as measured
from seewhy.model.layers import LayerSpec
from seewhy.run import Progress, Run
from seewhy.targets import TargetSpec


def craft(
    model: ModelSpec,
    pictures: Any,
    target: TargetSpec = None,
    concepts: int = 10,
    *,
    layer: LayerSpec = None,
    crop: float = 0.5,
    overlap: float = 0.5,
    designs: int = 32,
    residual: bool = False,
    recursive: bool = True,
    earlier: LayerSpec | Sequence[LayerSpec] = None,
    parts: int = 3,
    mixed: float = 0.5,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Craft:
    """Find the concepts that a class is recognised by, and how much its score depends on each.

    pictures: of one class, as for `explain`; target: the class, by number or name, or any target;
    None is what is predicted, with a warning where that is not one class. Of each picture crops
    are cut, `crop` of its sides long and overlapping by `overlap` of a crop, enlarged to a whole
    input. What `layer` makes of them, averaged over places, is factorized into `concepts` (NMF;
    semi-NMF where activations have negative values: then so have the concepts). Their maps are the
    weights of these concepts at each place of the whole pictures.

    Importance is the total Sobol index of the score where the weights of concepts are scaled by
    numbers in 0..1, in whole pictures, by replay from the layer (Jansen's estimator, `designs` x
    (concepts + 2) replays a picture), averaged over pictures; beside it what the score loses
    without the concept. As in the paper both start from what the concepts rebuild of the picture;
    residual=True adds what they leave out. Where an important concept is strong in enlarged crops
    of places that it is not strong at in the whole pictures, a warning says so.

    recursive: take a concept apart again, into up to `parts`, at an earlier layer (`earlier`, one
    or several, each before the one before it; None is the last of the same kind). That is done for
    concepts at least half as important as the most important one, whose own crops (the tenth with
    the largest weights, at least 12) differ there at least `mixed` times as much as all crops do,
    by 1 minus the mean cosine. The importance of a part is for the concept, in its crops, not for
    the class. The rest is as for `Run`.

    Raises MethodError for settings without sense, and where the score is the same whatever the
    concepts weigh (as where a class token alone is read after the layer); NoSpaceError for a layer
    without places or inputs that are no pictures. Fel et al. 2023, whose maps come from implicit
    differentiation instead.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 40, 60)]
    >>> found = craft("demo", pictures, "disk", 4, crop=0.7, designs=4)
    >>> found.bank.vectors.shape, found.maps[0].shape, found.crops
    (torch.Size([4, 96]), torch.Size([4, 16, 16]), 12)
    """
    settings = Settings(concepts, crop, overlap, designs, residual, recursive, parts, mixed)
    run = Run(device, precision, memory, seed, progress, cancel)
    how: dict[str, Any] = {"layer": layer, "earlier": earlier, "settings": settings}
    return crafted(as_model(model), pictures, target, **how, others=others, run=run)


def concept_importance(
    model: ModelSpec,
    found: Factorization,
    pictures: Any,
    target: TargetSpec = None,
    *,
    designs: int = 32,
    residual: bool = False,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Importance:
    """Measure how much a score depends on each concept of a factorization.

    pictures: as for `explain`; target: one, asked of all of them. In each picture the concepts'
    weights are found anew (of given vectors, not negative; of principal components by projection),
    scaled by numbers in 0..1, and the network is run on from the layer: total Sobol indices
    (Jansen's estimator, `designs` x (k + 2) replays and two forwards a picture), and what the score
    loses where one concept is removed. residual: False starts from what the concepts rebuild of
    the activations alone (as Fel et al. 2023), True keeps what they leave out. The rest is as for
    `Run`.

    `share` is how much of the scores the concepts alone rebuild, with a warning below 0.4.

    Raises MethodError for concepts of another model, and where the score is the same whatever they
    weigh; TargetError for several targets, LayerError where nothing can be replayed.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60)]
    >>> found = sw.factorize("demo", pictures, 3)
    >>> concept_importance("demo", found, pictures, "disk", designs=4).total.shape
    torch.Size([2, 3])
    """
    run = Run(device, precision, memory, seed, progress, cancel)
    how: dict[str, Any] = {"designs": designs, "residual": residual, "others": others}
    return measured(as_model(model), found, pictures, target, **how, run=run)
