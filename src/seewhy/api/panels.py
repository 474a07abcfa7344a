"""The verbs whose answer is one panel: sensitivity of each class, a sweep of concepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from seewhy.api.models import ModelSpec, as_model
from seewhy.concepts import Head, How, Solver
from seewhy.concepts.sensitivity import Of, SensitivityMaps
from seewhy.concepts.sensitivity import sensitivity as sensitive
from seewhy.concepts.sweep import NUMBERS, Sweep
from seewhy.concepts.sweep import sweep as swept
from seewhy.model.layers import LayerSpec
from seewhy.run import Progress, Run


def sensitivity(
    model: ModelSpec,
    pictures: Any,
    of: Of | Sequence[Of] = ("class", "all"),
    *,
    shape: Sequence[int] | None = None,
    most: int = 20,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> SensitivityMaps:
    """Show how strongly scores respond to each pixel, on an example of each class, in a grid.

    A map is the squared gradient, summed over channels: what would change the score, up or down,
    not what makes it what it is. pictures: a mapping of classes (numbers, names or targets) to one
    picture each; or pictures as for `explain`, or an iterator, of which the first of each predicted
    class is taken, in the order of the classes, up to `most` classes. of: "class", the score of the
    picture's own class, before any softmax; "all", the sum of all logits; or both. shape: what
    picture flat inputs (N, D) are, (h, w) or (channels, h, w), where they are given as a tensor.
    The rest is as for `Run`.

    Pictures that fail are left out, warned of, and listed in `.failures`. Raises PictureError where
    none is left and for flat inputs without a fitting shape, TargetError without class scores,
    MethodError for settings without sense and for models without gradients.
    Simonyan et al. 2014; Montavon et al. 2018.

    >>> pictures = {"disk": Image.effect_noise((64, 64), 20)}
    >>> found = sensitivity("demo", pictures)
    >>> found.classes, found.maps[0].shape
    (('disk',), torch.Size([2, 64, 64]))
    """
    return sensitive(
        as_model(model),
        pictures,
        of,
        shape=shape,
        most=most,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )


def sweep(
    model: ModelSpec,
    pictures: Any,
    numbers: Iterable[int] = NUMBERS,
    *,
    layer: LayerSpec = None,
    head: Head | None = None,
    meaning: How | Literal["auto"] = "auto",
    solver: Solver = "nmf",
    curve: bool = True,
    top_k: int = 1,
    probabilities: bool = True,
    device: str | None = None,
    precision: str | None = None,
    memory: int | None = None,
    seed: int = 0,
    others: dict[str, Any] | None = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Sweep:
    """Factorize pictures into several numbers of concepts, from too few (merged) to too many.

    The layer's activations are recorded once, and kept: memory grows with the pictures. Each column
    of the panel is what `factorize` finds for that number. A concept keeps its colour from column
    to column where its vector stays (best pairs, of a cosine of at least .8). numbers: of concepts,
    all different. curve: find the knee of the error too, as `concepts="auto"` does; it takes
    much longer than the columns. The rest is as for `factorize`.

    Raises MethodError for settings without sense, NoSpaceError for a layer without places.

    >>> pictures = [Image.effect_noise((64, 64), each) for each in (20, 60)]
    >>> found = sweep("demo", pictures, (2, 3), curve=False)
    >>> found.numbers, found.errors[1] < found.errors[0]
    ((2, 3), True)
    """
    return swept(
        as_model(model),
        pictures,
        numbers,
        layer=layer,
        head=head,
        meaning=meaning,
        solver=solver,
        curve=curve,
        top_k=top_k,
        probabilities=probabilities,
        others=others,
        run=Run(device, precision, memory, seed, progress, cancel),
    )
