"""Text in pictures: the font, and lines that fit a width."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

LONGEST = 2000  # characters of a text that are looked at: no cell shows more
ELLIPSIS = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@lru_cache(maxsize=32)
def font(size: int, *, bold: bool = False) -> Font:
    """Return matplotlib's DejaVu Sans in a size in pixels, or Pillow's own font without it."""
    import matplotlib as mpl

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / name
    # Some distributions of matplotlib come without its fonts.
    return ImageFont.truetype(str(path), size) if path.is_file() else ImageFont.load_default(size)


def line_height(face: Font) -> int:
    """Return the distance from one line to the next, in pixels."""
    top, bottom = face.getbbox("Ájgy")[1::2]
    return round((bottom - min(0, top)) * 1.15)


def wrap(text: str, face: Font, width: int, lines: int) -> list[str]:
    """Break a text into at most `lines` lines of at most `width` pixels.

    Line breaks in the text are kept, words wider than a line are broken, after a hyphen where there
    is one, and what does not fit ends in an ellipsis.
    """
    wrapped: list[str] = []
    for paragraph in _clean(text).split("\n"):
        rest = paragraph.strip()
        while rest and len(wrapped) <= lines:
            head, rest = _split(rest, face, width)
            wrapped.append(head)
    if len(wrapped) > lines:
        wrapped = wrapped[:lines]
        wrapped[-1] = _shorten(wrapped[-1], face, width)
    return wrapped


def shorten(text: str, face: Font, width: int) -> str:
    """Return a text on one line of at most `width` pixels, with an ellipsis where it is cut."""
    line = " ".join(_clean(text).split())
    return line if face.getlength(line) <= width else _shorten(line, face, width)


def _clean(text: str) -> str:
    """Return a text that can be laid out, with line breaks as its only control characters."""
    drawable = text[:LONGEST].encode("utf-8", "replace").decode("utf-8")
    # Unicode's own line and paragraph separators (Zl, Zp) make the layout engine fail.
    plain = {"Zl": "\n", "Zp": "\n", "Cc": " "}
    return "".join(
        char if char == "\n" else plain.get(unicodedata.category(char), char) for char in drawable
    )


def _split(text: str, face: Font, width: int) -> tuple[str, str]:
    """Return the part of a text that fits on a line, and what remains."""
    if face.getlength(text) <= width:
        return text, ""
    end = max(1, _fitting(text, face, width))
    between = text.rfind(" ", 0, end + 1)
    between = between if between > 0 else text.rfind("-", 0, end) + 1
    end = between if between > 0 else end
    return text[:end].rstrip(), text[end:].lstrip()


def _shorten(text: str, face: Font, width: int) -> str:
    room = width - face.getlength(ELLIPSIS)
    return text[: _fitting(text, face, room)].rstrip() + ELLIPSIS


def _fitting(text: str, face: Font, width: float) -> int:
    """Return how many of a text's first characters fit into a width."""
    lengths = range(1, len(text) + 1)
    return bisect_right(lengths, width, key=lambda end: face.getlength(text[:end]))
