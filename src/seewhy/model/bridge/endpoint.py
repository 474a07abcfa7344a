"""A network behind HTTP, of which only the scores are known."""

from __future__ import annotations

import http.client
import io
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seewhy.errors import ModelError
from seewhy.model.model import Model

KEYS = ("predictions", "outputs", "scores", "logits")
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds; each wait is twice the one before
BEGINNING = 300  # bytes of an answer that an error shows
TYPES = {"json": "application/json", "npz": "application/octet-stream"}


@dataclass(frozen=True)
class Endpoint:
    """Scores (N, K) of a batch (N, C, *space), asked for over HTTP.

    url: gets the pictures as POST. form: "json" sends {"instances": nested lists}, as TensorFlow
    Serving and KServe take them, and reads {"predictions": lists}, or "outputs", "scores",
    "logits", or the bare list; "npz" sends a file of numpy.savez with "pictures", and reads the
    first array of such a file. layout: "channels-first" or "channels-last". headers: further ones,
    such as {"Authorization": "Bearer ..."}; they are shown nowhere. timeout: seconds for each
    request. retries: further attempts after a failed connection, 429 and 5xx, with waits of 0.5, 1,
    2, ... seconds or those of Retry-After, 60 at most. limit_mb: largest request, a larger batch
    being sent in parts, and largest answer, in 10^6 bytes.

    Raises ModelError: for a setting that does not exist, a server that does not answer or refuses,
    and for an answer that is not one row of finite numbers for each picture.

    >>> Endpoint("http://localhost:8501/v1/models/birds:predict", layout="channels-last").timeout
    30.0
    """

    url: str
    _: KW_ONLY
    form: str = "json"
    layout: str = "channels-first"
    headers: Mapping[str, str] | None = field(default=None, repr=False, hash=False)
    timeout: float = 30.0
    retries: int = 4
    limit_mb: float = 16.0

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"{self.url!r} is no address: give one like http://host:8501/...")
        if parts.username is not None:
            raise ModelError("the address holds a password: give it in headers instead")
        if self.form not in TYPES:
            raise ModelError(f"form is {self.form!r}: give 'json' or 'npz'")
        if self.layout not in ("channels-first", "channels-last"):
            raise ModelError(f"layout is {self.layout!r}: give 'channels-first' or 'channels-last'")
        for name in ("timeout", "limit_mb"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise ModelError(f"{name} is {value!r}: give a number above zero")
        if self.retries < 0:
            raise ModelError(f"retries is {self.retries!r}: give 0 or more")

    @property
    def shown(self) -> str:
        """The address without its query, which may hold a key."""
        return urllib.parse.urlunsplit((*urllib.parse.urlsplit(self.url)[:3], "", ""))

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the scores (N, K), float32 on the CPU."""
        pictures = pictures.detach().cpu().float()
        if self.layout == "channels-last":
            pictures = pictures.movedim(1, -1)
        return torch.from_numpy(self._ask(pictures.contiguous().numpy()))

    # ------------------------------------------------------------------ requests

    def _ask(self, pictures: np.ndarray) -> np.ndarray:
        """The scores of pictures, in as many requests as the limit asks for."""
        body, rows = self._written(pictures), len(pictures)
        limit = int(self.limit_mb * 1e6)
        if len(body) <= limit:
            return self._scores(self._post(body), rows)
        if rows == 1:
            raise ModelError(
                f"one picture of shape {pictures.shape[1:]} is a request of {len(body) / 1e6:.3g} "
                f"MB, and limit_mb is {self.limit_mb:g}: raise it, or use form='npz', which is "
                "smaller"
            )
        some = max(1, min(rows - 1, rows * limit // len(body)))
        parts = [self._ask(pictures[start : start + some]) for start in range(0, rows, some)]
        if len({part.shape[1] for part in parts}) > 1:
            raise ModelError(
                f"{self.shown} gave rows of different lengths: it must give the same classes for "
                "every picture"
            )
        return np.concatenate(parts)

    def _written(self, pictures: np.ndarray) -> bytes:
        if self.form == "npz":
            file = io.BytesIO()
            np.savez(file, pictures=pictures)
            return file.getvalue()
        try:
            return json.dumps({"instances": pictures.tolist()}, allow_nan=False).encode()
        except ValueError as error:
            raise ModelError(
                "the pictures hold NaN or infinity, which JSON cannot: check the preprocessing"
            ) from error

    def _post(self, body: bytes) -> bytes:
        """Send a request, several times where that may help, and return the answer."""
        for attempt in range(self.retries + 1):
            try:
                return self._answer(body)
            except _AgainError as error:
                if attempt == self.retries:
                    raise ModelError(
                        f"{self.shown} does not answer ({error}) after {attempt + 1} attempts: "
                        "check the address and that the server runs"
                    ) from error
                wait = error.wait if error.wait is not None else FIRST_WAIT * 2**attempt
                time.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("the last attempt returns or raises")

    def _answer(self, body: bytes) -> bytes:
        """Send one request; _AgainError where another may do better."""
        kind = TYPES[self.form]
        headers = {"Content-Type": kind, "Accept": kind, "User-Agent": "seewhy"}
        limit, deadline = int(self.limit_mb * 1e6), time.monotonic() + self.timeout
        too_large = ModelError(
            f"{self.shown} answers with more than {self.limit_mb:g} MB: raise limit_mb, or check "
            "that the address gives scores"
        )
        try:
            request = urllib.request.Request(  # noqa: S310 - the scheme is checked
                self.url, data=body, headers={**headers, **(self.headers or {})}, method="POST"
            )
            with _OPENER.open(request, timeout=self.timeout) as response:
                if int(response.headers.get("Content-Length") or 0) > limit:
                    raise too_large
                content = bytearray()
                while block := response.read1(1 << 16):
                    content += block
                    if len(content) > limit:
                        raise too_large
                    if time.monotonic() > deadline:  # the socket's limit holds for a block only
                        raise TimeoutError(f"not complete after {self.timeout:g} s")
                if response.length:  # announced and not sent
                    raise http.client.IncompleteRead(bytes(content), response.length)
                return bytes(content)
        except urllib.error.HTTPError as error:
            raise self._refusal(error) from error
        except (OSError, http.client.HTTPException) as error:
            raise _AgainError(str(error) or type(error).__name__) from error
        except ValueError as error:  # a header or an address that cannot be sent
            raise ModelError(f"{self.shown} cannot be asked ({error}): check headers") from error

    def _refusal(self, error: urllib.error.HTTPError) -> Exception:
        """What to raise for an answer with an error's status."""
        with error:
            if error.code == 429 or error.code >= 500:
                return _AgainError(f"status {error.code}", _seconds(error.headers))
            try:
                said = error.read(BEGINNING)
            except (OSError, http.client.HTTPException):
                said = b""
        if 300 <= error.code < 400:
            place = error.headers.get("Location", "another address")
            return ModelError(f"{self.shown} has moved ({error.code}) to {place}: give that")
        return ModelError(
            f"{self.shown} refuses the request with status {error.code}: {_beginning(said)}. Check "
            "form, layout, headers and the shape of the pictures"
        )

    # ------------------------------------------------------------------ answers

    def _scores(self, content: bytes, rows: int) -> np.ndarray:
        """The scores (rows, K) in an answer."""
        found = self._from_npz(content) if self.form == "npz" else self._from_json(content)
        if found.dtype.kind not in "fiu":
            raise ModelError(
                f"{self.shown} gave no numbers ({_beginning(content)}): rows of scores are expected"
            )
        if found.ndim == 1 and len(found) == rows:
            found = found[:, None]
        if found.ndim != 2 or len(found) != rows or not found.shape[1]:
            raise ModelError(
                f"{self.shown} gave numbers of shape {found.shape} for {rows} pictures: one row of "
                "scores for each is expected"
            )
        scores = found.astype(np.float32)
        if not np.isfinite(scores).all():
            raise ModelError(
                f"{self.shown} gave NaN or infinity among its scores: check what is sent (the "
                "preprocessing), and the model behind it"
            )
        return scores

    def _from_json(self, content: bytes) -> np.ndarray:
        try:
            found: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelError(
                f"{self.shown} gave no JSON ({_beginning(content)}): check the address and form"
            ) from error
        if isinstance(found, dict):
            key = next((name for name in KEYS if name in found), None)
            if key is None:
                raise ModelError(
                    f"{self.shown} gave {_beginning(content)}: one of {', '.join(KEYS)} is expected"
                )
            found = found[key]
        try:
            return np.asarray(found)
        except (ValueError, OverflowError) as error:  # rows of different lengths
            raise ModelError(
                f"{self.shown} gave no table of numbers ({_beginning(content)}): rows of equal "
                "length are expected"
            ) from error

    def _from_npz(self, content: bytes) -> np.ndarray:
        """The first array of the file, which unpacked is no larger than an answer may be."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                first = archive.infolist()[0]
                if first.file_size > self.limit_mb * 1e6:
                    raise ModelError(
                        f"{self.shown} answers with {first.file_size / 1e6:.3g} MB when unpacked: "
                        "raise limit_mb, or check that the address gives scores"
                    )
                unpacked = io.BytesIO(archive.read(first))
            return np.asarray(np.load(unpacked, allow_pickle=False))
        except (
            *(zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error),
            *(ValueError, OSError, EOFError, IndexError, MemoryError),
        ) as error:
            raise ModelError(
                f"{self.shown} gave no readable npz file ({error}): answer with numpy.savez, "
                "numbers only"
            ) from error


def load_endpoint(
    url: str,
    *,
    preprocess: Callable[..., Any] | None = None,
    labels: Any = None,
    input_shape: tuple[int, ...] | None = None,
    **settings: Any,
) -> Model:
    """Return a Model of the network behind an address, for methods that need only scores.

    preprocess, labels, input_shape: as of `seewhy.Model`. settings: those of `Endpoint`. Nothing is
    sent before a picture is explained. Raises ModelError as `Endpoint` does.

    >>> load_endpoint("http://localhost:8501/v1/models/birds:predict", labels=["owl", "wren"])
    Model(http://localhost:8501/v1/models/birds:predict, 2 labels)
    """
    endpoint = Endpoint(url, **settings)
    return Model(endpoint, preprocess, labels, name=endpoint.shown, input_shape=input_shape)


class _AgainError(Exception):
    """A failure after which another attempt may do better; wait: what the server asks for."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follow nothing: it would lose the pictures, and take the headers to another host."""

    def redirect_request(self, *_: Any) -> None:
        """Leave the redirection as the error that it is."""


_OPENER = urllib.request.build_opener(_NoRedirect)


def _seconds(headers: Any) -> float | None:
    """What Retry-After asks for, where it is in seconds."""
    text = str(headers.get("Retry-After", "")).strip()
    return float(text) if text.isascii() and text.isdigit() else None


def _beginning(content: bytes) -> str:
    text = " ".join(content[:BEGINNING].decode(errors="replace").split())
    return repr(text) if text else "nothing"
