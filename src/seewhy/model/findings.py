"""Findings: what is found out about a network by running noise through it, and kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from seewhy.errors import LayerError, warn
from seewhy.model.bridge.foreign import Foreign
from seewhy.model.bridge.survey import bytes_per_row as foreign_bytes
from seewhy.model.bridge.survey import table as foreign_table
from seewhy.model.experiment import unambiguous
from seewhy.model.layers import ZERO_HEAD, Layer, LayerTable, layer_table
from seewhy.model.outputs import detects, main_output
from seewhy.model.prepare import Prepared
from seewhy.model.tape.attention import Readers, readers
from seewhy.model.tape.compiled import Compiled, compile_module, users_hooks
from seewhy.model.tape.guard import home
from seewhy.model.tape.memory import out_of_memory, pass_bytes
from seewhy.model.tape.passes import uncounted
from seewhy.model.tape.record import raise_if_known
from seewhy.model.tape.replay import AGREEMENT, Plan, make_plan, whole_plan
from seewhy.model.tape.trace import trace
from seewhy.model.tape.trees import select_rows, tensors
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model

MOST_KEPT = 64  # findings, for inputs of several shapes
UNBOUNDED = 1 << 62  # bytes for a row: as few rows as there can be
MANY_ROWS = 16  # from so many on convolutions have other kernels, and compiled code others too

T = TypeVar("T")


class Findings:
    """What is known about a model's network: its layers, how to replay, the memory it takes.

    A finding holds for one shape of input and for these modules with these attributes; where one of
    them has changed it is found anew.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._example: Prepared | None = None
        self._known: dict[Any, Any] = {}

    def note(self, prepared: Prepared) -> None:
        """Keep the shape of what was prepared last, not the picture: findings are for that."""
        blank = prepared.tensor.new_zeros(()).expand(1, *prepared.tensor.shape[1:])
        self._example = Prepared(blank, prepared.others)

    def noise(self, rows: int, like: Prepared | None = None) -> Prepared:
        """Return seeded noise of the shape of the model's input; a fixed batch has its own rows."""
        rows = self._model.offers.batch or rows
        like, shape = self._like(like)
        others = select_rows(like.others, torch.zeros(rows, dtype=torch.long)) if like else None
        values = torch.randn(rows, *shape, generator=generator(0, 0))
        return Prepared(values, others, clean=False)

    def table(self, like: Prepared | None = None) -> LayerTable:
        """Return what one traced forward of two noise pictures told about the layers."""

        def find() -> LayerTable:
            noise = self.noise(2, like)
            try:
                with torch.inference_mode(mode=False), torch.enable_grad():
                    tensor = self._model.at_home(noise).tensor
                    if isinstance(self._model.module, Foreign):
                        return foreign_table(self._model.module, self._runner(noise), tensor)
                    return layer_table(trace(self._model.module, self._runner(noise), tensor))
            except RuntimeError as error:
                raise_if_known(error, self._model.name)
                raise

        # what is to be trained yet is no finding
        return self._found("table", like, find, keep=lambda table: table.remark != ZERO_HEAD)

    def settled(self, layer: Layer, like: Prepared | None) -> Layer:
        """Return the layer with its reading settled by an experiment, where two readings fit."""
        if not layer.ambiguous:
            return layer
        what = (str(layer), layer.output)
        return self._found(what, like, lambda: unambiguous(self._model, layer, like))

    def plan(self, layer: Layer, like: Prepared, *, again: bool = False) -> Plan:
        """Return how to replay from the layer; again: find it anew, the known one being unfit."""

        def find() -> Plan:
            noise = self.noise(3, like)
            run = self._runner(noise)
            noise = self._model.at_home(noise)
            fixed = self._model.offers.batch is not None
            small = noise if fixed else noise.rows([0, 1])
            if isinstance(self._model.module, Foreign):
                return whole_plan(self._model, layer)
            two = trace(self._model.module, run, small.tensor)
            three = two if fixed else trace(self._model.module, run, noise.tensor)
            return make_plan(self._model, layer, two, three, small)

        return self._found(layer, like, find, again=again)

    def bytes_per_row(self, like: Prepared, gradient: bool) -> int:
        """Return the memory that a forward takes for one picture, and a backward to the input."""

        def find() -> tuple[int, int]:
            if isinstance(self._model.module, Foreign):
                noise, look = self.noise(1, like), self._model.module.seen
                notes = self._model.forward(noise.tensor, noise.others, counted=False, instead=look)
                return foreign_bytes(notes, noise.tensor)
            try:
                return pass_bytes(self._model, self._model.at_home(self.noise(1, like)))
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):  # with a graph: without one a single row may still fit
                    return UNBOUNDED, UNBOUNDED
                raise

        return self._found("bytes", like, find)[gradient]

    def readers(self, like: Prepared) -> Readers:
        """Return from which tokens the answer is read, and the size of the attention maps."""

        def find() -> Readers:
            return readers(self._model, self._model.at_home(self.noise(2, like)))

        return self._found("readers", like, find)

    def layout(self, like: Prepared) -> torch.memory_format:
        """Return the layout in which pictures run fastest: channels last, where that works.

        Convolutions do; a network that takes views of activations, or reads them as they lie in
        memory, fails with it or gives something else.
        """

        def find() -> torch.memory_format:
            module = self._model.module
            if like.tensor.ndim != 4 or not any(isinstance(m, nn.Conv2d) for m in module.modules()):
                return torch.contiguous_format
            noise = self._model.at_home(self.noise(2, like))
            try:
                found = self._runner(noise)(noise.tensor.clone())
            except (RuntimeError, MemoryError) as error:
                if out_of_memory(error):
                    return torch.contiguous_format
                raise
            if detects(found) or not main_output(found).numel():
                return torch.contiguous_format  # what is found in noise tells nothing
            plain = main_output(found)
            try:
                turned = noise.tensor.contiguous(memory_format=torch.channels_last)
                other = main_output(self._runner(noise)(turned))
            except RuntimeError:
                return torch.contiguous_format
            rounding = max(AGREEMENT, 8 * torch.finfo(plain.dtype).eps)
            agree = other.shape == plain.shape and bool(
                (other - plain).abs().max() <= rounding * plain.abs().max()
            )
            return torch.channels_last if agree else torch.contiguous_format

        with torch.inference_mode(mode=False), torch.no_grad():
            return self._found("layout", like, find)

    def compiled(self, like: Prepared, run: Run) -> Compiled | None:
        """Return the network compiled, if the run wants that; None where it runs as it is."""
        if not run.compile:
            return None
        if isinstance(self._model.module, Foreign):
            warn(f"{self._model.name} is compiled by its own framework: compile= changes nothing")
            return None
        backend = run.compile if isinstance(run.compile, str) else "inductor"
        form = self.layout(like)

        def find() -> Compiled | None:
            rows = self._model.rows_at_once(like, run, gradient=False)
            noise = self._model.at_home(self.noise(min(rows, MANY_ROWS), like))
            laid = noise.tensor.contiguous(memory_format=form)
            return compile_module(self._model, noise.changed(laid), backend)

        module = self._model.module
        what = ("compiled", backend, form, home(module), users_hooks(module))
        with torch.inference_mode(mode=False), torch.no_grad():
            found = self._found(what, like, find, keep=lambda each: each is None or each.ran)
        return found if found is not None and found.ran else None

    def _found(
        self,
        what: Any,
        like: Prepared | None,
        find: Callable[[], T],
        *,
        keep: Callable[[T], bool] = lambda _: True,
        again: bool = False,
    ) -> T:
        key = (what, *self._key(like))
        if key in self._known and not again:
            known: T = self._known[key]
            return known
        with self._model.held(), uncounted():
            found = find()
        if keep(found):
            self._known[key] = found
            while len(self._known) > MOST_KEPT:
                self._known.pop(next(iter(self._known)))
        return found

    def _key(self, like: Prepared | None) -> tuple[Any, ...]:
        like, shape = self._like(like)
        others = tuple(tuple(t.shape[1:]) for t in tensors(like.others)) if like else ()
        parts = tuple((id(part), _attributes(part)) for part in self._model.module.modules())
        return (shape, others, hash(parts))

    def _like(self, like: Prepared | None) -> tuple[Prepared | None, tuple[int, ...]]:
        """An input to imitate, and the shape of one row of it."""
        like = like or self._example
        shape = tuple(like.tensor.shape[1:]) if like is not None else self._model.input_shape
        if shape is None:
            raise LayerError(
                f"the input shape of {self._model.name} is not known yet: prepare a picture first, "
                "or give Model(..., input_shape=(3, 224, 224))"
            )
        return like, shape

    def _runner(self, noise: Prepared) -> Callable[[Tensor], Any]:
        def run(tensor: Tensor) -> Any:
            some = self._model.at_home(noise.rows(torch.arange(len(tensor))))
            return self._model.forward(tensor, some.others, counted=False)

        return run


def _attributes(part: nn.Module) -> int:
    """A hash of a module's plain attributes: strides, flags, kernel sizes; the mode is ours."""
    plain = (int, float, bool, str, tuple)
    own = part.__dict__
    values = tuple([own[n] for n in own if type(own[n]) in plain and n != "training"])
    try:
        return hash(values)
    except TypeError:  # a tuple of something that cannot be hashed
        return hash(str(values))
