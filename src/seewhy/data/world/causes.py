"""What a model's answer is truly due to: a part is taken out of the picture and the score falls."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seewhy.data.world.scene import Scenes
from seewhy.errors import ModelError, TargetError

Predict = Callable[[NDArray[np.uint8]], ArrayLike]


def effects(
    predict: Predict, scenes: Scenes, target: int | ArrayLike | None = None
) -> NDArray[np.float64]:
    """Give how much the score of a class drops when each part alone is drawn away.

    `predict` maps pictures, uint8 (M, 64, 64, 3) with M up to N, to scores, (M, classes) in any
    unit; it is called once with all pictures, and once for each part with those that have it.
    `target` is a class number for all pictures or one for each, (N,); None takes the class with
    the highest score. The result is float64 (N, P) in the unit of the scores and in the order of
    `scenes.parts`: positive where the part speaks for the class, negative where it speaks against
    it, and 0 where the picture does not have it.

    A picture without a part is the picture that would have been drawn without it, so the model
    sees nothing of a kind that it was not trained on; but two parts that each suffice for the
    class both have a small effect. Raises TargetError for classes that the scores do not have,
    ModelError for scores of another shape or that are not finite.

    >>> from seewhy.data.world import generate
    >>> scenes = generate(2, sticker="none", distractors=0)
    >>> colours = lambda pictures: pictures.mean((1, 2))  # red, green and blue as three classes
    >>> effects(colours, scenes, target=0).round(1)  # shape, sticker and two distractors
    array([[-2.6,  0. ,  0. ,  0. ],
           [-3.9,  0. ,  0. ,  0. ]])
    """
    whole = _scores(predict, scenes.pictures)
    classes = _classes(target, whole)
    drops = np.zeros((len(scenes), len(scenes.parts)))
    for column, part in enumerate(scenes.parts):
        rows = np.flatnonzero(scenes.mask(part).any((1, 2)))
        if len(rows):
            rest, asked = _scores(predict, scenes[rows].without(part)), classes[rows]
            drops[rows, column] = whole[rows, asked] - rest[np.arange(len(rows)), asked]
    return drops


def _scores(predict: Predict, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    scores = np.asarray(predict(pictures), np.float64)
    if scores.ndim != 2 or len(scores) != len(pictures):
        raise ModelError(
            f"predict gave scores of the shape {scores.shape} for {len(pictures)} pictures; "
            f"it has to give ({len(pictures)}, classes)"
        )
    if not np.isfinite(scores).all():
        raise ModelError(
            "predict gave scores that are infinite or no number, whose drop has no meaning; "
            "give logits, or probabilities"
        )
    return scores


def _classes(target: int | ArrayLike | None, scores: NDArray[np.float64]) -> NDArray[np.int64]:
    count, known = scores.shape
    if target is None:
        best: NDArray[np.int64] = scores.argmax(1)
        return best
    classes = np.asarray(target)
    if classes.dtype.kind not in "iu" or classes.shape not in ((), (count,)):
        raise TargetError(
            f"target={target!r} names no classes; give a whole number, or one for each of the "
            f"{count} pictures"
        )
    if classes.min() < 0 or classes.max() >= known:
        raise TargetError(f"target={target!r}; the scores have the classes 0 to {known - 1}")
    return np.broadcast_to(classes, (count,)).astype(np.int64)
