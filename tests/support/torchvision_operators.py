"""Lets torchvision be imported beside a CPU build of torch, which lacks two of its operators.

They are declared just before torchvision is first imported: nothing here calls them.
"""

import importlib.abc
import sys


class _Declare(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare()


def _declare():
    import torch

    if torch.version.cuda is not None:
        return
    global _library  # noqa: PLW0603 - what a library declares goes when the library goes
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            _library.define(operator + signature)


_library = None
if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _Declare())
