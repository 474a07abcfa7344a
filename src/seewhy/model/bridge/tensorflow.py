"""TensorFlow in torch: a network's runs as compiled functions, their gradients by its own tape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.utils import dlpack

from seewhy.model.bridge.foreign import (
    Carried,
    Engine,
    Program,
    Pull,
    carried_through,
    dtype_name,
)
from seewhy.model.bridge.visit import Place, Visit, Wanted, patching

ALIGNED = 64  # bytes: TensorFlow ends the process on memory that begins elsewhere


class TensorFlowEngine(Engine):
    """Runs a program in TensorFlow."""

    framework = "TensorFlow"

    def __init__(self, program: Program, **how: Any) -> None:
        super().__init__(program, **how)
        import tensorflow as tf

        self._tf = tf
        self._functions: dict[Wanted, Any] = {}

    def forget(self) -> None:
        """Forget what was compiled."""
        self._functions.clear()

    def carried(self, places: Sequence[Place], output: int) -> list[Carried]:
        """Tell of each place how much of what an output knows of the picture goes through it."""
        wanted = Wanted(tuple(places), logits=self.logits)
        specs = [self._tf.TensorSpec(each.shape, dtype_name(each.dtype)) for each in self.inputs]

        def run(*given: Any) -> list[Any]:
            return self.program(Visit(wanted, ()), given, self.program.parameters())

        with patching:
            graph = self._tf.function(run, autograph=False).get_concrete_function(*specs).graph
        begin, end = graph.inputs[self.picture], graph.outputs[len(places) + output]
        return [
            carried_through(_reaches(at, begin), _reaches(end, begin, around=at))
            for at in graph.outputs[: len(places)]
        ]

    def trace(self, visit: Visit, inputs: Sequence[tuple[tuple[int, ...], str]]) -> None:
        """Run the visit on symbols of these shapes and dtypes: nothing is computed."""
        specs = [self._tf.TensorSpec(*each) for each in inputs]
        graph = self._tf.function(
            lambda *given: self.program(visit, given, self.program.parameters()), autograph=False
        )
        graph.get_concrete_function(*specs)

    def run(
        self, wanted: Wanted, given: Sequence[Tensor], needed: Sequence[bool]
    ) -> tuple[list[Tensor], Pull | None]:
        """Run on the inputs, then the values of places; needed: of which gradients are wanted."""
        values = [self._to(each) for each in given]
        function = self._function(wanted)
        if not any(needed):
            with patching:
                return [as_torch(each) for each in function(*values)], None
        wrt = [value for value, is_needed in zip(values, needed, strict=True) if is_needed]

        def taped() -> tuple[Any, list[Any]]:
            with patching, self._tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(wrt)
                return tape, function(*values)

        kept = [taped()]

        def pull(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
            tape, found = kept.pop() if kept else taped()  # a tape serves once
            pairs = [(y, g) for y, g in zip(found, gradients, strict=True) if g is not None]
            back = iter(
                tape.gradient(
                    [y for y, _ in pairs],
                    wrt,
                    output_gradients=[self._to(gradient) for _, gradient in pairs],
                    unconnected_gradients="zero",
                )
            )
            return [as_torch(next(back)) if is_needed else None for is_needed in needed]

        return [as_torch(each) for each in kept[0][1]], pull

    def _function(self, wanted: Wanted) -> Callable[..., Any]:
        """The run as a compiled function; what does not lead to what is wanted is left out."""
        if wanted not in self._functions:
            count = len(wanted.sets)

            def run(*given: Any) -> list[Any]:
                split = len(given) - count
                weights = self.program.parameters()
                return self.program(Visit(wanted, given[split:]), given[:split], weights)

            # of one piece of code TensorFlow thinks that it is compiled too often, and warns
            single = partial(run)
            self._functions[wanted] = self._tf.function(
                single, reduce_retracing=True, autograph=False
            )
        found: Callable[..., Any] = self._functions[wanted]
        return found

    def _to(self, tensor: Tensor) -> Any:
        tensor = tensor.detach().contiguous()
        if tensor.data_ptr() % ALIGNED:
            tensor = tensor.clone()
        return self._tf.experimental.dlpack.from_dlpack(tensor.__dlpack__())


def _reaches(end: Any, begin: Any, around: Any = None) -> bool:
    """Whether a walk back from the end comes to the beginning, by a way around one tensor."""
    seen, pending = set(), [end]
    if around is not None:
        returned = around.op.type == "Identity"  # what a function returns is a copy
        seen.add(id(around.op.inputs[0] if returned else around))
    while pending:
        tensor = pending.pop()
        if tensor is begin:
            return True
        if id(tensor) not in seen:
            seen.add(id(tensor))
            pending.extend(tensor.op.inputs)
    return False


def as_torch(tensor: Any) -> Tensor:
    """Return a tensor or a variable of TensorFlow in torch, in the same memory."""
    import tensorflow as tf

    capsule = tf.experimental.dlpack.to_dlpack(tf.convert_to_tensor(tensor))
    found: Tensor = dlpack.from_dlpack(capsule)
    return found
