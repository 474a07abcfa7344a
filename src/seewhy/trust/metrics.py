"""What a metric is: a number for each picture, of a method's maps on a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.fill import Fill, Filler
from seewhy.methods.base import Display
from seewhy.model.geometry import Geometry
from seewhy.model.model import Model
from seewhy.model.prepare import Prepared
from seewhy.run import Run, generator
from seewhy.targets import Class, Probability, Score, Target, TargetSpec, as_target
from seewhy.trust.masks import Masks, listed_masks, mask_on, place_of

TIES, PEAKS, RANKS, DRAWS = 21, 22, 23, 24  # tell the uses of a picture's random numbers apart


@dataclass(frozen=True, eq=False)
class Maps:
    """A method's maps of a batch of pictures.

    relevance: (N, C', h, w), raw and signed, or (N, D) for flat inputs. display: what the method's
    own map shows. A value per place is the sum over the channels, of magnitudes where the display
    is "absolute"; where it is "positive", what is below zero counts as zero.
    """

    relevance: Tensor
    display: Display = "signed"
    _curves: WeakKeyDictionary[Case, dict[Any, Tensor]] = field(
        default_factory=WeakKeyDictionary, repr=False
    )

    def __len__(self) -> int:
        return len(self.relevance)

    def curves_of(self, case: Case) -> dict[Any, Tensor]:
        """Return what was measured of these maps on a case, by settings, to be added to."""
        return self._curves.setdefault(case, {})

    def laid(self, row: int, geometry: Geometry) -> Tensor:
        """Return a row's value at every pixel of a picture, float64 (H, W); NaN where unseen.

        Raises MethodError where the map has no space, or time as well.
        """
        relevance = self.relevance[row].detach().cpu().double()
        if relevance.ndim == 1 and geometry.shape is not None:
            relevance = relevance.reshape(geometry.shape)
        if relevance.ndim != 3:
            raise MethodError(
                f"a map of the shape {tuple(relevance.shape)} came: the metrics judge maps of "
                "pictures, (C, h, w)"
            )
        summed = (relevance.abs() if self.display == "absolute" else relevance).sum(0)
        laid = geometry.on_original(summed)
        return laid.clamp(min=0) if self.display == "positive" else laid

    def on_input(self, size: tuple[int, int]) -> Tensor:
        """Return the values at the pixels of the model's input, float64 (N, H, W)."""
        whole = Geometry.stretched(size, size)
        return torch.stack([self.laid(row, whole) for row in range(len(self))])


@dataclass(frozen=True, eq=False)
class Case:
    """A batch of pictures on which maps are judged: the same for every method.

    score: what is measured, usually a probability (see `of`). masks: bool (H, W) of each original
    picture, where the answer should be; none where nobody knows.
    """

    model: Model
    prepared: Prepared
    score: Score
    masks: tuple[Tensor, ...] = ()
    run: Run = field(default_factory=Run)
    known: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        model: Model,
        prepared: Prepared,
        target: TargetSpec | Sequence[TargetSpec] = None,
        masks: Masks = None,
        run: Run | None = None,
    ) -> Case:
        """Return the case of what was explained: of a class, its softmax probability is measured.

        target: one for all pictures, or a list with one for each. masks: one for each picture.
        Raises PictureError where a mask does not fit its picture.
        """
        score = Score(measured(targets_of(target, len(prepared))), model, prepared)
        names = [f"picture {row}" for row in range(len(prepared))]
        truths = listed_masks(masks, names)
        found = tuple(mask_on(each, prepared, names[row], row) for row, each in enumerate(truths))
        return cls(model, prepared, score, found, run or Run())

    def __len__(self) -> int:
        return len(self.prepared)

    @property
    def whole(self) -> Tensor:
        """The score of each picture as it is, float64 (N,); found once."""
        if "whole" not in self.known:
            with self.model.held(self.run), torch.no_grad():
                self.score.bind(self.model, self.model.at_home(self.prepared))
                self.known["whole"] = self.score.answered[1].cpu().double()
        found: Tensor = self.known["whole"]
        return found

    def geometry(self, row: int) -> Geometry:
        """Return where the input's places are in the original picture."""
        return place_of(self.prepared, row)

    def draw(self, row: int, stream: int) -> torch.Generator:
        """Return the random generator of a picture, for one use of it."""
        return generator(self.run.seed, self.prepared.keys[row], stream)

    def filler(self, fill: Fill, pictures: Tensor) -> Filler:
        """Return the fill bound to these pictures, the case's own; bound once for all methods."""
        key = (fill, pictures.device, pictures.dtype)
        if key not in self.known:
            self.known[key] = fill.bind(pictures, self.prepared.keys, self.run.seed)
        found: Filler = self.known[key]
        return found


@dataclass(frozen=True)
class Metric:
    """A way to judge maps: a value with its settings as fields, and `measure`.

    better: which way is better. needs: "masks" where the truth has to be known.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ()

    def measure(self, case: Case, maps: Maps) -> Tensor:
        """Return one number a picture, float64 (N,); NaN where the question has no answer."""
        raise NotImplementedError

    def __str__(self) -> str:
        given = [
            f"{each.name}={_written(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return self.name + (":" + ",".join(given) if given else "")


def targets_of(target: TargetSpec | Sequence[TargetSpec], count: int) -> list[Target]:
    """Return one target for each picture; equal ones are the same object, and bound together."""
    listed: list[Any] = list(target) if isinstance(target, list | tuple) else [target] * count
    if len(listed) != count:
        raise MethodError(f"{len(listed)} targets for {count} pictures: give one for each, or one")
    shared: dict[Any, Target] = {}
    return [shared.setdefault(_known(each), as_target(each)) for each in listed]


def measured(targets: Sequence[Target]) -> list[Target]:
    """Return what is measured where these are explained: of a class its softmax probability."""
    shared = {id(each): Probability(each.spec) if type(each) is Class else each for each in targets}
    return [shared[id(each)] for each in targets]


def _known(spec: Any) -> Any:
    """What tells equal targets."""
    return spec if isinstance(spec, int | str | None) else id(spec)


def _written(value: Any) -> str:
    return str(value.written()) if isinstance(value, Fill) else str(value)
