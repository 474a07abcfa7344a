"""Overview: what a network is made of, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seewhy.draw import markdown, plain
from seewhy.model.layers import Layer

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Summary:
    """The layers of a model in order of execution; `default` is what methods use by themselves."""

    model: str
    layers: tuple[Layer, ...]
    default: Layer | None
    remark: str
    parameters: int

    columns = ("layer", "type", "output", "layout", "kernel", "channels", "parameters")

    @classmethod
    def of(cls, model: Model, like: Prepared | None = None) -> Summary:
        """Return the summary of a model for an input like this."""
        table = model.findings.table(like)
        parameters = sum(each.numel() for each in model.module.parameters())
        return cls(model.name, table.layers, table.default, table.remark, parameters)

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

    def __str__(self) -> str:
        """Return the table as plain text, with the total below."""
        remark = f" ({self.remark})" if self.remark else ""
        default = f"default layer: {self.default}{remark}" if self.default else self.remark
        table = plain(self.columns, self.rows())
        return f"{table}\n\n{self.model}: {self.parameters:,} parameters; {default}"

    __repr__ = __str__

    def _is_default(self, layer: Layer) -> bool:
        return self.default is not None and str(layer) == str(self.default)

    def _repr_markdown_(self) -> str:
        return self.markdown()
