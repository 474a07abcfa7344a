"""How much memory a pass takes, measured on one picture; and what is done where it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from seewhy.errors import NoMemoryError
from seewhy.model.tape.passes import unless_failed

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

OVERHEAD = 1.25  # what the allocator rounds up and holds back
WITHOUT_GRAPH = 6  # such tensors live at once in a forward alone, with what the kernel unpacks
WORKING_COPIES = 4  # of the largest tensor: gradients in and out, and what the kernel unpacks

NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
"""What torch's allocators say beside their own error: those of a CPU, of MPS, of cuBLAS."""

T = TypeVar("T")


def in_parts(
    count: int, at_once: int, work: Callable[[int, int], T]
) -> Iterator[tuple[int, int, T]]:
    """Yield (start, stop, work(start, stop)) for 0..count, at most `at_once` at a time, evenly.

    Where memory runs out the part is halved and tried again, and the parts after it are as small.
    Raises NoMemoryError where one is still too much.
    """
    start, at_once = 0, evenly(count, at_once)
    while start < count:
        stop = min(start + at_once, count)
        try:
            with unless_failed():
                found = work(start, stop)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if stop - start == 1:
                raise no_memory(error) from error
        else:
            yield start, stop, found
            del found
            start = stop
            continue
        release()  # not before the error is gone, which holds what the part had made
        at_once = (stop - start + 1) // 2


def evenly(count: int, at_once: int) -> int:
    """Return the size of parts, at most `at_once` and as few as these, that differ the least.

    A small rest costs more than its share, and a framework may have to compile it by itself.
    """
    return -(-count // -(-count // at_once)) if count else at_once


def out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that memory has run out, on whatever device."""
    said = isinstance(error, RuntimeError) and any(each in str(error) for each in NO_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError | MemoryError)


def no_memory(error: BaseException) -> NoMemoryError:
    """Return the error that says what to do where memory runs out for one picture or pass."""
    if isinstance(error, NoMemoryError):
        return error
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    return NoMemoryError(
        f"memory has run out, with one picture at a time too ({reason}): give a smaller memory=, "
        "smaller pictures, precision='bfloat16', or another device"
    )


def release() -> None:
    """Give back what CUDA's allocator holds unused: in smaller pieces it may be of use."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def pass_bytes(model: Model, one: Prepared) -> tuple[int, int]:
    """Return the bytes that a forward holds for one row, and one with a backward to the input.

    Counts what autograd saves, each storage once and the weights not at all; without a graph only
    the tensors at work are there, none larger than the largest of these.
    """
    known = (*model.module.parameters(), *model.module.buffers())
    weights = {each.untyped_storage().data_ptr() for each in known}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # a freed storage's address would be given to the next

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor.detach())
        return tensor.detach()  # itself, it would hold the graph that holds it, for good

    saving = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with model.held(), torch.inference_mode(mode=False), torch.enable_grad(), saving:
        leaf = one.tensor.clone().requires_grad_()
        model.forward(leaf * 1, one.others, counted=False)  # a network may write into its input
    largest = max(sizes.values(), default=one.tensor.nbytes)
    whole = sum(sizes.values()) + WORKING_COPIES * largest
    return int(OVERHEAD * min(whole, WITHOUT_GRAPH * largest)), int(OVERHEAD * whole)
