"""Explanations at each epoch of the Trainer of Hugging Face transformers.

`ExplanationsCallback(pictures, methods, ...)` takes what `EpochExplanations` takes.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from seewhy.integrations.counting import Count
from seewhy.integrations.epochs import EpochExplanations
from seewhy.integrations.needed import needed, only_callback

ROUNDING = 1e-6  # the Trainer adds up parts of an epoch


@cache
def _callback() -> Any:
    base: Any = needed("transformers", "hf").TrainerCallback

    class ExplanationsCallback(base):  # type: ignore[misc]
        """Explain pictures at the end of each epoch of a Trainer.

        Arguments as for `EpochExplanations`, which `explanations` is; preprocess may be the image
        processor. Epochs count those that are done: 1 is after the first, an unfinished one counts,
        and a second training with the same callback goes on counting. With several processes only
        the first explains; weights that are spread over processes are not gathered, and that is a
        warning.
        """

        def __init__(self, *args: Any, **options: Any) -> None:
            self.explanations = EpochExplanations(*args, **options)
            self._count = Count()

        def on_train_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002 - the Trainer's
            """Begin a training; the Trainer calls this."""
            self._count.begin(state.epoch or 0)

        def on_epoch_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002 - the Trainer's
            """Explain the pictures; the Trainer calls this."""
            if state.is_world_process_zero:
                epoch = max(1, math.ceil(state.epoch - ROUNDING))
                self.explanations.log(others["model"], self._count.step(epoch))

        def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:  # noqa: ARG002 - the Trainer's
            """Close event files; the Trainer calls this."""
            self.explanations.close()

    ExplanationsCallback.__qualname__ = "ExplanationsCallback"  # where pickle finds it
    return ExplanationsCallback


def __getattr__(name: str) -> Any:
    only_callback(name, __name__)
    return _callback()
