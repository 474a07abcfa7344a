"""Sources: models that come with this package, or from libraries by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from seewhy.errors import MissingDependencyError, ModelError
from seewhy.model.labels import Labels
from seewhy.model.model import Model
from seewhy.model.prepare import Preprocess
from seewhy.model.towers import TWO_TOWERS, PictureTower


def demo(name: str = "object", trained: bool = True) -> Model:
    """Return a model of the generated world; the one that names shapes is called "demo"."""
    from seewhy.data import world

    module = world.load_network(name, trained=trained)
    size, classes = world.SIZE, world.CLASSES
    preprocess = Preprocess(size, mean=world.MEAN, std=world.STD)
    shape = (3, size, size)
    called = "demo" if name == "object" else f"demo/{name}"
    return Model(module, preprocess, classes, name=called, input_shape=shape)


def _torchvision(name: str, trained: bool) -> Model:
    models = _library("torchvision.models", "torchvision", "torchvision/... models")
    try:
        build = models.get_model_builder(name)
        enum = models.get_model_weights(name)
    except ValueError as error:
        raise ModelError(
            f"torchvision has no model {name!r}: {_near(name, models.list_models())}"
        ) from error
    weights = enum.DEFAULT if len(enum) else None
    if trained:
        if weights is None:
            raise ModelError(f"torchvision has no weights for {name}: add ?weights=none or @FILE")
        module = _fetched(lambda: build(weights=weights), f"torchvision/{name}")
    else:
        backbone = "weights_backbone" in inspect.signature(build).parameters
        module = build(weights=None, **({"weights_backbone": None} if backbone else {}))
    meta = weights.meta if weights is not None else {}
    classes = meta.get("categories")
    preprocess = weights.transforms() if weights is not None else None
    size = getattr(preprocess, "crop_size", None) or getattr(preprocess, "resize_size", None)
    shape = (3, size[0], size[-1]) if size else None
    return Model(module.eval(), preprocess, classes, name=f"torchvision/{name}", input_shape=shape)


def _timm(name: str, trained: bool) -> Model:
    timm = _library("timm", "timm", "timm/... models")
    if not timm.is_model(name.partition(".")[0]):
        raise ModelError(
            f"timm has no model {name!r}: {_near(name.partition('.')[0], timm.list_models())}"
        )

    def build() -> Any:
        return timm.create_model(name, pretrained=trained)

    module = _fetched(build, f"timm/{name}") if trained else build()
    settings = timm.data.resolve_data_config(module.pretrained_cfg, model=module)
    transform = timm.data.create_transform(**settings, is_training=False)
    classes = None
    if module.num_classes == 1000:
        info = timm.data.ImageNetInfo()
        names = [info.index_to_description(i).partition(",")[0] for i in range(1000)]
        classes = Labels(names, [info.index_to_label_name(i) for i in range(1000)])
    shape = tuple(settings["input_size"])
    return Model(module.eval(), transform, classes, name=f"timm/{name}", input_shape=shape)


def _huggingface(name: str, trained: bool) -> Model:
    transformers = _library("transformers", "transformers", "hf/... models", extra="hf")
    kinds = transformers.AutoModelForImageClassification
    repository = str(Path(name).expanduser()) if Path(name).expanduser().exists() else name
    config = _fetched(lambda: transformers.AutoConfig.from_pretrained(repository), f"hf/{name}")
    words = _reads_words(config)
    if words:
        kinds = transformers.AutoModel
    if trained:
        module = _fetched(lambda: kinds.from_pretrained(repository), f"hf/{name}")
    else:
        module = kinds.from_config(config)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(repository)
    except Exception as error:
        raise ModelError(
            f"hf/{name} has no image processor that can be read ({str(error).splitlines()[0]}): "
            "add its preprocessor_config.json, or load the module yourself and give "
            "Model(module, preprocess=...)"
        ) from error
    labels: list[str] | None = [config.id2label[number] for number in sorted(config.id2label)]
    if words:
        module, labels = _picture_tower(transformers, module, repository, f"hf/{name}"), None

    def preprocess(picture: Any) -> Any:
        return processor(images=picture, return_tensors="pt")["pixel_values"]

    seen = config.vision_config if words else config
    size = getattr(seen, "image_size", None)
    shape = (getattr(seen, "num_channels", 3), size, size) if isinstance(size, int) else None
    return Model(module.eval(), preprocess, labels, name=f"hf/{name}", input_shape=shape)


def _reads_words(config: Any) -> bool:
    """Whether this is a model of pictures and words, and not a classifier made of one."""
    classifies = any("Classification" in each for each in config.architectures or ())
    return config.model_type in TWO_TOWERS and not classifies


def _picture_tower(transformers: Any, module: Any, repository: str, name: str) -> PictureTower:
    tokenizer = _fetched(lambda: transformers.AutoTokenizer.from_pretrained(repository), name)
    # SigLIP was trained on texts that are filled up to their full length
    padding = "max_length" if module.config.model_type == "siglip" else True

    def tokenize(words: list[str]) -> Any:
        return tokenizer(words, padding=padding, truncation=True, return_tensors="pt")

    return PictureTower(module, tokenize)


def _library(module: str, package: str, purpose: str, extra: str | None = None) -> Any:
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise MissingDependencyError(package, purpose, extra or package)
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise ModelError(
            f"{package} is installed but cannot be imported ({type(error).__name__}: {error}): "
            f"install the release of {package} that belongs to torch {torch.__version__}"
        ) from error


def _fetched(build: Callable[[], Any], name: str) -> Any:
    """Build what needs files from the network; say how to do without where they cannot be had."""
    try:
        return build()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        local = "a local folder, hf/./FOLDER" if name.startswith("hf/") else f"{name}@FILE"
        raise ModelError(
            f"{name} cannot be fetched ({type(error).__name__}: {reason}): give {local}, or "
            f"{name}?weights=none for the untrained network"
        ) from error


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 3, 0.5)
    return f"did you mean {', '.join(near)}?" if near else f"it has {len(known)} others"


SOURCES: dict[str, Callable[[str, bool], Model]] = {
    "demo": demo,
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _huggingface,
}
"""By the first part of a reference: called with the name, and whether weights are wanted."""
