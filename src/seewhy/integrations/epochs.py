"""EpochExplanations: the same pictures explained while a network learns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from seewhy.api import explain
from seewhy.errors import MethodError, ModelError, PictureError, warn
from seewhy.explanation import Explanation, Explanations
from seewhy.integrations.board import Board
from seewhy.integrations.fixed import Fixed
from seewhy.integrations.history import History
from seewhy.integrations.untouched import evaluated, same_randomness, same_variables
from seewhy.methods import Method, as_method
from seewhy.model.layers import LayerSpec
from seewhy.model.load import load
from seewhy.model.model import Model
from seewhy.run import Run, is_number
from seewhy.targets import TargetSpec
from seewhy.targets.several import target_of_each

PARALLEL: tuple[Any, ...] = (nn.parallel.DistributedDataParallel, nn.DataParallel)
"""Networks around the network: running them waits for the other processes."""


class EpochExplanations:
    """Explain a fixed set of pictures at each epoch, to see what a network learns to look at.

    pictures: as for `seewhy.explain`; they are read here, once. methods: by name, with settings or
    as instances. target: one for all or one for each picture; None is what is predicted at the
    time, which may change. preprocess, labels: as for `seewhy.Model`, where `log` gets a plain
    network. folder: for a panel of each method over the epochs, and a picture and the numbers of
    each epoch; None writes none. tensorboard: a folder for event files, or a SummaryWriter.
    every: epochs that are no multiple of it are passed over. layer, others, device, precision,
    batch, seed: as for `seewhy.explain`.

    Training goes on as if nothing had been: modes, gradients, statistics and random states are put
    back, and an explanation that fails is a warning. Wrong arguments are errors here: PictureError,
    MethodError, TargetError, MissingDependencyError.

    >>> watch = EpochExplanations(Image.effect_noise((64, 64), 20), target="disk", folder=None)
    >>> for epoch in (1, 2):
    ...     found = watch.log("demo", epoch)
    >>> watch.steps, [round(each, 6) for each in watch.similarity("grad-cam")]
    ([1, 2], [1.0])
    """

    def __init__(
        self,
        pictures: Any,
        methods: Sequence[Method | type[Method] | str] | str = ("grad-cam",),
        *,
        target: TargetSpec | Sequence[TargetSpec] = None,
        preprocess: Any = None,
        labels: Any = None,
        folder: str | Path | None = "explanations",
        tensorboard: Any = None,
        every: int = 1,
        layer: LayerSpec = None,
        others: dict[str, Any] | None = None,
        device: str | None = None,
        precision: str | None = None,
        batch: int | None = None,
        seed: int = 0,
    ) -> None:
        given = [methods] if isinstance(methods, str) else list(methods)
        how = list(dict.fromkeys(as_method(each) for each in given))
        if not how:
            raise MethodError("there is nothing to explain by: give at least one method")
        for name, value in (("every", every), ("batch", 1 if batch is None else batch)):
            if not (is_number(value) and value >= 1):
                raise MethodError(f"{name} is {value!r}: give a whole number, at least 1")
        Run(device, precision, seed=seed)  # it refuses what has no sense
        self._fixed = Fixed.of(pictures)
        target_of_each(target, len(self._fixed.names))
        self.tensorboard = None if tensorboard is None else Board(tensorboard)
        self.folder = None if folder is None else Path(folder).expanduser()
        self.every = every
        self._how = {str(each): each for each in how}
        self._target, self._preprocess, self._labels = target, preprocess, labels
        self._options = {"layer": layer, "others": others, "device": device, "batch": batch}
        self._options |= {"precision": precision, "seed": seed}
        self._histories: dict[str, History] = {}
        self._told: set[str] = set()
        self._model: tuple[Any, Model] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, as strings."""
        return tuple(self._how)

    @property
    def names(self) -> tuple[str, ...]:
        """What the pictures are called."""
        return self._fixed.names

    @property
    def steps(self) -> list[int]:
        """The epochs at which anything was explained, in order."""
        return sorted({step for each in self._histories.values() for step in each.steps})

    def log(self, model: Any, step: int) -> dict[str, Explanations]:
        """Explain the pictures by a model as it is now, and write what is to be written.

        model: as for `seewhy.load`. step: the epochs that are done, 0 before training. An epoch
        that was logged before is replaced, and later ones are dropped: a run that goes back to a
        checkpoint writes them anew. Of several processes only the first does anything. Returns
        the explanations by method, without those that failed: each is a SeewhyWarning, once for a
        method. Raises MethodError for a step that is no whole number from 0.
        """
        if not (is_number(step) and step >= 0):
            raise MethodError(f"the step is {step!r}: give the number of the epoch, 0 or more")
        if step % self.every or not _first_process():
            return {}
        step, found = int(step), {}
        with same_randomness():
            for name in self._how:
                try:
                    found[name] = self._explained(model, name, step)
                except Exception as error:  # noqa: BLE001 - nothing here may end a training
                    self._tell(name, step, error)
            self._write_numbers(step)
        return found

    def panel(self, method: str | None = None) -> Image.Image:
        """Return a method's panel, by default the first's: a row for each picture, epochs across.

        Raises MethodError where nothing was explained by that method.
        """
        return self._history(method).panel()

    def similarity(self, method: str | None = None, picture: int = 0) -> list[float]:
        """Return how like the map before each map of a picture is, from the second epoch on.

        Spearman's rank correlation of their places, -1..1, at 64 x 64 places at most; near 1 the
        explanation has settled. NaN where a map is constant or missing. Raises MethodError as
        `panel` does, PictureError for a picture that does not exist.
        """
        history = self._history(method)
        if not -len(self.names) <= picture < len(self.names):
            raise PictureError(f"there is no picture {picture}: there are {len(self.names)}")
        row = [history.moments[step][picture] for step in history.steps[1:]]
        return [float("nan") if each is None else each.similarity for each in row]

    def close(self) -> None:
        """Close event files of our own; they open again when more is logged."""
        if self.tensorboard is not None:
            self.tensorboard.close()

    def _explained(self, model: Any, name: str, step: int) -> Explanations:
        """Explain by one method, keep and write that."""
        with ExitStack() as stack:
            stack.enter_context(same_variables(model))
            known = self._known(model)
            stack.enter_context(evaluated(known.module))
            answers = explain(
                known,
                self._fixed.pictures,
                self._target,
                self._how[name],
                **self._options,  # type: ignore[arg-type]
            )
        if not isinstance(answers, Explanations):  # one picture with the one target of a list
            answers = Explanations([answers])
        if name not in self._histories:
            self._histories[name] = History(self._how[name], self.names, self.folder)
        history = self._histories[name]
        history.add(step, self._in_place(answers))
        if self.tensorboard is not None:
            self.tensorboard.image(name, history.sheet(step), step)
        history.save(step)
        return answers

    def _in_place(self, answers: Explanations) -> list[Explanation | None]:
        """The answers by picture: those that failed are not among them."""
        found = {each.source: each for each in answers}
        return [found.get(name) for name in self.names]

    def _known(self, model: Any) -> Model:
        """The model with what belongs to it, made once: what it has found out is not sought again.

        Raises ModelError for weights that are spread over processes.
        """
        core = model.module if isinstance(model, PARALLEL) else model
        if self._model is None or self._model[0] is not core:
            self._model = (core, load(core, preprocess=self._preprocess, labels=self._labels))
        known = self._model[1]
        if any(map(_spread, known.module.parameters())):
            raise ModelError(
                "its weights are spread over several processes: explain a checkpoint instead"
            )
        return known

    def _write_numbers(self, step: int) -> None:
        """Write the scores, the same for all methods, and each method's similarities."""
        if self.tensorboard is None:
            return
        try:
            scores: dict[str, float] = {}
            for method, history in self._histories.items():
                row = zip(self.names, history.moments.get(step, ()), strict=False)
                given = {name: each for name, each in row if each is not None}
                scores = {name: each.score for name, each in given.items()} | scores
                alike = [(name, each.similarity) for name, each in given.items()]
                self.tensorboard.numbers(("similarity", method), alike, step)
            self.tensorboard.numbers(("score",), scores.items(), step)
            self.tensorboard.flush()
        except Exception as error:  # noqa: BLE001 - nothing here may end a training
            self._tell("tensorboard", step, error)

    def _tell(self, what: str, step: int, error: Exception) -> None:
        """Warn of what failed, the first time that this does."""
        if what in self._told:
            return
        self._told.add(what)
        warn(
            f"{what} failed at epoch {step} ({type(error).__name__}: {error}): training goes on, "
            "and should it fail again that is not said"
        )

    def _history(self, method: str | None) -> History:
        name = self.methods[0] if method is None else str(as_method(method))
        if name not in self._histories:
            known = ", ".join(self._histories) or "nothing yet"
            raise MethodError(f"nothing was explained by {name!r}: logged is {known}")
        return self._histories[name]


def _first_process() -> bool:
    """Whether this is the only process of the training, or the first."""
    spread = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not spread or torch.distributed.get_rank() == 0


def _spread(weight: nn.Parameter) -> bool:
    """Whether a weight is in parts, of which other processes have some."""
    return hasattr(weight, "device_mesh") or type(weight).__name__ == "FlatParameter"
