"""Parametrisations: what is changed, step by step, so that a picture comes of it.

Pictures are (N, C, *space), 0..1 where it is known how the model's preprocessing treats colours
(`Units`), and plain model input where it is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image
from torch import Tensor

from seewhy.errors import MethodError, PictureError
from seewhy.model.prepare import is_model_input
from seewhy.run import generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
"""A root of the covariance of colours in ImageNet's photographs (Olah et al. 2017, lucid)."""

EDGE = 1e-3  # how near to black and white a sigmoid starts: at 0 and 1 it could not begin
EVEN = 0.02  # what a preprocessing may differ from a straight line, of its whole range
NO_WAVE = 1e-6  # of the largest magnitude
PHASES = 602  # tells this use of random numbers from others
PROBE = 224  # side of the plain pictures that tell what a preprocessing does to colours


@dataclass(frozen=True)
class Units:
    """How pictures 0..1 become model input: the model's own preprocessing, channel by channel.

    shape: (C, *space) of a picture; flat: whether the model takes it as (D,). low, high: what black
    and white are as model input, one number a channel; empty where that is not known, and pictures
    are model input then. order: the colour (red 0, green 1, blue 2) that each channel takes.
    """

    shape: tuple[int, ...]
    flat: bool = False
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def known(self) -> bool:
        """Whether pictures are 0..1."""
        return bool(self.low)

    @property
    def middle(self) -> float:
        """Grey, or zero."""
        return 0.5 if self.known else 0.0

    def to_model(self, pictures: Tensor) -> Tensor:
        """Return pictures (N, C, *space) as model input."""
        if self.known:
            low, high = self._ends(pictures)
            pictures = low + pictures[:, list(self.order)] * (high - low)
        return pictures.flatten(1) if self.flat else pictures

    def to_picture(self, inputs: Tensor) -> Tensor:
        """Return model input as pictures (N, C, *space)."""
        inputs = inputs.reshape(len(inputs), *self.shape)
        if not self.known:
            return inputs
        low, high = self._ends(inputs)
        back = [self.order.index(colour) for colour in range(len(self.order))]
        return ((inputs - low) / (high - low))[:, back]

    def _ends(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.ndim - 2))
        low, high = (torch.tensor(each).to(like).reshape(shape) for each in (self.low, self.high))
        return low, high

    @classmethod
    def of(cls, model: Model, like: Tensor | None = None) -> Units:
        """Return the units of a model, found by sending plain pictures through its preprocessing.

        like: model input (N, ...) of the shape that is wanted; None is the model's own.
        """
        shape = tuple(like.shape[1:]) if like is not None else model.input_shape
        if model.preprocess is None:
            shape = shape or tuple(model.findings.noise(1).tensor.shape[1:])
            return cls(shape)
        probes: list[Any] = ["black", "white", (128,) * 3, (255, 0, 0), (0, 255, 0), (0, 0, 255)]
        plain = [Image.new("RGB", (PROBE, PROBE), each) for each in probes]
        seen = model.prepare(plain)
        tensor, shape = seen.tensor.double(), shape or tuple(seen.tensor.shape[1:])
        geometry = seen.geometries[0]
        flat = len(shape) == 1 and geometry is not None and geometry.shape is not None
        if flat and geometry is not None and geometry.shape is not None:
            shape = geometry.shape
            tensor = tensor.reshape(len(tensor), *shape)
        low, high, order = _colours(tensor) or ((), (), ())
        return cls(shape, flat, low, high, order)


def _colours(
    seen: Tensor,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]] | None:
    """Low, high and order of what black, white, grey, red, green and blue became (6, C, *space)."""
    flat = seen.reshape(len(seen), seen.shape[1], -1)
    level, spread = flat.mean(2), flat.amax(2) - flat.amin(2)
    low, high, grey = level[:3]
    reach = (high - low).abs()
    straight = (grey - torch.lerp(low, high, 128 / 255)).abs() <= EVEN * reach
    if seen.ndim < 3 or bool((reach <= 0).any() | (spread > EVEN * reach).any()):
        return None
    channels = seen.shape[1]
    share = (level[3:] - low) / (high - low)  # of white that each colour is, in each channel
    own = tuple(share.argmax(0).tolist())
    order = own if channels == 3 and sorted(own) == [0, 1, 2] else ()
    if not bool(straight.all()) or not (channels == 1 or order):
        return None
    return tuple(low.tolist()), tuple(high.tolist()), order or (0,)


