"""EpochExplanations: the same pictures explained while a network learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from PIL import Image

from seewhy.api import explain
from seewhy.errors import MethodError, PictureError
from seewhy.explanation import Explanations
from seewhy.integrations.board import Board
from seewhy.integrations.failures import Failures
from seewhy.integrations.fixed import Fixed, safe_names
from seewhy.integrations.history import History
from seewhy.integrations.trained import Trained, first_process
from seewhy.integrations.untouched import evaluated, same_randomness, same_variables
from seewhy.methods import Method, as_method
from seewhy.model.layers import LayerSpec
from seewhy.model.tape.guard import alone
from seewhy.run import Run, is_number
from seewhy.targets import TargetSpec
from seewhy.targets.several import target_of_each


class EpochExplanations:
    """Explain a fixed set of pictures at each epoch, to see what a network learns to look at.

    pictures: as for `seewhy.explain`; they are read here, once. methods: by name, with settings or
    as instances. target: one for all or one for each picture; None is what is predicted at the
    time, which may change. preprocess, labels: as for `seewhy.Model`, where `log` gets a plain
    network. folder: for a panel of each method over the epochs, and a picture and the numbers of
    each epoch; None writes none. tensorboard: a folder for event files, or a SummaryWriter.
    every: epochs that are no multiple of it are passed over. layer: of the methods that have one.
    others, device, precision, batch, seed: as for `seewhy.explain`.

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
        if layer is not None and not any(map(has_layer, how)):
            raise MethodError(f"none of these methods uses a layer: leave layer={layer!r} out")
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
        self._target, self._layer = target, layer
        self._options: dict[str, Any] = {"others": others, "device": device, "batch": batch}
        self._options |= {"precision": precision, "seed": seed}
        self._trained = Trained(preprocess, labels)
        self._files = safe_names(self._how)
        self._tags = list(safe_names(self.names).values())
        self._histories = {
            name: History(each, self._fixed, self.folder, self._files[name])
            for name, each in self._how.items()
        }
        self._to_resume = list(self._histories.values())
        self._failures = Failures()

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, as strings."""
        return tuple(self._how)

    @property
    def names(self) -> tuple[str, ...]:
        """What the pictures are called."""
        return self._fixed.names

    @property
    def failures(self) -> dict[tuple[int, str], str]:
        """Why there is no answer, no file or no entry on the board, by (epoch, what).

        what: a method, "grad-cam of cat" for one picture of it, "folder" or "tensorboard".
        """
        return dict(self._failures.reasons)

    @property
    def steps(self) -> list[int]:
        """The epochs at which anything was explained, in order."""
        return sorted({step for each in self._histories.values() for step in each.steps})

    def log(self, model: Any, step: int) -> dict[str, Explanations]:
        """Explain the pictures by a model as it is now, and write what is to be written.

        model: as for `seewhy.load`. step: the epochs that are done, 0 before training. An epoch
        that was logged before is replaced, and later ones are dropped: a run that goes back to a
        checkpoint writes them anew. Of several processes only the first does anything. Returns
        the explanations by method, without those that failed. What failed, a method, "folder" or
        "tensorboard", is a SeewhyWarning the first time, and stands in `failures` each time.
        Raises MethodError for a step that is no whole number from 0.
        """
        if not (is_number(step) and step >= 0):
            raise MethodError(f"the step is {step!r}: give the number of the epoch, 0 or more")
        if step % self.every or not first_process():
            return {}
        step, found = int(step), {}
        with same_randomness():
            self._go_back(step)
            self._trained.begin()
            for name in self._how:
                with self._failures.spared(name, step):
                    found[name] = self._explained(model, name)
            self._keep(step, found)
            self._write(step)
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

    def _go_back(self, step: int) -> None:
        """Take up what an earlier run has left, and drop what this one goes back behind."""
        self._failures.go_back(step)
        while self._to_resume:
            with self._failures.spared("folder", step):
                self._to_resume.pop().resume()
        for history in self._histories.values():
            history.go_back(step)

    def _explained(self, model: Any, name: str) -> Explanations:
        """Explain by one method."""
        known, how = self._trained.model(model), self._how[name]
        options = self._options | ({"layer": self._layer} if has_layer(how) else {})
        with alone(known.module), same_variables(model), evaluated(known.module):
            answers = explain(known, self._fixed.pictures, self._target, how, **options)
        if isinstance(answers, Explanations):
            return answers
        return Explanations([answers])  # one picture with the one target of a list

    def _keep(self, step: int, found: dict[str, Explanations]) -> None:
        """Keep the answers by picture, and why there is none."""
        for name, answers in found.items():
            for failure in answers.failures:
                self._failures.note(f"{name} of {failure.source}", step, failure.error)
            given = {each.source: each for each in answers}
            with self._failures.spared(name, step):
                self._histories[name].add(step, [given.get(each) for each in self.names])

    def _write(self, step: int) -> None:
        """Write files and the board; where one fails, the other is written."""
        for name, history in self._histories.items():
            with self._failures.spared("folder", step):
                history.save(step)
            if self.tensorboard is not None and step in history.moments:
                with self._failures.spared("tensorboard", step):
                    self.tensorboard.image(self._files[name], history.sheet(step), step)
        if self.tensorboard is not None:
            with self._failures.spared("tensorboard", step):
                self._write_numbers(self.tensorboard, step)

    def _write_numbers(self, board: Board, step: int) -> None:
        """Write the scores, the same for all methods, and each method's similarities."""
        scores: dict[str, float] = {}
        for method, history in self._histories.items():
            row = zip(self._tags, history.moments.get(step, ()), strict=False)
            given = {tag: each for tag, each in row if each is not None}
            scores = {tag: each.score for tag, each in given.items()} | scores
            alike = [(tag, each.similarity) for tag, each in given.items()]
            board.numbers(f"similarity/{self._files[method]}", alike, step)
        board.numbers("score", scores.items(), step)
        board.flush()

    def _history(self, method: str | None) -> History:
        name = self.methods[0] if method is None else str(as_method(method))
        known = {name: history for name, history in self._histories.items() if history.moments}
        if name not in known:
            logged = ", ".join(known) or "nothing yet"
            raise MethodError(
                f"nothing was explained by {name!r}: logged is {logged}; .failures says what failed"
            )
        return known[name]


def has_layer(how: Method) -> bool:
    """Tell whether `layer=` says anything to a method."""
    return any(each.name == "layer" for each in fields(how))
