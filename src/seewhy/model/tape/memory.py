"""How much memory a pass takes, measured on one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

OVERHEAD = 1.25  # what the allocator rounds up and holds back
WITHOUT_GRAPH = 6  # such tensors live at once in a forward alone, with what the kernel unpacks
WORKING_COPIES = 4  # of the largest tensor: gradients in and out, and what the kernel unpacks


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
            alive.append(tensor)
        return tensor

    saving = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with model.held(), torch.inference_mode(mode=False), torch.enable_grad(), saving:
        leaf = one.tensor.clone().requires_grad_()
        model.forward(leaf * 1, one.others, counted=False)  # a network may write into its input
    largest = max(sizes.values(), default=one.tensor.nbytes)
    whole = sum(sizes.values()) + WORKING_COPIES * largest
    return int(OVERHEAD * min(whole, WITHOUT_GRAPH * largest)), int(OVERHEAD * whole)
