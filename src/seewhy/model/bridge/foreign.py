"""Foreign: a network of another framework as a torch module whose layers can be hooked.

The framework computes; torch sees its layers and gets its gradients. Every layer is a stub, a
module that gives back what it gets. Where a stub is hooked the run is split: the framework runs up
to the layer, torch's hooks see what it gives, and the framework goes on with what they made of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seewhy.errors import ModelError
from seewhy.model.bridge.visit import Note, Place, Visit, Wanted, patching

FEW = 3  # hooked layers that are run up to one after another; of more, all are read in one run

_OWN = ("engine", "framework", "program", "logits", "own", "stubs")  # attributes beside layers

Gradients = Sequence[Tensor | None]
Pull = Callable[[Gradients], Gradients]
"""From gradients of what a run gave to those of what it was given."""


Carried = Literal["all", "some", "none"]
"""How much of the picture an output knows by way of a layer."""


def carried_through(reached: bool, passed_by: bool) -> Carried:
    """Return it for a layer that the picture reaches or not, and that can be passed by or not."""
    if not reached:
        return "none"
    return "some" if passed_by else "all"


class Program(Protocol):
    """A network in its framework, run under a visit.

    channels_last: whether its maps are (N, *space, C), and picture_last whether the picture is;
    least_axes: from how many axes on a tensor is a map; dtype: of the pictures it takes.
    """

    channels_last: bool
    picture_last: bool
    least_axes: int
    dtype: torch.dtype

    @property
    def form(self) -> Any:
        """What a compiled run depends on beside the weights' values."""

    @property
    def names(self) -> Sequence[str]:
        """The names of its layers."""

    def __call__(self, visit: Visit, inputs: Sequence[Any], weights: Any) -> list[Any]:
        """Run on inputs of the framework; return what was read, then the outputs, flat."""

    def parameters(self) -> Any:
        """Return its weights, where the framework wants them handed in."""

    def note(self, place: Place, shape: tuple[int, ...]) -> Note:
        """Describe a place that gives an output of this shape."""

    def arranged(self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]) -> list[Any]:
        """Return all inputs in order."""

    def pack(self, outputs: list[Tensor]) -> Any:
        """Return the outputs in the structure in which the network gives them."""

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by name."""


class Engine(ABC):
    """Runs a program in its framework; tensors of torch go in and out, in the program's layout."""

    framework: str

    def __init__(self, program: Program, *, logits: bool = False) -> None:
        self.program, self.logits = program, logits
        self.latest: Sequence[Note] = ()  # what there was in the last run, in order
        self.inputs: Sequence[Tensor] = ()  # of the same shapes
        self.ends: list[int] = []  # the ids of the last outputs, in order
        self.picture = 0  # the number of the picture among them
        self._notes: dict[Any, list[Note]] = {}
        self._form = program.form

    def renew(self) -> None:
        """Forget what was compiled, where the network has changed since."""
        if self._form != self.program.form:
            self._form = self.program.form
            self._notes.clear()
            self.forget()

    def notes(self, inputs: Sequence[Tensor]) -> list[Note]:
        """Return what there is in a run on inputs of these shapes; found once for each."""
        if not self.program.names:
            return []
        key = tuple((each.shape[1:], each.dtype) for each in inputs)
        if key not in self._notes:
            visit = Visit(Wanted(logits=self.logits), noting=True)
            shapes = [(tuple(each.shape), dtype_name(each.dtype)) for each in inputs]
            with patching:
                self.trace(visit, shapes)
            self._notes[key] = [
                self.program.note(place, tuple(value.shape))
                for place, value in visit.noted
                if len(value.shape)
            ]
        self.latest = self._notes[key]
        self.inputs = [each.detach().new_empty(()).expand(each.shape) for each in inputs]
        return self._notes[key]

    @abstractmethod
    def forget(self) -> None:
        """Forget what was compiled."""

    @abstractmethod
    def carried(self, places: Sequence[Place], output: int) -> list[Carried]:
        """Tell of each place how much of what an output knows of the picture goes through it."""

    @abstractmethod
    def trace(self, visit: Visit, inputs: Sequence[tuple[tuple[int, ...], str]]) -> None:
        """Run the visit on symbols of these shapes and dtypes: nothing is computed."""

    @abstractmethod
    def run(
        self, wanted: Wanted, given: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[list[Tensor], Pull | None]:
        """Run on the inputs, then the values of places; needed: of which gradients are wanted."""


def dtype_name(dtype: torch.dtype) -> str:
    """Return what all frameworks call a dtype."""
    return str(dtype).removeprefix("torch.")


class _Crossing(torch.autograd.Function):
    """One run of a foreign network as one operation of torch."""

    @staticmethod
    def forward(ctx: Any, engine: Engine, wanted: Wanted, *given: Tensor) -> tuple[Tensor, ...]:
        needed = ctx.needs_input_grad[2:]
        with _one_thread():
            found, ctx.pull = engine.run(wanted, given, needed)
        ctx.save_for_backward(*given)  # torch tells when one was written into meanwhile
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(each for each in found if not each.is_floating_point()))
        return tuple(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Any, ...]:
        given = ctx.saved_tensors
        if all(each is None for each in gradients) or ctx.pull is None:
            return (None,) * (2 + len(given))
        with _one_thread():
            return None, None, *ctx.pull(gradients)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Leave the cores to the framework: torch's threads would wait for work there, spinning."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Stub(nn.Module):
    """Stands for a layer: gives back what it gets, and takes hooks."""

    def forward(self, tensor: Tensor | None = None) -> Tensor | None:
        """Return the tensor itself."""
        return tensor

    @property
    def awake(self) -> bool:
        """Whether anyone looks at it, or puts something in its place."""
        return bool(self._forward_hooks or self._forward_pre_hooks or self.replaced)

    @property
    def replaced(self) -> bool:
        """Whether what it gives does not follow from what it gets."""
        return "forward" in self.__dict__


