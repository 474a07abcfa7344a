"""Ask: the scores of many changed pictures, where only the scores are wanted.

Without a graph, as many rows at once as memory allows, in the layout that convolutions run fastest
in. Rows that are the same picture with another target share their forwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from seewhy.errors import CancelledError
from seewhy.model.layers import Layer
from seewhy.model.prepare import Prepared
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import Outcome, Scoring, record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model

Change = Callable[[Tensor, Tensor], Tensor]
"""(rows (m,), changes (m,)) -> (m, C, *space): the pictures of these rows after these changes.

They are made anew each time: the network may write into them.
"""

HURRIED = 64  # rows at once on a CPU, where the work may be stopped between two parts


class Question(Protocol):
    """What `ask` needs of a score that is bound to pictures."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Layers whose activations the score reads."""

    def of(self, rows: Tensor) -> Scoring:
        """Return the score for changed pictures of which row i belongs to the picture rows[i]."""


class Answers(NamedTuple):
    """Scores of some changed pictures: which row each belongs to, which change, what it scored."""

    rows: Tensor
    changes: Tensor
    scores: Tensor


def ask(
    model: Model,
    prepared: Prepared,
    score: Question,
    run: Run,
    counts: int | Sequence[int],
    changed: Change,
    *,
    seconds: float | None = None,
    partial: bool = False,
    least: int = 1,
    shared: bool = True,
    what: str = "samples",
) -> Iterator[Answers]:
    """Yield the scores of all changes of all pictures, a part at a time; float64, on the CPU.

    The model is held by the caller, and the score is bound. counts: changes of each picture, all
    alike or one number a row. changed: makes the changed
    pictures, on the model's device. The first change of every picture comes before any second one.
    least: as many changes of every picture are an answer, fewer none.
    seconds: no part is begun after that, once there is an answer. partial: where `run.cancel` says
    so it ends in the same way, with what there is, and CancelledError is not raised.
    shared: the changes of a picture follow from the picture alone, so that its rows, with several
    targets, share them.
    """
    first = first_rows(prepared) if shared else list(range(len(prepared)))
    listed = [counts] * len(prepared) if isinstance(counts, int) else list(counts)
    followers = {row: [i for i, each in enumerate(first) if each == row] for row in first}
    order = sorted((change, row) for row in followers for change in range(listed[row]))
    form = model.findings.layout(prepared)
    at_once = model.rows_at_once(prepared, run, gradient=False)
    if prepared.tensor.device.type == "cpu" and (seconds is not None or run.cancel is not None):
        at_once = min(at_once, HURRIED)
    needed = sum(change < least for change, _ in order)
    fast = None if score.layers else model.findings.compiled(prepared, run)

    def answer(start: int, stop: int) -> Answers:
        part = order[start:stop]
        changes, rows = torch.tensor(part).T
        asked = [(place, row) for place, (_, own) in enumerate(part) for row in followers[own]]
        places, own = torch.tensor(asked).T
        tensor = changed(rows, changes).contiguous(memory_format=form)
        question = _Shared(score.of(own), places)
        changed_ones = prepared.changed(tensor, rows)
        found = record(model, changed_ones, question, instead=fast, lend=True).scores
        return Answers(own, changes[places], found.double().cpu())

    began = time.perf_counter()
    for _, done, answers in in_parts(len(order), at_once, answer):
        yield answers
        try:
            run.report(done, len(order), what)
        except CancelledError:
            if not partial or done < needed:
                raise
            return
        if seconds is not None and done >= needed and time.perf_counter() - began >= seconds:
            return


def first_rows(prepared: Prepared) -> list[int]:
    """Return for each row the first that is the same picture with no further inputs."""
    if prepared.others is not None:
        return list(range(len(prepared)))
    known: dict[int, int] = {}
    return [known.setdefault(key, row) for row, key in enumerate(prepared.keys)]


@dataclass(frozen=True)
class _Shared:
    """A score that reads some outcomes more than once: one place for each row asked about."""

    score: Scoring
    places: Tensor

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.score.layers

    def __call__(self, outcome: Outcome, rows: Tensor) -> Tensor:
        single = len(rows) == len(self.places)
        taken = outcome if single else outcome.rows(self.places)
        return self.score(taken, torch.arange(len(self.places)))
