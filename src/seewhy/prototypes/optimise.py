"""Optimising the input: pictures that make an objective large, all at once, by gradient ascent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seewhy.errors import CancelledError, MethodError, warn
from seewhy.model.layers import INPUT
from seewhy.model.outputs import has_class_head
from seewhy.model.predictions import predictions
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import record
from seewhy.prototypes.found import Prototype
from seewhy.prototypes.image import Parametrisation, Units, as_parametrisation, beginning
from seewhy.prototypes.objective import Diversity, Objective, TotalVariation
from seewhy.prototypes.transforms import Transform, check_transforms, seen, usual
from seewhy.prototypes.wanted import Mean, blank, rows_of, wanted
from seewhy.result import origin
from seewhy.run import Run, generator, is_number
from seewhy.targets.score import Score

if TYPE_CHECKING:
    from seewhy.model.layers import LayerSpec
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

BEGIN, SEE = 600, 601  # tell these uses of random numbers from others
NOISE = 0.01  # its deviation, of the range of a picture
DECAYS = (0.9, 0.999)  # of Adam's means


def prototype(
    model: Model,
    target: Any = None,
    *,
    mean: Mean = None,
    classes: Sequence[int | str] | None = None,
    distance: float = 0.1,
    start: Any = None,
    image: Parametrisation | str | None = None,
    transforms: Sequence[Transform] | None = None,
    steps: int = 256,
    rate: float = 0.05,
    each: int = 1,
    diversity: float = 0.0,
    variation: float = 0.0,
    layer: LayerSpec = None,
    frames: int = 8,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Prototype:
    """Make pictures of what targets look like to a model; see `seewhy.prototype`."""
    run, began = run or Run(), time.perf_counter()
    _check(model, steps, rate, each, frames)
    with model.held(run), torch.inference_mode(mode=False), torch.no_grad():
        begin = beginning(start, model)
        goal = wanted(model, target, mean, classes, distance, begin, others, run)
        units = Units.of(model, begin.tensor if begin is not None else goal.like)
        space = units.shape[1:]
        image = image or ("pixels" if goal.near or not space else "fourier")
        how = as_parametrisation(image, units.shape)
        if transforms is None:
            transforms = () if goal.near else usual(space)
        check_transforms(transforms, space)
        extra = ((diversity, Diversity(layer)), (-variation, TotalVariation()))
        added = Objective(tuple((weight, part) for weight, part in extra if weight))
        goals = [own + added for own in goal.objectives]
        rows, starts = rows_of(goals, begin, each)
        where = start or ("zeros" if goal.near else "noise") if begin is None else "pictures"
        prepared = blank(units, len(rows), others)
        if begin is not None:
            prepared = replace(prepared, tensor=begin.tensor[starts.to(begin.tensor.device)])
        prepared = model.at_home(prepared)
        # pictures of one objective have one target, which is bound to all of them together
        targets = {id(one): one.target for one in rows}
        score = Score([targets[id(one)] for one in rows], model, prepared).bind(model, prepared)
        draws = _draws(score.names, run.seed, SEE)
        pictures = units.to_picture(prepared.tensor)
        noise = _noise(pictures, _draws(score.names, run.seed, BEGIN))
        if where == "noise":
            pictures = units.middle + noise
        elif each > 1:  # those of one target would stay alike, had they begun alike
            again = (torch.arange(len(rows)) % each > 0).to(noise)
            pictures = pictures + torch.einsum("n,n...->n...", again, noise)
        climb = _Climb(model, prepared, score, rows, units, how, tuple(transforms), draws, run)
        climb.begin(pictures)
        climb.go(steps, rate, frames)
        inputs, best = climb.best
    return Prototype(
        inputs=inputs.float().cpu(),
        pictures=best.float().cpu(),
        targets=score.names,
        loss=climb.lowest.float().cpu(),
        losses=torch.stack(climb.losses).float().cpu() if climb.losses else inputs.new_zeros(0, 0),
        trajectory=torch.stack(climb.trajectory),
        steps=tuple(climb.steps),
        predictions=climb.predicted(inputs),
        known=units.known,
        interrupted=climb.interrupted,
        settings={
            "image": str(how),
            "start": str(where),
            "transforms": ", ".join(map(str, transforms)) or "none",
            "rate": rate,
            **({"distance": distance} if goal.near else {}),
            **({"diversity": diversity} if diversity else {}),
            **({"variation": variation} if variation else {}),
        },
        seconds=time.perf_counter() - began,
        failures=tuple(goal.failures),
        **origin(model, run),
    )


class _Climb:
    """The way up: what is changed, what it is worth, the best and what it looked like between."""

    def __init__(
        self,
        model: Model,
        prepared: Prepared,
        score: Score,
        rows: Sequence[Objective],
        units: Units,
        image: Parametrisation,
        transforms: tuple[Transform, ...],
        draws: list[torch.Generator],
        run: Run,
    ) -> None:
        self._model, self._prepared, self._score, self._rows = model, prepared, score, rows
        self._units, self._image, self._transforms = units, image, transforms
        self._draws, self._run = draws, run
        self._numbers = self._best = torch.empty(0)
        self.lowest = torch.empty(0)
        self.losses: list[Tensor] = []
        self.trajectory: list[Tensor] = []
        self.steps: list[int] = []
        self.interrupted = False

    def begin(self, pictures: Tensor) -> None:
        """Take the pictures to begin with."""
        wide = torch.float64 if pictures.dtype == torch.float64 else torch.float32
        self._numbers = self._image.begin(pictures.to(wide), known=self._units.known)
        self._look(0)

    def go(self, steps: int, rate: float, frames: int) -> None:
        """Climb; where the caller stops the work, what is best until then is kept.

        Raises what stopped it where nothing has been done yet.
        """
        looks = {round(steps * number / frames) for number in range(1, frames + 1)}
        adam = _Adam(self._numbers)
        done = 0
        try:
            for done in range(1, steps + 1):
                slope = self._slope()
                adam.step(slope, rate * (1 - (done - 1) / steps))  # to rest, not to go round it
                self._image.settle(self._numbers, known=self._units.known)
                if done in looks:
                    self._look(done)
                loss = float(self.losses[-1].mean())
                self._run.report(done, steps, f"steps, loss {loss:.4g}")
        except (CancelledError, KeyboardInterrupt):
            if not self.losses:
                raise
            self.interrupted = True
            warn(f"stopped after {done} of {steps} steps: the best until then is returned")
        if self.steps[-1] != done:
            self._look(done)

    @property
    def best(self) -> tuple[Tensor, Tensor]:
        """The best as model input, and as pictures."""
        pictures = self._pictures(self._best)
        return self._units.to_model(pictures), pictures

    def predicted(self, inputs: Tensor) -> tuple[tuple[str, float], ...]:
        """Return the most probable class of each and its probability; none without classes."""
        found: list[tuple[str, float]] = []
        with self._model.held(self._run):
            for outputs in self._outputs(inputs):
                if not has_class_head(outputs.outputs):
                    return ()
                told = predictions(outputs.main, self._model.labels, 1, end=outputs.end)
                found += [(row[0].label, row[0].probability) for row in told]
        return tuple(found)

    # ------------------------------------------------------------------ helpers

    def _slope(self) -> Tensor:
        """The gradient of the loss, of what the transforms let the network see."""
        with torch.enable_grad():
            numbers = self._numbers.detach().requires_grad_()
            pictures = self._pictures(numbers)
            inputs = self._units.to_model(seen(pictures, self._transforms, self._draws))
            own = self._of_pictures(pictures)
        scores, gradients = self._asked(inputs.detach(), gradient=True)
        self.losses.append(-(scores + own.detach()))
        ends = [(inputs, -gradients.to(inputs))]
        if own.requires_grad:
            ends.append((own, -torch.ones_like(own)))
        values, slopes = zip(*ends, strict=True)
        (found,) = torch.autograd.grad(values, [numbers], slopes)
        return found

    def _look(self, step: int) -> None:
        """Keep a frame, and of each row what is better than all before it, as it is."""
        pictures = self._pictures(self._numbers)
        scores, _ = self._asked(self._units.to_model(pictures), gradient=False)
        loss = -(scores + self._of_pictures(pictures))
        if not len(self.lowest):
            self.lowest, self._best = loss, self._numbers.clone()
        better = loss <= self.lowest
        self.lowest = torch.where(better, loss, self.lowest)
        self._best[better] = self._numbers[better]
        self.trajectory.append(pictures.float().cpu())
        self.steps.append(step)

    def _pictures(self, numbers: Tensor) -> Tensor:
        return self._image.pictures(numbers, self._units.shape[1:], known=self._units.known)

    def _of_pictures(self, pictures: Tensor) -> Tensor:
        """What the objectives read of the pictures themselves (N,)."""
        groups: dict[int, list[int]] = {}
        for row, own in enumerate(self._rows):
            groups.setdefault(id(own), []).append(row)
        inputs = self._units.to_model(pictures)
        found = pictures.new_zeros(len(pictures))
        for members in groups.values():
            index = torch.tensor(members, device=pictures.device)
            for weight, part in self._rows[members[0]].of_picture:
                worth = weight * part.of(pictures[index], inputs[index])
                found = found.index_add(0, index, worth)
        return found

    def _asked(self, inputs: Tensor, *, gradient: bool) -> tuple[Tensor, Tensor]:
        """The scores (N,) of model input, and their gradients there if they are wanted."""
        given = inputs.to(self._prepared.tensor)

        def work(first: int, end: int) -> tuple[Tensor, Tensor]:
            rows = torch.arange(first, end)
            part = self._prepared.changed(given[first:end], rows)
            starts = [INPUT] if gradient else []
            found = record(self._model, part, self._score.of(rows), starts)
            return found.scores, found.gradients.get(INPUT, torch.empty(0))

        parts = [found for *_, found in in_parts(len(given), self._at_once(gradient), work)]
        scores, gradients = zip(*parts, strict=True)
        return torch.cat(scores).to(inputs), torch.cat(gradients)

    def _at_once(self, gradient: bool) -> int:
        if any(own.couples for own in self._rows):
            return len(self._rows)
        return self._model.rows_at_once(self._prepared, self._run, gradient=gradient)

    def _outputs(self, inputs: Tensor) -> list[Any]:
        given = inputs.to(self._prepared.tensor)

        def work(first: int, end: int) -> Any:
            rows = torch.arange(first, end)
            return record(self._model, self._prepared.changed(given[first:end], rows)).outcome

        return [found for *_, found in in_parts(len(given), self._at_once(False), work)]


@dataclass
class _Adam:
    """Adam (Kingma & Ba 2015, algorithm 1), in place; torch's own takes seconds to import."""

    numbers: Tensor

    def __post_init__(self) -> None:
        self._mean = torch.zeros_like(self.numbers)
        self._square = torch.zeros_like(self.numbers)
        self._steps = 0

    def step(self, slope: Tensor, rate: float) -> None:
        """Go one step down the slope."""
        self._steps += 1
        first, second = DECAYS
        self._mean.lerp_(slope, 1 - first)
        self._square.lerp_(slope.square(), 1 - second)
        mean = self._mean / (1 - first**self._steps)
        square = self._square / (1 - second**self._steps)
        self.numbers.addcdiv_(mean, square.sqrt_().add_(1e-8), value=-rate)


def _check(model: Model, steps: int, rate: float, each: int, frames: int) -> None:
    """Raise MethodError where a setting has no sense."""
    if not model.offers.gradient:
        raise MethodError(f"{model.name} gives no gradients, and prototypes are made with them")
    for name, value in (("steps", steps), ("each", each), ("frames", frames)):
        if not (is_number(value) and value >= 1):
            raise MethodError(f"{name} is {value!r}: give a whole number from 1")
    if not rate > 0:
        raise MethodError(f"rate is {rate!r}: give a positive number, such as 0.05")


def _draws(names: Sequence[str], seed: int, stream: int) -> list[torch.Generator]:
    """A generator for each row, from what it is for: the same alone and among others."""
    found, seen_before = [], dict.fromkeys(names, 0)
    for name in names:
        text = f"{name} {seen_before[name]}".encode()
        seen_before[name] += 1
        key = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
        found.append(generator(seed, key, stream))
    return found


def _noise(like: Tensor, draws: Sequence[torch.Generator]) -> Tensor:
    rows = [torch.randn(like.shape[1:], generator=draw) for draw in draws]
    return NOISE * torch.stack(rows).to(like)
