"""Class means: what the pictures of each class have in common, as model input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import Failure, PictureError, TargetError, tell_of
from seewhy.model.prepare import batched
from seewhy.model.reading import read_each, sources_of
from seewhy.model.tape.record import record
from seewhy.run import Run
from seewhy.targets.classes import class_number, class_scores

if TYPE_CHECKING:
    from seewhy.model.model import Model

AT_ONCE = 16  # pictures that are read together


def class_means(
    model: Model,
    pictures: Any,
    classes: Sequence[int | str] | None = None,
    *,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Tensor:
    """Return the mean of each class's pictures as model input: (K, C, *space), or (K, D).

    pictures: as for `seewhy.explain`. classes: the number or name of each picture's class; None is
    what the model predicts. Classes without a picture have NaN. Memory does not grow with the
    number of pictures. Raises PictureError where the inputs differ in shape, TargetError where
    there is not a class for each.
    """
    return means_of(model, pictures, classes, others, run or Run(), [])


def means_of(
    model: Model,
    pictures: Any,
    classes: Sequence[int | str] | None,
    others: dict[str, Any] | None,
    run: Run,
    failures: list[Failure],
) -> Tensor:
    """Return the mean of each class's pictures, and put what cannot be read into `failures`."""
    sources = sources_of(pictures, model)
    if classes is not None and len(classes) != len(sources):
        raise TargetError(f"{len(classes)} classes for {len(sources)} pictures: give one for each")
    sums, counts = torch.empty(0), torch.empty(0)
    with model.held(run), torch.no_grad():
        for group in read_each(model, sources, others, AT_ONCE):
            if isinstance(group, Failure):
                failures.append(group)
                continue
            prepared = model.at_home(batched([each.prepared for each in group]))
            at_once = model.rows_at_once(prepared, run, gradient=False)
            parts = torch.arange(len(prepared)).split(at_once)
            told = [class_scores(record(model, prepared.rows(rows)).outcome) for rows in parts]
            scores = torch.cat(told).detach()
            if classes is None:
                own = scores.argmax(1).cpu()
            else:
                named = [classes[each.index] for each in group]
                own = torch.cat([class_number(each, scores[:1], model.labels) for each in named])
            inputs = prepared.tensor.double().cpu()
            if not len(counts):
                sums = inputs.new_zeros(scores.shape[1], *inputs.shape[1:])
                counts = inputs.new_zeros(scores.shape[1])
            if inputs.shape[1:] != sums.shape[1:]:
                raise PictureError(
                    f"the pictures become inputs of {tuple(sums.shape[1:])} and of "
                    f"{tuple(inputs.shape[1:])}, which have no mean: give pictures of one size"
                )
            sums.index_add_(0, own, inputs)
            counts.index_add_(0, own, torch.ones(len(own), dtype=torch.float64))
            run.report(group[-1].index + 1, len(sources), "pictures")
    tell_of(failures, left=len(counts) > 0)
    return (sums / counts.reshape(-1, *[1] * (sums.ndim - 1))).float()
