"""Whole drawings, as wide as the page, with what they say beside them as text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from seewhy.draw.report.pictures import picture_address
from seewhy.errors import PictureError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from PIL import Image

SHARPEST = 2400  # pixels of the longer side of a drawing, which may hold small text


@dataclass(frozen=True)
class Sheet:
    """A drawing. title: above it; said: what it says, as plain text with its own lines."""

    image: Image.Image
    title: str = ""
    said: str = ""


@dataclass(frozen=True)
class Sheets:
    """Drawings one below the other; where there is no room for one, it scrolls."""

    sheets: Sequence[Sheet]
    caption: str

    parts: ClassVar[tuple[str, ...]] = ("sheets",)
    maps: ClassVar[bool] = False
    size: ClassVar[None] = None

    def view(self, number: int) -> _View:
        """Return what the template reads; PictureError where there is nothing to show."""
        if not self.sheets:
            raise PictureError("Sheets are one or more drawings.")
        addresses = [picture_address(each.image, SHARPEST) for each in self.sheets]
        return _View(self, number, list(zip(self.sheets, addresses, strict=True)))


@dataclass(frozen=True)
class _View:
    block: Sheets
    number: int
    sheets: list[tuple[Sheet, str]]
