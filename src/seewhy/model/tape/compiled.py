"""Compiled: the whole network through torch.compile, for forwards in which no hook acts.

Compiled code calls no hooks that came after it, so everything else runs the module itself. Whether
a network compiles to the same function is not assumed: what comes out is checked once against the
network, and the network runs in its place where it does not agree or does not compile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seewhy.errors import warn
from seewhy.model.function import Function
from seewhy.model.tape.guard import compiled_code, hookable
from seewhy.model.tape.head import HALF
from seewhy.model.tape.memory import out_of_memory
from seewhy.model.tape.replay import AGREEMENT, alike
from seewhy.model.tape.trees import float_tensors, map_leaves, select_rows

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

INSTEAD = "the network runs as it is; leave compile out"


class Compiled:
    """A module that runs compiled where it may: while no other thread needs it to call hooks.

    The number of rows is left open, so that parts of any size share one compilation. ran: whether
    compiled code has run at all.
    """

    ran = False

    def __init__(self, module: nn.Module, backend: str, *, rows_vary: bool) -> None:
        self._module, self._rows_vary = module, rows_vary
        self._compiled: Callable[..., Any] = torch.compile(module, backend=backend)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the module gives."""
        rows = len(args[0])
        if self._rows_vary and rows == 1:  # of which code of its own would be made
            twice = map_leaves(_twice, (args, kwargs))
            return select_rows(self(*twice[0], **twice[1]), torch.zeros(1, dtype=torch.long))
        if self._rows_vary:
            map_leaves(lambda leaf: _open(leaf, rows), (args, kwargs))
        with compiled_code() as allowed:
            self.ran |= allowed
            return (self._compiled if allowed else self._module)(*args, **kwargs)


def compile_module(model: Model, noise: Prepared, backend: str) -> Compiled | None:
    """Return the model's network compiled; None, with a warning, where it has to run as it is.

    noise: as many rows as there may be, in the layout in which pictures will come. Held by the
    caller, without a graph. Where the compiled code could not run, it has not been checked either.
    """
    module = model.module
    if isinstance(module, Function) or not hookable(module):
        warn(f"{model.name} is no torch module whose code can be compiled: {INSTEAD}")
        return None

    if noise.tensor.dtype in HALF:
        warn(
            f"{model.name} in half precision runs as it is, so that its last layer can answer in "
            "float32: leave compile or precision out"
        )
        return None

    def run(instead: Compiled | None) -> Any:
        tensor = noise.tensor.clone()  # a network may write into its input
        return model.forward(tensor, noise.others, counted=False, instead=instead)

    expected = run(None)
    if model.draws:
        warn(f"{model.name} draws random numbers, and compiled code draws others: {INSTEAD}")
        return None
    compiled = Compiled(module, backend, rows_vary=model.offers.batch is None)
    try:
        found = run(compiled)
    except Exception as error:  # the network itself has just run: it is the compiler that fails
        if out_of_memory(error):
            raise
        reason = " ".join(str(error).partition("\n\n")[0].split())[:200]
        warn(
            f"{model.name} cannot be compiled ({type(error).__name__}: {reason}): {INSTEAD}, or "
            "see to what the compiler misses"
        )
        return None
    rounding = max((8 * torch.finfo(t.dtype).eps for t in float_tensors(expected)), default=0.0)
    if not alike(found, expected, max(AGREEMENT, rounding)):
        warn(f"{model.name} gives something else when it is compiled: {INSTEAD}")
        return None
    return compiled


def users_hooks(module: nn.Module) -> int:
    """Return a number for the hooks that a network has: compiled code holds those it was made with.

    That hooks came or went is nothing that torch compiles anew for.
    """
    tables = [
        (tuple(part._forward_hooks), tuple(part._forward_pre_hooks))
        for part in module.modules()
        if hookable(part)
    ]
    return hash(tuple(tables))


def _twice(leaf: Any) -> Any:
    """The only row twice."""
    single = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == 1
    return torch.cat([leaf, leaf]) if single else leaf


def _open(leaf: Any, rows: int) -> Any:
    """Leave the number of rows open."""
    if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows:
        torch._dynamo.maybe_mark_dynamic(leaf, 0)
    return leaf
