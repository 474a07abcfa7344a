"""The guard: while it is held the model is ours; afterwards it is exactly what it was."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from seewhy.errors import SeewhyWarning


class _Holding:
    """Who holds a module: a re-entrant lock, and how often its holder has entered."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.depth = 0


_holdings: WeakKeyDictionary[nn.Module, _Holding] = WeakKeyDictionary()
_holdings_lock = threading.Lock()


@contextmanager
def guard(
    module: nn.Module,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Iterator[None]:
    """Hold the module in evaluation mode; give it back exactly as it was, after an exception too.

    Restored are training flags, buffers, parameters (those of another device or dtype are lent for
    the time being) and the random state. Threads that share a module wait for each other. Guards
    of one thread nest; the outermost one decides on device and dtype.
    """
    with _holdings_lock:
        holding = _holdings.setdefault(module, _Holding())
    with holding.lock, ExitStack() as stack:
        if holding.depth == 0:
            stack.enter_context(_random_state(module))
            stack.enter_context(_evaluation_mode(module))
            stack.enter_context(_buffers(module))
            stack.enter_context(_lent_weights(module, device, dtype))
            if "torch._dynamo" in sys.modules:  # compiled code would not call our hooks
                stack.enter_context(torch.compiler.set_stance("force_eager"))
        holding.depth += 1
        try:
            yield
        finally:
            holding.depth -= 1


def share_lock(module: nn.Module, other: nn.Module) -> None:
    """Let two modules that have weights in common wait for each other."""
    with _holdings_lock:
        _holdings[module] = _holdings.setdefault(other, _Holding())


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


def home(module: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return where the module lives and what it computes in; (cpu, float32) where nothing says."""
    for tensor in chain(module.parameters(), module.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def hookable(module: nn.Module) -> bool:
    """Tell whether the module takes hooks: TorchScript does not."""
    return not isinstance(module, torch.jit.ScriptModule)


@contextmanager
def _random_state(module: nn.Module) -> Iterator[None]:
    device = home(module)[0]
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def _evaluation_mode(module: nn.Module) -> Iterator[None]:
    training = [part for part in module.modules() if part.training]
    if training:
        warnings.warn(
            f"{type(module).__name__} is in training mode: it is explained in evaluation mode and "
            "given back in training mode (call .eval() first to silence this)",
            SeewhyWarning,
            stacklevel=2,
        )
    try:
        for part in training:  # not .eval(): people override .train() with side effects
            part.training = False
        yield
    finally:
        for part in training:
            part.training = True


@contextmanager
def _buffers(module: nn.Module) -> Iterator[None]:
    """Put back buffers that a forward changed or replaced (counters, running statistics)."""
    places = [
        (table, name, buffer, buffer.detach().clone())
        for table in _tables(module, "_buffers")
        for name, buffer in table.items()
        if buffer is not None and not buffer.is_inference()
    ]
    try:
        yield
    finally:
        for table, name, buffer, copy in places:
            table[name] = buffer
            if not torch.equal(buffer, copy):  # batch norm leaves no trace in the version counter
                with torch.no_grad():
                    buffer.copy_(copy)


@contextmanager
def _lent_weights(
    module: nn.Module, device: torch.device | None, dtype: torch.dtype | None
) -> Iterator[None]:
    """Lend weights of another device or dtype, and plain ones for those of inference mode."""
    lent: list[tuple[dict[str, Any], str, Tensor]] = []
    copies: dict[int, Tensor] = {}  # tied weights stay tied
    try:
        for table in (*_tables(module, "_parameters"), *_tables(module, "_buffers")):
            for name, tensor in table.items():
                if tensor is None or _fits(tensor, device, dtype):
                    continue
                copy = copies.setdefault(id(tensor), _like(tensor, device, dtype))
                lent.append((table, name, tensor))
                table[name] = copy
        yield
    finally:
        for table, name, tensor in lent:
            table[name] = tensor


def _tables(module: nn.Module, kind: str) -> list[dict[str, Any]]:
    """The modules' own dictionaries of parameters or buffers, which assigning goes through."""
    return [getattr(part, kind) for part in module.modules() if hookable(part)]


def _fits(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> bool:
    floating = dtype if tensor.is_floating_point() else None
    same = device in (None, tensor.device) and floating in (None, tensor.dtype)
    return same and not tensor.is_inference()


def _like(tensor: Tensor, device: torch.device | None, dtype: torch.dtype | None) -> Tensor:
    """A copy on the device; floating-point tensors in the dtype."""
    floating = dtype if tensor.is_floating_point() else None
    with torch.inference_mode(mode=False), torch.no_grad():
        copy = tensor.detach().to(device=device, dtype=floating, copy=True)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(copy, requires_grad=False)
    return copy
