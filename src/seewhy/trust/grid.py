"""The grid pointing game: four pictures in one, and a map for each of them."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seewhy.errors import MethodError, SeewhyError
from seewhy.methods.base import Method, perform
from seewhy.model.geometry import Geometry
from seewhy.model.model import BATCH, Model
from seewhy.model.outputs import has_class_head, main_output
from seewhy.model.predictions import probabilities
from seewhy.model.prepare import Prepared
from seewhy.run import Run, generator
from seewhy.targets import Class, Score
from seewhy.trust.metrics import Maps, Metric


@dataclass(frozen=True)
class GridPG:
    """The share of positive relevance in the right cell of a grid of pictures, 0..1.

    cells: of a side; the pictures of a grid are predicted as different classes, each with at least
    `confidence`, and the map of each class should stay in its own picture: chance is 1 / cells².
    Pictures are put together by a draw from the seed and their content, so the number of one
    depends on which others there are to stand beside it. Needs a network that takes larger
    pictures, such as one of convolutions and global pooling. Böhle et al. 2021.
    """

    cells: int = 2
    confidence: float = 0.5

    name: ClassVar[str] = "grid-pointing-game"
    paper: ClassVar[str] = "Böhle et al. 2021"
    words: ClassVar[str] = "the share of the map in the right picture of a grid"
    better: ClassVar[Literal["higher", "lower"]] = "higher"
    needs: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        if self.cells < 2 or not 0 <= self.confidence <= 1:
            raise MethodError(
                f"grid pointing game: cells is {self.cells} and confidence is {self.confidence}: "
                "give at least 2 cells a side, and a probability"
            )

    __str__ = Metric.__str__

    def measure(
        self, model: Model, pictures: Prepared, method: Method, run: Run | None = None
    ) -> Tensor:
        """Return the share for each picture, float64 (N,); NaN where it stands in no grid.

        A map with nothing positive is NaN too. Raises MethodError where the model takes no larger
        pictures, where it has no classes, and where too few pictures make not one grid.
        """
        run = run or Run()
        if pictures.others is not None:
            raise MethodError(
                f"{self.name} puts several pictures into one, and {model.name} takes further "
                "inputs of each: leave the metric out"
            )
        if pictures.tensor.ndim != 4:
            raise MethodError(
                f"a grid is made of pictures (N, C, H, W), and an input of the shape "
                f"{tuple(pictures.tensor.shape)} came"
            )
        with model.held(run), torch.no_grad():
            home = model.at_home(pictures)
            classes, grids = self._grids(model, home, run)
            found = torch.full((len(pictures),), math.nan, dtype=torch.float64)
            at_once = model.rows_at_once(home, run) // self.cells**2  # a grid is so much larger
            at_once = max(1, min(at_once, model.offers.batch or BATCH))
            asked = [
                (number, place) for number in range(len(grids)) for place in range(len(grids[0]))
            ]
            for start in range(0, len(asked), at_once):
                part = asked[start : start + at_once]
                rows = [grids[number][place] for number, place in part]
                members = torch.tensor([grids[number] for number, _ in part])
                places = [place for _, place in part]
                found[rows] = self._shares(model, home, members, places, classes, method, run)
                run.report(min(start + at_once, len(asked)), len(asked), "grids")
        return found

    def _grids(
        self, model: Model, pictures: Prepared, run: Run
    ) -> tuple[list[int], list[list[int]]]:
        """The predicted classes, and the pictures of each grid."""
        outputs = model.outputs(pictures)
        if not has_class_head(outputs):
            raise MethodError(f"{model.name} has no class scores: the grid needs several classes")
        sure, numbers = probabilities(main_output(outputs), model.offers.end).max(1)
        classes, waiting = numbers.tolist(), defaultdict(list)
        drawn = [
            float(torch.rand((), generator=generator(run.seed, key, 41))) for key in pictures.keys
        ]
        for row in sorted(range(len(pictures)), key=lambda each: (drawn[each], each)):
            if float(sure[row]) >= self.confidence:
                waiting[classes[row]].append(row)
        grids: list[list[int]] = []
        while len(waiting) >= self.cells**2:
            fullest = sorted(waiting, key=lambda each: (-len(waiting[each]), each))
            grid = [waiting[each].pop() for each in fullest[: self.cells**2]]
            grids.append(sorted(grid, key=lambda row: drawn[row]))
            waiting = defaultdict(list, {each: rows for each, rows in waiting.items() if rows})
        if not grids:
            raise MethodError(
                f"a grid needs pictures of {self.cells**2} classes predicted with a probability of "
                f"at least {self.confidence}: give more pictures, or lower the confidence"
            )
        return classes, grids

    def _shares(
        self,
        model: Model,
        pictures: Prepared,
        members: Tensor,
        places: list[int],
        classes: list[int],
        method: Method,
        run: Run,
    ) -> Tensor:
        """The shares of one picture of each grid: members (M, cells²), and its place in it."""
        side = self.cells
        height, width = pictures.tensor.shape[2:]
        tiles = pictures.tensor[members.to(pictures.tensor.device)]
        tiles = tiles.reshape(len(members), side, side, *tiles.shape[2:])
        size = (side * height, side * width)
        grids = Prepared(tiles.permute(0, 3, 1, 4, 2, 5).reshape(len(members), -1, *size))
        asked = [classes[int(own[place])] for own, place in zip(members, places, strict=True)]
        targets = {number: Class(number) for number in set(asked)}
        try:
            score = Score([targets[number] for number in asked], model, grids)
            found = perform(method, model, grids, score, run)
        except (SeewhyError, torch.OutOfMemoryError):
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            raise MethodError(
                f"{model.name} does not take pictures of {size[0]} x {size[1]}, which "
                "the grid pointing game needs: it applies to networks of convolutions and global "
                f"pooling ({str(error).splitlines()[0]})"
            ) from error
        maps = Maps(found.relevance, method.display)
        shares = []
        for row, place in enumerate(places):
            heat = maps.laid(row, Geometry.stretched(size, size)).clamp(min=0)
            down, across = divmod(place, side)
            cell = heat[down * height : (down + 1) * height, across * width : (across + 1) * width]
            total = float(heat.sum())
            shares.append(float(cell.sum()) / total if total > 0 else math.nan)
        return torch.tensor(shares, dtype=torch.float64)
