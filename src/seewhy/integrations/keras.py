"""Explanations at each epoch of Keras's fit, on TensorFlow, JAX or torch.

`ExplanationsCallback(pictures, methods, ...)` takes what `EpochExplanations` takes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from seewhy.integrations.counting import Count
from seewhy.integrations.epochs import EpochExplanations
from seewhy.integrations.needed import needed, only_callback


@cache
def _callback() -> Any:
    base: Any = needed("keras", "keras").callbacks.Callback

    class ExplanationsCallback(base):  # type: ignore[misc]
        """Explain pictures at the end of each epoch of `fit`, of Keras 3, which tf.keras is too.

        Arguments as for `EpochExplanations`, which `explanations` is. Pictures that are tensors are
        (N, C, h, w) here too, whatever the model's own order. Epochs count those that are done: 1
        is after the first, and a second `fit` goes on counting, unless its initial_epoch says where
        it begins.
        """

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__()
            self.explanations = EpochExplanations(*args, **options)
            self._count, self._begins = Count(), False

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
            """Begin a fit; Keras calls this."""
            self._begins = True

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
            """See where a fit begins; Keras calls this."""
            if self._begins:
                self._count.begin(epoch)
            self._begins = False

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
            """Explain the pictures; Keras calls this."""
            self.explanations.log(self.model, self._count.step(epoch + 1))

        def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
            """Close event files; Keras calls this."""
            self.explanations.close()

    ExplanationsCallback.__qualname__ = "ExplanationsCallback"  # where pickle finds it
    return ExplanationsCallback


def __getattr__(name: str) -> Any:
    only_callback(name, __name__)
    return _callback()
