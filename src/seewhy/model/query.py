"""Query: what stands behind the "?" of a model's reference."""

from __future__ import annotations

from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any

from seewhy.errors import ModelError
from seewhy.model.prepare import Preprocess

CHOICES = {"weights": ("none", "default"), "logits": ("true", "false"), "bgr": ("true", "false")}
NUMBERS = ("size", "resize", "mean", "std")
PICTURES = tuple(each.name for each in fields(Preprocess))
HELP = (
    "after '?' comes weights=none, logits=true, or how pictures become input: size=224 (or "
    "height,width), resize=256, mean=0.485,0.456,0.406, std=1/255, bgr=true, joined by '&'"
)


@dataclass(frozen=True)
class Query:
    """Whether trained weights are wanted, whether the softmax is left out; pictures: settings.

    >>> Query.of("size=8&mean=0.5&std=0.5", "net.onnx").preprocess(None).std
    (0.5, 0.5, 0.5)
    """

    trained: bool = True
    logits: bool = False
    pictures: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, text: str, reference: str) -> Query:
        """Read "weights=none&mean=0.5&std=0.5"; ModelError says what can be written."""
        found: dict[str, Any] = {}
        for part in filter(None, text.split("&")):
            name, _, value = part.partition("=")
            try:
                found[name] = _read(name, value)
            except (ValueError, ZeroDivisionError) as error:
                raise ModelError(f"{part!r} in {reference!r} is not understood: {HELP}") from error
        pictures = tuple((name, value) for name, value in found.items() if name in PICTURES)
        return cls(found.get("weights") != "none", found.get("logits") == "true", pictures)

    def preprocess(self, shape: tuple[int, ...] | None) -> Preprocess | None:
        """Return the preprocessing that is asked for, None where nothing is said of pictures.

        shape: of the model's input (C, height, width), where it is known: it gives the size and
        how many channels one number stands for. Raises ModelError where no size is known.
        """
        if not self.pictures:
            return None
        settings = dict(self.pictures)
        if shape is not None and len(shape) == 3:
            settings = {"size": shape[1:]} | settings
        if "size" not in settings:
            raise ModelError("the size of the model's input is open: add size=224 after its '?'")
        channels = shape[0] if shape is not None and shape[0] in (1, 3) else 3
        for name, usual in (("mean", 0.0), ("std", 1.0)):
            each = settings.get(name, (usual,))
            settings[name] = each * channels if len(each) == 1 else each
        if len(settings["mean"]) != len(settings["std"]):
            raise ModelError("mean and std have one number each, or one for every channel")
        return Preprocess(**settings)


def _read(name: str, value: str) -> Any:
    """A setting as its field wants it; ValueError where it is none."""
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(value)
        return value == "true" if name == "bgr" else value
    if name == "interpolation":
        if value not in ("nearest", "bilinear", "bicubic", "lanczos"):
            raise ValueError(value)
        return value
    if name not in NUMBERS:
        raise ValueError(name)
    numbers = tuple(float(Fraction(each.strip())) for each in value.split(","))
    if name in ("mean", "std"):
        if len(numbers) not in (1, 3) or (name == "std" and 0 in numbers):
            raise ValueError(value)
        return numbers
    whole = tuple(int(each) for each in numbers)
    if whole != numbers or min(whole) < 1 or len(whole) > (2 if name == "size" else 1):
        raise ValueError(value)
    return whole[0] if len(whole) == 1 else whole
