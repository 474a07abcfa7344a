"""From prototypes to a page: each picture, how it came to be, and the loss on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seewhy.draw.report import Chart, Film, Films, Page

if TYPE_CHECKING:
    from seewhy.prototypes.found import Prototype


def of_prototype(found: Prototype) -> Page:
    """Return a page of the prototypes with their frames and losses.

    Raises PictureError for inputs that are no pictures.
    """
    films = [_film(found, number) for number in range(len(found))]
    ended = "was stopped after" if found.interrupted else "took"
    near = "distance" in found.settings
    aim = (
        "so that the network is sure of its class and it stays near the mean of that class"
        if near
        else "so that what it is for grows"
    )
    moved = found.settings.get("transforms", "none") != "none"
    said = (
        f"These are no photographs: each picture was changed step by step, {aim}. The work "
        f"{ended} {len(found.losses)} steps, and the best is shown at first; the slider shows the "
        f"way. The loss is of what {found.model} saw at each step"
        f"{', moved and turned a little' if moved else ''}."
    )
    names = list(dict.fromkeys(found.targets))
    title = f"What {names[0]} looks like to {found.model}"
    many = f"What {len(names)} targets look like to {found.model}"
    facts = [("model", found.model), ("weights", found.weights)]
    facts += [(name, f"{value}") for name, value in found.settings.items()]
    facts += [("steps", str(len(found.losses))), ("seed", str(found.seed))]
    facts += [("seconds", f"{found.seconds:.1f}"), *found.versions.items()]
    return Page(
        title if len(names) == 1 else many,
        [said],
        facts=[(name, value) for name, value in facts if value],
        blocks=[Films(films, "The prototypes" if len(films) > 1 else "The prototype")],
    )


def _film(found: Prototype, number: int) -> Film:
    trajectory = found.trajectory[:, number]
    frames = [
        (f"step {step}", found.drawn(frame))
        for step, frame in zip(found.steps, trajectory, strict=True)
    ]
    apart = (trajectory - found.pictures[number]).flatten(1).abs().sum(1)
    words = []
    if found.predictions:
        words.append("The model says {}, {:.1%}.".format(*found.predictions[number]))
    words.append(f"Loss {float(found.loss[number]):.4g}.".replace("-", "−"))
    losses = [(step, loss) for step, loss in enumerate(found.losses[:, number].tolist(), 1)]
    return Film(
        found.targets[number],
        frames,
        best=int(apart.argmin()),
        words=words,
        chart=Chart([("loss", losses)], "steps", "loss") if len(losses) > 1 else None,
    )
