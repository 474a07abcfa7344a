"""A network as a drawing in SVG: blocks from the input down to the output, shapes on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from seewhy.draw.text import font, shorten

WIDTH, MARGIN, INDENT = 760, 24, 14
ROW, TALL, FOOT = 34, 54, 12  # pixels: of a block, of one with a second line, below what is inside
NEAR, FAR = 16, 34  # from block to block, and where a shape is written
BEHIND = 4  # pixels by which a block that is there several times shows the next
SMALL, USUAL, LARGE = 12, 13, 20  # of text, in pixels
PAD = 14

FAMILIES = {  # by parts of the name of a kind; the first that fits
    "attention": ("Attention", "Attn"),
    "norm": ("Norm",),
    "pool": ("Pool", "Upsample"),
    "conv": ("Conv",),
    "linear": ("Linear", "Embedding"),
    "act": ("LU", "Sigmoid", "Tanh", "Softmax", "swish", "Softplus"),
}
STYLE = """
.seewhy-diagram { color-scheme: light dark; max-width: 100%; height: auto;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif;
  --paper: #faf9f6; --card: #ffffff; --nest: #f0eee9; --ink: #1d1f23; --soft: #585d66;
  --line: #c9c5bd; --accent: #1c5a9e; --on-accent: #ffffff;
  --conv: #3b7dd8; --linear: #3a9a5b; --norm: #9a8fb5; --act: #d98a2b; --pool: #c2569b;
  --attention: #149a9a; --other: #a7a39b; }
@media (prefers-color-scheme: dark) { .seewhy-diagram {
  --paper: #131518; --card: #22262b; --nest: #1a1d21; --ink: #e9e7e3; --soft: #a6abb3;
  --line: #444a52; --accent: #8dbaf0; --on-accent: #0f151c; } }
.seewhy-diagram text { fill: var(--ink); font-size: 13px; font-variant-numeric: tabular-nums; }
.seewhy-diagram .title { font-size: 20px; font-weight: 650; }
.seewhy-diagram .name { font-weight: 650; }
.seewhy-diagram .soft { fill: var(--soft); }
.seewhy-diagram .small { font-size: 12px; }
.seewhy-diagram .card { fill: var(--card); stroke: var(--line); }
.seewhy-diagram .nest { fill: var(--nest); stroke: var(--line); }
.seewhy-diagram .default { stroke: var(--accent); stroke-width: 2; }
.seewhy-diagram .badge { fill: var(--accent); }
.seewhy-diagram .on { fill: var(--on-accent); font-size: 12px; font-weight: 600; }
.seewhy-diagram .arrow { stroke: var(--soft); fill: none; stroke-width: 1.5; }
"""


@dataclass(frozen=True)
class Block:
    """A part of a network: a module, or several alike that follow each other.

    kind, detail: what it is, and more of that on the same line. shape: of what it gives, in words.
    parameters: of all of them. contents: what is inside, where that is not drawn. mark: why it
    stands out. times: how many there are. inner: the parts that are drawn inside, of each.
    """

    name: str
    kind: str
    shape: str = ""
    parameters: int = 0
    detail: str = ""
    contents: str = ""
    mark: str = ""
    times: int = 1
    inner: tuple[Block, ...] = ()

    def __len__(self) -> int:
        return 1 + sum(map(len, self.inner))


def diagram(
    blocks: Sequence[Block],
    *,
    title: str,
    lines: Iterable[str] = (),
    given: str = "",
    output: str = "",
) -> str:
    """Draw blocks in their order, one below the other, as one SVG document.

    title, lines: what stands above. given, output: the shapes of what goes in and what comes out.
    Text is text; colours follow the reader's choice of light or dark; without scripts and links.
    """
    drawn = _Drawing(44)
    drawn.text(MARGIN, 44, title, WIDTH - 2 * MARGIN, LARGE, "title")
    for line in lines:
        drawn.bottom += 21
        drawn.text(MARGIN, drawn.bottom, line, WIDTH - 2 * MARGIN, USUAL, "soft")
    drawn.bottom += 20
    edge = WIDTH - MARGIN - PAD
    drawn.text(edge, drawn.bottom + 50, "parameters", 120, SMALL, "soft small", end=True)
    drawn.terminal("input")
    drawn.arrow(given)
    if blocks:
        drawn.chain(blocks, MARGIN)
        drawn.arrow(output)
    drawn.terminal("output")
    height = round(drawn.bottom + MARGIN)
    size = f'width="{WIDTH}" height="{height}"'
    seen = f'role="img" {size} viewBox="0 0 {WIDTH} {height}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="seewhy-diagram" {seen}>',
            f"<title>{escape(title)}: a diagram of the model</title>",
            f"<desc>{escape(_said(blocks, given, output))}</desc>",
            f"<style>{STYLE}</style>",
            f'<rect {size} style="fill: var(--paper)"/>',
            *drawn.parts,
            "</svg>\n",
        ]
    )


class _Drawing:
    """The parts of a drawing, how far down it goes, and the shape that was written last."""

    def __init__(self, top: float) -> None:
        self.parts: list[str] = []
        self.bottom = top
        self.written = ""

    def chain(self, blocks: Sequence[Block], left: float) -> None:
        """Draw blocks below each other, with arrows between them."""
        for number, block in enumerate(blocks):
            if number:
                self.arrow(blocks[number - 1].shape)
            self.block(block, left)

    def block(self, block: Block, left: float) -> None:
        """Draw one block, and what is inside."""
        top, width, place = self.bottom, WIDTH - 2 * left, len(self.parts)
        self._line(block, top, left, width)
        self.bottom = top + ROW
        if block.inner:
            self.chain(block.inner, left + INDENT)
            self.bottom += FOOT
        elif block.contents:
            room = width - 2 * PAD
            self.text(left + PAD, top + 42, block.contents, room, SMALL, "soft small")
            self.bottom = top + TALL
        height = self.bottom - top
        look = ("nest" if block.inner else "card") + (" default" if block.mark else "")
        behind = min(block.times - 1, 2)
        boxes = [
            _box(left + BEHIND * each, top + BEHIND * each, width, height, look)
            for each in range(behind, -1, -1)
        ]
        if not block.inner:
            boxes.append(
                f'<rect x="{left + 1:g}" y="{top + 6:g}" width="4" height="{height - 12:g}" '
                f'rx="2" style="fill: var(--{_family(block.kind)})"/>'
            )
        self.parts[place:place] = boxes
        self.bottom += BEHIND * behind

    def _line(self, block: Block, top: float, left: float, width: float) -> None:
        """Name, kind and detail on the left; mark, times and parameters on the right."""
        base, right = top + 22, left + width - PAD
        if block.parameters:
            own, several = block.parameters, block.inner and block.times > 1
            said = f"{block.times} × {own // block.times:,}" if several else f"{own:,}"
            right -= self.text(right, base, said, 160, USUAL, end=True) + 10
        badges = [f"×{block.times}"] if block.times > 1 else []
        for badge in [*badges, block.mark] if block.mark else badges:
            long = self.badge(right, top + 8, badge)
            right -= long + 8
        start = left + PAD
        used = self.text(start, base, block.name, (right - start) * 0.6, USUAL, "name")
        said = f"{block.kind} {block.detail}".strip()
        self.text(start + used + 10, base, said, right - start - used - 14, USUAL, "soft")

    def text(
        self,
        x: float,
        y: float,
        text: str,
        room: float,
        size: int,
        look: str = "",
        *,
        end: bool = False,
    ) -> float:
        """Write a text on one line within a room; returns about how wide it is."""
        face = font(size, bold="name" in look or "title" in look)
        said = shorten(text, face, max(1, round(room)))
        anchor = ' text-anchor="end"' if end else ""
        named = f' class="{look}"' if look else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{named}{anchor}>{escape(said)}</text>')
        return face.getlength(said)

    def badge(self, right: float, top: float, text: str) -> float:
        """Write a text on a pill that ends at a place; returns how wide it is."""
        width = font(SMALL, bold=True).getlength(text) + 12
        self.parts.append(
            f'<rect x="{right - width:g}" y="{top:g}" width="{width:g}" height="19" rx="9.5" '
            'class="badge"/>'
            f'<text x="{right - width / 2:g}" y="{top + 13.5:g}" text-anchor="middle" '
            f'class="on">{escape(text)}</text>'
        )
        return width

    def arrow(self, shape: str) -> None:
        """Draw an arrow down, with the shape beside it where it is another than before."""
        written = shape if shape != self.written else ""
        top, end, middle = self.bottom, self.bottom + (FAR if written else NEAR), WIDTH // 2
        self.parts.append(
            f'<path class="arrow" d="M{middle} {top + 2:g}V{end - 3:g}m-4 -4l4 4l4 -4"/>'
        )
        if written:
            self.text(middle + 12, top + 21, written, WIDTH // 2 - 40, SMALL, "soft small")
            self.written = written
        self.bottom = end

    def terminal(self, name: str) -> None:
        """Draw where it begins or ends."""
        left, width, height = WIDTH // 2 - 44, 88, 28
        self.parts.append(
            f'<rect x="{left}" y="{self.bottom:g}" width="{width}" height="{height}" rx="14" '
            f'class="card"/><text x="{WIDTH // 2}" y="{self.bottom + 19:g}" '
            f'text-anchor="middle">{name}</text>'
        )
        self.bottom += height


def _box(left: float, top: float, width: float, height: float, look: str) -> str:
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="8" '
        f'class="{look}"/>'
    )


def _family(kind: str) -> str:
    for family, parts in FAMILIES.items():
        if any(part in kind for part in parts):
            return family
    return "other"


def _said(blocks: Sequence[Block], given: str, output: str) -> str:
    """The drawing in words, for those who do not see it."""
    return f"Input {given}. {' '.join(_each(blocks))} Output {output}."


def _each(blocks: Sequence[Block]) -> Iterator[str]:
    for block in blocks:
        times = f", {block.times} times" if block.times > 1 else ""
        mark = f", {block.mark}" if block.mark else ""
        gives = f", gives {block.shape}" if block.shape else ""
        yield f"{block.name}: {block.kind}{times}{mark}{gives}."
        if block.inner:
            yield from ("Inside:", *_each(block.inner), "End.")
