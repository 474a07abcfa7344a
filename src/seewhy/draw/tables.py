"""Tables as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def markdown(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as a Markdown table with these columns; bars in cells are escaped."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [" ".join(row[name].replace("|", "\\|").split()) for name in columns]
        lines += ["| " + " | ".join(cells) + " |"]
    return "\n".join(lines) + "\n"


def plain(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """Return rows as aligned text under a header."""
    everything = [{name: name for name in columns}, *rows]
    widths = {name: max(len(row[name]) for row in everything) for name in columns}
    return "\n".join(
        "  ".join(row[name].ljust(widths[name]) for name in columns).rstrip() for row in everything
    )