class Foreign(nn.Module):
    """A network of another framework; pictures go in and out as (N, C, *space)."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine, self.framework = engine, engine.framework
        self.__dict__["stubs"] = {}
        for name in engine.program.names:
            stub = self.__dict__["stubs"][name] = Stub()
            self.add_module(name, stub)
        self.eval()

    def forward(self, picture: Tensor, *others: Any, **named: Any) -> Any:
        """Run the network, split where its layers are hooked."""
        engine, program = self.engine, self.engine.program
        inputs, notes = self._looked_at(picture, others, named)
        stubs: dict[str, Stub] = self.__dict__["stubs"]
        awake = {name for name, stub in stubs.items() if stub.awake}
        asked = [note.place for note in notes if note.place.name in awake]
        replaced: dict[Place, Tensor] = {}
        if len(asked) > FEW and not any(stubs[place.name].replaced for place in asked):
            *values, end = self._at_once(inputs, asked)
            for number, (place, value) in enumerate(zip(asked, values, strict=True)):
                made = stubs[place.name](value)
                if made is not value:
                    replaced[place], asked = made, asked[number + 1 :]
                    break
            else:
                return end
        for place in asked:
            stub = stubs[place.name]
            made = stub() if stub.replaced else None
            if made is None:
                wanted = Wanted((place,), tuple(replaced), outputs=False, logits=engine.logits)
                made = stub(self._cross(wanted, inputs, replaced)[0])
            replaced[place] = made
        wanted = Wanted((), tuple(replaced), logits=engine.logits)
        end = self._cross(wanted, inputs, replaced)
        engine.ends = [id(each) for each in end]
        return program.pack(end)

    def seen(self, picture: Tensor, *others: Any, **named: Any) -> list[Note]:
        """Return what there is in a run on such pictures; nothing is computed."""
        return self._looked_at(picture, others, named)[1]

    def _looked_at(
        self, picture: Tensor, others: Sequence[Any], named: dict[str, Any]
    ) -> tuple[list[Tensor], list[Note]]:
        """The inputs in order, as the network takes them, and what there is in a run on them."""
        engine = self.engine
        engine.renew()
        inputs, engine.picture = inputs_of(engine.program, picture, others, named)
        return inputs, engine.notes(inputs)

    def stub(self, name: str) -> Stub:
        """Return the module that stands for a layer."""
        found: Stub = self.__dict__["stubs"][name]
        return found

    def name_of(self, layer: Any) -> str | None:
        """Return the name of a layer that is given as the framework's own object."""
        known: dict[str, Any] = getattr(self.engine.program, "layers", {})
        return next((name for name, each in known.items() if each is layer), None)

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by name."""
        yield from self.engine.program.weights()

    @contextmanager
    def before_softmax(self) -> Iterator[None]:
        """Let the logits be the outputs, where the network ends in a softmax that is known."""
        before, self.engine.logits = self.engine.logits, True
        try:
            yield
        finally:
            self.engine.logits = before

    def _at_once(self, inputs: list[Tensor], asked: list[Place]) -> list[Any]:
        """What all places give in one run, and what the network gives."""
        found = self._cross(Wanted(tuple(asked), logits=self.engine.logits), inputs, {})
        return [*found[: len(asked)], self.engine.program.pack(found[len(asked) :])]

    def _cross(
        self, wanted: Wanted, inputs: list[Tensor], replaced: dict[Place, Tensor]
    ) -> list[Tensor]:
        program = self.engine.program
        values = [inward(each, program) for each in replaced.values()]
        found = _Crossing.apply(self.engine, wanted, *inputs, *values)  # type: ignore[no-untyped-call]
        return [outward(each, program) for each in found]


def inputs_of(
    program: Program, picture: Tensor, others: Sequence[Any], named: dict[str, Any]
) -> tuple[list[Tensor], int]:
    """Return all inputs in order, as the network takes them, and the number of the picture."""
    found, place = [], 0
    for number, each in enumerate(program.arranged(picture, others, named)):
        place = number if each is picture else place
        tensor = each if isinstance(each, Tensor) else torch.as_tensor(each)
        dtype = program.dtype if each is picture else torch.float32
        if tensor.is_floating_point():
            tensor = tensor.to(dtype) if dtype.is_floating_point else tensor.round().to(dtype)
        found.append(tensor if each is picture else inward(tensor, program))
    if program.picture_last and picture.ndim >= program.least_axes:
        found[place] = found[place].movedim(1, -1)
    return found, place


def inward(tensor: Tensor, program: Program) -> Tensor:
    """Return maps (N, C, *space) as the network takes them, with their channels last or not."""
    turned = program.channels_last and tensor.ndim >= program.least_axes
    return tensor.movedim(1, -1) if turned else tensor


def outward(tensor: Tensor, program: Program) -> Tensor:
    """Return maps as (N, C, *space)."""
    turned = program.channels_last and tensor.ndim >= program.least_axes
    return tensor.movedim(-1, 1) if turned else tensor


def safe_name(name: str, taken: Container[str]) -> str:
    """Return the name under which a layer is known here: without a dot, and nobody else's."""
    name = name.replace(".", "_")
    while name in taken or name in _OWN or hasattr(Foreign, name):
        name += "_"
    return name


def not_built(name: str) -> ModelError:
    """Return the error for a network whose shapes are not known yet."""
    return ModelError(
        f"{name} is not built yet, so its weights have no shapes: call it once on a batch of "
        "pictures before it is explained"
    )
