"""Class activation maps whose weights are asked of the network: what it says with and without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, positive
from seewhy.methods.cam import (
    LayerMaps,
    enlarged,
    mapped,
    most_active,
    over_space,
    weighted_by,
)
from seewhy.methods.registry import method
from seewhy.model.layers import INPUT, Layer
from seewhy.model.tape.ask import ask, first_rows
from seewhy.model.tape.memory import in_parts
from seewhy.model.tape.record import Recording, record
from seewhy.model.tape.replay import replay
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

RANDOM_STREAM, NOISE_STREAM = 101, 103
CONSTANT = 1e-6  # of a channel's largest value: a smaller range is rounding
STEPS = 1 << 20  # masks that agree to within this share are one

Noise = Callable[[Tensor], Tensor]
"""like (m, ...) -> normal numbers of that shape, a row for each picture and time."""


@method(
    "ablation-cam",
    paper="Desai & Ramaswamy 2020",
    cost="2 forwards, 1 replay from the layer a channel",
    needs=("layers",),
)
@dataclass(frozen=True)
class AblationCAM(LayerMaps):
    """Channels weighted by the share of the score that is lost without them.

    w = (y - y_k) / |y|, with y_k the score where channel k is zero everywhere: only what follows
    the layer runs again. The paper divides by y, which turns the map round where y is negative.
    The map is (N, 1, *space) and signed.
    """

    def at_layers(
        self, model: Model, prepared: Prepared, score: Score, run: Run, layers: list[Layer]
    ) -> list[Attribution]:
        """Replay every channel of every layer that is not zero anyway."""
        if INPUT in layers:
            raise MethodError(
                "ablation-cam ablates channels within the network, and 'input' is before it: name "
                "another layer, or use score-cam there"
            )
        recording = record(model, prepared, score, watch=layers)
        maps = []
        for layer in layers:
            weights = self._weights(recording, layer, score, run)
            maps.append(mapped(weighted_by(weights, recording.activations[layer]), layer))
        return maps

    def _weights(self, recording: Recording, layer: Layer, score: Score, run: Run) -> Tensor:
        """(y - y_k) / |y| of every channel, (N, C)."""
        activations = recording.activations[layer]
        full = recording.scores.double()
        lost = full.new_zeros(activations.shape[:2])
        first = first_rows(recording.prepared)  # rows of one picture share its replays
        followers = {row: [i for i, each in enumerate(first) if each == row] for row in first}
        work = activations.flatten(2).any(2).nonzero().cpu()
        work = work[
            torch.tensor([row in followers for row in work[:, 0].tolist()], dtype=torch.bool)
        ]
        at_once = recording.model.rows_at_once(recording.prepared, run, gradient=False)

        def lose(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
            rows, channels = work[start:stop].T
            without = activations.index_select(0, rows.to(activations.device))
            without[torch.arange(len(rows)), channels] = 0
            outcome = replay(recording, layer, without, rows)
            asked = [(i, own) for i, row in enumerate(rows.tolist()) for own in followers[row]]
            places, own = torch.tensor(asked).T
            scores = score.of(own)(outcome.rows(places), torch.arange(len(own)))
            return own, channels[places], full[own] - scores.double()

        for _, done, (own, channels, losses) in in_parts(len(work), at_once, lose):
            lost[own, channels] = losses
            run.report(done, len(work), "channels")
        return lost / torch.where(full != 0, full.abs(), 1)[:, None]


@dataclass(frozen=True)
class _Masks:
    """The different masks of one picture that a layer's channels make, the most active first.

    masks: (K, 1, *space), 0..1. which: (C,) the mask of each channel, -1 where it has none: it is
    constant, or left out.
    """

    masks: Tensor
    which: Tensor


@dataclass(frozen=True)
class _MaskedCAM(LayerMaps):
    """Channels weighted by the scores of the picture seen through each of them.

    channels: use only so many of those that have masks, the highest mean activations first; None
    for all. seconds: ask no longer than that, the most active channels first; the others then count
    nothing. checks["samples"]: scores used.
    """

    channels: int | None = None
    seconds: float | None = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        for name in ("channels", "seconds"):
            if getattr(self, name) is not None:
                positive(getattr(self, name), f"{self.name}: {name}")

    @property
    def times(self) -> int:
        """How often each channel is asked."""
        return 1

    def seen(self, pictures: Tensor, masks: Tensor, times: Tensor, noise: Noise) -> Tensor:  # noqa: ARG002
        """Return the pictures (m, C, *space) through masks (m, 1, *space), 0..1.

        times: (m,), which time it is, from 0. noise: draws for these pictures and times.
        """
        return pictures * masks

    def at_layers(
        self, model: Model, prepared: Prepared, score: Score, run: Run, layers: list[Layer]
    ) -> list[Attribution]:
        """Ask about every channel of every layer."""
        recording = record(model, prepared, score, watch=layers)
        maps = []
        for layer in layers:
            activations = recording.activations[layer]
            weights, samples = self._weights(recording, activations, score, run)
            maps.append(mapped(weighted_by(weights, activations), layer, samples=samples))
        return maps

    def _weights(
        self, recording: Recording, activations: Tensor, score: Score, run: Run
    ) -> tuple[Tensor, Tensor]:
        """The softmax of the mean scores over the channels (N, C), and how many were asked."""
        model, prepared = recording.model, recording.prepared
        pictures, size = prepared.tensor, tuple(prepared.tensor.shape[2:])
        found = [_masks(each, self.channels) for each in activations]

        def changed(rows: Tensor, changes: Tensor) -> Tensor:
            pairs = [(found[row].masks, change) for row, change in _listed(rows, changes)]
            small = torch.stack([masks[change % len(masks)] for masks, change in pairs])
            times = torch.tensor([change // len(masks) for masks, change in pairs])
            masks = _scaled(enlarged(small, size)).to(pictures)
            own = pictures.index_select(0, rows.to(pictures.device))
            keys = [prepared.keys[row] for row in rows.tolist()]
            noise = partial(_noise, list(zip(keys, times.tolist(), strict=True)), run.seed)
            return self.seen(own, masks, times, noise)

        counts = [len(each.masks) * self.times for each in found]
        sums = [torch.zeros(len(each.masks), 2, dtype=torch.float64) for each in found]
        for rows, changes, scores in ask(
            model,
            prepared,
            score,
            run,
            counts,
            changed,
            seconds=self.seconds,
            partial=True,
            what="channels",
        ):
            for (row, change), value in zip(_listed(rows, changes), scores, strict=True):
                sums[row][change % len(sums[row])] += torch.stack([value, torch.ones_like(value)])
        weights = [_softmax(each, own) for each, own in zip(found, sums, strict=True)]
        asked = torch.stack([own[:, 1].sum() for own in sums])
        return torch.stack(weights), asked


@method(
    "score-cam",
    paper="Wang et al. 2020",
    cost="1 forward, 1 forward a channel",
    needs=("layers",),
)
@dataclass(frozen=True)
class ScoreCAM(_MaskedCAM):
    """Channels weighted by the softmax of what the network says through each: no gradient.

    A channel, enlarged to the picture's size and scaled to 0..1, is multiplied with the picture in
    the model's units, where 0 is the mean colour. A constant channel has no such mask and counts
    nothing; channels whose masks are equal are asked about once.
    channels: use only so many of those that have masks, the highest mean activations first; None
    for all. seconds: ask no longer than that, the most active channels first; the others then count
    nothing.
    The map is (N, 1, *space). checks["samples"]: scores used.
    """


@method(
    "ss-cam",
    paper="Wang et al. 2020 (SS-CAM)",
    cost="1 forward, samples forwards a channel",
    needs=("layers",),
)
@dataclass(frozen=True)
class SSCAM(_MaskedCAM):
    """Score-CAM with each score the mean over noise.

    where: noise on the "input", or on the "mask". samples: noisy copies, the same noise for all
    channels. noise: standard deviation, as a share of the picture's range as the model sees it, or
    of the mask's, which is 1. channels, seconds and checks are those of Score-CAM.
    The map is (N, 1, *space). The noise of a picture follows from the seed and the picture alone.
    """

    samples: int = 10
    noise: float = 0.15
    where: Literal["input", "mask"] = "input"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        super().check()
        positive(self.samples, "ss-cam: samples")
        positive(self.noise, "ss-cam: noise")

    @property
    def times(self) -> int:
        """As often as there are samples."""
        return self.samples

    def seen(self, pictures: Tensor, masks: Tensor, times: Tensor, noise: Noise) -> Tensor:  # noqa: ARG002
        """Add noise to what is seen, or to what it is seen through."""
        if self.where == "mask":
            return pictures * (masks + self.noise * noise(masks))
        return (pictures + self.noise * _range(pictures) * noise(pictures)) * masks


@method(
    "is-cam",
    paper="Naidu et al. 2020",
    cost="1 forward, steps forwards a channel",
    needs=("layers",),
)
@dataclass(frozen=True)
class ISCAM(_MaskedCAM):
    """Score-CAM with each score the mean over a mask that opens step by step.

    steps: the mask is multiplied with 1 / steps, 2 / steps, ..., 1 (the package torchcam goes on
    far beyond 1). channels, seconds and checks are those of Score-CAM.
    The map is (N, 1, *space).
    """

    steps: int = 10

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        super().check()
        positive(self.steps, "is-cam: steps")

    @property
    def times(self) -> int:
        """As often as there are steps."""
        return self.steps

    def seen(self, pictures: Tensor, masks: Tensor, times: Tensor, noise: Noise) -> Tensor:  # noqa: ARG002
        """Integrate over the mask's scale."""
        opened = ((times + 1) / self.steps).to(masks)
        return pictures * masks * opened.reshape(-1, *(1,) * (masks.ndim - 1))


