"""FullGrad: the whole score shared out, among the input and every bias."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from seewhy.errors import MethodError, NoSpaceError, warn
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import Recording, record
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

AT_ONCE = 3  # a layer's output is kept, passed on and differentiated: so many times a plain pass
MISSED = 0.01  # of the score: what rounding never leaves

_CONVOLUTIONS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@method(
    "fullgrad",
    paper="Srinivas & Fleuret 2019",
    cost="1 forward, 1 backward",
    needs=("gradient", "layers", "operations"),
)
@dataclass(frozen=True)
class FullGrad(Method):
    """The gradient times the input, and every bias times the gradient there.

    Biases are those of convolutions, linear layers and batch norms (beta - mu gamma / sigma). What
    they contribute is brought to the input's grid without loss: first the positive contributions of
    all channels of all layers, then the negative ones. So the map, (N, C + 2, *space), sums to the
    score of a network of ReLUs, and what is drawn, the sum of magnitudes, is the paper's (which
    scales each layer before it adds them up).
    checks["completeness gap"]: how far the sum is from the score, as a share of it; what the map
    misses of networks with other parts (GELU, layer norm, biases outside modules) is warned of.
    Raises NoSpaceError for inputs without space.
    """

    display: ClassVar[Display] = "absolute"
    family: ClassVar[str] = "cam"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """As many pictures at once as `run.memory` allows."""
        if prepared.tensor.ndim < 3:
            raise NoSpaceError(
                "fullgrad draws biases on the input's grid, and this input has none: use "
                "integrated-gradients, which is complete without biases"
            )
        layers = _with_biases(model, prepared)
        at_once = max(1, model.rows_at_once(prepared, run) // AT_ONCE)

        def share_out(start: int, stop: int) -> tuple[Tensor, Tensor]:
            rows, whole = torch.arange(start, stop), stop - start == len(prepared)
            if not whole:
                score.bind(model, prepared)
            part, own = (prepared, score) if whole else (prepared.rows(rows), score.of(rows))
            recording = record(model, part, own, [INPUT, *(each.plain for each in layers)])
            return _shared_out(recording, layers), recording.scores.double()

        found, gaps = [], []
        for _, done, (shares, scores) in in_parts(len(prepared), at_once, share_out):
            found.append(shares)
            summed = shares.flatten(1).sum(1, dtype=torch.float64)
            gaps.append((summed - scores).abs() / scores.abs().clamp(min=1e-12))
            run.report(done, len(prepared), "pictures")
        gap = torch.cat(gaps)
        kinds = (*_CONVOLUTIONS, nn.Linear, *_NORMS)
        strange = not any(isinstance(part, kinds) for part in model.module.modules())
        if strange and float(gap.max()) > MISSED:
            raise MethodError(
                f"fullgrad knows none of the biases of {model.name}, which make up "
                f"{float(gap.max()):.0%} of a score: they have to be those of torch's "
                "convolutions, linear layers and batch norms; use integrated-gradients"
            )
        if prepared.tensor.dtype in (torch.float32, torch.float64) and float(gap.max()) > MISSED:
            warn(
                f"fullgrad misses {float(gap.max()):.0%} of a score of {model.name}: it is whole "
                "for networks of ReLUs whose biases are in convolutions, linear layers and batch "
                "norms; use integrated-gradients for this one, or a class score as the target"
            )
        return Attribution(torch.cat(found), {"completeness gap": gap}, (INPUT,))


@dataclass(frozen=True)
class _Biased:
    """A call of a module that adds a bias to each of its channels, and where its places are."""

    layer: Layer
    bias: Tensor
    last: bool  # whether its channels are the last axis

    @property
    def plain(self) -> Layer:
        """The layer as it comes, in its own layout: prefix tokens have biases too."""
        return Layer(self.layer.name, "vector", call=self.layer.call)


def _with_biases(model: Model, prepared: Prepared) -> list[_Biased]:
    """Every call of a module that adds something, and what it adds to each of its channels.

    What a network computes once for a whole batch (from learned positions) has one gradient for
    all its pictures, of which none has a share.
    """
    found = []
    for layer in model.layers(prepared):
        module = model.find(layer)
        bias = None if layer.still else _bias(module)
        if bias is not None and bool(bias.any()):
            read = model.findings.settled(layer, prepared)
            found.append(_Biased(read, bias, isinstance(module, nn.Linear)))
    return found


def _bias(module: nn.Module) -> Tensor | None:
    """What a module adds to its channels, whatever goes in."""
    if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
        return None if module.bias is None else module.bias.detach()
    # a norm that does more than that (an activation after it) adds something else
    if isinstance(module, _NORMS) and type(module).forward in {kind.forward for kind in _NORMS}:
        mean, variance = module.running_mean, module.running_var
        if mean is None or variance is None:
            return None if module.bias is None else module.bias.detach()
        scale = (variance.double() + module.eps).rsqrt()
        scale = scale if module.weight is None else scale * module.weight.detach()
        shift = -mean * scale
        return shift if module.bias is None else shift + module.bias.detach()
    return None


def _shared_out(recording: Recording, layers: list[_Biased]) -> Tensor:
    """The input's share and the biases', (N, C + 2, *space)."""
    inputs = recording.activations[INPUT]
    count, size = len(inputs), tuple(inputs.shape[2:])
    grids: dict[tuple[int, ...], Tensor] = {size: inputs.new_zeros(count, 2, *size)}
    for each in layers:
        gradient = recording.gradients[each.plain]
        after = 0 if each.last else gradient.ndim - 2
        share = gradient * each.bias.to(gradient).reshape(-1, *(1,) * after)
        for number, signed in enumerate((share.clamp(min=0), share.clamp(max=0))):
            placed, rest = _placed(signed, each.layer, count, size)
            grids[size][:, number] += (rest / math.prod(size)).reshape(-1, *(1,) * len(size))
            grid = tuple(placed.shape[1:])
            sums = grids.setdefault(grid, placed.new_zeros(count, 2, *grid))
            sums[:, number] += placed
    biases = [_spread(each, size) for each in grids.values()]
    return torch.cat([recording.gradients[INPUT] * inputs, torch.stack(biases).sum(0)], 1)


def _placed(
    share: Tensor, layer: Layer, count: int, size: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """What a layer contributes, summed over its channels: at its places (N, *grid), elsewhere (N,).

    Prefix tokens and layers without space have no place in the picture.
    """
    batch = 1 if layer.layout == "tokens-first" else 0
    whole = share.movedim(batch, 0).reshape(count, -1).sum(1)
    if not layer.spatial or len(layer.grid or share.shape[2:]) != len(size):
        return share.new_zeros(count, *size), whole
    placed = layer.reading.canonical(share).sum(1)
    return placed, whole - placed.flatten(1).sum(1)


def _spread(shares: Tensor, size: tuple[int, ...]) -> Tensor:
    """Shares (N, 2, *grid) on the input's grid, without loss."""
    for axis, length in enumerate(size, 2):
        if shares.shape[axis] != length:
            weights = _weights(shares.shape[axis], length).to(shares)
            shares = (shares.movedim(axis, -1) @ weights).movedim(-1, axis)
    return shares


def _weights(places: int, length: int) -> Tensor:
    """How much of each place goes to each of so many pixels; rows of sum 1, linear where finer."""
    each = torch.eye(places, dtype=torch.float64)[None]
    if length >= places:
        weights = interpolate(each, length, mode="linear", align_corners=False)[0]
    else:
        weights = interpolate(each, length, mode="area")[0]
    return weights / weights.sum(1, keepdim=True)