class Parametrisation(Protocol):
    """Numbers that become pictures, the same way for each row."""

    def begin(self, pictures: Tensor, *, known: bool) -> Tensor:
        """Return the numbers (N, ...) of which these pictures come; known: they are 0..1."""

    def pictures(self, numbers: Tensor, space: tuple[int, ...], *, known: bool) -> Tensor:
        """Return the pictures (N, C, *space) of numbers, differentiable."""

    def settle(self, numbers: Tensor, *, known: bool) -> None:
        """Bring numbers back, in place, to those of which pictures come."""


@dataclass(frozen=True)
class Pixels:
    """The pixels themselves; where pictures are 0..1, each step ends there."""

    def begin(self, pictures: Tensor, *, known: bool) -> Tensor:
        """Return the pixels."""
        return pictures.clamp(0, 1) if known else pictures.clone()

    def pictures(self, numbers: Tensor, space: tuple[int, ...], *, known: bool) -> Tensor:  # noqa: ARG002
        """Return the pixels."""
        return numbers.clone()

    def settle(self, numbers: Tensor, *, known: bool) -> None:
        """Cut off what is darker than black and lighter than white."""
        if known:
            numbers.clamp_(0, 1)


@dataclass(frozen=True)
class Fourier:
    """Waves, the longer the larger: steps then change all sizes of detail alike (Olah et al. 2017).

    decay: a wave of frequency f is scaled by 1 / f ** decay; natural pictures have about 1.
    decorrelated: three channels are mixed as the colours of photographs are (`COLOURS`). Pictures
    of 0..1 come through a sigmoid.
    """

    decay: float = 1.0
    decorrelated: bool = True

    def begin(self, pictures: Tensor, *, known: bool) -> Tensor:
        """Return real and imaginary parts (N, C, *frequencies, 2) of the waves."""
        values = pictures.clamp(EDGE, 1 - EDGE).logit() if known else pictures
        waves = _waves(_unmixed(values) if self._mixes(values) else values)
        return torch.view_as_real(waves / self._scale(values)).contiguous()

    def pictures(self, numbers: Tensor, space: tuple[int, ...], *, known: bool) -> Tensor:
        """Return the sums of the waves."""
        like = numbers.new_empty((1, *numbers.shape[1:2], *space))
        waves = torch.view_as_complex(numbers) * self._scale(like)
        values = torch.fft.irfftn(waves, s=space, dim=_axes(space), norm="ortho")
        values = _mixed(values) if self._mixes(values) else values
        return values.sigmoid() if known else values

    def settle(self, numbers: Tensor, *, known: bool) -> None:
        """Do nothing: any waves make a picture."""

    def _mixes(self, values: Tensor) -> bool:
        return self.decorrelated and values.shape[1] == 3

    def _scale(self, like: Tensor) -> Tensor:
        return _frequencies(like) ** -self.decay


@dataclass(frozen=True)
class MACO:
    """Only the phases of the waves: their magnitudes stay those of pictures (Fel et al. 2023).

    spectrum: magnitudes (C, *frequencies), such as `MACO.of(pictures)` takes from pictures; None is
    1 / f in each channel. Three channels are mixed as for `Fourier`, after the waves.
    """

    spectrum: Any = None

    @classmethod
    def of(cls, pictures: Tensor) -> MACO:
        """Return the parametrisation with the mean magnitudes of pictures (M, C, *space), 0..1."""
        if not is_model_input(pictures) or pictures.ndim < 3:
            raise MethodError("MACO.of takes pictures as a floating-point tensor (M, C, *space)")
        values = pictures.clamp(EDGE, 1 - EDGE).logit()
        return cls(_waves(_unmixed(values) if values.shape[1] == 3 else values).abs().mean(0))

    def begin(self, pictures: Tensor, *, known: bool) -> Tensor:
        """Return the phases (N, C, *frequencies) of the pictures, of noise where no wave is."""
        values = pictures.clamp(EDGE, 1 - EDGE).logit() if known else pictures
        waves = _waves(_unmixed(values) if values.shape[1] == 3 else values)
        size = waves.abs()
        absent = size <= NO_WAVE * size.flatten(1).amax(1).reshape(-1, *[1] * (size.ndim - 1))
        # all phases alike would be a single point
        noise = torch.randn(values.shape[1:], generator=generator(0, 0, PHASES))
        return torch.where(absent, _waves(noise[None].to(values)).angle(), waves.angle())

    def pictures(self, numbers: Tensor, space: tuple[int, ...], *, known: bool) -> Tensor:
        """Return pictures of these phases: each of mean 0 and deviation 1, then colours."""
        like = numbers.new_empty((1, *numbers.shape[1:2], *space))
        if self.spectrum is None:
            size: Tensor = 1 / _frequencies(like)
        else:
            size = torch.as_tensor(self.spectrum).to(numbers)
        if self.spectrum is not None and size.shape != numbers.shape[1:]:
            raise MethodError(
                f"the spectrum has the shape {tuple(size.shape)}, and pictures of {space} have "
                f"{tuple(numbers.shape[1:])}: take it from pictures of the model's size"
            )
        waves = torch.polar(size.expand_as(numbers).contiguous(), numbers)
        values = torch.fft.irfftn(waves, s=space, dim=_axes(space), norm="ortho")
        axes = tuple(range(1, values.ndim))
        values = values - values.mean(axes, keepdim=True)
        values = values / (values.std(axes, keepdim=True) + 1e-5)
        values = _mixed(values) if values.shape[1] == 3 else values
        return values.sigmoid() if known else values

    def settle(self, numbers: Tensor, *, known: bool) -> None:
        """Do nothing: any phase will do."""


