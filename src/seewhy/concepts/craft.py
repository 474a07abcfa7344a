"""CRAFT: the concepts of a class from crops, how important each is, and what it is made of.

Fel et al. 2023. Crops of a class's pictures show its parts one at a time. What a layer makes of
each, averaged over places, is factorized; importance is asked of the whole pictures, by replay; and
a concept whose crops are a mixture is taken apart again, at an earlier layer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seewhy.concepts.craft_crops import Crops, cut
from seewhy.concepts.craft_results import Bank, Craft
from seewhy.concepts.factorization import check_size
from seewhy.concepts.importance import (
    Importance,
    Measured,
    check_designs,
    check_read,
    check_share,
    measure,
    together,
)
from seewhy.concepts.seen import Seen, named, scorer, seen_by
from seewhy.concepts.solvers import nmf, weights_of
from seewhy.errors import Failure, MethodError, tell_of, warn
from seewhy.model.layers import LayerSpec
from seewhy.result import origin
from seewhy.run import Run, generator, is_number
from seewhy.shown import Shown
from seewhy.targets import TargetSpec
from seewhy.targets.directions import Direction

if TYPE_CHECKING:
    from seewhy.model.model import Model

BANK = 520  # tells this use of random numbers from others
KEPT = 6  # crops of a concept that are kept to be shown
SHARE = 0.1  # of the crops, those with the largest weights, are the concept's own
FEWEST = 12  # of them at least
ASKED = 16  # of them about their parts, at most
WEIGHTY = 0.5  # of the largest importance, at least: less important concepts stay whole
AGREE = 0.4  # less than this, and enlarged crops show something else than what is in pictures


@dataclass(frozen=True)
class Settings:
    """What `craft` was asked for, but for the pictures: see there."""

    concepts: int = 10
    crop: float = 0.5
    overlap: float = 0.5
    designs: int = 32
    residual: bool = False
    recursive: bool = True
    parts: int = 3
    mixed: float = 0.5

    def __post_init__(self) -> None:
        for name in ("concepts", "parts"):
            value = getattr(self, name)
            if not (is_number(value) and value >= 1):
                raise MethodError(f"{name} is {value!r}: give a number from 1")
        if not 0 < self.crop <= 1:
            raise MethodError(f"crop is {self.crop!r}: give a share of the picture's sides, 0..1")
        if not 0 <= self.overlap < 1:
            raise MethodError(f"overlap is {self.overlap!r}: give a share of a crop, below 1")
        if not self.mixed >= 0:
            raise MethodError(f"mixed is {self.mixed!r}: give 0 (all) or more, such as 0.5")
        check_designs(self.designs)


def craft(
    model: Model,
    pictures: Any,
    target: TargetSpec = None,
    *,
    layer: LayerSpec = None,
    earlier: LayerSpec | Sequence[LayerSpec] = None,
    settings: Settings | None = None,
    others: dict[str, Any] | None = None,
    run: Run | None = None,
) -> Craft:
    """Find the concepts of a class; see `seewhy.craft`."""
    run, settings, began = run or Run(), settings or Settings(), time.perf_counter()
    seen: list[Seen] = []
    failures: list[Failure] = []
    with model.held(run):
        for each in seen_by(model, pictures, layer, run, others, scorer(model, target)):
            if isinstance(each, Failure):
                failures.append(each)
            else:
                seen.append(each)
        tell_of(failures, left=bool(seen))
        targets = tuple(name for each in seen if each.score for name in each.score.names)
        if target is None and len(set(targets)) > 1:
            warn(
                f"the pictures are taken for {len(set(targets))} classes ({named(targets)}), and "
                "each is asked for its own: give target=, and pictures of one class"
            )
        levels = earlier_layers(model, seen[0], earlier) if settings.recursive else []
        crops = cut(model, seen, levels, settings.crop, settings.overlap, run)
        search = _Search(model, crops, settings, run, generator(run.seed, 0, BANK))
        whole = search.apart(0, torch.arange(len(crops)), seen, settings.concepts)
    if settings.crop < 1:  # whole pictures have no places to compare
        _check_agreement(whole.bank)
    importance = Importance(
        **whole.measured._asdict(),
        targets=targets,
        names=tuple(f"concept {number}" for number in range(1, len(whole.bank) + 1)),
        sources=tuple(ready.name for each in seen for ready in each.pictures),
        designs=settings.designs,
        residual=settings.residual,
        layer=whole.bank.layer,
        **origin(model, run),
    )
    check_share(importance, "more concepts, a larger crop, or an earlier layer")
    return Craft(
        bank=whole.bank,
        maps=tuple(own.cpu() for each in whole.maps for own in each),
        shown=tuple(Shown.of(ready) for each in seen for ready in each.pictures),
        importance=importance,
        crops=len(crops),
        settings=asdict(settings),
        seconds=time.perf_counter() - began,
        failures=tuple(failures),
    )


class _Found(NamedTuple):
    """The concepts of crops, where they are in pictures, by batch, and how important."""

    bank: Bank
    maps: list[Tensor]
    measured: Measured


@dataclass(frozen=True)
class _Search:
    """One search for concepts: in what, how, and with which random numbers."""

    model: Model
    crops: Crops
    settings: Settings
    run: Run
    draw: torch.Generator

    def apart(self, level: int, members: Tensor, seen: Sequence[Seen], count: int) -> _Found:
        """Take crops apart into concepts, and these into theirs; the most important come first.

        members: which crops. seen: the pictures that importance is asked of, with their scores.
        """
        values = self.crops.pooled[level][members]
        check_size(count, values.shape[1], len(values), "crops")
        factors = nmf(values[None], count, self.draw)
        vectors = factors.vectors[0]
        maps, asked = [], []
        for each in seen:
            own = vectors.to(each.activations.device)
            weights = weights_of(each.places[None].float(), own[None])[0][0]
            maps.append(each.maps(weights))
            how = self.settings.designs, self.settings.residual
            asked.append(measure(self.model, each, own, maps[-1], self.run, *how))
        measured = together(asked)
        if level == 0:
            names = [name for each in seen if each.score for name in each.score.names]
            check_read(measured, names, self.crops.layers[level])
        total, drops = measured.total, measured.drops
        order = total.mean(0).argsort(descending=True, stable=True)
        bank = Bank(
            layer=self.crops.layers[level],
            vectors=vectors[order],
            total=total.mean(0)[order],
            drops=drops.mean(0)[order],
            error=float(factors.error),
        )
        weights = factors.weights[0][:, order]
        maps = [each[:, order.to(each.device)] for each in maps]
        if level == 0:
            bank = replace(bank, agreement=self.crops.agreement(weights, maps))
        bank = self._shown(level, members, weights, bank)
        return _Found(bank, maps, measured._replace(total=total[:, order], drops=drops[:, order]))

    def _shown(self, level: int, members: Tensor, weights: Tensor, bank: Bank) -> Bank:
        """The bank with each concept's best crops, how mixed they are, and what they consist of."""
        pictures, mixed, parts = [], [], {}
        for number, own in enumerate(weights.T):
            best = self.crops.best(members, own, KEPT)
            pictures.append(self.crops.images(best))
            if level + 1 == len(self.crops.layers):
                continue
            own_crops = members[own.argsort(descending=True, stable=True)]
            count = max(FEWEST, round(SHARE * len(members)))
            own_crops = own_crops[: min(count, int((own > 0).sum()))]
            below = self.crops.pooled[level + 1]
            mixed.append(_spread(below[own_crops]) / max(_spread(below), 1e-12))
            weighty = bank.total[number] >= WEIGHTY * bank.total[0] > 0
            if weighty and mixed[-1] >= self.settings.mixed:
                found = self._parts(level, own_crops, bank.vectors[number], number)
                if found is not None:
                    parts[number] = found
        return replace(bank, crops=tuple(pictures), mixed=tuple(mixed), parts=parts)

    def _parts(self, level: int, members: Tensor, vector: Tensor, number: int) -> Bank | None:
        """The parts of a concept at the next earlier layer; None where its crops are too few."""
        count = min(self.settings.parts, len(members) // 2)
        if count < 2:
            return None
        wanted = Direction(self.crops.layers[level], vector, name=f"concept {number + 1}")
        ask = scorer(self.model, wanted)
        seen = self.crops.seen_at(self.model, level + 1, members[:ASKED], ask, self.run)
        return self.apart(level + 1, members, seen, count).bank


def earlier_layers(
    model: Model, seen: Seen, earlier: LayerSpec | Sequence[LayerSpec]
) -> list[LayerSpec]:
    """Return the layers at which concepts are taken apart, each before the one before it.

    None is the last one before the layer of the same kind and depth of name, such as layer3 before
    layer4; else, before or in it, the last of another shape among the outermost; or none.
    """
    if earlier is not None:
        several: Any = earlier if isinstance(earlier, list | tuple) else [earlier]
        return list(several)
    name = seen.layer.name
    listed = model.layers(seen.prepared)
    place = next((place for place, each in enumerate(listed) if each.name == name), 0)
    own = listed[place]
    fit = [
        (each, each.name.count("."))
        for number, each in enumerate(listed)
        if (number < place or each.name.startswith(f"{name}."))
        and each.spatial
        and not each.still
        and not name.startswith(f"{each.name}.")
    ]
    alike = [each for each, deep in fit if (each.kind, deep) == (own.kind, name.count("."))]
    other = [(each, deep) for each, deep in fit if each.shape != own.shape]
    outermost = min((deep for _, deep in other), default=0)
    found = alike or [each for each, deep in other if deep == outermost]
    return [str(each) for each in found[-1:]]


def _spread(values: Tensor) -> float:
    """How much directions (n, C) differ: 1 minus their mean cosine, 0 where all are alike."""
    unit = torch.nn.functional.normalize(values.double(), dim=1)
    return float(1 - unit.mean(0).square().sum())


def _check_agreement(bank: Bank) -> None:
    """Warn where what an important concept's crops show is not where it is in the pictures."""
    weighty = [i for i in range(len(bank)) if bank.total[i] >= WEIGHTY * bank.total[0] > 0]
    low = [each for each in weighty if bank.agreement[each] < AGREE]
    if low:
        numbers = ", ".join(str(each + 1) for each in low)
        warn(
            f"concept {numbers}: enlarged crops show something else than what is there in whole "
            f"pictures (agreement {min(bank.agreement[each] for each in low):.2f}), so trust the "
            "maps, not the crops; give a larger crop, such as crop=0.7"
        )
