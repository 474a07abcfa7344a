"""ONNX models: run by ONNX Runtime, and converted to torch where that is possible."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.errors import MissingDependencyError, ModelError, warn
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.onnx_graph import (
    Input,
    Signature,
    as_tensor,
    open_session,
    preprocess_of,
    reason_of,
    signature_of,
)
from seewhy.model.load import of_adopted
from seewhy.model.model import Model
from seewhy.model.outputs import main_output
from seewhy.run import generator

SAME = 1e-4  # of an output's largest value: the converted network sums in another order
OPSET = 17  # the last one whose operators onnx2torch knows; newer graphs are lowered to it
SIDE = 224  # of the noise for a check, where the graph leaves the size open
PAIRS = ("kernel_size", "stride", "padding", "dilation")
INSTALL = "pip install onnx2torch"


def load_onnx(source: Any, *, differentiable: bool | None = None) -> Model:
    """Return the Model of an ONNX file or of an `onnx.ModelProto`.

    Pictures are float32 (N, C, height, width) outside, whatever the graph takes: channels last is
    permuted to, other dtypes are cast to, and whole numbers hold 0..255. Further inputs come by
    their name in the graph; several outputs come back as a dict of their names. differentiable:
    None converts the graph to torch where onnx2torch is installed and the converted network gives
    what ONNX Runtime gives on noise (within 1e-4 of the largest value), so that all methods apply;
    True insists on it; False leaves the graph to ONNX Runtime on the CPU, of which only the scores
    are known, for methods without gradients such as 'rise' and 'occlusion'. A converted network may
    be built of other operations than the one that was exported (a hard sigmoid becomes a clamp):
    methods that give rules to operations, such as LRP and guided backpropagation, see those.

    Warns where onnx2torch is there and the graph does not convert. Raises ModelError for what is no
    ONNX file, a damaged one, and one that ONNX Runtime does not know or that does not convert but
    should; MissingDependencyError without onnxruntime, or without onnx2torch where it is needed.

    >>> import onnx.parser
    >>> text = 'g (float[N,3,8,8] x) => (float[N,3,1,1] y) { y = GlobalAveragePool(x) }'
    >>> graph = onnx.parser.parse_model('<ir_version: 8, opset_import: ["": 17]> ' + text)
    >>> load_onnx(graph, differentiable=False).input_shape
    (3, 8, 8)
    """
    return of_adopted(adopted_onnx(source, differentiable=differentiable))


def adopted_onnx(source: Any, *, differentiable: bool | None = None) -> Adopted:
    """Return the network of an ONNX file or an `onnx.ModelProto`: see `load_onnx`."""
    session, name = open_session(source)
    signature = signature_of(session, name)
    module: nn.Module = Runtime(session, signature, name).eval()
    offers = Offers(gradient=False, layers=False, operations=False, batch=signature.batch)
    if differentiable and not _installed():
        raise MissingDependencyError("onnx2torch", f"a gradient through {name}")
    if _installed() and differentiable is not False:
        try:
            module = _converted(source, module, signature)
            offers = Offers(batch=signature.batch)
        except _UnfitError as error:
            if differentiable:
                raise ModelError(
                    f"{name} cannot be converted to torch: {error}. Leave differentiable out to "
                    "use methods without gradients"
                ) from error
            warn(
                f"{name} cannot be converted to torch: {error}. Only methods without gradients "
                "apply, such as 'rise' and 'occlusion'; differentiable=False silences this"
            )
    return Adopted(
        module,
        name,
        preprocess=preprocess_of(signature),
        input_shape=signature.picture_shape,
        offers=offers,
    )


class Runtime(nn.Module):
    """A graph in ONNX Runtime: the scores are known, gradients and layers are not.

    advice: what gives it gradients, where that is not out of the question already.
    """

    def __init__(self, session: Any, signature: Signature, name: str) -> None:
        super().__init__()
        self.session, self.signature, self.name = session, signature, name
        self.advice = "" if _installed() else f", or {INSTALL}: converted it offers gradients too"

    def forward(self, pictures: Tensor, **others: Any) -> Any:
        """Return the outputs for a batch (N, C, *space), a tensor or a dict of them by name."""
        given = self.signature.inputs_of(pictures.detach(), others, cast=True)
        arrays = {
            name: np.ascontiguousarray(value.detach().cpu().numpy())
            for name, value in given.items()
        }
        try:
            found = self.session.run(None, arrays)
        except Exception as error:
            raise ModelError(
                f"ONNX Runtime cannot run {self.name} on an input of shape "
                f"{tuple(pictures.shape)} ({reason_of(error)}): prepare the pictures for it"
            ) from error
        return self.signature.outputs_of([as_tensor(each) for each in found])

    def extra_repr(self) -> str:
        """Return what the graph takes and gives."""
        known = f"{self.name}: {self.signature}"
        return f"{known}; {self.advice}" if self.advice else known


class Converted(nn.Module):
    """A network converted to torch that takes and gives what the graph's other form does."""

    def __init__(self, network: nn.Module, signature: Signature) -> None:
        super().__init__()
        self.network, self.signature = network, signature

    def forward(self, pictures: Tensor, **others: Any) -> Any:
        """Return the outputs for a batch (N, C, *space), a tensor or a dict of them by name."""
        given = self.signature.inputs_of(pictures, others, cast=False)
        found = self.network(*given.values())
        return self.signature.outputs_of(found if isinstance(found, list | tuple) else [found])


