"""What a metric is: a number for each picture, of a method's maps on a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, get_type_hints
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoAnswerError
from seewhy.fill import Fill, Filler
from seewhy.methods import settings
from seewhy.methods.base import Display
from seewhy.model.geometry import Geometry
from seewhy.model.model import Model
from seewhy.model.prepare import Prepared
from seewhy.run import Run, generator
from seewhy.targets import Class, Probability, Score, Target, TargetSpec
from seewhy.targets.several import target_of_each
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

    def row(self, row: int) -> Maps:
        """Return the map of one picture alone."""
        return Maps(self.relevance[row : row + 1], self.display)

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

    score: what is measured of the targets, usually a probability (see `of`). masks: bool (H, W) of
    each original picture, where the answer should be; none where nobody knows.
    """

    model: Model
    prepared: Prepared
    score: Score
    masks: tuple[Tensor, ...] = ()
    run: Run = field(default_factory=Run)
    targets: tuple[Target, ...] = ()
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
        given = target_of_each(target, len(prepared))
        count = len(given)
        own = [each.of_picture(row, count, prepared.rows([row])) for row, each in enumerate(given)]
        names = [f"picture {row}" for row in range(len(prepared))]
        truths = listed_masks(masks, names)
        found = tuple(mask_on(each, prepared, names[row], row) for row, each in enumerate(truths))
        return cls.measuring(model, prepared, own, found, run or Run())

    @classmethod
    def measuring(
        cls,
        model: Model,
        prepared: Prepared,
        targets: Sequence[Target],
        masks: tuple[Tensor, ...] = (),
        run: Run | None = None,
    ) -> Case:
        """Return the case of pictures of which these targets were explained, one for each."""
        read = tuple(measured(targets))
        return cls(model, prepared, Score(read, model, prepared), masks, run or Run(), read)

    def row(self, row: int) -> Case:
        """Return the case of one picture alone."""
        some, masks = self.prepared.rows([row]), self.masks[row : row + 1]
        return Case.measuring(self.model, some, self.targets[row : row + 1], masks, self.run)

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

    words: what it measures, for those who read a table. better: which way is better. needs: "masks"
    where the truth has to be known.
    """

    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    words: ClassVar[str] = ""
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for each in fields(self):
            what = f"{self.name}: {each.name}"
            settings.check(getattr(self, each.name), hints[each.name], what)

    def answers(self, case: Case, maps: Maps) -> Tensor:
        """Return `measure`, NaN for pictures whose score is gone once something is removed."""
        try:
            return self.measure(case, maps)
        except NoAnswerError:
            if len(case) == 1:
                return torch.full((1,), torch.nan, dtype=torch.float64)
            rows = range(len(case))
            return torch.cat([self.answers(case.row(row), maps.row(row)) for row in rows])

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


def measured(targets: Sequence[Target]) -> list[Target]:
    """Return what is measured where these are explained: of a class its softmax probability."""
    shared = {id(each): Probability(each.spec) if type(each) is Class else each for each in targets}
    return [shared[id(each)] for each in targets]


def _written(value: Any) -> str:
    return str(value.written()) if isinstance(value, Fill) else str(value)
