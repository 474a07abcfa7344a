"""What goes into and comes out of a network: tensors, or any structure of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from seewhy.errors import PictureError


def map_leaves(change: Callable[[Any], Any], structure: Any) -> Any:
    """Return the structure with every leaf changed: of tuples, lists, dicts, dataclasses.

    Structures known to torch's pytrees, Hugging Face outputs among them, keep their type.
    """

    def visit(leaf: Any) -> Any:
        if is_dataclass(leaf) and not isinstance(leaf, type):
            named = {each.name: getattr(leaf, each.name) for each in fields(leaf) if each.init}
            return replace(leaf, **map_leaves(change, named))
        return change(leaf)

    return tree_map(visit, structure)


def tensors(structure: Any) -> list[Tensor]:
    """Return the tensors of a structure, in order."""
    found: list[Tensor] = []

    def note(leaf: Any) -> Any:
        if isinstance(leaf, Tensor):
            found.append(leaf)
        return leaf

    if isinstance(structure, Tensor):
        return [structure]
    map_leaves(note, structure)
    return found


def float_tensors(structure: Any) -> list[Tensor]:
    """Return the floating-point tensors of a structure, in order."""
    return [tensor for tensor in tensors(structure) if tensor.is_floating_point()]


def put(structure: Any, new: dict[int, Tensor]) -> Any:
    """Return the structure with its i-th floating-point tensor replaced by new[i]."""
    index = -1

    def swap(leaf: Any) -> Any:
        nonlocal index
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            index += 1
            return new.get(index, leaf)
        return leaf

    return map_leaves(swap, structure)


def select_rows(structure: Any, rows: Tensor) -> Any:
    """Return the structure with the rows (first axis) of every tensor chosen."""

    def choose(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and leaf.ndim:
            return leaf.index_select(0, rows.to(leaf.device))
        return leaf

    return map_leaves(choose, structure)


def joined(structures: Sequence[Any]) -> Any:
    """Return structures of one make as one, the rows of their tensors one after another."""
    others = [iter(tensors(each)) for each in structures[1:]]

    def join(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        rest = [next(each) for each in others]
        return torch.cat([leaf, *rest]) if leaf.ndim else leaf

    return map_leaves(join, structures[0])


def row_of(others: Any, row: int, count: int) -> Any:
    """Return one row of further inputs, with its axis; numbers without axes belong to all rows.

    Raises PictureError where a tensor has another number of rows than there are pictures.
    """

    def choose(leaf: Any) -> Any:
        tensor = torch.as_tensor(leaf) if hasattr(leaf, "__array__") else leaf
        if not isinstance(tensor, Tensor) or not tensor.ndim:
            return tensor
        if len(tensor) != count:
            raise PictureError(
                f"a further input has {len(tensor)} rows for {count} pictures: give one for each"
            )
        return tensor[row : row + 1]

    return map_leaves(choose, others)


def moved(structure: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the structure with every tensor on the device, floating-point ones in the dtype."""

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if device.type == "cuda" and leaf.device.type == "cpu":
            leaf = leaf.pin_memory().to(device, non_blocking=True)  # the CPU goes on meanwhile
        return leaf.to(device, dtype if leaf.is_floating_point() else None)

    return map_leaves(move, structure)


def usable(structure: Any) -> Any:
    """Return the structure with copies of the tensors that only inference mode can use."""

    def copy(leaf: Any) -> Any:
        return leaf.clone() if isinstance(leaf, Tensor) and leaf.is_inference() else leaf

    return map_leaves(copy, structure)


def full(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least: half precision is for the network, not for what follows.

    float64 stays, and so do whole numbers.
    """
    half = tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.float() if half else tensor
