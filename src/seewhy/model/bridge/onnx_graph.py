"""What an ONNX graph takes and gives, and the session that runs it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import MissingDependencyError, ModelError
from seewhy.model.prepare import Levels, Preprocess

CHANNELS = (1, 3, 4)
DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(double)": torch.float64,
    "tensor(float16)": torch.float16,
    "tensor(uint8)": torch.uint8,
    "tensor(int8)": torch.int8,
    "tensor(int16)": torch.int16,
    "tensor(int32)": torch.int32,
    "tensor(int64)": torch.int64,
    "tensor(bool)": torch.bool,
}


@dataclass(frozen=True)
class Input:
    """One input: its sizes, None where the graph leaves one open."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype

    @property
    def picture_like(self) -> bool:
        """Whether a picture can be given for it."""
        return len(self.shape) == 4 and self.dtype not in (torch.bool, torch.int64)

    def cast(self, value: Any) -> Tensor:
        """Return the value in the input's dtype; whole numbers are rounded, not cut off."""
        tensor = torch.as_tensor(value)
        if tensor.dtype == self.dtype:
            return tensor
        if tensor.is_floating_point() and not self.dtype.is_floating_point:
            if self.dtype == torch.bool:
                return tensor != 0
            limits = torch.iinfo(self.dtype)
            tensor = tensor.double().round().clamp(limits.min, limits.max)
        return tensor.to(self.dtype)


@dataclass(frozen=True)
class Signature:
    """What a graph takes and gives: which input is the picture, and how its axes lie."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    picture: Input
    channels_last: bool

    def __str__(self) -> str:
        given = ", ".join(f"{each.name} {each.shape}" for each in self.inputs)
        return f"{given} -> {', '.join(self.outputs)}"

    @property
    def batch(self) -> int | None:
        """The number of rows, where the graph fixes it."""
        return self.picture.shape[0]

    @property
    def open_shape(self) -> tuple[int | None, ...]:
        """The sizes (C, *space), None where the graph leaves one open."""
        shape = self.picture.shape[1:]
        return (shape[-1], *shape[:-1]) if self.channels_last else shape

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """The sizes (C, *space), where the graph fixes all of them."""
        known = tuple(size for size in self.open_shape if size is not None)
        return known if known and len(known) == len(self.open_shape) else None

    def inputs_of(self, pictures: Tensor, others: dict[str, Any], *, cast: bool) -> dict[str, Any]:
        """Return all inputs by name, in the graph's order; cast: floating-point ones too.

        Raises ModelError where one is missing or unknown.
        """
        wanted = [each.name for each in self.inputs if each is not self.picture]
        if set(wanted) != others.keys():
            listed = ", ".join(wanted) or "none"
            raise ModelError(
                f"{self.name} takes further inputs: {listed}; given were "
                f"{', '.join(others) or 'none'}: give them by name, others={{name: tensor}}"
            )
        turned = pictures.movedim(1, -1) if self.channels_last else pictures
        found: dict[str, Any] = {}
        for each in self.inputs:
            value = turned if each is self.picture else others[each.name]
            free = not cast and each.dtype.is_floating_point  # follows the weights' precision
            found[each.name] = value if free else each.cast(value)
        return found

    def outputs_of(self, values: Sequence[Tensor | None]) -> Any:
        """Return the outputs: the one there is, or a dict by name."""
        found = {
            name: value
            for name, value in zip(self.outputs, values, strict=True)
            if value is not None
        }
        if not found:
            raise ModelError(
                f"{self.name} gives no tensor: export it without its last step, such as the "
                "ZipMap that makes a table of the scores"
            )
        return found if len(found) > 1 else next(iter(found.values()))


def signature_of(session: Any, name: str) -> Signature:
    """Return what a session takes and gives; the first input like a picture is the picture.

    Raises ModelError where there is none, or a type that torch has no tensors for.
    """
    inputs = []
    for each in session.get_inputs():
        if each.type not in DTYPES:
            raise ModelError(
                f"the input {each.name!r} of {name} is a {each.type}, which seewhy cannot give: "
                f"export it with one of {', '.join(DTYPES)}"
            )
        sizes = (size if isinstance(size, int) and size > 0 else None for size in each.shape)
        inputs.append(Input(each.name, tuple(sizes), DTYPES[each.type]))
    pictures = [each for each in inputs if each.picture_like]
    pictures += [each for each in inputs if len(each.shape) > 1 and each.dtype.is_floating_point]
    if not pictures:
        raise ModelError(
            f"no input of {name} can be a picture ({', '.join(each.name for each in inputs)}): one "
            "of shape (N, C, height, width) or (N, height, width, C) is expected"
        )
    picture = pictures[0]
    last = len(picture.shape) == 4 and (
        picture.shape[3] in CHANNELS and picture.shape[1] not in CHANNELS
    )
    outputs = tuple(each.name for each in session.get_outputs())
    return Signature(name, tuple(inputs), outputs, picture, last)


def as_tensor(value: Any) -> Tensor | None:
    """An output in float32 at least; None for tables and sequences."""
    if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "fiub":
        return None
    found = torch.as_tensor(np.asarray(value))
    return found.float() if found.dtype == torch.float16 else found


def preprocess_of(signature: Signature) -> Callable[..., Any] | None:
    """What is known of the preprocessing: graphs of bytes take 0..255."""
    if signature.picture.dtype != torch.uint8 or len(signature.open_shape) != 3:
        return None
    channels, height, width = signature.open_shape
    if channels not in (1, 3):
        return None
    if height is None or width is None:
        return Levels(channels, top=255)
    return Preprocess((height, width), mean=(0.0,) * channels, std=(1 / 255,) * channels)


# ---------------------------------------------------------------------- ONNX Runtime


def open_session(source: Any) -> tuple[Any, str]:
    """A session of ONNX Runtime, and what to call the model."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise MissingDependencyError("onnxruntime", "an ONNX model") from error
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if not path.is_file():
            raise ModelError(f"there is no file {path}: give the path of an .onnx file")
        name, content = path.name, str(path)
    elif hasattr(source, "SerializeToString") and hasattr(source, "graph"):
        name = source.graph.name or "the ONNX model"
        try:
            content = source.SerializeToString()
        except Exception as error:
            raise ModelError(
                f"{name} cannot be written as one message ({error}): models above 2 GB are saved "
                "with onnx.save(..., save_as_external_data=True); give the path of that file"
            ) from error
    else:
        raise ModelError(
            f"the path of an .onnx file or an onnx.ModelProto is expected, not "
            f"{type(source).__name__}"
        )
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what goes wrong is raised
    # waiting threads that spin would take the cores from torch, which runs in turn with them
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = reason_of(error)
        if "protobuf" in reason.lower():
            raise ModelError(
                f"{name} is no ONNX file, or a damaged one ({reason}): export or copy it again"
            ) from error
        raise ModelError(
            f"onnxruntime {runtime.__version__} cannot load {name} ({reason}): update onnxruntime, "
            "or export the model for an opset and with operators that it knows"
        ) from error
    return session, name


def reason_of(error: BaseException) -> str:
    """The first line of an error, without ONNX Runtime's codes and places in its source."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^/\S+:\d+ .*?\)\s+(?=[A-Z])", "", text)
    return text[:300].rstrip(" .")
