"""Keras on torch: its layers are torch modules; under rules their sums are operations of torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F  # noqa: N812 - as everyone writes it
from torch import Tensor, nn

from seewhy.model.bridge.foreign import inputs_of, outward
from seewhy.model.bridge.visit import Visit, Wanted, patched
from seewhy.model.tape.intercept import ruled

if TYPE_CHECKING:
    from seewhy.model.bridge.keras import KerasProgram


class KerasOnTorch(nn.Module):
    """A Keras model whose backend is torch: its layers are torch modules, and take hooks."""

    framework = "Keras on torch"

    def __init__(self, program: KerasProgram, *, logits: bool = False) -> None:
        super().__init__()
        self.program, self.logits = program, logits
        for name, layer in program.layers.items():
            self.add_module(name, layer)
        self.__dict__["behind"] = (program.model,)  # what the guard has to hold too
        self.training = program.model.training
        self.__dict__["own"] = [
            (layer, "call", call)
            for layer in program.layers.values()
            if (call := torch_call(layer)) is not None
        ]

    def forward(self, picture: Tensor, *others: Any, **named: Any) -> Any:
        """Run the model; pictures go in and out as (N, C, *space)."""
        given, _ = inputs_of(self.program, picture, others, named)
        visit = Visit(Wanted(logits=self.logits))
        with patched(self.__dict__["own"] if ruled() else ()):
            found = self.program(visit, given, None)
        return self.program.pack([outward(each, self.program) for each in found])

    def weights(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every weight by name."""
        yield from self.program.weights()


def torch_call(layer: Any) -> Callable[..., Tensor] | None:
    """Return a layer's call with torch's own operation, None where it runs as it is.

    Keras adds biases and normalises in steps of its own. In one operation the rules of propagation
    are what they are for networks of torch. Without rules layers run as they are, to the last bit.
    """
    kind = type(layer)
    if not kind.__module__.startswith("keras.") or not layer.built:
        return None
    if layer.compute_dtype != layer.variable_dtype or getattr(layer, "lora_enabled", False):
        return None
    if getattr(layer, "quantization_mode", None) is not None:
        return None
    make = _CALLS.get(kind.__name__)
    return None if make is None else make(layer)


def _normalized(layer: Any) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: Any = None, mask: Any = None) -> Tensor:
        del training, mask  # it is never trained here
        made = F.batch_norm(
            _first(inputs, layer.axis),
            _value(layer.moving_mean),
            _value(layer.moving_variance),
            _value(layer.gamma),
            _value(layer.beta),
            eps=layer.epsilon,
        )
        return _turned(made, layer.axis)

    return call


def _dense(layer: Any) -> Callable[..., Tensor]:
    def call(inputs: Tensor, training: Any = None) -> Tensor:
        del training
        return _activated(layer, F.linear(inputs, layer.kernel.value.T, _value(layer.bias)))

    return call


def _convolved(layer: Any) -> Callable[..., Tensor]:
    axis = -1 if layer.data_format == "channels_last" else 1
    depthwise = type(layer).__name__ == "DepthwiseConv2D"

    def call(inputs: Tensor, training: Any = None) -> Tensor:
        del training
        given = _first(inputs, axis)
        weight, groups = layer.kernel.value, getattr(layer, "groups", 1)
        if depthwise:
            groups = weight.shape[2]
            weight = weight.flatten(2)[:, :, None]  # height, width, 1, channels
        around = _same(given.shape[2:], layer) if layer.padding == "same" else [(0, 0), (0, 0)]
        if any(before != after for before, after in around):
            given = F.pad(given, [side for pair in reversed(around) for side in pair])
            around = [(0, 0), (0, 0)]
        made = F.conv2d(
            given,
            weight.permute(3, 2, 0, 1),
            _value(layer.bias),
            tuple(layer.strides),
            tuple(before for before, _ in around),
            tuple(layer.dilation_rate),
            groups,
        )
        return _activated(layer, _turned(made, axis))

    return call if layer.padding in ("same", "valid") else layer.call


def _same(size: Sequence[int], layer: Any) -> list[tuple[int, int]]:
    """What "same" adds before and after each axis: where it is odd, one more at the end."""
    sides = []
    for places, kernel, stride, dilation in zip(
        size, layer.kernel_size, layer.strides, layer.dilation_rate, strict=True
    ):
        steps = (-(-places // stride) - 1) * stride
        more = max(steps + (kernel - 1) * dilation + 1 - places, 0)
        sides.append((more // 2, more - more // 2))
    return sides


def _turned(made: Tensor, axis: int) -> Tensor:
    """Return what an operation gave with its channels on this axis."""
    found = made.movedim(1, axis)
    found.channels_first = made  # type: ignore[attr-defined]
    return found


def _first(inputs: Tensor, axis: int) -> Tensor:
    """Return a layer's input with channels first, where it came from an operation what that gave.

    A batch norm after a convolution is thus known for one: rules take both together.
    """
    found: Tensor | None = getattr(inputs, "channels_first", None)
    return inputs.movedim(axis, 1) if found is None else found


def _activated(layer: Any, made: Tensor) -> Tensor:
    found: Tensor = made if layer.activation is None else layer.activation(made)
    return found


def _value(variable: Any) -> Tensor | None:
    return None if variable is None else variable.value


_CALLS: dict[str, Callable[[Any], Callable[..., Tensor]]] = {
    "BatchNormalization": _normalized,
    "Dense": _dense,
    "Conv2D": _convolved,
    "DepthwiseConv2D": _convolved,
}
