"""How much memory a pass takes, measured on one picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

OVERHEAD = 1.25  # what the allocator rounds up and holds back
WORKING_COPIES = 4  # of the largest tensor: gradients in and out, and what the kernel unpacks


def graph_bytes(model: Model, one: Prepared) -> int:
    """Return the bytes that a forward and a backward to the input hold for one row.

    Counts what autograd saves, each storage once and the weights not at all.
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
    return int(OVERHEAD * (sum(sizes.values()) + WORKING_COPIES * largest))
