"""Loading: from a reference to a Model. Files are read without running code from them."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.errors import ModelError
from seewhy.model.bridge.adopt import LOGITS, adopt
from seewhy.model.bridge.adopted import Adopted, Offers
from seewhy.model.bridge.files import KERAS, application, foreign_file, is_foreign
from seewhy.model.exported import read_program
from seewhy.model.labels import Labels
from seewhy.model.model import Model
from seewhy.model.query import Query
from seewhy.model.sources import SOURCES, demo
from seewhy.model.tape.cut import Headless

FORMS = (
    '"demo", "demo/shortcut", "demo/transformer", "torchvision/resnet50", '
    '"timm/resnet18.a1_in1k", '
    '"hf/google/vit-base-patch16-224", '
    '"keras/ResNet50", '
    '"torchvision/resnet50@weights.safetensors", "package.module:callable@weights.pth", '
    'a file "model.pt2", "model.keras", "model.onnx", or the folder of a SavedModel'
)
FILES = (*KERAS, ".onnx", ".pt2", ".pt", ".pth", ".safetensors")


def load(
    reference: Any,
    *,
    preprocess: Callable[..., Any] | None = None,
    labels: Any = None,
    allow_pickle: bool = False,
    logits: bool = False,
) -> Model:
    """Return the model behind a reference.

    reference: "demo", and "demo/shortcut" and "demo/mixed", which follow a sticker more than the
    shape or beside it, and "demo/transformer", a vision transformer; "torchvision/NAME",
    "timm/NAME", "hf/REPOSITORY or folder", with "?weights=none" for an untrained network and
    "@FILE" for weights of your own; a Python path "package.module:callable", called without
    arguments, with "@FILE"; a file of torch.export (.pt2), TorchScript, or a pickled module, which
    runs code and needs allow_pickle=True; a torch module. Of other frameworks: "keras/NAME" of
    keras.applications, a .keras file (with Lambda layers, which run code, allow_pickle=True), the
    folder of a SavedModel, an .onnx file, the address of a model server ("http://..."), or a model
    itself: see docs/frameworks.md. preprocess and labels replace those that come with it; labels
    may be a file. logits: leave out the softmax or the sigmoid in which a Keras model ends; in a
    reference, "?logits=true". How pictures become input can be written there too, as settings of
    `seewhy.Preprocess`: "net.onnx?mean=0.5&std=0.5", "net.keras?std=1/255" for 0..255.

    Raises ModelError that says what to do, MissingDependencyError with the pip command.

    >>> load("demo").labels
    Labels(5: disk, square, triangle, ...)
    """
    if isinstance(reference, Model):
        return reference
    if isinstance(reference, str | Path):
        model = _find(str(reference), allow_pickle=allow_pickle, logits=logits)
    else:
        adopted = adopt(reference, logits=logits)
        model = Model(reference) if adopted is None else of_adopted(adopted)
    return _with(model, preprocess, labels)


def _with(model: Model, preprocess: Callable[..., Any] | None, labels: Any = None) -> Model:
    """The model with another preprocessing, and other labels, where they are given."""
    if preprocess is None and labels is None:
        return model
    known = Labels.read(labels) if isinstance(labels, str | Path) else labels
    return Model(
        model.module,
        preprocess or model.preprocess,
        known if known is not None else model.labels,
        name=model.name,
        input_shape=model.input_shape,
        offers=model.offers,
    )


def embedder(model: Model | nn.Module | str) -> Model:
    """Return the classifier cut before its head: its output is the embedding (N, D).

    The module stays as it is and is shared. For targets.Similarity and targets.Difference.
    Raises ModelError where the model has no head through which everything passes.

    >>> embedder(load("demo")).prepare(Image.new("RGB", (64, 64))).tensor.shape
    torch.Size([1, 3, 64, 64])
    """
    model = model if isinstance(model, Model) else load(model)
    head = model.head()
    if head is None:
        known = getattr(model.module, "framework", "")
        why = f"is a network of {known}, of which seewhy does not know the head"
        raise ModelError(
            f"{model.name} {why if known else 'has no single head to cut off'}: give the embedding "
            f"network itself{', as keras.Model(net.inputs, net.layers[-2].output)' * bool(known)}"
        )
    return Model(
        Headless(model.module, head.name),
        model.preprocess,
        name=f"{model.name} before {head.name}",
        input_shape=model.input_shape,
        offers=replace(model.offers, end=""),
    )


def of_adopted(found: Adopted) -> Model:
    """Return the model of a network that was adopted from another framework."""
    return Model(
        found.module,
        found.preprocess,
        found.labels,
        name=found.name,
        input_shape=found.input_shape,
        offers=found.offers,
    )


def _find(reference: str, *, allow_pickle: bool, logits: bool) -> Model:
    path = Path(reference).expanduser()
    if path.is_file() or is_foreign(path):  # whatever signs its path has
        return _file(path, allow_pickle=allow_pickle, logits=logits)
    if reference.startswith(("http://", "https://")):
        from seewhy.model.bridge.endpoint import load_endpoint

        return load_endpoint(reference)
    name, at, weights = reference.partition("@")
    name, _, text = name.partition("?")
    query = Query.of(text, reference)
    logits = logits or query.logits
    file = Path(weights).expanduser() if at else None
    if file is not None and not file.is_file():
        raise ModelError(f"there is no file {file}: give the path of the weights after '@'")
    source, slash, _ = name.partition("/")
    if not (slash and source in SOURCES) and ":" not in name and Path(name).expanduser().exists():
        if file is not None:
            raise ModelError(f"{name} is a file already: give the architecture before '@'")
        model = _file(Path(name).expanduser(), allow_pickle=allow_pickle, logits=logits)
        return _with(model, query.preprocess(model.input_shape))
    model = _named(name, reference, trained=query.trained and file is None, logits=logits)
    if file is not None:
        _fill(model.module, file)
        model.name = f"{model.name}@{file.name}"
    return _with(model, query.preprocess(model.input_shape))


def _named(name: str, reference: str, *, trained: bool, logits: bool) -> Model:
    """A model by its source and its name there."""
    source, slash, rest = name.partition("/")
    if Path(name).suffix.lower() in FILES and source not in SOURCES:
        raise ModelError(
            f"there is no file {name}: give the path of the file that holds the model, or another "
            f"model: a model is {FORMS}"
        )
    if source == "keras" and rest:
        return of_adopted(application(rest, trained=trained, logits=logits))
    if logits:
        raise ModelError(LOGITS)
    if name == "demo":
        return demo(trained=trained)
    if slash and source in SOURCES and rest:
        return SOURCES[source](rest, trained)
    if ":" in name:
        return _python(name)
    near = difflib.get_close_matches(source, SOURCES, 1, 0.5)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ModelError(f"there is no model {reference!r}{hint}: a model is {FORMS}")


def _python(reference: str) -> Model:
    """A Model or a module made by calling "package.module:callable"."""
    module_name, _, attribute = reference.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)  # as `python -m` does: people name modules of their own project
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"{reference!r} cannot be imported ({error}): give package.module:callable, from the "
            "folder that holds the package"
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    ready = isinstance(found, nn.Module | Model) or adopt(found) is not None
    made = found if ready else found()
    if isinstance(made, Model):
        return made
    if (adopted := adopt(made)) is not None:
        return of_adopted(adopted)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{reference} gave {type(made).__name__}: it must give a torch module or a Model"
        )
    return Model(made.eval(), name=attribute)


def _file(path: Path, *, allow_pickle: bool, logits: bool = False) -> Model:
    if is_foreign(path):
        return of_adopted(foreign_file(path, allow_code=allow_pickle, logits=logits))
    if logits:
        raise ModelError(LOGITS)
    if path.is_dir():
        raise ModelError(f"{path} is a folder: give a file, or hf/{path} for transformers")
    if path.suffix == ".safetensors":
        raise _needs_architecture(path)
    content = _zip_names(path)
    programs = ("serialized_exported_program.json", "archive_format")
    if path.suffix == ".pt2" or any(name.endswith(programs) for name in content):
        return _exported(path, allow_pickle=allow_pickle)
    if any(name.endswith("constants.pkl") for name in content):
        return _scripted(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if not allow_pickle:
            raise ModelError(
                f"{path} does not hold plain tensors ({type(error).__name__}). If it is a pickled "
                "module, reading it runs code from the file: allow that with allow_pickle=True "
                "(--allow-pickle) if you trust it, or save a state_dict as .safetensors"
            ) from error
        found = _unpickled(path)
    if isinstance(found, nn.Module):
        return Model(found.eval(), name=path.name)
    raise _needs_architecture(path)


def _needs_architecture(path: Path) -> ModelError:
    return ModelError(
        f"{path} holds weights without an architecture: name it, torchvision/resnet50@{path} or "
        f"package.module:callable@{path}"
    )


def _zip_names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return []


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise ModelError(
            f"{path} cannot be read ({type(error).__name__}: {error}): give a .safetensors, "
            ".pth, .pt2 or TorchScript file; the classes of a pickled module must be importable"
        ) from error


def _scripted(path: Path) -> Model:
    try:
        module = torch.jit.load(str(path), map_location="cpu")
    except Exception as error:
        raise ModelError(f"{path} is no readable TorchScript ({error}): export it again") from error
    return Model(module.eval(), name=path.name)


def _exported(path: Path, *, allow_pickle: bool) -> Model:
    """A torch.export program, unflattened so that its layers are modules again."""
    program = read_program(path, allow_pickle=allow_pickle)
    names = set(program.graph_signature.user_inputs)
    values = [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and "val" in node.meta
    ]
    shape = tuple(values[0].shape) if values else ()
    fixed = shape[0] if shape and isinstance(shape[0], int) else None
    known = tuple(shape[1:]) if all(isinstance(size, int) for size in shape[1:]) else None
    module = torch.export.unflatten(program)
    for part in module.modules():  # modes are settled when a program is exported
        part.training = False
    return Model(
        module,
        name=path.name,
        input_shape=known or None,
        offers=Offers(batch=fixed),
    )


def _fill(module: nn.Module, path: Path) -> None:
    """Load a state_dict; weights saved on a GPU, or under DataParallel, load too."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        try:
            found: Any = load_file(path)
        except Exception as error:
            raise ModelError(f"{path} is no readable safetensors file ({error})") from error
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ModelError(
                f"{path} does not hold plain tensors ({type(error).__name__}: {error}): save "
                "model.state_dict(), best as .safetensors"
            ) from error
    for wrapper in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ModelError(f"{path} holds no state_dict: save model.state_dict()")
    own = module.state_dict()
    state = {
        name if name in own else name.removeprefix("module."): value
        for name, value in found.items()
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:3]]
        raise ModelError(
            f"the weights of {path} do not fit {type(module).__name__}: {' '.join(lines)[:300]}"
        ) from error
