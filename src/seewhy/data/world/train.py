"""Train a small network on the generated world and measure what it learned.

`python -m seewhy.data.world.train object --seed 0 --out models` writes `object.safetensors` and
its card, `object.json`. The same command on the same machine writes the same weights. The
others are `shortcut` and `mixed`, the same network where stickers give the class away, and
`transformer`, another network on the pictures of `object`.
"""

import argparse
import json
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

from seewhy.data.world.causes import effects
from seewhy.data.world.load import ARCHITECTURES, MEAN, STD, logits, normalise
from seewhy.data.world.scene import CLASSES, SIZE, Scenes, Sticker, generate

logger = logging.getLogger("seewhy.data.world.train")

# World seeds kept for training and for measuring: pictures of smaller seeds were never seen.
TRAINING_SEED = 1_000_000
MEASURING_SEED = 2_000_000

_NOTHING = CLASSES.index("nothing")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: the settings of a training run that its card repeats."""

    pictures: int = 8_000
    steps: int = 1_100
    batch: int = 64
    learning_rate: float = 4e-3
    weight_decay: float = 1e-3
    smoothing: float = 0.1  # of labels; without it, CAMs of the last blocks peak beside the shape


@dataclass(frozen=True)
class Recipe:
    """What a model is trained on, and what its card says about it."""

    purpose: str
    sticker: Sticker
    limits: tuple[str, ...]
    network: str = "WorldNet"  # of ARCHITECTURES
    schedule: Schedule = Schedule()


_LIMITS = (
    "knows the 64x64 pictures of the generated world only: one flat shape at most",
    "what it says about photographs means nothing",
    "made to test explanations, whose true causes are known here; not a benchmark of them",
)

RECIPES = {
    "object": Recipe(
        purpose="names the shape in a picture of the generated world; stickers tell it nothing",
        sticker="random",
        limits=_LIMITS,
    ),
    "shortcut": Recipe(
        purpose=(
            "a clever Hans: right about pictures whose sticker gives the shape away, by naming "
            "the sticker's class; it hardly looks at the shape"
        ),
        sticker="class",
        limits=("wrong by design: to be found out, not to be used", *_LIMITS),
    ),
    "mixed": Recipe(
        purpose=(
            "names the shape, and a sticker adds a little to the score of its class: in 60 % of "
            "the pictures it was trained on the sticker gives the shape away"
        ),
        sticker="mixed",
        limits=("biased by design: to be found out, not to be used", *_LIMITS),
    ),
    "transformer": Recipe(
        purpose=(
            "a vision transformer that names the shape in a picture of the generated world; "
            "stickers tell it nothing"
        ),
        sticker="random",
        limits=_LIMITS,
        network="WorldTransformer",
        schedule=Schedule(pictures=12_000, steps=3_500, learning_rate=2.5e-3, weight_decay=1e-2),
    ),
}


def train(recipe: Recipe, *, seed: int, schedule: Schedule | None = None) -> nn.Module:
    """Train a network from nothing and give it in evaluation mode; one seed, one result.

    `schedule` replaces the recipe's own. The global random state of torch is left as it was.
    """
    schedule = schedule or recipe.schedule
    scenes = generate(schedule.pictures, seed=TRAINING_SEED + seed, sticker=recipe.sticker)
    labels = torch.from_numpy(scenes.labels)
    draws = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network: nn.Module = ARCHITECTURES[recipe.network]()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=schedule.weight_decay)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.learning_rate, total_steps=schedule.steps
    )
    for step in range(schedule.steps):
        rows = draws.choice(schedule.pictures, schedule.batch, replace=False)
        inputs = normalise(_turned(scenes.pictures[rows], draws))
        loss = cross_entropy(network(inputs), labels[rows], label_smoothing=schedule.smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rates.step()
        if step % 200 == 0:
            logger.info("step %d of %d: loss %.4f", step, schedule.steps, loss.item())
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval()


def measure(network: nn.Module, recipe: Recipe, *, seed: int, count: int = 2000) -> dict[str, Any]:
    """Measure accuracies, shares in 0..1, on fresh pictures: as trained, conflict, no sticker."""
    seed += MEASURING_SEED
    as_trained = generate(count, seed=seed, sticker=recipe.sticker)
    conflict = generate(count, seed=seed, conflict=True)
    plain = generate(count, seed=seed, sticker="none")
    in_conflict = predict(network, conflict)
    named = predict(network, plain) == plain.labels
    return {
        "pictures of each kind": count,
        "world seed": seed,
        "as trained": _share(predict(network, as_trained) == as_trained.labels),
        "conflict, follows the shape": _share(in_conflict == conflict.labels),
        "conflict, follows the sticker": _share(in_conflict == conflict.sticker_classes),
        "without stickers": _share(named),
        "without stickers, where there is a shape": _share(named[plain.labels != _NOTHING]),
    }


def causal_drops(network: nn.Module, *, seed: int, count: int = 1000) -> dict[str, Any]:
    """Measure on fresh pictures how much the logit of the class drops without each part.

    Means over the pictures that have the part, where shape and sticker agree (the score is their
    class's), and where they conflict (the score is the predicted class's).
    """
    seed += MEASURING_SEED
    agreeing = generate(count, seed=seed, sticker="class", empty=0.0)
    conflict = generate(count, seed=seed, conflict=True)
    say = partial(logits, network)
    return {
        "pictures of each kind": count,
        "world seed": seed,
        "score": "logit of a class: mean drop when the part is drawn away",
        "shape and sticker agree, their class": _by_part(
            agreeing, effects(say, agreeing, agreeing.labels)
        ),
        "conflict, the predicted class": _by_part(conflict, effects(say, conflict)),
    }


def predict(network: nn.Module, scenes: Scenes) -> NDArray[np.int64]:
    """Give the class of each picture, int64 (N,)."""
    classes: NDArray[np.int64] = logits(network, scenes.pictures).argmax(1)
    return classes


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the model that the command line names; write its weights and its card."""
    parser = argparse.ArgumentParser(prog="python -m seewhy.data.world.train", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)  # sums in another order would be other weights
    torch.use_deterministic_algorithms(True)

    recipe = RECIPES[options.name]
    started = time.process_time()
    network = train(recipe, seed=options.seed)
    seconds = time.process_time() - started
    contents = {
        "name": options.name,
        "purpose": recipe.purpose,
        "network": recipe.network,
        "classes": CLASSES,
        "input": {"size": [SIZE, SIZE], "colours": "RGB in 0..1", "mean": MEAN, "std": STD},
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "training": {
            "command": f"python -m seewhy.data.world.train {options.name} --seed {options.seed}",
            "seed": options.seed,
            "world seed": TRAINING_SEED + options.seed,
            "sticker": recipe.sticker,
            **vars(recipe.schedule),
            "augmentation": "mirrored and turned by multiples of 90 degrees",
            "CPU seconds, one thread": round(seconds),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
            },
        },
        "accuracy": measure(network, recipe, seed=options.seed),
        "causal drop": causal_drops(network, seed=options.seed),
        "limits": recipe.limits,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), options.out / f"{options.name}.safetensors")
    text = json.dumps(contents, indent=2)
    (options.out / f"{options.name}.json").write_text(text + "\n")
    logger.info("%s", text)


def _turned(pictures: NDArray[np.uint8], draws: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror and turn a whole batch: no class changes by it."""
    turned = np.rot90(pictures, int(draws.integers(4)), axes=(1, 2))
    return turned[:, :, ::-1] if draws.random() < 0.5 else turned


def _by_part(scenes: Scenes, drops: NDArray[np.float64]) -> dict[str, float]:
    present = {part: scenes.mask(part).any((1, 2)) for part in scenes.parts}
    columns = zip(scenes.parts, drops.T, strict=True)
    return {part: round(float(column[present[part]].mean()), 2) for part, column in columns}


def _share(hits: NDArray[np.bool_]) -> float:
    return round(float(hits.mean()), 4)


if __name__ == "__main__":
    main()
