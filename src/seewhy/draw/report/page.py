"""What a page shows, as plain data: pictures, heats and words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.colors import Colormap
    from numpy.typing import NDArray
    from PIL import Image


@dataclass(frozen=True)
class Layer:
    """One map over a card's picture.

    name: on the switch; cards that have the same names switch together. heat: (h, w) of any size,
    it covers the picture; 0..1, or -1..1 where `signed`, NaN where the model did not see. target:
    what was explained, as a question ("Why tabby?"). details: how, in short. words: what there is
    to say about this map, a line each; where it is strongest is said by the page. ends: what those
    of its scale mean.
    """

    name: str
    heat: NDArray[Any]
    target: str = ""
    details: str = ""
    words: Sequence[str] = ()
    signed: bool = False
    ends: tuple[str, str] = ("less", "more")
    colormap: str | Colormap | None = None


@dataclass(frozen=True)
class Card:
    """One picture with its maps, the first of which is shown at first.

    prediction: (label, number, probability in 0..1) of the most probable classes. checks: what
    there is to say about the picture, a line each. truth: a mask (h, w) that covers the picture;
    its outline can be shown. Where there is no picture (None), the maps stand alone.
    """

    title: str
    picture: Image.Image | None
    layers: Sequence[Layer] = ()
    prediction: Sequence[tuple[str, int, float]] = ()
    checks: Sequence[str] = ()
    truth: NDArray[Any] | None = None


@dataclass(frozen=True)
class Table:
    """Rows under columns; readers sort it. Cells are texts, or numbers, which are written short.

    words: how it is to be read, in paragraphs. below: it stands under the pictures; of a single
    picture every table does.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | float]]
    caption: str = ""
    words: Sequence[str] = ()
    below: bool = False


class Block(Protocol):
    """What stands on a page beside cards and tables, and brings its own template.

    parts: names of templates (.html), of which the first is the block's, with the styles (.css) and
    scripts (.js) that they have. maps: whether it shows maps, whose opacity the reader sets.
    """

    parts: ClassVar[tuple[str, ...]]
    maps: ClassVar[bool]

    @property
    def size(self) -> tuple[int, int] | None:
        """The width and height that most of its pictures have; None without pictures."""

    def view(self, number: int) -> Any:
        """Return what the template reads as `view`; number: of the block on its page."""


@dataclass(frozen=True)
class Page:
    """What one HTML file shows, from above.

    facts: name and value of what is needed to repeat it, at the foot. opacity: of the maps at
    first, 0..1. truth: what the outlines of the cards' truths are called. pairs: each two cards
    belong together and stand side by side. blocks: between the cards and the tables below them.
    """

    title: str
    introduction: Sequence[str] = ()
    cards: Sequence[Card] = ()
    tables: Sequence[Table] = ()
    facts: Sequence[tuple[str, str]] = field(default=())
    opacity: float = 0.7
    truth: str = "the marked region"
    pairs: bool = False
    blocks: Sequence[Block] = ()
