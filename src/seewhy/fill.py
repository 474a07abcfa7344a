"""Fill: what stands where something was removed from a picture.

A fill is bound to pictures once, and then fills any number of masks of each; perturbation methods,
baselines and metrics share it.

>>> Constant(0.5)(torch.ones(1, 1, 1, 2), torch.tensor([[[True, False]]])).flatten()
tensor([1.0000, 0.5000])
>>> as_fill("blur:sigma=0.2")
Blur(sigma=0.2)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.model.prepare import Prepared
from seewhy.run import generator

Filler = Callable[[Tensor, Tensor], Tensor]
"""(which bound picture each row is of (M,), what is kept (M, H, W)) -> pictures (M, C, H, W)."""

NOISE_STREAM = 11  # tells this use of a picture's random numbers from others
CYCLES, SWEEPS = 3, 2  # of the linear system: measured in benchmarks/evaluation.py
CACHED = 1 << 20  # numbers of pictures at once: fewer leave threads idle, more leave the caches


@dataclass(frozen=True)
class Fill:
    """What stands where something was removed: a value with its settings as fields, and `bind`."""

    name: ClassVar[str] = ""

    def bind(self, pictures: Tensor, keys: Sequence[int] = (), seed: int = 0) -> Filler:
        """Return what fills masks of these pictures (N, C, H, W).

        keys: the pictures' own numbers, `Prepared.keys`, from which what is random follows
        together with the seed; by default they are found from the pictures.
        """
        raise NotImplementedError

    def __call__(
        self, pictures: Tensor, keep: Tensor, keys: Sequence[int] = (), seed: int = 0
    ) -> Tensor:
        """Return the pictures (N, C, H, W) where `keep` is True, and the fill elsewhere.

        keep: bool (N, H, W) or (N, 1, H, W). Raises MethodError for other shapes and dtypes.
        """
        return self.bind(pictures, keys, seed)(torch.arange(len(pictures)), keep)

    def __str__(self) -> str:
        given = [
            f"{each.name}={_written(getattr(self, each.name))}"
            for each in fields(self)
            if getattr(self, each.name) != each.default
        ]
        return self.name + (":" + ",".join(given) if given else "")

    def written(self) -> str:
        """Return the fill as it stands within a method's string: in brackets where needed."""
        return f"({self})" if ":" in str(self) else str(self)


@dataclass(frozen=True)
class Constant(Fill):
    """One value, in the model's units: 0 is the mean colour after the usual normalisation.

    value: a number, or one for each channel.
    """

    value: float | tuple[float, ...] = 0.0

    name = "constant"

    def __post_init__(self) -> None:
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        if not all(math.isfinite(each) for each in values):
            raise MethodError(f"constant: value is {self.value}: give finite numbers")

    def bind(self, pictures: Tensor, keys: Sequence[int] = (), seed: int = 0) -> Filler:  # noqa: ARG002
        """Bind to pictures; see `Fill`. MethodError where the number of channels is another."""
        values = torch.as_tensor(self.value).to(pictures).reshape(-1, 1, 1)
        if len(values) not in (1, pictures.shape[1]):
            raise MethodError(
                f"the constant fill has {len(values)} values and the pictures have "
                f"{pictures.shape[1]} channels: give one number, or one for each channel"
            )
        return _behind(pictures, values.expand(pictures.shape))


@dataclass(frozen=True)
class Blur(Fill):
    """The picture itself, blurred by a Gaussian.

    sigma: its standard deviation as a share of the picture's shorter side. At the edges only what
    is in the picture is averaged.
    """

    sigma: float = 0.1

    name = "blur"

    def __post_init__(self) -> None:
        if not (self.sigma > 0 and math.isfinite(self.sigma)):
            raise MethodError(f"blur: sigma is {self.sigma!r}: give a share above zero")

    def bind(self, pictures: Tensor, keys: Sequence[int] = (), seed: int = 0) -> Filler:  # noqa: ARG002
        """Bind to pictures; see `Fill`."""
        return _behind(pictures, blurred(_checked(pictures), self.sigma))


@dataclass(frozen=True)
class NoisyLinear(Fill):
    """Each removed pixel is the weighted mean of its neighbours, with a little noise.

    Direct neighbours weigh 1/6 and diagonal ones 1/12, those outside the picture nothing; removed
    pixels beside each other are solved together. A picture of which nothing is left becomes its
    mean colour. noise: its standard deviation, as a share of the picture's own.
    Rong et al. 2022 (ROAD); the system is solved to within .03 of the picture's standard
    deviation (root mean square) for sides of up to 3:1, and less closely for longer ones.
    """

    noise: float = 0.01

    name = "noisy-linear"

    def __post_init__(self) -> None:
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise MethodError(f"noisy-linear: noise is {self.noise!r}: give a share, 0 or more")

    def bind(self, pictures: Tensor, keys: Sequence[int] = (), seed: int = 0) -> Filler:
        """Bind to pictures; see `Fill`. All masks of a picture share its noise."""
        _checked(pictures)
        noise = torch.zeros_like(pictures)
        if self.noise:
            keys = keys or Prepared(pictures).keys
            draws = [generator(seed, key, NOISE_STREAM) for key in keys]
            normal = [torch.randn(pictures.shape[1:], generator=draw) for draw in draws]
            spread = self.noise * pictures.flatten(1).float().std(1, correction=0)
            noise = (torch.stack(normal).to(spread) * spread.view(-1, 1, 1, 1)).to(pictures)

        def filled(rows: Tensor, keep: Tensor) -> Tensor:
            place, kept = rows.to(pictures.device), _mask(keep, pictures, len(rows))
            own = pictures[place]
            return torch.where(kept, own, linear(own, kept).to(own) + noise[place])

        return filled


