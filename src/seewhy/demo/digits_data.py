"""Handwritten digits for the demonstration: scikit-learn's bundled ones, or MNIST in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from seewhy.errors import MissingDependencyError, PictureError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE = 28
BOX = 22  # pixels that a bundled digit of 8 x 8 is enlarged to: a margin is left, as in MNIST
TESTED, SECOND = 0.25, 0.25  # of all digits: for measuring, and for the second opinion
MOST = 12_000  # of MNIST's: enough, in the time there is

BUNDLED, MNIST = "scikit-learn's digits", "MNIST"


@dataclass(frozen=True, eq=False)
class Digits:
    """Pictures uint8 (N, 28, 28), white on black, and which digit each is, int64 (N,)."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int64]
    source: str

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: NDArray[np.int64] | slice) -> Digits:
        return Digits(self.pictures[rows], self.labels[rows], self.source)

    @property
    def images(self) -> list[Image.Image]:
        """The pictures as a model's preprocessing takes them."""
        return [Image.fromarray(each) for each in self.pictures]

    def first_of_each(self) -> Digits:
        """Return the first digit of each kind, in the order 0 to 9."""
        return self[np.array([int(np.argmax(self.labels == kind)) for kind in range(10)])]


@dataclass(frozen=True)
class Parts:
    """Digits for learning, for the second opinion, and for measuring: none is in two of them."""

    learned: Digits
    second: Digits
    tested: Digits


def digits_of(folder: str | Path | None, seed: int) -> Parts:
    """Return the digits in three parts, drawn by the seed.

    folder: with MNIST in it, as torchvision lays it down; None is scikit-learn's bundled ones.
    Raises MissingDependencyError without scikit-learn or torchvision, PictureError for a folder
    without MNIST.
    """
    found = _bundled() if folder is None else _mnist(Path(folder).expanduser(), seed)
    order = np.random.default_rng(seed).permutation(len(found))
    tested = round(TESTED * len(found))
    second = tested + round(SECOND * len(found))
    return Parts(found[order[second:]], found[order[tested:second]], found[order[:tested]])


def _bundled() -> Digits:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        purpose = "`seewhy demo digits`, for its handwritten digits,"
        raise MissingDependencyError("scikit-learn", purpose, "digits") from error
    found = load_digits()
    pictures = np.stack([_enlarged(each) for each in found.images])
    return Digits(pictures, found.target.astype(np.int64), BUNDLED)


def _enlarged(digit: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a digit (8, 8) of 0..16 as a picture (28, 28)."""
    smooth = Image.fromarray(digit.astype(np.float32)).resize((BOX, BOX), Image.Resampling.BICUBIC)
    levels = np.asarray(smooth) * (255 / 16)
    margin = (SIDE - BOX) // 2
    return np.pad(levels.clip(0, 255).round().astype(np.uint8), margin)


def _mnist(folder: Path, seed: int) -> Digits:
    try:
        from torchvision.datasets import MNIST as Stored  # noqa: N811 - a class, not a constant
    except ImportError as error:
        raise MissingDependencyError("torchvision", "reading MNIST", "torchvision") from error
    try:
        stored = Stored(str(folder), train=True, download=False)
    except (RuntimeError, OSError, ValueError) as error:
        raise PictureError(
            f"there is no MNIST in {folder} ({' '.join(str(error).split())}): torchvision's "
            "datasets.MNIST(folder, download=True) lays it down as MNIST/raw in the folder; or "
            "leave --data out for scikit-learn's digits"
        ) from error
    pictures, labels = stored.data.numpy(), stored.targets.numpy()
    rows = np.random.default_rng(seed).permutation(len(labels))[:MOST]
    return Digits(pictures[rows], labels[rows].astype(np.int64), MNIST)