@method("random-cam", paper="a control; no paper", cost="1 forward", needs=("layers",))
@dataclass(frozen=True)
class RandomCAM(LayerMaps):
    """Channels with weights drawn evenly from -1 to 1: what any CAM has to be better than.

    The weights of a picture follow from the seed and the picture alone; the target has no part.
    The map is (N, 1, *space) and signed.
    """

    def at_layers(
        self, model: Model, prepared: Prepared, score: Score, run: Run, layers: list[Layer]
    ) -> list[Attribution]:
        """Draw the weights of each layer, one picture at a time."""
        activations = record(model, prepared, score, watch=layers).activations
        draws = [generator(run.seed, key, RANDOM_STREAM) for key in prepared.keys]
        maps = []
        for layer in layers:
            channels = activations[layer].shape[1]
            weights = torch.stack([torch.rand(channels, generator=draw) for draw in draws])
            maps.append(mapped(weighted_by(2 * weights - 1, activations[layer]), layer))
        return maps


def _masks(activations: Tensor, channels: int | None) -> _Masks:
    """The different masks of one picture's channels (C, *space) that are not constant."""
    order = most_active(activations[None])[0]
    flat = activations[order].flatten(1)
    spread = flat.amax(1) - flat.amin(1)
    order = order[spread > CONSTANT * flat.abs().amax(1)][:channels]
    kept = activations[order]
    which = torch.full((len(activations),), -1)
    if not len(order):
        return _Masks(kept[:, None], which)
    scaled = _scaled(kept[:, None])
    steps = (scaled.flatten(1) * STEPS).round().to(torch.int32)
    inverse = torch.unique(steps, dim=0, return_inverse=True)[1].cpu()
    first = torch.full((int(inverse.max()) + 1,), len(inverse)).scatter_reduce(
        0, inverse, torch.arange(len(inverse)), "amin"
    )
    chosen = first.sort()  # the most active first
    place = chosen.indices.argsort()
    which[order.cpu()] = place[inverse]
    return _Masks(scaled[chosen.values.to(scaled.device)], which)