FILLS: dict[str, type[Fill]] = {each.name: each for each in (Constant, Blur, NoisyLinear)}
"""Fills by name: "blur", "noisy-linear", "constant:0"."""


def as_fill(spec: Fill | str) -> Fill:
    """Return the fill that is meant: itself, or a string with settings such as "constant:0".

    A setting without a name is the first; several values of one are joined by "+". Raises
    MethodError that lists what there is.
    """
    if isinstance(spec, Fill):
        return spec
    name, _, options = spec.strip().partition(":") if isinstance(spec, str) else ("", "", "")
    if name not in FILLS:
        raise MethodError(f"there is no fill {spec!r}: there are {', '.join(FILLS)}")
    known = [each.name for each in fields(FILLS[name])]
    given = {}
    for part in filter(None, options.split(",")):
        setting, equals, value = part.partition("=")
        if not equals:
            setting, value = known[0], part
        if setting.strip() not in known:
            raise MethodError(f"fill {name!r} has no setting {setting!r}: it has {known[0]}")
        try:
            numbers = tuple(map(float, value.split("+")))
        except ValueError as error:
            raise MethodError(f"{name}: {setting} is {value!r}: give a number") from error
        if len(numbers) > 1 and FILLS[name] is not Constant:
            raise MethodError(f"{name}: {setting} is {value!r}: give one number")
        if setting.strip() in given:
            raise MethodError(
                f"{spec!r} gives {setting.strip()} twice: give it once; several values are joined "
                "by +, as in constant:0.4+0.5+0.6"
            )
        given[setting.strip()] = numbers if len(numbers) > 1 else numbers[0]
    return FILLS[name](**given)


def blurred(pictures: Tensor, sigma: float) -> Tensor:
    """Return pictures (..., H, W) blurred by a Gaussian; sigma: a share of the shorter side."""
    height, width = pictures.shape[-2:]
    deviation = sigma * min(height, width)
    down, across = (gaussian(side, deviation) for side in (height, width))
    found = down.to(pictures.device) @ pictures.float() @ across.to(pictures.device).T
    return found.to(pictures)


