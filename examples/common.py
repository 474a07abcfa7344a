"""What the examples share: three settings, and what they take where there are no weights."""

import argparse
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from skimage import data

import seewhy as sw
from seewhy.data.world import Scenes, generate
from seewhy.draw import save_image

__all__ = ["cat", "generate", "load", "parser_of", "stand_in", "write"]


def parser_of(doc: str) -> argparse.ArgumentParser:
    """Return a parser of [PICTURE] [--weights none|default] [--out FOLDER]."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", nargs="?", help="a picture of yours; else one that comes along")
    parser.add_argument("--weights", choices=("default", "none"), default="default")
    parser.add_argument("--out", type=Path, default=Path("seewhy-out"), help="a folder")
    return parser


def load(
    reference: str, instead: str, weights: str, make: Callable[[str], sw.Model] = sw.load
) -> sw.Model:
    """Return the trained model, or what stands in where there are no weights, made by `make`."""
    reason = "--weights none"
    if weights == "default":
        try:
            return sw.load(reference)
        except sw.errors.SeewhyError as error:
            reason = " ".join(str(error).split())
    return stand_in(instead, reason, make)


def stand_in(reference: str, reason: str, make: Callable[[str], sw.Model] = sw.load) -> sw.Model:
    """Say in one line what stands in, what of it cannot be learned, and why; return it."""
    what = "which knows generated pictures only" if reference == "demo" else "which is untrained"
    print(f"Going on with {reference}, {what}: it shows nothing of photographs ({reason})")
    return make(reference)


def cat(folder: Path) -> Path:
    """Write the photograph of a cat that comes with scikit-image, 451 x 300 pixels."""
    return save_image(Image.fromarray(data.chelsea()), folder / "cat.png")


def write(scenes: Scenes, folder: Path, name: str) -> list[Path]:
    """Write pictures of the generated world, which "demo" was trained on."""
    return [
        save_image(Image.fromarray(each), folder / f"{name}-{number}.png")
        for number, each in enumerate(scenes.pictures, 1)
    ]