def _noise(whose: list[tuple[int, int]], seed: int, like: Tensor) -> Tensor:
    """Normal numbers in the shape of `like` (m, ...), a draw for each (picture's key, time)."""
    drawn: dict[tuple[int, int], Tensor] = {}
    for key, time in whose:
        if (key, time) not in drawn:
            draw = generator(seed, key + time, NOISE_STREAM)
            drawn[key, time] = torch.randn(like.shape[1:], generator=draw)
    return torch.stack([drawn[each] for each in whose]).to(like)


def _scaled(masks: Tensor) -> Tensor:
    """Masks (M, 1, *space), each brought to 0..1."""
    low, high = over_space(torch.amin, masks), over_space(torch.amax, masks)
    return (masks - low) / torch.where(high > low, high - low, 1)


def _range(pictures: Tensor) -> Tensor:
    """Largest less smallest value of each picture, (N, 1, ..., 1)."""
    flat = pictures.flatten(1)
    return (flat.amax(1) - flat.amin(1)).reshape(-1, *(1,) * (pictures.ndim - 1))


def _softmax(masks: _Masks, sums: Tensor) -> Tensor:
    """The weights of all channels (C,) from the sums and numbers (K, 2) of their masks' scores."""
    count = sums[:, 1].clamp(min=1)
    scores = torch.where(sums[:, 1] > 0, sums[:, 0] / count, -torch.inf)
    every = torch.cat([scores, scores.new_full((1,), -torch.inf)])[masks.which]
    return every.softmax(0) if bool(every.isfinite().any()) else torch.zeros_like(every)


def _listed(rows: Tensor, changes: Tensor) -> list[tuple[int, int]]:
    return list(zip(rows.tolist(), changes.tolist(), strict=True))
