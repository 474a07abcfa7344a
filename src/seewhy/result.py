"""Results: what every answer can do, whatever it answers: show itself, be saved, be read back."""

from __future__ import annotations

import base64
import io
import json
import struct
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from PIL import Image

from seewhy.draw import FORMATS, save_image, to_png_bytes, write_whole
from seewhy.errors import Failure, PictureError, SaveError, SeewhyError

if TYPE_CHECKING:
    from seewhy.draw.report import Block, Page
    from seewhy.model.model import Model
    from seewhy.run import Run

SCHEMA = 1
ORIGIN = ("seed", "model", "weights", "versions")  # what an answer came from, by field

_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # a flag changed: encrypted, or packed as no one does
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)

_kinds: dict[str, type[Result]] = {}
_HOMES = (  # where the kinds register themselves
    "seewhy.explanation",
    "seewhy.concepts.found",
    "seewhy.concepts.maps",
    "seewhy.concepts.sensitivity",
    "seewhy.concepts.sweep",
    "seewhy.concepts.cav_results",
    "seewhy.concepts.craft_results",
    "seewhy.concepts.importance",
    "seewhy.inside.examples",
    "seewhy.inside.filters",
    "seewhy.inside.recorded",
    "seewhy.prototypes.found",
)


class Result:
    """An answer that draws itself (`draw`), and becomes arrays and plain data (`pack`) and back."""

    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.kind:
            _kinds[cls.kind] = cls

    @abstractmethod
    def draw(self, **options: Any) -> Image.Image:
        """Return the answer as a picture."""

    @abstractmethod
    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays and the plain data that make up the answer."""

    @classmethod
    @abstractmethod
    def unpack(cls, arrays: dict[str, np.ndarray], data: dict[str, Any]) -> Self:
        """Return the answer that was packed."""

    def page(self) -> Page:
        """Return the answer as a page: what it says, and its picture."""
        from seewhy.draw.report import Sheet, Sheets

        return self._page(Sheets([Sheet(self.draw(), "", str(self))], "The drawing"))

    def save(self, path: str | Path, **options: Any) -> Path:
        """Write the answer to a file and return its path.

        .png, .jpg, .webp, .tif: a picture, options as for `draw`. .html: a page to open or mail.
        .npz, .json: all of it, for `seewhy.read`; no pickle. Missing folders are made, and a file
        is complete or not there. Raises SaveError for other endings and paths that cannot be
        written.
        """
        path = Path(path).expanduser()
        suffix = path.suffix.lower()
        if suffix in FORMATS:
            return save_image(self.draw(**options), path)
        if suffix == ".html":
            from seewhy.draw.report import save_page

            return save_page(self.page(), path)
        if suffix not in (".npz", ".json"):
            raise SaveError(
                f"{path} ends in {suffix or 'nothing'}: a picture ends in {', '.join(FORMATS)}, a "
                "page in .html, data that can be read back in .npz or .json"
            )
        arrays, data = self.pack()
        data = {"schema": SCHEMA, "kind": self.kind, **data}
        failures: Sequence[Failure] = getattr(self, "failures", ())
        if failures:
            data["failures"] = [[each.source, str(each.error)] for each in failures]
        return write_whole(path, (_npz if suffix == ".npz" else _json)(arrays, data))

    def show(self, **options: Any) -> None:
        """Open the picture in the system's viewer; in a notebook the answer displays itself."""
        self.draw(**options).show()

    def _page(self, *blocks: Block) -> Page:
        """A page with these blocks, and what the answer is and came from."""
        from seewhy.draw.report import Page

        facts = [(name, str(getattr(self, name, ""))) for name in ("model", "weights", "seed")]
        facts += [*getattr(self, "versions", {}).items()]
        return Page(
            self.kind.capitalize(),
            [str(self).partition("\n")[0]],
            facts=[(name, value) for name, value in facts if value],
            blocks=blocks,
        )

    def _repr_png_(self) -> bytes | None:
        try:
            return to_png_bytes(self.draw())
        except PictureError:
            return None  # no picture: the notebook shows the text


@dataclass(frozen=True, eq=False, kw_only=True)
class Traceable(Result):
    """A result that says what it came from, and what was left out.

    model, weights: the model's name and the hash of its weights. seed, versions: to repeat it.
    failures: what could not be read. A subclass packs the fields that `ORIGIN` names.
    """

    seed: int = 0
    model: str = "model"
    weights: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()


def origin(model: Model, run: Run) -> dict[str, Any]:
    """Return what an answer comes from, as the fields of a `Traceable`."""
    weights = model.fingerprint()
    return {"seed": run.seed, "model": model.name, "weights": weights, "versions": versions()}


def read(path: str | Path) -> Any:
    """Read an answer that `save` wrote as .npz or .json.

    Raises SaveError naming the file where it is missing, damaged, or of a newer schema.
    """
    for home in _HOMES:
        import_module(home)
    path = Path(path).expanduser()
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == ".json":
            data = json.loads(raw)
            arrays = {name: _array(value) for name, value in data.pop("arrays").items()}
        else:
            with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            data = json.loads(bytes(arrays.pop("data")))
        kind, schema = data.pop("kind"), data.pop("schema")
    except (*_DAMAGED, KeyError, TypeError, AttributeError) as error:
        raise SaveError(
            f"{path} cannot be read back ({type(error).__name__}: {error}): give a .npz or .json "
            "file that save(...) wrote"
        ) from error
    if not isinstance(schema, int) or schema > SCHEMA or kind not in _kinds:
        raise SaveError(
            f"{path} holds {kind!r} of schema {schema}, and this seewhy reads up to {SCHEMA}: "
            "pip install --upgrade seewhy"
        )
    try:
        failures = [Failure(name, SeewhyError(said)) for name, said in data.pop("failures", ())]
        found: Any = _kinds[kind].unpack(arrays, data)
        return replace(found, failures=tuple(failures)) if failures else found
    except (KeyError, TypeError, ValueError) as error:
        raise SaveError(f"{path} lacks a part ({error}): it was cut or changed") from error


@cache
def versions() -> dict[str, str]:
    """Return the versions that an answer came from."""
    return {name: version(name) for name in ("seewhy", "torch")}


def _npz(arrays: dict[str, np.ndarray], data: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    text = np.frombuffer(json.dumps(data).encode(), dtype=np.uint8)
    np.savez_compressed(stream, data=text, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def _json(arrays: dict[str, np.ndarray], data: dict[str, Any]) -> bytes:
    written = {name: _plain(array) for name, array in arrays.items()}
    return json.dumps({**data, "arrays": written}).encode()


def _plain(array: np.ndarray) -> dict[str, Any]:
    """An array as JSON: pictures as base64 PNG, numbers as nested lists."""
    if array.dtype == np.uint8:
        encoded = base64.b64encode(to_png_bytes(Image.fromarray(array))).decode()
        return {"png": encoded}
    return {"dtype": str(array.dtype), "shape": array.shape, "values": array.tolist()}


def _array(value: dict[str, Any]) -> np.ndarray:
    if "png" in value:
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(value["png"]))))
    return np.array(value["values"], dtype=value["dtype"]).reshape(value["shape"])
