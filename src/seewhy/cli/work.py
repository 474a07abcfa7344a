"""What explain and compare share once the heavy packages are wanted."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from seewhy.data.images import find_pictures, read_picture
from seewhy.errors import Failure, PictureError, SeewhyError
from seewhy.explanation import Explanation

STDIN = "stdin"


def find_sources(images: Sequence[str]) -> tuple[list[Any], list[Failure]]:
    """Return the single pictures behind paths, folders, patterns, addresses and "-"."""
    found: list[Any] = []
    failures: list[Failure] = []
    for each in images:
        try:
            found += [read_stdin()] if each == "-" else find_pictures(each)
        except PictureError as error:
            failures.append(Failure(STDIN if each == "-" else each, error))
    return found, failures


def read_stdin() -> Any:
    """Return the picture whose bytes come on stdin; PictureError where there is none."""
    content = sys.stdin.buffer.read()
    image = read_picture(content, name=STDIN).image
    vars(image)["filename"] = STDIN  # what the picture is called from now on
    return image


def split_layers(layer: str | None) -> str | tuple[str, ...] | None:
    """Return one layer, or several of "A+B"."""
    return tuple(layer.split("+")) if layer and "+" in layer else layer


def check_colormap(name: str | None) -> None:
    """Raise BadParameter where matplotlib has no such map, before any work is done."""
    if name is None:
        return
    from seewhy.draw.colors import color_table

    try:
        color_table(name, signed=False)
    except PictureError as error:
        raise typer.BadParameter(str(error), param_hint="--colormap") from error


class Names:
    """File names without endings for explanations as they come; no two are equal."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def next(self, source: str, *parts: str) -> str:
        """Return picture.part.part, numbered where it is taken."""
        place = source.partition("?")[0] if "://" in source else source
        stem = Path(place).stem or "picture"
        base = ".".join(_plain(part)[:80] for part in (stem, *parts))
        name, number = base, 2
        while name.casefold() in self._taken:  # some file systems take A.png for a.png
            name, number = f"{base}.{number}", number + 1
        self._taken.add(name.casefold())
        return name


def as_data(why: Explanation, files: Sequence[Path] = ()) -> dict[str, Any]:
    """Return an explanation as plain data for JSON."""
    return {
        "source": why.source,
        "target": why.target,
        "score": _finite(why.score),
        "prediction": [asdict(each) for each in why.prediction],
        "method": why.method,
        "layers": list(why.layers),
        "checks": {name: _finite(value) for name, value in why.checks.items()},
        "trials": [{**asdict(each), "verdict": each.verdict} for each in why.trials],
        "passes": asdict(why.passes),
        "seconds": why.seconds,
        "files": [str(file) for file in files],
    }


def failure_data(failure: Failure) -> dict[str, str]:
    """Return a failure as plain data for JSON."""
    kind = type(failure.error).__name__
    return {"source": failure.source, "kind": kind, "error": str(failure.error)}


def as_json(data: Any, indent: int | None = 2) -> str:
    """Return JSON that any reader takes: ASCII, without NaN."""
    return json.dumps(data, indent=indent, allow_nan=False)


def described(failure: Failure) -> str:
    """Return source and reason; most reasons begin with the source."""
    error = failure.error
    text = str(error) if isinstance(error, SeewhyError) else f"{type(error).__name__}: {error}"
    text = text if failure.source in text else f"{failure.source}: {text}"
    return "\n  ".join([text, *getattr(error, "__notes__", ())])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _plain(text: str) -> str:
    return "".join(each if each.isalnum() or each in "-_." else "_" for each in text)