# ---------------------------------------------------------------------- converted to torch


class _UnfitError(Exception):
    """Says why a graph is left to ONNX Runtime."""


def _converted(source: Any, runtime: nn.Module, signature: Signature) -> nn.Module:
    """The graph as a torch network, which agrees with ONNX Runtime and has a gradient."""
    if not signature.picture.dtype.is_floating_point:
        kind = str(signature.picture.dtype).removeprefix("torch.")
        raise _UnfitError(f"it takes {kind} pictures, through which no gradient passes")
    network = _convert(source)
    plain = len(signature.inputs) == 1 == len(signature.outputs) and not signature.channels_last
    module = network if plain else Converted(network, signature).eval()
    _check(module, runtime, signature)
    return module


def _convert(source: Any) -> nn.Module:
    """What onnx2torch makes of the graph as it is, or else of the same in opset 17."""
    try:
        onnx = importlib.import_module("onnx")
        convert = importlib.import_module("onnx2torch").convert
        proto = onnx.load(Path(source).expanduser()) if isinstance(source, str | Path) else source
    except Exception as error:
        raise _UnfitError(f"onnx2torch cannot be used ({reason_of(error)})") from error
    reason = ""
    for lowered in (False, True):
        try:
            with torch.random.fork_rng(devices=[]):  # layers draw weights before they get theirs
                found: nn.Module = convert(_lowered(proto) if lowered else proto)
        except Exception as error:  # noqa: BLE001 - whatever stops it, the next form is tried
            reason = reason or reason_of(error)
        else:
            for part in found.modules():  # pools come with their sizes in lists
                for name, value in list(part.__dict__.items()):
                    if name in PAIRS and isinstance(value, list):
                        setattr(part, name, tuple(value))
            return found.eval()
    raise _UnfitError(f"onnx2torch does not know all of it ({reason})")


def _lowered(proto: Any) -> Any:
    """The graph in opset 17, without two things that exporters write and onnx2torch refuses.

    These are weights that reach their operator through an Identity, and allowzero, which matters
    only to tensors without numbers.
    """
    converter = importlib.import_module("onnx.version_converter")
    lowered = converter.convert_version(proto, OPSET)
    graph = lowered.graph
    weights = {each.name for each in graph.initializer}
    same = {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Identity" and node.input[0] in weights
    }
    nodes = [node for node in graph.node if node.output[0] not in same]
    for node in nodes:
        node.input[:] = [same.get(name, name) for name in node.input]
        kept = [each for each in node.attribute if each.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)
    del graph.node[:]
    graph.node.extend(nodes)
    return lowered


def _check(module: nn.Module, runtime: nn.Module, signature: Signature) -> None:
    """Compare with ONNX Runtime on seeded noise, and go back through the network once."""
    rows, draw = signature.batch or 2, generator(0, 0)
    channels, *space = signature.open_shape
    shape = (rows, channels or 3, *(size or SIDE for size in space))
    noise = torch.randn(shape, generator=draw)
    others = {
        each.name: _noise(each, rows, draw)
        for each in signature.inputs
        if each is not signature.picture
    }
    with torch.inference_mode(mode=False):
        try:
            with torch.no_grad():
                expected = runtime(noise, **others)
        except ModelError as error:
            raise _UnfitError(f"it cannot be checked: {error}") from error
        like = noise.to(signature.picture.dtype).requires_grad_()
        try:
            with torch.enable_grad():
                found = module(like, **others)
                scores = main_output(found)
                weights = torch.randn(scores.shape, generator=draw)
                torch.autograd.grad((scores * weights).sum(), like)
        except Exception as error:
            raise _UnfitError(f"the converted network does not run ({reason_of(error)})") from error
    pairs = (
        [(name, found.get(name), value) for name, value in expected.items()]
        if isinstance(expected, dict)
        else [(signature.outputs[0], found, expected)]
    )
    for name, one, two in pairs:
        gap = _gap(one, two)
        if not gap <= SAME:  # nan is no agreement
            raise _UnfitError(f"the converted network differs in {name!r} by {gap:.2g} on noise")


def _noise(given: Input, rows: int, draw: torch.Generator) -> Tensor:
    """Noise for a further input, zeros where it takes whole numbers."""
    shape = tuple(
        rows if place == 0 and size is None else size for place, size in enumerate(given.shape)
    )
    if None in shape:
        raise _UnfitError(f"it cannot be checked: the shape of {given.name!r} is open")
    known = [size for size in shape if size is not None]
    if given.dtype.is_floating_point:
        return torch.randn(known, generator=draw).to(given.dtype)
    return torch.zeros(known, dtype=given.dtype)


def _gap(one: Tensor, two: Tensor) -> float:
    """The largest difference, of the largest value; infinite where the shapes differ."""
    if one.shape != two.shape:
        return float("inf")
    if not two.numel():
        return 0.0
    one, two = one.detach().double(), two.double()
    return float((one - two).abs().max() / two.abs().max().clamp(min=1e-12))


def _installed() -> bool:
    return importlib.util.find_spec("onnx2torch") is not None
