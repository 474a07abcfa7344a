"""Targets of an embedding: what is alike, what is different."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import TargetError
from seewhy.model.labels import Labels
from seewhy.model.tape.record import Outcome, record
from seewhy.targets.base import Bound, Target

if TYPE_CHECKING:
    from seewhy.model.model import Model


@dataclass(frozen=True, eq=False)
class Similarity(Target):
    """Cosine similarity of the model's output to a reference: where is what is alike?

    reference: embedding (D,), or several (R, D), whose mean direction counts; see `of` for
    pictures. Meant for embeddings (`seewhy.embedder`).
    """

    reference: Any
    name: str = "similarity to the reference"

    @classmethod
    def of(cls, model: Model, pictures: Any) -> Similarity:
        """Return the target whose reference is what the model makes of these pictures."""
        prepared = model.at_home(model.prepare(pictures))
        return cls(record(model, prepared).outcome.main.detach().flatten(1))

    def bind(self, outcome: Outcome, labels: Labels | None) -> Bound:  # noqa: ARG002
        """Bind to the pictures; see the class."""
        size = outcome.main[0].numel()
        directions = [_direction(each, size) for each in self.compared]

        def read(later: Outcome, rows: Tensor) -> Tensor:
            found = later.main.reshape(len(rows), -1)
            cosines = [torch.cosine_similarity(found, each.to(found), dim=1) for each in directions]
            return self.read_of(*cosines)

        return Bound(read, (self.name,) * len(outcome.main))

    @property
    def compared(self) -> tuple[Any, ...]:
        """What the output is compared with."""
        return (self.reference,)

    def read_of(self, *cosines: Tensor) -> Tensor:
        """What is read of the cosines (N,), one for each of `compared`."""
        return cosines[0]


@dataclass(frozen=True, eq=False)
class Difference(Similarity):
    """One minus the cosine similarity to a reference: where is what is different?"""

    name: str = "difference from the reference"

    def read_of(self, *cosines: Tensor) -> Tensor:
        """What is read of the cosine."""
        return 1 - cosines[0]


@dataclass(frozen=True, eq=False)
class Contrast(Similarity):
    """Cosine similarity to a reference minus that to another: where is what is this and not that?

    reference, against: embedding (D,), or several (R, D), whose mean direction counts.
    """

    name: str = "more like the reference than the others"
    against: Any = None

    @property
    def compared(self) -> tuple[Any, ...]:
        """What the output is compared with."""
        if self.against is None:
            raise TargetError("a contrast is against something: give against=, an embedding")
        return (self.reference, self.against)

    def read_of(self, *cosines: Tensor) -> Tensor:
        """What is read of the cosines."""
        return cosines[0] - cosines[1]


def _direction(reference: Any, size: int) -> Tensor:
    """The mean direction (D,) of embeddings; TargetError where the model gives others."""
    given = torch.as_tensor(reference).detach()
    given = given.reshape(1, -1) if given.ndim == 1 else given.flatten(1)
    if given.shape[1] != size:
        raise TargetError(
            f"the reference has {given.shape[1]} numbers and the model gives {size}: make it "
            "with the same model, Similarity.of(model, pictures)"
        )
    return torch.nn.functional.normalize(given.double(), dim=1).mean(0)
