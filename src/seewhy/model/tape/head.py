"""In half precision the last linear layer answers in float32.

What a change costs is a small difference of two scores, and bfloat16 keeps three digits of each:
rounding the scores alone blurs maps more than rounding everything before them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor, nn

from seewhy.model.outputs import main_output
from seewhy.model.tape.guard import hooked
from seewhy.model.tape.trees import float_tensors, put

if TYPE_CHECKING:
    from seewhy.model.model import Model

HALF = (torch.bfloat16, torch.float16)


def answered(
    model: Model, tensor: Tensor, others: Any, *, but: Collection[nn.Module] = (), **how: Any
) -> Any:
    """Return what the model gives, as `model.forward` does; its linear answers are never rounded.

    but: modules whose outputs do not follow from what they are given.
    """
    if tensor.dtype not in HALF or how.get("instead"):
        return model.forward(tensor, others, **how)
    last: list[tuple[nn.Linear, Tensor, Tensor]] = []

    def keep(module: Any, args: Any, __: Any, output: Any) -> None:
        last[:] = [(module, args[0], output)] if args else []

    linear = [
        each for each in model.module.modules() if type(each) is nn.Linear and each not in but
    ]
    with hooked((each, keep) for each in linear):
        outputs = model.forward(tensor, others, **how)
    if not last:
        return outputs
    module, given, output = last[0]
    main, bias = main_output(outputs), module.bias
    # what was changed on the way, or by a hook of the user's, is not what the layer gives
    if main is not output or not torch.equal(F.linear(given, module.weight, bias), output):
        return outputs
    full = F.linear(given.float(), module.weight.float(), None if bias is None else bias.float())
    index = [id(found) for found in float_tensors(outputs)].index(id(main))
    return put(outputs, {index: full})
