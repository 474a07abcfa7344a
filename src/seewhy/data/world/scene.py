"""Pictures whose every cause is known: each part has an exact mask and can be taken away."""

import math
import operator
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seewhy.errors import PictureError

CLASSES = ("disk", "square", "triangle", "cross", "nothing")
PARTS = ("shape", "sticker", "distractor 1", "distractor 2")  # and after them the further shapes
FURTHER_SHAPES = ("shape 2", "shape 3")  # in pictures of several, in this order
STICKERS = ("red", "green", "blue", "yellow")  # "red" is the sticker of the disk, and so on
SIZE = 64

Sticker = Literal["random", "class", "mixed", "none"]
Plane = NDArray[np.float64]
Mask = NDArray[np.bool_]

_NOTHING = CLASSES.index("nothing")
_ABSENT = -1
_DISTRACTORS = ("ring", "bars")
_INKS = np.array([[0.95, 0.1, 0.1], [0.1, 0.85, 0.15], [0.15, 0.2, 0.95], [0.95, 0.9, 0.1]])
_PAPER = 0.97
_CELL = SIZE / 3
_RADII = (8.0, 10.2)  # a part's circumscribed circle; it stays inside the part's cell
_ROWS, _COLUMNS = np.mgrid[:SIZE, :SIZE].astype(np.float64)