def linear(pictures: Tensor, keep: Tensor) -> Tensor:
    """Return float32 pictures whose removed pixels are the weighted means of their neighbours.

    pictures: (N, C, H, W); keep: bool (N, 1, H, W). Rong et al. 2022, by a pyramid of means as the
    start and conjugate gradients with multigrid cycles, as many whatever the pictures are.
    """
    if pictures.device.type != "cpu":
        return _solved(pictures, keep)
    at_once = max(1, CACHED // max(1, pictures[:1].numel()))  # what fits the cache is faster
    parts = zip(pictures.split(at_once), keep.split(at_once), strict=True)
    return torch.cat([_solved(own, kept) for own, kept in parts])


def _solved(pictures: Tensor, keep: Tensor) -> Tensor:
    """Conjugate gradients; one multigrid cycle is what tells where to go."""
    values = pictures.float()
    levels = _levels(keep)
    inside = torch.where(keep, 0.0, 1 / levels[0].clamp(min=1e-6))  # makes the system symmetric
    found = _start(values, keep)
    residual = _sweep(found, values * keep, levels[0]) - found
    residual = residual * keep.any(3, keepdim=True).any(2, keepdim=True)  # else nothing is known
    towards, before, gain = torch.zeros_like(found), residual, torch.ones_like(found[..., :1, :1])
    for _ in range(CYCLES):
        step = _cycle(residual, residual, levels)
        towards = step + _ratio(inside * (residual - before) * step, gain) * towards
        gain = (inside * residual * step).sum((2, 3), keepdim=True)
        effect = towards - levels[0] * _around(towards)
        length = _ratio(
            inside * residual * towards, (inside * towards * effect).sum((2, 3), keepdim=True)
        )
        found = found + length * towards
        before, residual = residual, residual - length * effect
    return found


# ---------------------------------------------------------------------- the linear system
#
# In every removed pixel x = known + share * around(x), where `around` adds up the neighbours with
# their weights and `share` is 1 / (the weights inside the picture), 0 where the pixel is kept. One
# step of that equation is a Jacobi sweep, and what it changes is the residual.


def _levels(keep: Tensor) -> list[Tensor]:
    """The shares (N, 1, h, w) of each level, the pixels' own first, each half as large."""
    gone, found = (~keep).float(), []
    while True:
        inside = _around(gone.new_ones(1, 1, *gone.shape[2:]))
        found.append(gone / inside.clamp(min=1e-6))  # a single pixel has no neighbour
        if min(gone.shape[2:]) <= 2:
            return found
        gone = 1 - F.max_pool2d(1 - gone, 2, ceil_mode=True)  # removed where all of it is


def _start(values: Tensor, keep: Tensor) -> Tensor:
    """Removed pixels as the mean of the smallest block around them in which something is kept."""
    weights = keep.float()
    sums, pyramid = values * weights, []
    while max(weights.shape[2:]) > 1:
        pyramid.append((sums, weights))
        sums, weights = (F.avg_pool2d(each, 2, ceil_mode=True) for each in (sums, weights))
    whole = values.mean((2, 3), keepdim=True)
    found = torch.where(weights > 0, sums / weights.clamp(min=1e-12), whole)
    for own, share in reversed(pyramid):
        grown = _grown(found, own)
        found = torch.where(share > 0, own / share.clamp(min=1e-12), grown)
    return found


def _cycle(found: Tensor, known: Tensor, levels: list[Tensor]) -> Tensor:
    """One multigrid cycle: sweeps, the correction of a level half as large, sweeps."""
    share, *coarser = levels
    for _ in range(SWEEPS):
        found = _sweep(found, known, share)
    if coarser:
        residual = _sweep(found, known, share) - found
        gone = (coarser[0] > 0).to(residual)
        # a step of the equation reaches twice as far there, and a curve bends four times as much
        wanted = 4 * F.avg_pool2d(residual, 2, ceil_mode=True) * gone
        correction = _cycle(wanted, wanted, coarser)
        found = found + _grown(correction, found) * (share > 0)
    for _ in range(SWEEPS):
        found = _sweep(found, known, share)
    return found


def _sweep(found: Tensor, known: Tensor, share: Tensor) -> Tensor:
    return torch.addcmul(known, share, _around(found))


def _ratio(product: Tensor, whole: Tensor) -> Tensor:
    """The sum over space as a share of the whole, 0 where there is nothing left to share."""
    return product.sum((2, 3), keepdim=True) / torch.where(whole > 0, whole, torch.inf)


def _around(values: Tensor) -> Tensor:
    """The sum of the eight neighbours, 1/6 of direct and 1/12 of diagonal ones, 0 outside.

    The weights are those of (1 2 1) down times (1 2 1) across, without the centre.
    """
    down = values * 2
    down[..., 1:, :] += values[..., :-1, :]
    down[..., :-1, :] += values[..., 1:, :]
    found = down * 2
    found[..., 1:] += down[..., :-1]
    found[..., :-1] += down[..., 1:]
    return found.sub_(values, alpha=4).div_(12)


def _grown(small: Tensor, like: Tensor) -> Tensor:
    """A level on the one twice as large, bilinear."""
    large = F.interpolate(small, scale_factor=2, mode="bilinear")
    return large[..., : like.shape[2], : like.shape[3]]


# ---------------------------------------------------------------------- helpers


def _behind(pictures: Tensor, behind: Tensor) -> Filler:
    """What fills with a picture that does not depend on the mask."""
    _checked(pictures)

    def filled(rows: Tensor, keep: Tensor) -> Tensor:
        shares = _mask(keep, pictures, len(rows)).to(pictures)  # several times faster than `where`
        return torch.lerp(of_rows(behind, rows), of_rows(pictures, rows), shares)

    return filled


def of_rows(pictures: Tensor, rows: Tensor) -> Tensor:
    """Return the pictures of these rows; a single one once, as it broadcasts."""
    return pictures if len(pictures) == 1 else pictures[rows.to(pictures.device)]


def _checked(pictures: Tensor) -> Tensor:
    if pictures.ndim != 4 or not pictures.is_floating_point():
        raise MethodError(
            f"a fill takes floating-point pictures (N, C, H, W), and {pictures.dtype} of the "
            f"shape {tuple(pictures.shape)} came"
        )
    return pictures


def _mask(keep: Tensor, pictures: Tensor, rows: int) -> Tensor:
    """The mask as bool (M, 1, H, W) where the pictures are."""
    whole = keep[:, None] if keep.ndim == 3 else keep
    wanted = (rows, 1, *pictures.shape[2:])
    if whole.shape != wanted or keep.dtype != torch.bool:
        raise MethodError(
            f"what is kept is a bool mask of the shape {wanted}, and {keep.dtype} of the shape "
            f"{tuple(keep.shape)} came: give one mask a row, True where the picture stays"
        )
    return whole.to(pictures.device)


def gaussian(length: int, deviation: float) -> Tensor:
    """Return weights (pixel, pixel it is averaged from), deviation in pixels; rows sum to one."""
    places = torch.arange(length, dtype=torch.float32)
    weights = (((places[:, None] - places) / deviation).square() / -2).exp()
    return weights / weights.sum(1, keepdim=True)


def _written(value: float | tuple[float, ...]) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
