"""Overview: what a network is made of, layer by layer, and as a diagram."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seewhy.draw import markdown, plain, write_whole
from seewhy.draw.diagram import Block, diagram
from seewhy.errors import ModelError, PictureError, SaveError
from seewhy.model.layers import Layer
from seewhy.model.outputs import detects, main_output

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

MOST_DRAWN = 44  # blocks of a diagram whose depth is not given
FILES = (".svg", ".md", ".txt")


@dataclass(frozen=True)
class Summary:
    """The layers of a model in order of execution; `default` is what methods use by themselves.

    input, output: shapes without the batch, empty where they are not known. kind: the type of the
    whole. It shows and saves itself as a table and as a diagram.
    """

    model: str
    layers: tuple[Layer, ...]
    default: Layer | None
    remark: str
    parameters: int
    input: tuple[int, ...] = ()
    output: tuple[int, ...] = ()
    kind: str = ""

    columns = ("layer", "type", "output", "layout", "kernel", "channels", "parameters")

    @classmethod
    def of(cls, model: Model, like: Prepared | None = None) -> Summary:
        """Return the summary of a model for an input like this."""
        table = model.findings.table(like)
        noise = model.findings.noise(1, like)
        return cls(
            model.name,
            table.layers,
            table.default,
            table.remark if model.offers.layers else "what is inside cannot be seen",
            parameters=model.size,
            input=tuple(noise.tensor.shape[1:]),
            output=_output(model.outputs(noise)),
            kind=type(model.module).__name__,
        )

    def rows(self) -> list[dict[str, str]]:
        """Return one row a layer, in words."""
        return [
            {
                "layer": str(each) + (" (default)" if self._is_default(each) else ""),
                "type": each.kind,
                "output": "x".join(map(str, each.shape)),
                "layout": each.layout or "",
                "kernel": "x".join(map(str, each.kernel)),
                "channels": "" if each.channels is None else "{} to {}".format(*each.channels),
                "parameters": f"{each.parameters:,}" if each.parameters else "",
            }
            for each in self.layers
        ]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        return markdown(self.columns, self.rows())

    def svg(self, depth: int | None = None) -> str:
        """Return a diagram of the model as an SVG document.

        Modules are grouped as they are nested, in order of execution; neighbours that are alike are
        drawn once, with their number. depth: how many levels of nesting are drawn, from 1; None is
        the deepest with at most 44 blocks. Branches and sums between modules are not drawn.
        Raises PictureError for a depth below 1.
        """
        if depth is not None and depth < 1:
            raise PictureError(f"a diagram {depth} levels deep: give 1 or more, or None to choose")
        blocks = self.blocks(depth)
        remark = f" ({self.remark})" if self.remark else ""
        default = f"default layer: {self.default or 'none'}{remark}"
        title = self.model if self.kind in ("", self.model) else f"{self.model} ({self.kind})"
        return diagram(
            blocks,
            title=title,
            lines=[f"{self.parameters:,} parameters"] * bool(self.parameters) + [default],
            given=_shape(self.input, None),
            output=_shape(self.output, None),
        )

    def blocks(self, depth: int | None = None) -> tuple[Block, ...]:
        """Return what the diagram shows; a model without modules is one block."""
        parts = _tree(self.layers)
        if not parts:
            contents = "no modules to be seen inside"
            shape = _shape(self.output, None)
            return (Block(self.model, self.kind, shape, self.parameters, contents=contents),)
        if depth is not None:
            return self._blocks(parts, depth)
        deepest = max(each.layer.name.count(".") for each in _every(parts)) + 1
        found = self._blocks(parts, 1)
        for level in range(2, deepest + 1):
            deeper = self._blocks(parts, level)
            if sum(map(len, deeper)) > MOST_DRAWN:
                break
            found = deeper
        return found

    def save(self, path: str | Path, depth: int | None = None) -> Path:
        """Write the diagram (.svg; depth: as for `svg`) or the table (.md, .txt) to a file.

        Returns its path. Raises SaveError for other endings and paths that cannot be written.
        """
        path = Path(path).expanduser()
        ways: tuple[Callable[[], str], ...] = (
            lambda: self.svg(depth),
            self.markdown,
            lambda: f"{self}\n",
        )
        for ending, way in zip(FILES, ways, strict=True):
            if path.suffix.lower() == ending:
                return write_whole(path, way().encode())
        raise SaveError(
            f"{path} ends in {path.suffix or 'nothing'}: a diagram ends in .svg, a table in .md "
            "or .txt"
        )

    def __str__(self) -> str:
        """Return the table as plain text, with the total below."""
        remark = f" ({self.remark})" if self.remark else ""
        default = f"default layer: {self.default}{remark}" if self.default else self.remark
        table = plain(self.columns, self.rows())
        count = f"{self.parameters:,} parameters; " if self.parameters else ""
        return f"{table}\n\n{self.model}: {count}{default}"

    __repr__ = __str__

    def _is_default(self, layer: Layer) -> bool:
        return self.default is not None and str(layer) == str(self.default)

    def _repr_markdown_(self) -> str:
        return self.markdown()

    def _repr_html_(self) -> str:
        return self.svg()

    # ------------------------------------------------------------------ the diagram

    def _blocks(self, parts: Sequence[_Part], depth: int) -> tuple[Block, ...]:
        alike = groupby(parts, key=lambda each: each.likeness(depth))
        return tuple(self._block(list(group), depth) for _, group in alike)

    def _block(self, parts: Sequence[_Part], depth: int) -> Block:
        """One block for parts that are alike and follow each other."""
        first, last = parts[0], parts[-1]
        inside = depth > 1 and bool(first.inner)
        return Block(
            name=_names(first.name, last.name),
            kind=first.layer.kind,
            shape=_shape(last.layer.shape, last.layer.layout),
            parameters=sum(each.parameters for each in parts),
            detail=_detail(first.layer),
            contents="" if inside else _contents(parts),
            mark=self._mark(parts, drawn_inside=inside),
            times=len(parts),
            inner=self._blocks(first.inner, depth - 1) if inside else (),
        )

    def _mark(self, parts: Sequence[_Part], *, drawn_inside: bool) -> str:
        """What says that the default layer is here, or in what is not drawn of it."""
        for part in parts:
            if self._is_default(part.layer):
                which = re.search(r"\d+$", part.name)
                several = f": {which[0] if which else part.name}"
                return "default layer" + (several if len(parts) > 1 else "")
        hidden = parts[1:] if drawn_inside else parts
        if any(self._is_default(each.layer) for part in hidden for each in _every(part.inner)):
            return "default layer inside"
        return ""


def _output(outputs: Any) -> tuple[int, ...]:
    """The shape of what answers, without the batch; empty where no single tensor does."""
    try:
        return () if detects(outputs) else tuple(main_output(outputs).shape[1:])
    except ModelError:
        return ()


@dataclass
class _Part:
    """A layer, its name within the part around it, and the layers inside."""

    layer: Layer
    name: str
    inner: list[_Part] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        """Its parameters, where they were not counted at an earlier call."""
        return self.layer.parameters if self.layer.call <= 0 else 0

    def likeness(self, depth: int) -> Any:
        """What is equal for parts that are drawn as one."""
        own = self.layer.kind, self.layer.shape
        if not self.inner:
            return (*own, self.layer.kernel, self.layer.channels, self.parameters)
        return (*own, *(each.likeness(depth - 1) for each in self.inner)) if depth > 1 else own


def _tree(layers: Sequence[Layer]) -> list[_Part]:
    """Layers by the nesting of their names: each in the last one called of those around it."""
    top: list[_Part] = []
    latest: dict[str, _Part] = {}
    for layer in layers:
        around, name = layer.name, ""
        while around and (not name or around not in latest):
            around, _, last = around.rpartition(".")
            name = f"{last}.{name}" if name else last
        part = _Part(layer, name + str(layer)[len(layer.name) :])
        (latest[around].inner if around else top).append(part)
        latest[layer.name] = part
    return top


def _every(parts: Sequence[_Part]) -> Iterator[_Part]:
    for part in parts:
        yield part
        yield from _every(part.inner)


def _names(first: str, last: str) -> str:
    """Return "layer.0–11" for "layer.0" and "layer.11"."""
    if first == last:
        return first
    one, other = (re.fullmatch(r"(.*?)(\d+)", each) for each in (first, last))
    if one and other and one[1] == other[1]:
        return f"{first}–{other[2]}"
    return f"{first} – {last}"


def _shape(shape: Sequence[int], layout: str | None) -> str:
    written = " × ".join(map(str, shape))
    plain_layout = layout in (None, "channels-first", "vector")
    return written if plain_layout or not written else f"{written} ({layout})"


def _detail(layer: Layer) -> str:
    kernel = "×".join(map(str, layer.kernel))
    channels = "" if layer.channels is None else "{} → {}".format(*layer.channels)
    return ", ".join(filter(None, (kernel, channels)))


def _contents(parts: Sequence[_Part]) -> str:
    """The layers inside, by type: "3–4 Conv2d, 3 ReLU" where the parts differ."""
    counts = [
        Counter(each.layer.kind for each in _every(part.inner) if not each.inner) for part in parts
    ]
    said = []
    for kind in dict.fromkeys(kind for own in counts for kind in own):
        least, most = (way(own[kind] for own in counts) for way in (min, max))
        said.append(f"{most} {kind}" if least == most else f"{least}–{most} {kind}")
    each = "each: " if said and len(parts) > 1 else ""
    return each + ", ".join(said)
