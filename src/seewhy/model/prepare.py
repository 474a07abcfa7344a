"""Preparing: pictures become model input, and it stays known where each pixel came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.data.images import Picture
from seewhy.errors import PictureError, warn
from seewhy.model.geometry import Geometry, measure
from seewhy.model.tape.trees import joined, moved, select_rows

_RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class Preprocess:
    """Resize, crop, scale to 0..1, normalise: what most vision models expect.

    size: (height, width) of the input, or one number for a square. resize: the shorter side is
    resized to this before the centre is cropped; None stretches the whole picture to `size`.
    mean, std: one number a channel, in the order of the input; one channel makes the picture grey.
    bgr: turn the channels round, as networks that came from Caffe expect.

    >>> Preprocess(4, mean=(0.5,), std=(0.5,))(Image.new("RGB", (8, 8), "white")).shape
    torch.Size([1, 4, 4])
    """

    size: int | tuple[int, int]
    resize: int | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bilinear"
    bgr: bool = False

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the picture as float32 (C, height, width)."""
        resized, (top, left), (height, width) = self._plan((image.height, image.width))
        image = image.convert("L" if len(self.mean) == 1 else "RGB")
        image = image.resize((resized[1], resized[0]), _RESAMPLE[self.interpolation])
        image = image.crop((left, top, left + width, top + height))
        values = torch.from_numpy(np.array(image, dtype=np.float32)).div_(255)
        values = values.reshape(height, width, -1).permute(2, 0, 1)
        values = values.flip(0) if self.bgr else values
        mean, std = (torch.tensor(numbers).view(-1, 1, 1) for numbers in (self.mean, self.std))
        return ((values - mean) / std).contiguous()

    def geometry(self, original: tuple[int, int]) -> Geometry:
        """Return where the input's places are in a picture of that (height, width)."""
        resized, (top, left), model = self._plan(original)
        scale = (resized[0] / original[0], resized[1] / original[1])
        return Geometry(original, model, scale, (float(-top), float(-left)))

    def _plan(self, original: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """The size resized to, the corner (top, left) cut at, the size of the input."""
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        if self.resize is None:
            return size, (0, 0), size
        height, width = (round(side * self.resize / min(original)) for side in original)
        return (height, width), ((height - size[0]) // 2, (width - size[1]) // 2), size


@dataclass(frozen=True)
class Levels:
    """A picture at its own size, for networks that take any: black is 0, white is `top`.

    channels: 1 makes it grey, 3 keeps its colours.

    >>> Levels(3, top=255)(Image.new("RGB", (8, 6), "white")).amax()
    tensor(255.)
    """

    channels: int = 3
    top: float = 1.0

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the picture as float32 (C, height, width)."""
        image = image.convert("L" if self.channels == 1 else "RGB")
        values = torch.from_numpy(np.array(image, dtype=np.float32)).mul_(self.top / 255)
        return values.reshape(image.height, image.width, -1).permute(2, 0, 1).contiguous()


@dataclass(frozen=True, eq=False)
class Prepared:
    """Pictures as the model takes them.

    tensor: (N, C, *space), what is explained. others: the model's further inputs, rows selected
    together with the tensor. originals and geometries: one for each row, None where the input was
    given as a tensor. clean: False once the tensor is not the pictures' own any more.
    """

    tensor: Tensor
    others: Any = None
    originals: tuple[Picture | None, ...] = ()
    geometries: tuple[Geometry | None, ...] = ()
    clean: bool = True
    _keys: list[int] = field(default_factory=list, repr=False)

    def __len__(self) -> int:
        return len(self.tensor)

    @property
    def keys(self) -> list[int]:
        """A number for each picture, from its content alone: the seed of what is random for it."""
        if not self._keys:
            for row in self.tensor.detach().cpu():
                data = row.contiguous().view(torch.uint8).numpy().tobytes()
                digest = hashlib.blake2b(data, digest_size=7).digest()
                self._keys.append(int.from_bytes(digest, "little"))
        return self._keys

    def rows(self, rows: Tensor | Sequence[int]) -> Prepared:
        """Return the pictures of these rows, in this order; a row may come several times."""
        index = torch.as_tensor(rows, dtype=torch.long)
        listed = index.tolist()
        return replace(
            self,
            tensor=self.tensor.index_select(0, index.to(self.tensor.device)),
            others=select_rows(self.others, index),
            originals=tuple(self.originals[i] for i in listed) if self.originals else (),
            geometries=tuple(self.geometries[i] for i in listed) if self.geometries else (),
            _keys=[self._keys[i] for i in listed] if self._keys else [],
        )

    def changed(self, tensor: Tensor, rows: Tensor | None = None) -> Prepared:
        """Return changed pictures: row i of the tensor stands in for the picture rows[i]."""
        others = self.others if rows is None else select_rows(self.others, rows)
        return Prepared(tensor, others, clean=False)

    def to(self, device: torch.device, dtype: torch.dtype) -> Prepared:
        """Return the pictures on a device and in a dtype; their keys stay as they were."""
        keys = self.keys if dtype != self.tensor.dtype else self._keys
        tensor, others = moved((self.tensor, self.others), device, dtype)
        return replace(self, tensor=tensor, others=others, _keys=keys)


class Preparer:
    """A preprocessing of any make, seen as one picture in, one input (C, *space) or (D,) out.

    preprocess: takes a PIL picture, or an RGB uint8 array, or a list of pictures; returns a tensor
    or an array, or a dict with "pixel_values", with a batch axis or without. None: 0..1, as large
    as the picture is, or stretched to the size of the model's input where input_shape (C, height,
    width) tells it.
    """

    def __init__(
        self,
        preprocess: Callable[..., Any] | None,
        name: str = "the model",
        input_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.name, self._is_known = name, preprocess is not None
        if preprocess is None and input_shape is not None:
            preprocess = _stretched(input_shape)
        self.preprocess = preprocess
        self._form: Callable[[Image.Image], Any] | None = None
        self._geometries: dict[tuple[int, int], Geometry] = {}

    def __call__(self, pictures: Sequence[Picture], others: Any = None) -> list[Prepared]:
        """Prepare pictures one by one: inputs of different shapes cannot share a batch."""
        if not self._is_known:
            size: Any = getattr(self.preprocess, "size", 224)
            so = "scaled to 0..1 and nothing else"
            if isinstance(self.preprocess, Preprocess):
                so = f"stretched to {size[0]} x {size[1]}, as its input is, {so}"
            warn(
                f"{self.name} has no preprocessing: pictures are {so}. Give Model(..., "
                f"preprocess=...), for example seewhy.Preprocess({size}, mean=, std=); behind the "
                "name of a model, '?mean=0.5&std=0.5', or '?std=1/255' if it takes 0..255"
            )
        return [
            Prepared(self.one(picture)[None], others, (picture,), (self.geometry(picture),))
            for picture in pictures
        ]

    def one(self, picture: Picture) -> Tensor:
        """Return one input; PictureError names the picture where the preprocessing fails."""
        try:
            return self._apply(picture.image)
        except Exception as error:
            raise PictureError(
                f"the model's preprocessing failed on {picture.source} "
                f"({type(error).__name__}: {error}): it is called with a PIL picture, then with an "
                "RGB uint8 array, then with a list of one picture; one of these has to work"
            ) from error

    def geometry(self, picture: Picture) -> Geometry:
        """Return where the input's places are in the picture; measured once for each size."""
        size = (picture.image.height, picture.image.width)
        known = self._geometries.get(size)
        if known is None:
            if isinstance(self.preprocess, Preprocess):
                known = self.preprocess.geometry(size)
            else:
                known = measure(self._apply, size)
            if known is None:
                shape = tuple(self._apply(picture.image).shape)
                warn(
                    "what this preprocessing does to a picture could not be measured (it is not a "
                    "resize, crop or padding): maps are stretched over the whole picture"
                )
                model = (shape[-2], shape[-1]) if len(shape) >= 2 else size
                known = Geometry.stretched(size, model)
            self._geometries[size] = known
        return known

    def _apply(self, image: Image.Image) -> Tensor:
        if self._form is not None:
            return _as_input(self._form(image.copy()))  # it may write into it
        failures: list[Exception] = []
        for form in self._forms():
            try:
                found = _as_input(form(image.copy()))
            except Exception as error:  # noqa: BLE001 - any failure means: not called like this
                failures.append(error)
            else:
                self._form = form
                return found
        raise failures[0]

    def _forms(self) -> list[Callable[[Image.Image], Any]]:
        preprocess = self.preprocess
        if preprocess is None:
            return [lambda image: np.asarray(image, np.float32).transpose(2, 0, 1) / 255]
        return [
            preprocess,
            lambda image: preprocess(np.asarray(image)),
            lambda image: preprocess([image]),
            lambda image: preprocess(images=image, return_tensors="pt"),
        ]


def _stretched(shape: tuple[int, ...]) -> Preprocess | None:
    """What makes any picture an input of this shape (C, height, width), if that can be."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        return None
    return Preprocess(shape[1:], mean=(0.0,) * shape[0], std=(1.0,) * shape[0])


def _as_input(found: Any) -> Tensor:
    """One input (C, *space) or (D,) from whatever a preprocessing returned for one picture."""
    if not isinstance(found, torch.Tensor | np.ndarray | list | tuple) and hasattr(found, "keys"):
        found = found["pixel_values"] if "pixel_values" in found else next(iter(found.values()))
    if isinstance(found, list | tuple) and len(found) == 1:
        found = found[0]
    tensor = torch.as_tensor(np.asarray(found) if not isinstance(found, Tensor) else found)
    tensor = tensor.detach().clone()
    if not tensor.is_floating_point():
        raise TypeError(f"it returned {tensor.dtype}, and a model takes floating-point numbers")
    batched = tensor.ndim >= 4 or tensor.ndim == 2
    if batched and len(tensor) == 1:
        return tensor[0]
    if tensor.ndim == 2:
        return tensor[None]
    if tensor.ndim not in (1, 3):
        raise ValueError(f"it returned the shape {tuple(tensor.shape)} for one picture")
    return tensor


def batched(prepared: Sequence[Prepared]) -> Prepared:
    """Join prepared pictures of equal shape into one batch."""
    if len(prepared) == 1:
        return prepared[0]
    return Prepared(
        torch.cat([each.tensor for each in prepared]),
        joined([each.others for each in prepared]),
        tuple(original for each in prepared for original in each.originals),
        tuple(geometry for each in prepared for geometry in each.geometries),
    )


def is_model_input(pictures: Any) -> bool:
    """Tell whether this is model input: a floating-point tensor or array."""
    dtype = getattr(pictures, "dtype", None)
    if isinstance(pictures, Tensor):
        return pictures.is_floating_point()
    return dtype is not None and getattr(dtype, "kind", "") == "f"
