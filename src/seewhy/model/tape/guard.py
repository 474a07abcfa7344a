"""The guard: while it is held the model is ours; afterwards it is exactly what it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from operator import is_not
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from seewhy.errors import MethodError, ModelError, warn


class _Holding:
    """Who holds a module: a re-entrant lock, the thread that guards it as a whole."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.holder: int | None = None


_EMPTY: dict[str, Any] = {}
_SMALL = 1 << 16  # numbers: of larger tensors joining would be another copy
_holdings: WeakKeyDictionary[nn.Module, _Holding] = WeakKeyDictionary()
_ours = threading.RLock()


@contextmanager
def guard(
    module: nn.Module,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[None]:
    """Hold the module in evaluation mode; give it back exactly as it was, after an exception too.

    Restored are attributes, training flags, buffers, and parameters (those of another device or
    dtype are lent for the time being); autocast is off meanwhile. Threads that share any part of a
    module wait for each other. Guards of one thread nest; the outermost one decides on device and
    dtype. Raises ModelError for a network whose shapes are not known yet, MethodError where weights
    that cannot be lent would have to be.
    """
    me = threading.get_ident()
    known = _holdings.get(module)
    if known is not None and known.holder == me:
        yield  # an outer guard of this thread has done it all
        return
    with ExitStack() as stack:
        parts, holding = stack.enter_context(alone(module))
        _check(parts, device, dtype)
        stack.enter_context(_restored(parts))
        _evaluate(parts, type(module).__name__)
        stack.enter_context(_lent_weights(parts, device, dtype))
        stack.enter_context(_eager())
        kind = device if device is not None else home(module)[0]
        stack.enter_context(torch.autocast(kind.type, enabled=False))
        holding.holder = me
        try:
            yield
        finally:
            holding.holder = None


@contextmanager
def alone(module: nn.Module) -> Iterator[tuple[list[nn.Module], _Holding]]:
    """Let no other thread explain any part of a module meanwhile; nothing of it is changed.

    Gives the module's parts, and who holds the whole. What is read of modes and gradients without
    it may be what another thread has set for a while.
    """
    parts = everything(module)
    with _ours:
        holdings = [_holdings.setdefault(part, _Holding()) for part in parts]
    with _locked([each.lock for each in sorted(holdings, key=id)]):
        yield parts, holdings[0]


@contextmanager
def _locked(locks: list[Any]) -> Iterator[None]:
    """Hold many locks, taken in an order that is the same for all: no deadlock."""
    taken = 0
    try:
        for each in locks:
            each.acquire()
            taken += 1
        yield
    finally:
        for each in reversed(locks[:taken]):
            each.release()


@contextmanager
def hooked(pairs: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Hook (module, hook) pairs: hook(module, args, kwargs, output), in this thread only."""
    me, handles = threading.get_ident(), []

    def mine(hook: Callable[..., Any]) -> Callable[..., Any]:
        def act(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return hook(module, args, kwargs, output) if threading.get_ident() == me else None

        return act

    try:
        for module, hook in pairs:
            handles.append(module.register_forward_hook(mine(hook), with_kwargs=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def everything(module: nn.Module) -> list[nn.Module]:
    """Return the module and its parts, and what it runs without having it as a part."""
    behind = module.__dict__.get("behind", ())
    return list(dict.fromkeys([*module.modules(), *behind]))


def home(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where the module lives and what it computes in; (cpu, float32) where nothing says."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def hookable(module: nn.Module) -> bool:
    """Tell whether the module takes hooks: TorchScript does not."""
    return not isinstance(module, torch.jit.ScriptModule)


def _check(parts: list[nn.Module], device: torch.device | None, dtype: torch.dtype | None) -> None:
    for part in parts:
        for name, tensor in part.named_parameters(recurse=False):
            if nn.parameter.is_lazy(tensor):
                raise ModelError(
                    f"the shape of {name!r} in {type(part).__name__} is not known yet: run the "
                    "network once before it is explained"
                )
            if not hookable(part) and not _fits(tensor, device, dtype):
                raise MethodError(
                    "TorchScript keeps its weights where they are, in their precision: leave "
                    "device= and precision= out, or move the module yourself"
                )


def _evaluate(parts: list[nn.Module], name: str) -> None:
    """Switch to evaluation mode; `_restored` puts back what was."""
    training = [part for part in parts if part.training]
    if training and not hasattr(parts[0], "framework"):  # others keep no mode in their modules
        warn(
            f"{name} is in training mode: it is explained in evaluation mode and given back in "
            "training mode (call .eval() first to silence this)"
        )
    for part in training:  # not .eval(): people override .train() with side effects
        part.training = False


@contextmanager
def _restored(parts: list[nn.Module]) -> Iterator[None]:
    """Put back what a forward changed: attributes, what dicts and lists hold, buffers' values.

    Networks set flags, fill caches and install hooks of their own when they first run: each alone
    would leave them half changed.
    """
    modes = [(part, part.training) for part in parts]
    own = [part for part in parts if hookable(part)]
    attributes = [(part.__dict__, dict(part.__dict__)) for part in own]
    attributes += [
        (value, dict(value) if value else _EMPTY)
        for part in own
        for value in part.__dict__.values()
        if isinstance(value, dict)
    ]
    lists = [
        (value, list(value))
        for part in own
        for value in part.__dict__.values()
        if type(value) is list
    ]
    buffers = _Values(
        buffer
        for part in own
        for buffer in part._buffers.values()
        if buffer is not None and not buffer.is_inference()
    )
    try:
        yield
    finally:
        for now, before in attributes:
            if not now and not before:
                continue
            same = len(now) == len(before) and not any(map(is_not, now.values(), before.values()))
            if not same or now.keys() != before.keys():
                now.clear()
                now.update(before)
        for value, items in lists:
            value[:] = items
        for part, training in modes:
            if part.training != training:
                part.training = training
        buffers.restore()


class _Values:
    """The values of many tensors, joined: one copy and one comparison for those of a kind.

    By value, as batch norm leaves no trace in the version counter.
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._groups: dict[Any, list[Tensor]] = {}
        for each in tensors:
            plain = each.layout is torch.strided and each.numel() <= _SMALL
            kind = (each.device, each.dtype) if plain else id(each)
            self._groups.setdefault(kind, []).append(each.detach())
        self._copies = {
            kind: group[0].clone() if len(group) == 1 else _joined(group)
            for kind, group in self._groups.items()
        }

    def restore(self) -> None:
        """Put back what has changed."""
        for kind, group in self._groups.items():
            if torch.equal(_joined(group), self._copies[kind]):
                continue
            if len(group) == 1:
                group[0].copy_(self._copies[kind])
                continue
            parts = self._copies[kind].split([each.numel() for each in group])
            for each, copy in zip(group, parts, strict=True):
                each.copy_(copy.view_as(each))


def _joined(group: list[Tensor]) -> Tensor:
    """One tensor with all their values, that of a single one itself."""
    return group[0] if len(group) == 1 else torch.cat([each.reshape(-1) for each in group])


@contextmanager
def _lent_weights(
    parts: list[nn.Module], device: torch.device | None, dtype: torch.dtype | None
) -> Iterator[None]:
    """Lend weights of another device or dtype, and plain ones for those of inference mode."""
    copies: dict[int, Tensor] = {}  # tied weights stay tied
    for table in _tables([part for part in parts if hookable(part)]):
        for name, tensor in table.items():
            if tensor is not None and not _fits(tensor, device, dtype):
                if id(tensor) not in copies:
                    copies[id(tensor)] = _like(tensor, device, dtype)
                table[name] = copies[id(tensor)]
    yield  # `_restored` puts back the tables


def _tables(parts: list[nn.Module]) -> list[dict[str, Any]]:
    """The modules' own dictionaries of parameters and buffers, which assigning goes through."""
    return [table for part in parts for table in (part._parameters, part._buffers)]


def _fits(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> bool:
    if device is None and dtype is None:
        return not tensor.is_inference()
    floating = dtype if tensor.is_floating_point() else None
    same = device in (None, tensor.device) and floating in (None, tensor.dtype)
    return same and not tensor.is_inference()


def _like(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """A copy on the device; floating-point tensors in the dtype."""
    floating = dtype if tensor.is_floating_point() else None
    with torch.inference_mode(mode=False), torch.no_grad():
        copy = tensor.detach().to(device=device, dtype=floating, copy=True)
    if isinstance(tensor, nn.Parameter):
        copy = nn.Parameter(copy, requires_grad=False)
    copy.lent_for = tensor  # type: ignore[attr-defined]
    return copy


def owned(tensor: Tensor) -> Tensor:
    """Return the weight that a lent one stands for, or itself."""
    found: Tensor = getattr(tensor, "lent_for", tensor)
    return found


_eager_holders: dict[int, int] = {}  # by thread
_eager_stances: list[Any] = []  # the one that is set, if it is


@contextmanager
def _eager() -> Iterator[None]:
    """Keep compiled code, which would not call our hooks, from running while anyone holds a model.

    The stance belongs to the whole process: the first holder sets it, the last one puts it back.
    """
    me = threading.get_ident()
    with _ours:
        if "torch._dynamo" in sys.modules and not _eager_stances:
            _eager_stances.append(torch.compiler.set_stance("force_eager"))
        _eager_holders[me] = _eager_holders.get(me, 0) + 1
    try:
        yield
    finally:
        with _ours:
            _eager_holders[me] -= 1
            if not _eager_holders[me]:
                del _eager_holders[me]
            if not _eager_holders and _eager_stances:
                _eager_stances.pop().__exit__(None, None, None)


@contextmanager
def compiled_code() -> Iterator[bool]:
    """Let compiled code run inside, unless another thread holds a model; tell whether it may.

    Whoever wants to begin or to end holding a model meanwhile waits.
    """
    with ExitStack() as stack:
        stack.enter_context(_ours)
        alone = _eager_holders.keys() <= {threading.get_ident()}
        if alone:
            stack.enter_context(torch.compiler.set_stance("default"))
        else:
            stack.close()
        yield alone
