"""Reading pictures of any kind as the model's inputs, a batch at a time, nothing kept between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seewhy.data.images import Picture, find_pictures, read_picture
from seewhy.errors import Failure, PictureError, SeewhyError
from seewhy.model.prepare import is_model_input
from seewhy.model.tape.trees import row_of

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared


@dataclass(frozen=True)
class Ready:
    """One of several pictures as the model's input: which one it is, and what it is called."""

    prepared: Prepared
    index: int
    name: str


def sources_of(pictures: Any, model: Model) -> list[Any]:
    """Return the single pictures, unread; of tensors that are model input, rows (1, C, *space).

    Raises PictureError where there is none.
    """
    if is_model_input(pictures):
        found = _rows(pictures, model)
    elif getattr(pictures, "ndim", 0) == 4:
        found = list(pictures)
    else:
        found = []
        for each in find_pictures(pictures):
            found += _rows(each, model, whole=True) if is_model_input(each) else [each]
    if not found:
        raise PictureError("there are no pictures: give at least one")
    return found


def read_each(
    model: Model, sources: Sequence[Any], others: Any, limit: int, first: int = 0
) -> Iterator[list[Ready] | Failure]:
    """Yield neighbours of one input shape, at most `limit` at a time, or why one cannot be read.

    others: the model's further inputs, for all pictures together. first: the number of the first.
    """
    for start in range(0, len(sources), limit):
        ready: list[Ready] = []
        for index in range(start, min(start + limit, len(sources))):
            name = name_of(sources[index], first + index)
            try:
                prepared = _prepare(model, sources[index], (index, len(sources)), others)
                ready.append(Ready(prepared, first + index, name))
            except SeewhyError as error:
                yield Failure(name, error)
        yield from _of_one_shape(ready)


def read_stream(
    model: Model, pictures: Any, others: Any, limit: int
) -> Iterator[tuple[list[Ready] | Failure, int]]:
    """Yield what `read_each` does, and how many pictures there are, as far as that is known.

    pictures: as for `seewhy.explain`, or an iterator, which is gone through once. Raises
    PictureError where there is no picture, and for an iterator with further inputs.
    """
    if not isinstance(pictures, Iterator):
        sources = sources_of(pictures, model)
        for group in read_each(model, sources, others, limit):
            yield group, len(sources)
        return
    if others is not None:
        raise PictureError("further inputs go with a list of pictures, not an iterator: give one")
    come = 0
    while some := list(islice(pictures, limit)):
        sources = sources_of(some, model)
        for group in read_each(model, sources, None, limit, first=come):
            yield group, come + len(sources)
        come += len(sources)
    if not come:
        raise PictureError("there are no pictures: give at least one")


def name_of(source: Any, index: int) -> str:
    """Return what a picture is called: its path or address, else its number."""
    if isinstance(source, str | Path):
        return str(source)
    known = source.source if isinstance(source, Picture) else getattr(source, "filename", "")
    return str(known) or f"picture {index}"


def _prepare(model: Model, source: Any, place: tuple[int, int], others: Any) -> Prepared:
    """Prepare one of several pictures: place is (its index, their count)."""
    own = None if others is None else row_of(others, *place)
    if not is_model_input(source):
        source = read_picture(source, name=name_of(source, place[0]))
    return replace(model.prepare(source), others=own)


def _of_one_shape(ready: list[Ready]) -> list[list[Ready]]:
    """Group neighbours of one input shape: they share a batch, and the order stays."""
    groups: list[list[Ready]] = []
    for each in ready:
        if groups and groups[-1][0].prepared.tensor.shape == each.prepared.tensor.shape:
            groups[-1].append(each)
        else:
            groups.append([each])
    return groups


def _rows(pictures: Any, model: Model, *, whole: bool = False) -> list[Any]:
    """The rows of a floating-point tensor; whole: it may be one input without a batch axis."""
    tensor = torch.as_tensor(pictures)
    if whole and tensor.ndim == model.rank:
        tensor = tensor[None]
    if tensor.ndim < 2 or (model.rank is not None and tensor.ndim == model.rank):
        raise PictureError(
            f"a floating-point tensor is model input with a batch axis, (N, C, *space); this one "
            f"has the shape {tuple(tensor.shape)}: add the batch axis with [None]"
        )
    return [tensor[i : i + 1] for i in range(len(tensor))]