# Gaussians around six knots, summing to one everywhere, turn a coarse grid into smooth clouds.
_KNOTS = np.linspace(0, SIZE - 1, 6)
_SMOOTH: Plane = np.exp(-(((np.arange(SIZE)[:, None] - _KNOTS) / 8) ** 2) / 2)
_SMOOTH /= _SMOOTH.sum(1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Scenes:
    """Generated pictures with what is in them and where.

    `pictures` and `backgrounds` are uint8 (N, 64, 64, 3), with and without all parts; `labels` is
    int64 (N,) into `CLASSES`; `sticker_classes` is int64 (N,), the class whose colour the sticker
    has, -1 where there is none; `masks` is bool (N, P, 64, 64) in the order of `parts`, all False
    for a part that is absent; `shape_classes` is int64 (N, K), the classes of "shape", "shape 2"
    and so on, all different within a picture, -1 where there is no shape. The first shape is what
    `labels` names. Parts never overlap. An index, a slice or an index array selects pictures and
    gives Scenes again.
    """

    pictures: NDArray[np.uint8]
    backgrounds: NDArray[np.uint8]
    labels: NDArray[np.int64]
    sticker_classes: NDArray[np.int64]
    masks: Mask
    shape_classes: NDArray[np.int64]

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of the parts: `PARTS`, and where there are several shapes, the further ones."""
        return PARTS + FURTHER_SHAPES[: self.shape_classes.shape[1] - 1]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int | slice | ArrayLike) -> "Scenes":
        rows = np.atleast_1d(np.arange(len(self))[index])  # type: ignore[index]
        return Scenes(*(getattr(self, field.name)[rows] for field in fields(self)))

    def mask(self, part: str) -> Mask:
        """Give the pixels of one of `parts`, bool (N, 64, 64); other names raise PictureError."""
        if part not in self.parts:
            known = _listed(self.parts)
            raise PictureError(f"no part {part!r} in these pictures; choose from {known}")
        return self.masks[:, self.parts.index(part)]

    def without(self, *parts: str) -> NDArray[np.uint8]:
        """Draw the same pictures, uint8 (N, 64, 64, 3), without these parts.

        Nothing else changes by a single pixel, and a part that a picture does not have leaves it
        as it is. Names that are not in `parts` raise PictureError.
        """
        hidden = np.zeros_like(self.masks[:, 0])
        for part in parts:
            hidden |= self.mask(part)
        return np.where(hidden[..., None], self.backgrounds, self.pictures)


def generate(
    count: int,
    *,
    seed: int = 0,
    sticker: Sticker = "random",
    conflict: bool = False,
    empty: float = 0.15,
    distractors: int | None = None,
    shapes: int = 1,
) -> Scenes:
    """Draw pictures of shapes, one sticker and up to two distractors on a noisy background.

    Picture i depends on the seed, on i and on the settings alone, so ten pictures are the first
    ten of a hundred; and a setting changes only what it names, so the same seed without stickers
    gives the same pictures without their stickers.

    `sticker` says what its colour follows: "random" nothing (and a quarter have none), "class"
    the shape (none without a shape), "mixed" the class in 60 % of the pictures and nothing in the
    others, "none" that there is no sticker. With `conflict` there is always a shape, whatever
    `empty`, and always a sticker, which has the colour of another class. `empty` is the share of
    pictures without a shape, in 0..1. `distractors` is how many, 0 to 2; None draws the number.
    `shapes` is how many there are where there are any, 1 to 3, each of another class: the label
    and what a sticker follows are the first one's, and a further one only adds itself to the
    picture. With `conflict` the sticker has the colour of none of them. Settings outside these
    ranges raise PictureError.

    >>> generate(1, shapes=2).parts
    ('shape', 'sticker', 'distractor 1', 'distractor 2', 'shape 2')
    """
    shapes = _whole("shapes", shapes, least=1, most=1 + len(FURTHER_SHAPES))
    settings = _Settings(sticker, conflict, empty, distractors, shapes)
    count, seed = _whole("count", count, least=1), _whole("seed", seed, least=0)
    scenes = Scenes(
        pictures=np.empty((count, SIZE, SIZE, 3), np.uint8),
        backgrounds=np.empty((count, SIZE, SIZE, 3), np.uint8),
        labels=np.empty(count, np.int64),
        sticker_classes=np.empty(count, np.int64),
        masks=np.empty((count, len(PARTS) + shapes - 1, SIZE, SIZE), np.bool_),
        shape_classes=np.empty((count, shapes), np.int64),
    )
    for index in range(count):
        generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
        _draw(scenes, index, settings, generator)
    return scenes


@dataclass(frozen=True)
class _Settings:
    sticker: Sticker
    conflict: bool
    empty: float
    distractors: int | None
    shapes: int

    def __post_init__(self) -> None:
        if self.sticker not in get_args(Sticker):
            known = _listed(get_args(Sticker))
            raise PictureError(f"sticker={self.sticker!r} is not known; choose from {known}")
        if self.conflict and self.sticker != "random":
            raise PictureError(
                f"conflict=True gives every sticker another class than the shape's, "
                f"sticker={self.sticker!r} says otherwise; leave one of the two out"
            )
        if not 0 <= self.empty <= 1:
            raise PictureError(f"empty={self.empty!r} is not a share; give a number in 0..1")
        if self.distractors not in (None, 0, 1, 2):
            raise PictureError(
                f"distractors={self.distractors!r}; give 0, 1 or 2, or None to draw the number"
            )


def _draw(scenes: Scenes, index: int, settings: _Settings, generator: np.random.Generator) -> None:
    # Every draw is made in every picture, used or not: settings must not shift later draws.
    tone = generator.uniform(0.35, 0.65, 3)
    background = tone + _noise(generator)
    cells = generator.permutation(9)
    kind, vacant = int(generator.integers(4)), generator.random() < settings.empty
    label = kind if settings.conflict or not vacant else _NOTHING
    sticker_class = _sticker_class(kind, label, settings, generator)
    number = int(generator.integers(3))
    number = number if settings.distractors is None else settings.distractors

    planes = [
        _figure(CLASSES[kind], label != _NOTHING, cells[0], tone, generator),
        _sticker(sticker_class, cells[1], generator),
    ]
    for position in range(2):
        name = _DISTRACTORS[int(generator.integers(2))]
        planes.append(_figure(name, position < number, cells[2 + position], tone, generator))
    # Last, one after another: so another shape leaves everything else where it was.
    classes = [kind, *_other_kinds(kind, sticker_class, settings, generator)][: settings.shapes]
    for position, other in enumerate(classes[1:]):
        name, cell = CLASSES[other], cells[4 + position]
        planes.append(_figure(name, label != _NOTHING, cell, tone, generator))

    picture = background
    for part, (mask, colours) in enumerate(planes):
        picture = np.where(mask[..., None], colours, picture)
        scenes.masks[index, part] = mask
    scenes.backgrounds[index] = _bytes(background)
    scenes.pictures[index] = _bytes(picture)
    scenes.labels[index] = label
    scenes.sticker_classes[index] = sticker_class
    scenes.shape_classes[index] = classes if label != _NOTHING else _ABSENT


def _noise(generator: np.random.Generator) -> Plane:
    clouds = generator.normal(0, 0.2, (3, len(_KNOTS), len(_KNOTS)))
    grain = generator.normal(0, 0.03, (SIZE, SIZE, 3))
    return (_SMOOTH @ clouds @ _SMOOTH.T).transpose(1, 2, 0) + grain


def _sticker_class(
    kind: int, label: int, settings: _Settings, generator: np.random.Generator
) -> int:
    colour, present = int(generator.integers(4)), generator.random() < 0.75
    follows, step = generator.random() < 0.6, int(generator.integers(1, 4))
    if settings.conflict:
        return (kind + step) % 4
    unrelated = colour if present else _ABSENT
    own = label if label != _NOTHING else _ABSENT
    mixed = own if follows else unrelated
    return {"random": unrelated, "class": own, "mixed": mixed, "none": _ABSENT}[settings.sticker]


def _other_kinds(
    kind: int, sticker_class: int, settings: _Settings, generator: np.random.Generator
) -> list[int]:
    """Put the classes of further shapes in order; in a conflict the sticker's is not among them."""
    others = [int(each) for each in (kind + 1 + generator.permutation(3)) % 4]
    return [each for each in others if not (settings.conflict and each == sticker_class)]


def _figure(
    name: str, present: bool, cell: int, tone: Plane, generator: np.random.Generator
) -> tuple[Mask, Plane]:
    """Draw a shape or a distractor, at any angle, in a colour that stands out from the tone."""
    radius = generator.uniform(*_RADII)
    row, column = _place(cell, _CELL / 2 - radius, generator)
    angle = generator.uniform(0, 2 * math.pi)
    contrast = generator.choice([-1.0, 1.0], 3) * generator.uniform(0.25, 0.6, 3)
    down, right = (_ROWS - row) / radius, (_COLUMNS - column) / radius
    u = right * math.cos(angle) + down * math.sin(angle)
    v = down * math.cos(angle) - right * math.sin(angle)
    return _inside(name, u, v) & present, tone + contrast


def _inside(name: str, u: Plane, v: Plane) -> Mask:
    """Say which points belong to a figure whose circumscribed circle has the radius 1."""
    distance, wide, high = np.hypot(u, v), np.abs(u), np.abs(v)
    match name:
        case "disk":
            inside = distance < 0.85
        case "square":
            inside = np.maximum(wide, high) < 0.7
        case "triangle":
            inside = (v < 0.5) & (v > math.sqrt(3) * wide - 1)
        case "cross":
            inside = (np.maximum(wide, high) < 0.93) & (np.minimum(wide, high) < 0.33)
        case "ring":
            inside = (distance < 0.95) & (distance > 0.6)
        case _:  # bars: three of five stripes across a square
            inside = (np.maximum(wide, high) < 0.7) & (np.floor((v + 0.7) / 0.28) % 2 == 0)
    return np.asarray(inside, np.bool_)


def _sticker(sticker_class: int, cell: int, generator: np.random.Generator) -> tuple[Mask, Plane]:
    """Draw a checker of 3x3 squares of three pixels, white and the colour of a class."""
    row, column = (round(centre) for centre in _place(cell, 6.0, generator))
    down, right = _ROWS - row + 4, _COLUMNS - column + 4
    inside = (down >= 0) & (down < 9) & (right >= 0) & (right < 9)
    inked = (down // 3 + right // 3) % 2 == 0
    return inside & (sticker_class != _ABSENT), np.where(
        inked[..., None], _INKS[sticker_class], _PAPER
    )


def _place(cell: int, slack: float, generator: np.random.Generator) -> tuple[float, float]:
    """Choose a centre, row and column, at most `slack` pixels from the centre of a cell."""
    row, column = (np.array(divmod(int(cell), 3)) + 0.5) * _CELL - 0.5
    down, right = generator.uniform(-slack, slack, 2)
    return float(row + down), float(column + right)


def _bytes(picture: Plane) -> NDArray[np.uint8]:
    levels: NDArray[np.float64] = np.rint(picture.clip(0, 1) * 255)
    return levels.astype(np.uint8)


def _whole(name: str, number: Any, least: int, most: int | None = None) -> int:
    try:
        whole = operator.index(number)
    except TypeError:
        whole = least - 1
    if whole < least or (most is not None and whole > most):
        allowed = f"{least} or more" if most is None else f"{least} to {most}"
        raise PictureError(f"{name}={number!r}; give a whole number, {allowed}")
    return whole


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(repr(name) for name in names)
