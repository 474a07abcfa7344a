"""Model: the user's network together with its preprocessing, its labels, and what it offers."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import Any, cast

import torch
from torch import Tensor, nn

from seewhy.data.images import Picture, find_pictures, read_picture
from seewhy.errors import LayerError, MethodError, ModelError, NoSpaceError, PictureError, warn
from seewhy.model.bridge.adopt import adopt
from seewhy.model.bridge.adopted import Offers
from seewhy.model.bridge.foreign import Foreign
from seewhy.model.findings import Findings
from seewhy.model.function import Function
from seewhy.model.labels import Labels
from seewhy.model.layers import (
    INPUT,
    OUTPUT,
    Layer,
    LayerSpec,
    LayerTable,
)
from seewhy.model.outputs import has_class_head, main_output
from seewhy.model.predictions import Predictions, predictions
from seewhy.model.prepare import Prepared, Preparer, batched, is_model_input
from seewhy.model.tape.guard import guard, home, hookable, owned
from seewhy.model.tape.luck import Luck
from seewhy.model.tape.passes import spend
from seewhy.model.tape.trees import joined, row_of, select_rows, usable
from seewhy.run import Run, check_device

BATCH = 16  # pictures that run at once where nothing else says
FOREIGN = 4 << 30  # bytes for networks of other frameworks, to which each call is a cost
MOST_ROWS = 64  # at once on a CPU without a gradient: more only leave its caches,
CACHED = 48 << 20  # unless they are small: bytes at work, measured with two convolutions at 28 px


class Model:
    """A network and what belongs to it.

    module: any torch module; it is given back exactly as it came. Or a model of another framework
    (Keras, TensorFlow, JAX), seen through a bridge: see docs/frameworks.md. Or a function of a
    batch, a tensor (N, C, *space), that gives a tensor or an array, for methods that need no
    gradient. preprocess: makes model input of a picture (see `seewhy.Preprocess`; torchvision, timm
    and Hugging Face transforms and plain functions work too). labels: names of the classes. name:
    what to call it. input_shape: of one input, (C, *space), where layers are wanted before any
    picture has been prepared.

    >>> model = Model(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).eval(), Preprocess((4, 4)))
    >>> model.prepare(Image.new("RGB", (8, 8))).tensor.shape
    torch.Size([1, 3, 4, 4])
    """

    def __init__(
        self,
        module: nn.Module | Callable[..., Any],
        preprocess: Callable[..., Any] | None = None,
        labels: Sequence[str] | Labels | None = None,
        *,
        name: str | None = None,
        input_shape: tuple[int, ...] | None = None,
        offers: Offers | None = None,
    ) -> None:
        if isinstance(module, Model):
            raise ModelError("this is a seewhy.Model already: use it as it is")
        foreign = adopt(module)
        if foreign is not None:
            module, offers = foreign.module, offers or foreign.offers
            name, input_shape = name or foreign.name, input_shape or foreign.input_shape
            preprocess = preprocess or foreign.preprocess
            labels = labels if labels is not None else foreign.labels
        if not isinstance(module, nn.Module):
            if not callable(module):
                raise ModelError(
                    f"a torch module or a function is expected, not {type(module).__name__}"
                )
            name, module = name or getattr(module, "__name__", None), Function(module).eval()
            offers = offers or Offers(gradient=False, layers=False, operations=False)
        compiled = type(module).__name__ == "OptimizedModule"  # compiled code calls no hooks
        self.module: nn.Module = module.get_submodule("_orig_mod") if compiled else module
        self.name = name or type(self.module).__name__
        self.preprocess = preprocess
        self.labels = labels if isinstance(labels, Labels) or labels is None else Labels(labels)
        hooks = hookable(self.module)
        if isinstance(self.module, Foreign):
            named = bool(self.module.engine.program.names)
            offers = offers or Offers(layers=named, operations=False)
        self.offers = offers or Offers(layers=hooks)
        self.input_shape = input_shape
        self.preparer = Preparer(preprocess, self.name, input_shape)
        self.findings = Findings(self)
        self._luck = Luck(self.name)
        self._seed = 0

    def __repr__(self) -> str:
        known = f", {len(self.labels)} labels" if self.labels is not None else ""
        return f"Model({self.name}{known})"

    # ------------------------------------------------------------------ pictures in

    def prepare(self, pictures: Any, **others: Any) -> Prepared:
        """Return one batch of model input.

        pictures: one or several paths, folders, URLs, bytes, PIL pictures, uint8 arrays; or a
        floating-point tensor (N, C, *space), which is taken as model input as it is. others: the
        model's further inputs by name, tensors with N rows.
        Raises PictureError where pictures cannot be read or do not fit one batch.
        """
        prepared = self.prepare_each(pictures, **others)
        if not prepared:
            raise PictureError("there are no pictures: give at least one")
        shapes = {tuple(each.tensor.shape[1:]) for each in prepared}
        if len(shapes) > 1:
            raise PictureError(
                f"the pictures become inputs of different shapes {sorted(shapes)}, which cannot "
                "share a batch: explain them in one call, or give a preprocessing that resizes"
            )
        return batched(prepared)

    def prepare_each(self, pictures: Any, **others: Any) -> list[Prepared]:
        """Return the input of each picture on its own: shapes may differ."""
        if getattr(pictures, "ndim", 0) == 4 and not is_model_input(pictures):
            pictures = list(pictures)
        if is_model_input(pictures):
            tensor = torch.as_tensor(pictures)
            if tensor.ndim < 2 or not len(tensor):
                raise PictureError(
                    f"a floating-point tensor is model input with a batch axis, (N, C, *space); "
                    f"this one has the shape {tuple(tensor.shape)}: add the batch axis with [None]"
                )
            found = [Prepared(tensor[i : i + 1]) for i in range(len(tensor))]
        else:
            read = [
                one if isinstance(one, Picture) else read_picture(one)
                for one in find_pictures(pictures)
            ]
            found = self.preparer(read)
        if others:
            count = len(found)
            found = [replace(each, others=row_of(others, i, count)) for i, each in enumerate(found)]
        if found:
            self.findings.note(found[0])
        return found

    def predict(self, prepared: Prepared, top: int = 5) -> Predictions:
        """Return the `top` most probable classes of each picture: names, numbers, probabilities."""
        outputs = self.outputs(prepared)
        if not has_class_head(outputs):
            raise ModelError(f"{self.name} has no class scores to predict with")
        return predictions(main_output(outputs), self.labels, top, end=self.offers.end)

    @property
    def rank(self) -> int | None:
        """How many axes one input has, (C, *space); None where nothing says."""
        if self.input_shape is not None:
            return len(self.input_shape)
        ranks: dict[type[nn.Module], int] = {nn.Conv1d: 2, nn.Conv2d: 3, nn.Conv3d: 4}
        found = (ranks[type(part)] for part in self.module.modules() if type(part) in ranks)
        return next(found, None)

    # ------------------------------------------------------------------ layers

    def layers(self, like: Prepared | None = None) -> list[Layer]:
        """Return all layers in order of execution, with shapes, kernels, channels, parameters.

        like: an input of the shape in question; by default the last one prepared.
        """
        return list(self.findings.table(like).layers)

    def layer(self, spec: LayerSpec = None, like: Prepared | None = None) -> Layer:
        """Return the layer of that name, module or description; None is the default.

        "relu#2" is the call number 2 (from 0) of a module that is called several times; without a
        number it is the last. A Layer with a layout is taken as it is.
        Raises LayerError where there is none, listing near names.
        """
        if isinstance(spec, Layer) and spec.layout is not None:
            return spec
        if not self.offers.layers:
            raise LayerError(
                f"{self.name} offers no layers (TorchScript takes no hooks): use a method that "
                "needs none, such as 'integrated-gradients'"
            )
        table = self.findings.table(like)
        if spec is None:
            if table.default is None:
                raise NoSpaceError(
                    f"{self.name} has no layer for a map ({table.remark}): name one, or use a "
                    "method that needs no layer, such as 'integrated-gradients'"
                )
            if table.remark:
                warn(f"layer {str(table.default)!r} of {self.name}: {table.remark}")
            return self.findings.settled(table.default, like)
        if isinstance(self.module, Foreign):
            spec = self.module.name_of(spec) or spec
        found = self._search(spec, table)
        return self.findings.settled(found, like)

    def head(self, like: Prepared | None = None) -> Layer | None:
        """Return the layer that gives the class scores, None where there is no single one."""
        return self.findings.table(like).head

    def find(self, layer: Layer) -> nn.Module:
        """Return the module of a layer, whatever of its names is used."""
        named: Iterator[tuple[str, nn.Module]]
        named = self.module.named_modules(remove_duplicate=False)
        for name, module in named:
            if name == layer.name:
                return module
        near = difflib.get_close_matches(layer.name, self._names(), 4, 0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "model.layers() lists them"
        raise LayerError(f"{self.name} has no layer {layer.name!r}: {hint}")

    # ------------------------------------------------------------------ running

    @contextmanager
    def held(self, run: Run | None = None) -> Iterator[None]:
        """Hold the network in evaluation mode, on the run's device, in its precision.

        Raises MethodError where another framework says what these are.
        """
        device = check_device(run.device) if run is not None and run.device else None
        framework = getattr(self.module, "framework", None)
        if framework and run is not None:
            wanted = device is not None and device.type != "cpu"
            if wanted or run.dtype not in (None, torch.float32):
                raise MethodError(
                    f"{self.name} computes where, and in the precision, that {framework} gave it: "
                    "leave device= and precision= out"
                )
            device, run = None, replace(run, precision=None)
        with guard(self.module, device, run.dtype if run is not None else None):
            before, self._seed = self._seed, run.seed if run is not None else self._seed
            try:
                yield
            finally:
                self._seed = before

    def forward(
        self,
        tensor: Tensor,
        others: Any = None,
        *,
        counted: bool = True,
        instead: Callable[..., Any] | None = None,
    ) -> Any:
        """Run the network as it stands, in the caller's grad mode; held by the caller.

        A network of fixed batch gets its rows filled up with the last one, and the surplus is cut
        off its outputs again. instead: what runs in the module's place, such as the module
        compiled. Raises ModelError for more rows than that.
        """
        rows, fixed = len(tensor), self.offers.batch
        if counted:
            spend(forwards=rows)
        if fixed is None or rows == fixed:
            return self._call(tensor, others, instead)
        if rows > fixed:
            raise ModelError(
                f"{self.name} takes batches of {fixed}, and {rows} rows came: send fewer at once"
            )
        filler = torch.arange(fixed).clamp(max=rows - 1)
        filled = self._call(tensor[filler.to(tensor.device)], select_rows(others, filler), instead)
        return select_rows(filled, torch.arange(rows))

    @property
    def draws(self) -> bool:
        """Whether the network draws random numbers; known once it has run."""
        return bool(self._luck.draws)

    def at_home(self, prepared: Prepared) -> Prepared:
        """Return the pictures on the network's device and in its precision."""
        return prepared.to(*home(self.module))

    def outputs(self, prepared: Prepared) -> Any:
        """Return what the network gives for any number of pictures, without a graph."""
        at_once = self.offers.batch or BATCH
        found = []
        with self.held(), torch.inference_mode(mode=False), torch.no_grad():
            for start in range(0, len(prepared), at_once):
                rows = torch.arange(start, min(start + at_once, len(prepared)))
                part = self.at_home(prepared.rows(rows))
                found.append(self.forward(usable(part.tensor), usable(part.others)))
        return joined(found)

    def rows_at_once(
        self, prepared: Prepared, run: Run, *, gradient: bool = True, times: float = 1.0
    ) -> int:
        """Return how many rows a forward may have within the run's memory, and a backward to it.

        times: what a row holds, as a multiple of what a plain pass holds for it. Without a
        gradient a CPU gets no more than its caches repay.
        """
        if hasattr(self.module, "framework") and run.memory is None:
            run = replace(run, memory=FOREIGN)
        # kernels keep copies of the weights in an order of their own
        unpacked = 2 * sum(each.nbytes for each in self.module.parameters())
        row = max(1, int(times * self.findings.bytes_per_row(prepared, gradient)))
        fit = run.rows_at_once(row, prepared.tensor.device, unpacked)
        if not gradient and prepared.tensor.device.type == "cpu":
            fit = min(fit, max(MOST_ROWS, CACHED // row))
        return min(fit, self.offers.batch or fit)

    def steady(self, run: Run) -> Run:
        """Return the run for work whose steps build on each other, over which rounding grows.

        Other frameworks round by how many rows there are, so theirs run one at a time.
        """
        return replace(run, memory=1) if hasattr(self.module, "framework") else run

    @property
    def size(self) -> int:
        """How many parameters it has; of another framework's network, all its weights."""
        if hasattr(self.module, "framework"):
            return sum(each.numel() for _, each in self._weights())
        return sum(each.numel() for each in self.module.parameters())

    def fingerprint(self) -> str:
        """Return a short hash of the weights: names, shapes, 64 values spread over each tensor."""
        digest = hashlib.blake2b(digest_size=8)
        picked: dict[Any, list[Tensor]] = {}
        for name, tensor in self._weights():
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            some = tensor.detach().reshape(-1)[:: max(1, tensor.numel() // 64)]
            picked.setdefault((tensor.device, tensor.dtype), []).append(some)
        for each in picked.values():  # one copy from a device for all of a kind
            digest.update(torch.cat(each).cpu().double().numpy().tobytes())
        return digest.hexdigest()

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight by name, those that are lent as they are at home."""
        if hasattr(self.module, "framework"):
            yield from cast(Foreign, self.module).weights()
            return
        for prefix, part in self.module.named_modules():
            own = chain(part.named_parameters(recurse=False), part.named_buffers(recurse=False))
            for name, tensor in own:
                yield f"{prefix}.{name}", owned(tensor)

    # ------------------------------------------------------------------ helpers

    def _call(self, tensor: Tensor, others: Any, instead: Callable[..., Any] | None) -> Any:
        run = self.module if instead is None else instead
        try:
            with self._luck.seeded(self._seed, tensor.device):
                if others is None:
                    return run(tensor)
                if isinstance(others, dict):
                    return run(tensor, **others)
                return run(tensor, *others)
        except Exception as error:
            error.add_note(
                f"while running {self.name} on an input of shape {tuple(tensor.shape)}, "
                f"{tensor.dtype}, {tensor.device}"
            )
            raise

    def _names(self) -> list[str]:
        return [name for name, _ in self.module.named_modules(remove_duplicate=False) if name]

    def _search(self, spec: str | nn.Module | Layer, table: LayerTable) -> Layer:
        if isinstance(spec, nn.Module):
            names = [name for name, module in self.module.named_modules() if module is spec]
            if not names or not names[0]:
                raise LayerError(
                    f"this {type(spec).__name__} is not a layer of {self.name}: give one of its "
                    "own modules, or a name that model.layers() lists"
                )
            wanted = Layer(names[0])
        elif isinstance(spec, Layer):
            wanted = spec
        else:
            if spec in (INPUT.name, OUTPUT.name) and spec not in self._names():
                return INPUT if spec == INPUT.name else OUTPUT
            wanted = Layer.parse(str(spec))
            if wanted.layout is not None:
                return wanted
        module = self.find(wanted)
        own = next(name for name, each in self.module.named_modules() if each is module)
        calls = [
            layer
            for layer in (*table.layers, *table.outputs)
            if layer.name == own and layer.output == wanted.output
        ]
        if not calls:
            raise LayerError(
                f"layer {wanted.name!r} of {self.name} has no such output when pictures are "
                "explained, or does not run: choose one that model.layers() lists"
            )
        if wanted.call < 0:
            return replace(calls[-1], last=calls[-1].call >= 0)
        for layer in calls:
            if layer.call == wanted.call or (layer.call < 0 and wanted.call == 0):
                return layer
        raise LayerError(
            f"layer {wanted.name!r} of {self.name} is called {len(calls)} times: "
            f"number {wanted.call} does not exist (they count from 0)"
        )