PARAMETRISATIONS: dict[str, type[Any]] = {"pixels": Pixels, "fourier": Fourier, "maco": MACO}


def as_parametrisation(spec: Any, shape: tuple[int, ...]) -> Parametrisation:
    """Return the parametrisation of a name, or the one given, if pictures of this shape have it."""
    found: Parametrisation
    if isinstance(spec, str):
        if spec not in PARAMETRISATIONS:
            raise MethodError(f"image {spec!r} is not known: use {', '.join(PARAMETRISATIONS)}")
        found = PARAMETRISATIONS[spec]()
    elif all(hasattr(spec, name) for name in ("begin", "pictures", "settle")):
        found = spec
    else:
        raise MethodError(
            f"{type(spec).__name__} is no parametrisation: use {', '.join(PARAMETRISATIONS)}, or "
            "one of seewhy.prototypes"
        )
    if len(shape) < 2 and isinstance(found, Fourier | MACO):
        raise MethodError(
            f"inputs of {shape[0]} numbers have no space, and waves need it: use image='pixels'"
        )
    return found


def beginning(start: Any, model: Model) -> Prepared | None:
    """Return the pictures to begin with as model input; None for "zeros" and "noise".

    Raises MethodError for another word, and PictureError for a file that is no picture.
    """
    if start is None or (isinstance(start, str) and start in ("zeros", "noise")):
        return None
    try:
        return model.prepare(start)
    except PictureError as error:
        if isinstance(start, str) and not Path(start).expanduser().exists():
            raise MethodError(
                f"start is {start!r}: give 'zeros', 'noise', or pictures ({error})"
            ) from error
        raise


def _axes(space: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(range(-len(space), 0))


def _waves(values: Tensor) -> Tensor:
    waves: Tensor = torch.fft.rfftn(values, dim=_axes(tuple(values.shape[2:])), norm="ortho")
    return waves


def _frequencies(like: Tensor) -> Tensor:
    """The frequency of each wave in cycles a pixel (*frequencies); the mean counts as the lowest.

    Four times that, which keeps a step of 0.05 small for the longest waves.
    """
    space = tuple(like.shape[2:])
    axes = [torch.fft.fftfreq(size) for size in space[:-1]] + [torch.fft.rfftfreq(space[-1])]
    squares = torch.stack([each.square() for each in torch.meshgrid(*axes, indexing="ij")]).sum(0)
    lowest = 1 / max(*space, 2)
    return 4 * squares.sqrt().clamp(min=lowest).to(like)


def _colour_matrix(like: Tensor) -> Tensor:
    matrix = torch.tensor(COLOURS, dtype=like.dtype, device=like.device)
    longest: Tensor = matrix.norm(dim=0).max()
    return matrix / longest


def _mixed(values: Tensor) -> Tensor:
    return torch.einsum("ij,nj...->ni...", _colour_matrix(values), values)


def _unmixed(values: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.inv(_colour_matrix(values))
    return torch.einsum("ij,nj...->ni...", inverse, values)


def side_of(size: int) -> int | None:
    """Return the side of the square that has so many pixels, None where there is none."""
    side = math.isqrt(size)
    return side if side * side == size else None
