"""Files of torch.export (.pt2): read without running code from them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from seewhy.errors import ModelError

# What torch itself evaluates while it reads the graph: sizes as expressions, names of operators.
_EXPRESSION = re.compile(
    r"(?:(?!\w*__)[A-Za-z]\w*|'(?!\w*__)\w*'|\d+(?:\.\d+)?|[\s+\-*/(),<>=!&|~%])*"
)
_OPERATOR = re.compile(
    r"torch\.ops\.(?!__)\w+\.(?:(?!__)\w+|__i?(?:and|or|xor|lshift|rshift)__)(?:\.(?!__)\w+)?"
    r"|torch\._?sym_\w+|(?:_?operator|math)\.(?!__)\w+"
)


def read_program(path: Path, *, allow_pickle: bool) -> ExportedProgram:
    """Read a program that torch.export.save wrote.

    torch reads pickled parts of such files, the expressions for their sizes and the names of their
    operators without a look at what they do, so they are looked at here; allow_pickle leaves that
    out. Raises ModelError naming the file.
    """
    try:
        strange = None if allow_pickle else next(_strange(path), None)
    except Exception as error:
        raise _unreadable(path, error) from error
    if strange is not None:
        raise ModelError(
            f"{path} holds more than tensors and operators ({strange}), and reading it may run "
            "code from the file: allow that with allow_pickle=True (--allow-pickle) if you trust it"
        )
    try:
        return torch.export.load(str(path))
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> ModelError:
    return ModelError(
        f"{path} is no readable .pt2 file ({type(error).__name__}: {error}): save it with "
        f"torch.export.save, by a torch near {torch.__version__}"
    )


def _strange(path: Path) -> Iterator[str]:
    """Name the parts of the archive that are more than tensors and plain descriptions."""
    archive = torch._C.PyTorchFileReader(str(path))
    names = archive.get_all_records()
    described = {name: json.loads(archive.get_record(name)) for name in names if _is_json(name)}
    raw = {
        Path(entry.get("path_name", "")).name
        for name, content in described.items()
        if name.endswith("_config.json") and isinstance(content, dict)
        for entry in content.get("config", {}).values()
        if entry.get("use_pickle") is False
    }
    for name in names:
        own = name.rpartition("/")[2]
        plain = own in raw and own.startswith(("weight_", "tensor_"))
        payload = name.endswith(".pt") or "data/weights/" in name or "data/constants/" in name
        if payload and not plain and not _is_json(name) and not _only_tensors(archive, name):
            yield name
    for content in described.values():
        yield from _evaluated(content)


def _is_json(name: str) -> bool:
    return name.endswith(".json")


def _only_tensors(archive: Any, name: str) -> bool:
    data = archive.get_record(name)
    try:
        if data:
            torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # noqa: BLE001 - whatever stops it, it is not plain tensors
        return False
    return True


def _evaluated(content: Any) -> Iterator[str]:
    """Name the expressions and operators that no exported network has."""
    if isinstance(content, dict):
        for key, value in content.items():
            allowed = {"expr_str": _EXPRESSION, "target": _OPERATOR}.get(key)
            if allowed is not None and isinstance(value, str):
                if not allowed.fullmatch(value):
                    yield f"{key} {value[:60]!r}"
            else:
                yield from _evaluated(value)
    elif isinstance(content, list):
        for each in content:
            yield from _evaluated(each)
