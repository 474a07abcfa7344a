"""Prototype: the pictures that came out, how they came, and for what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.draw import Cell, panel
from seewhy.errors import PictureError
from seewhy.prototypes.image import side_of
from seewhy.result import ORIGIN, Traceable

if TYPE_CHECKING:
    from seewhy.draw.report import Page

View = Literal["panel", "trajectory", "picture"]


@dataclass(frozen=True, eq=False)
class Prototype(Traceable):
    """What a class, a channel or another target looks like to a model.

    inputs: (N, ...) as the model takes them. pictures: (N, C, *space), 0..1 where `known`, else as
    the inputs. targets: what each is for. trajectory: (T, N, C, *space), pictures on the way, and
    steps: (T,) after how many steps. losses: (S, N), minus the objective at each step, of what the
    network saw there; loss: (N,) of the pictures as they are. predictions: the most probable class
    of each picture and its probability, empty without classes. interrupted: whether the work was
    stopped, and these are the best until then. settings: how they were made. failures: pictures for
    the means that could not be read.
    """

    inputs: Tensor
    pictures: Tensor
    targets: tuple[str, ...]
    loss: Tensor
    losses: Tensor
    trajectory: Tensor
    steps: tuple[int, ...]
    predictions: tuple[tuple[str, float], ...] = ()
    known: bool = True
    interrupted: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    kind = "prototype"

    def __len__(self) -> int:
        return len(self.inputs)

    def image(self, number: int = 0) -> Image.Image:
        """Return one as a picture of its own size.

        Inputs of unknown units are stretched to black and white; flat ones are drawn as squares.
        Raises PictureError for a number that there is not, and for inputs that are no pictures.
        """
        self._check(number)
        return self.drawn(self.pictures[number])

    def draw(  # type: ignore[override]
        self,
        view: View = "panel",
        number: int | None = None,
        *,
        columns: int | None = None,
        width: int = 160,
    ) -> Image.Image:
        """Return one view: "panel", "trajectory" (a row each, from the start) or "picture".

        number: which prototype; None is all, the first for "picture". columns: of the panel. width:
        of a cell in pixels.
        """
        if view == "picture":
            return self.image(number or 0)
        if view not in ("panel", "trajectory"):
            raise PictureError(f"there is no view {view!r}: use panel, trajectory or picture")
        chosen = range(len(self)) if number is None else [number]
        for each in chosen:
            self._check(each)
        cells: list[Cell] = []
        if view == "panel":
            for each in chosen:
                said = "{} {:.0%}".format(*self.predictions[each]) if self.predictions else ""
                cells.append(Cell(self.image(each), self.targets[each], said))
            alike = self.targets.count(self.targets[0]) if number is None else 1
            return panel(cells, columns=columns or (alike if alike > 1 else None), width=width)
        for each in chosen:
            frames = self.trajectory[:, each]
            for step, frame in zip(self.steps, frames, strict=True):
                cells.append(Cell(self.drawn(frame), self._title(each, step), f"step {step}"))
        return panel(cells, columns=len(self.steps), width=width)

    def _check(self, number: int) -> None:
        if not -len(self) <= number < len(self):
            raise PictureError(f"there is no prototype {number}: there are {len(self)}, from 0")

    def _title(self, number: int, step: int) -> str:
        return self.targets[number] if step == self.steps[0] else ""

    def page(self) -> Page:
        """Return a page of the pictures, how they came, and the loss on the way."""
        from seewhy.prototypes.page import of_prototype

        return of_prototype(self)

    def plain(self) -> dict[str, Any]:
        """Return what was found as plain data, without pictures."""
        said: Sequence[Any] = self.predictions or [None] * len(self)
        return {
            "model": self.model,
            "settings": self.settings,
            "steps": len(self.losses),
            "interrupted": self.interrupted,
            "seconds": self.seconds,
            "prototypes": [
                {
                    "target": target,
                    "loss": loss,
                    "prediction": None if own is None else {"label": own[0], "probability": own[1]},
                }
                for target, loss, own in zip(self.targets, self.loss.tolist(), said, strict=True)
            ],
        }

    def __str__(self) -> str:
        how = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        ended = "stopped after" if self.interrupted else "after"
        count = f"{len(self)} prototype{'' if len(self) == 1 else 's'}"
        lines = [f"{count} of {self.model} {ended} {len(self.losses)} steps ({how})"]
        for number, target in enumerate(self.targets):
            said = "{}, {:.1%}".format(*self.predictions[number]) if self.predictions else ""
            says = f"; the model says {said}" if said else ""
            lines.append(f"{target}: loss {float(self.loss[number]):.4g}{says}")
        return "\n".join(lines)

    __repr__ = __str__

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""
        names = ("inputs", "pictures", "loss", "losses", "trajectory")
        plain = (
            "targets", "steps", "predictions", "known", "interrupted", "settings", "seconds",
            *ORIGIN,
        )  # fmt: skip
        return {name: getattr(self, name).numpy() for name in names}, {
            name: getattr(self, name) for name in plain
        }

    @classmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""
        tensors: dict[str, Any] = {name: torch.from_numpy(each) for name, each in arrays.items()}
        data["predictions"] = tuple(tuple(each) for each in data["predictions"])
        data |= {name: tuple(data[name]) for name in ("targets", "steps")}
        return cls(**tensors, **data)

    def drawn(self, values: Tensor) -> Image.Image:
        """Return one of the pictures, (C, *space) or flat, to be looked at."""
        if values.ndim == 1:
            side = side_of(len(values))
            colours = 3 if side is None and len(values) % 3 == 0 else 1
            side = side or side_of(len(values) // colours)
            values = values.reshape(-1, side, side) if side is not None else values
        if values.ndim != 3 or values.shape[0] not in (1, 3):
            raise PictureError(
                f"inputs of shape {tuple(self.inputs.shape[1:])} are no pictures: read .inputs"
            )
        if self.known:
            low, high = 0.0, 1.0
        else:
            low, high = float(values.min()), float(values.max())
        levels = ((values - low) / max(high - low, 1e-12)).clamp(0, 1) * 255
        array = levels.round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(array.repeat(3 // array.shape[2], axis=2))
