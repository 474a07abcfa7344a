"""Pictures under a legend of concepts, each of which can be seen alone in all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from seewhy.draw.report import pictures
from seewhy.draw.report.words import shares_of, where_strongest
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from seewhy.draw.colors import RGB

NAMED = 0.01  # the share of a picture from which a concept is named as being there


@dataclass(frozen=True)
class Concept:
    """One entry of a legend.

    color: of its maps. classes: what it speaks for, as (label, how much in words, 0..1 for a bar or
    None for no bar). examples: small pictures of what it was given as.
    """

    name: str
    color: RGB
    classes: Sequence[tuple[str, str, float | None]] = ()
    examples: Sequence[Image.Image] = ()


@dataclass(frozen=True)
class Scene:
    """One picture with the maps of all concepts.

    maps: for each side (k, h, w) of any size, they cover the picture; 0..1, NaN where the model did
    not see. said: of each concept in this picture, in short; empty, the share of the picture that
    it is strongest on.
    """

    title: str
    picture: Image.Image
    maps: Sequence[NDArray[np.floating]]
    said: Sequence[str] = ()


@dataclass(frozen=True)
class Gallery:
    """Pictures with the maps of concepts, in colours; one that is pointed at is shown alone.

    sides: what the sides of the maps are called, one of which is seen at a time.
    """

    legend: Sequence[Concept]
    scenes: Sequence[Scene]
    sides: Sequence[str] = ("where concepts are",)

    parts: ClassVar[tuple[str, ...]] = ("gallery",)
    maps: ClassVar[bool] = True

    @property
    def size(self) -> tuple[int, int]:
        """The width and height that are most usual."""
        sizes = sorted((each.picture.size for each in self.scenes), key=lambda it: it[0] / it[1])
        return sizes[len(sizes) // 2]

    def view(self, number: int) -> _View:
        """Return what the template reads; PictureError where there is nothing to show."""
        if not self.scenes or not self.legend:
            raise PictureError("A gallery is of one or more pictures, and concepts in them.")
        swatches = [
            (f"#{concept.color[0]:02x}{concept.color[1]:02x}{concept.color[2]:02x}", concept)
            for concept in self.legend
        ]
        examples = [
            [pictures.picture_address(each, pictures.SMALL) for each in concept.examples]
            for concept in self.legend
        ]
        return _View(self, number, swatches, examples, [_Scene.of(self, it) for it in self.scenes])


@dataclass(frozen=True)
class _View:
    gallery: Gallery
    number: int
    swatches: list[tuple[str, Concept]]
    examples: list[list[str]]
    scenes: list[_Scene]


@dataclass(frozen=True)
class _Side:
    """The maps of one side: all in one, each alone, and where each is in words and as shares."""

    overlay: str
    masks: list[str]
    where: list[str]
    bar: list[tuple[int, float, float]]  # concept, where it begins, its share


@dataclass(frozen=True)
class _Scene:
    """A picture with its overlays."""

    scene: Scene
    size: pictures.Size
    address: str
    crisp: bool
    sides: list[_Side]

    @classmethod
    def of(cls, gallery: Gallery, scene: Scene) -> _Scene:
        picture, colors = scene.picture, [each.color for each in gallery.legend]
        if len(scene.maps) != len(gallery.sides) or any(
            np.ndim(maps) != 3 or len(maps) != len(colors) for maps in scene.maps
        ):
            raise PictureError(
                f"{scene.title!r} has maps of the shapes {[np.shape(each) for each in scene.maps]}:"
                f" give (k, h, w) for each of {len(gallery.sides)} sides, {len(colors)} concepts"
            )
        sides = []
        for maps in scene.maps:
            shares = shares_of(maps)
            starts = np.cumsum([0.0, *shares])
            sides.append(
                _Side(
                    pictures.concepts_address(maps, colors, picture.size),
                    [
                        pictures.concepts_address(
                            own[None], [color], picture.size, most=pictures.MASK
                        )
                        for own, color in zip(maps, colors, strict=True)
                    ],
                    [where_strongest(own) for own in maps],
                    [
                        (place, float(start), share)
                        for place, (start, share) in enumerate(zip(starts, shares, strict=False))
                        if share >= NAMED
                    ],
                )
            )
        return cls(
            scene,
            picture.size,
            pictures.picture_address(picture),
            max(picture.size) <= pictures.CRISP,
            sides,
        )
