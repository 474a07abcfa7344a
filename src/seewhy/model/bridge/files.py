"""Files of other frameworks, and networks that their libraries build."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from seewhy.errors import MissingDependencyError, ModelError
from seewhy.model.bridge import applications
from seewhy.model.bridge.adopted import Adopted

KERAS = (".keras", ".h5", ".hdf5")
BACKENDS = ("tensorflow", "jax", "torch")


def is_foreign(path: Path) -> bool:
    """Tell whether this is a file or a folder of another framework."""
    if path.is_dir():
        return (path / "saved_model.pb").is_file()
    return path.suffix in (*KERAS, ".onnx") and path.is_file()


def foreign_file(path: Path, *, allow_code: bool = False, logits: bool = False) -> Adopted:
    """Return the network in a .keras or .onnx file, or in the folder of a SavedModel.

    allow_code: read Keras files with Lambda layers, which run code from the file.
    """
    if path.suffix in KERAS:
        return _keras_file(path, allow_code=allow_code, logits=logits)
    if logits:
        raise ModelError(
            f"{path} cannot be cut before its softmax: logits=True is for Keras models"
        )
    if path.suffix == ".onnx":
        from seewhy.model.bridge.onnx import adopted_onnx

        return adopted_onnx(path)
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingDependencyError("tensorflow", "SavedModel folders", "tensorflow")
    from seewhy.model.bridge.functions import saved_model

    return saved_model(path)


def application(name: str, trained: bool, *, logits: bool = False) -> Adopted:
    """Return a network of keras.applications by its name, such as "ResNet50"."""
    keras = keras_library()
    home = applications.application(keras, name)
    build = getattr(keras.applications, name, None)
    if home is None or not callable(build):
        known = [each for each in dir(keras.applications) if each[0].isupper()]
        near = difflib.get_close_matches(name, known, 3, 0.4)
        hint = f"did you mean {', '.join(near)}?" if near else f"it has {len(known)} others"
        raise ModelError(f"keras.applications has no network {name!r}: {hint}")
    from seewhy.model.bridge.keras import keras_model

    try:
        model = build(weights="imagenet" if trained else None)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"keras/{name} cannot be fetched ({type(error).__name__}: {reason}): give "
            f"keras/{name}?weights=none for the untrained network, or a .keras file"
        ) from error
    found = keras_model(model, logits=logits)
    return Adopted(
        found.module,
        f"keras/{name}",
        found.preprocess,
        found.labels,
        found.input_shape,
        found.offers,
    )


def keras_library() -> Any:
    """Import Keras, on a backend that is there; say what to install where there is none."""
    if importlib.util.find_spec("keras") is None:
        raise MissingDependencyError("keras", "Keras models", "keras")
    wanted = os.environ.get("KERAS_BACKEND")
    settled = "keras" in sys.modules or (Path.home() / ".keras" / "keras.json").is_file()
    if not wanted and not settled and importlib.util.find_spec("tensorflow") is None:
        os.environ["KERAS_BACKEND"] = wanted = "torch"  # which is always there
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it says of the processor helps nobody
    try:
        keras = importlib.import_module("keras")
        version = str(keras.__version__)
        backend = keras.config.backend()
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(
            f"Keras cannot be imported with the backend {wanted or 'of its settings'} "
            f"({type(error).__name__}: {error}): install that backend, or set the environment "
            f"variable KERAS_BACKEND to one of {', '.join(BACKENDS)} before Python starts"
        ) from error
    if int(version.partition(".")[0]) < 3:
        raise ModelError(f"Keras {version} is too old: install keras>=3")
    if wanted and wanted != backend:
        raise ModelError(
            f"KERAS_BACKEND is {wanted}, but Keras was imported with {backend} before: set it "
            "before Python starts"
        )
    return keras


def _keras_file(path: Path, *, allow_code: bool, logits: bool) -> Adopted:
    keras = keras_library()
    from seewhy.model.bridge.keras import keras_model

    try:
        model = keras.models.load_model(path, compile=False, safe_mode=not allow_code)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not allow_code and "safe_mode" in str(error):
            raise ModelError(
                f"{path} holds Lambda layers, and reading them runs code from the file: allow "
                "that with allow_pickle=True (--allow-pickle) if you trust it"
            ) from error
        raise ModelError(
            f"{path} cannot be read as a Keras model ({type(error).__name__}: {reason}): save it "
            "with model.save('model.keras'); classes of your own must be registered with "
            "keras.saving.register_keras_serializable and imported first: on the command line give "
            "package.module:callable, a function that imports them and returns the loaded model"
        ) from error
    found = keras_model(model, logits=logits)
    return Adopted(
        found.module,
        path.name,
        found.preprocess,
        found.labels,
        found.input_shape,
        found.offers,
    )
