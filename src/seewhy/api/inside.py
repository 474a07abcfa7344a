"""The verbs on the inside of a network: its activations, its filters, what excites its units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from seewhy.api.models import ModelSpec, as_model
from seewhy.concepts import ConceptVector, Factorization
from seewhy.errors import MethodError
from seewhy.inside import Activations, By, Channels, Exciting, Filters
from seewhy.inside import activations as recorded
from seewhy.inside import exciting as searched
from seewhy.inside import filters as read
from seewhy.model.layers import LayerSpec
from seewhy.model.model import Model
from seewhy.prototypes import Objective, concept
from seewhy.run import Progress, Run
from seewhy.targets import Direction


def activations(
    model: ModelSpec,
    pictures: Any,
    layers: LayerSpec | Sequence[LayerSpec] = None,
    channels: Channels = "top",
    *,
    top: int = 16,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Activations:
    """Show what layers make of pictures: the maps of their channels.

    pictures: as for `explain`, of one input shape. layers: one or several; "all" is every layer
    with space in the order in which they come to be, those only once that pass on what another
    gave; None is the default layer. channels: "top" are the `top` ones that vary most over the
    places of a picture (standard deviation, root mean square over pictures), which are those with
    something to be seen, whereas a large mean may be the same everywhere; "all"; "mean", the mean
    of all; or numbers. `.maps` has (N, channels, *space) by layer, whatever the layer's own
    layout, raw. The rest is as for `Run`.

    Pictures that fail are left out, warned of, and listed in `.failures`. Raises PictureError where
    none is left or input shapes differ, NoSpaceError for layers without places, LayerError for
    those that do not exist, MethodError for channels that do not.

    >>> picture = Image.effect_noise((64, 64), 60)
    >>> found = activations("demo", picture, ["block1", "block4"], top=4)
    >>> found["block4"].shape, found.layers
    (torch.Size([1, 4, 16, 16]), ('block1', 'block4'))
    """
    return recorded(
        as_model(model),
        pictures,
        layers,
        channels,
        top=top,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def filters(model: ModelSpec, layer: LayerSpec = None) -> Filters:
    """Show the filters of a convolution: its kernels in a grid.

    layer: a convolution of one to three axes, transposed ones too; None is the first whose kernel
    has more than one place. `.weights` has (O, I, *kernel): for each of O channels that come out
    what is multiplied with the I that come in. Drawn, three input channels are red, green and
    blue; one is drawn by value; of more the first principal component over the input channels is
    drawn, with its share of the filter's squared weights (`.components()`), or, with
    `draw("channels", number)`, the kernel of each input channel of one filter.

    Raises LayerError for layers without kernels and for kernels of a single place, naming layers
    that have some.

    >>> found = filters("demo")
    >>> found.layer, found.weights.shape, found.view
    ('block1.conv', torch.Size([24, 3, 6, 6]), 'colours')
    """
    return read(as_model(model), layer)


def exciting(
    model: ModelSpec,
    pictures: Any,
    unit: Any,
    top: int = 9,
    *,
    layer: LayerSpec = None,
    by: By = "max",
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Exciting:
    """Find the pictures that excite a unit most, and the crop of each that does it.

    pictures: as for `explain`, a folder for instance, or an iterator; nothing is kept of those that
    are not among the best, and of those a reduced copy. unit: with `layer` a number, which is a
    channel of it; without, as for `explain`, a class or any Target; a factorization (all its
    concepts), one of its concepts as (found, 2), a `ConceptVector`, or an objective of
    `seewhy.prototypes`; a list of these. top: pictures of each. by: a channel's or a direction's
    value in a picture is that of its strongest place, "max", or the mean over places.

    The crop is what the strongest place of the layer sees: its receptive field, measured as the
    part of the input where all but 5 % of the gradient of the layer's centre place lies, in each
    axis, with respect to noise, shifted to the place. Of a class, the place that contributes most
    to its score by gradient x activation, at `layer` or the default. Where there are no places, or
    all of them are alike, it is the whole picture. Of equal values the earlier picture comes first;
    a unit that is the same in all of them is warned of. The rest is as for `Run`.

    Pictures that fail are left out, warned of, and listed in `.failures`. Raises PictureError where
    none is left, TargetError, LayerError and MethodError for units that do not exist.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60, 100)]
    >>> found = exciting("demo", pictures, 5, top=2, layer="block4")
    >>> found.units, len(found[0])
    (('channel 5 of block4',), 2)
    """
    network = as_model(model)
    return searched(
        network,
        pictures,
        _asked(unit, network),
        top,
        layer=layer,
        by=by,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def _asked(unit: Any, model: Model) -> Any:
    """The unit, or several, as targets: concepts become directions of their layer."""
    if isinstance(unit, tuple) and len(unit) == 2 and isinstance(unit[0], Factorization):
        found, number = unit
        _check_weights(found, model)
        return concept(found, number).target
    if isinstance(unit, Factorization):
        return [_asked((unit, number), model) for number in range(len(unit))]
    if isinstance(unit, ConceptVector):
        _check_weights(unit, model)
        return Direction(unit.layer, unit.vector, name=unit.name)
    if isinstance(unit, Objective):
        return unit.target
    if isinstance(unit, list | tuple):
        several = [_asked(each, model) for each in unit]
        return [one for each in several for one in (each if isinstance(each, list) else [each])]
    return unit


def _check_weights(found: Factorization | ConceptVector, model: Model) -> None:
    if found.weights != model.fingerprint():
        raise MethodError(
            f"these concepts are of {found.model} with other weights: find them again in "
            f"{model.name}"
        )
