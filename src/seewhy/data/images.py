"""Pictures of every kind, read safely: whatever comes in, one upright RGB picture comes out.

Colours are taken as they are stored; only CMYK pictures go through their embedded profile, as
without it they have no defined colours. What is transparent is shown on white. Grey of 16 bits is
divided by 257, so that black stays black and white stays white. Floating-point grey, and integer
grey that does not fit into 16 bits, has no defined range: it is stretched from its own least to
its own largest value, and where all values are equal it is black.
"""

import codecs
import contextlib
import difflib
import glob
import http.client
import importlib
import io
import itertools
import os
import re
import stat
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from seewhy.errors import PictureError

_SUFFIX = re.compile(
    r"\.(a?png|avif|bmp|dib|gif|hei[cf]|ico|j2k|jp2|jfif|jpe?g|jpe|p[bgnp]m|qoi|tga|tiff?|webp)",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A decoded picture.

    `image` has mode "RGB", is upright and owns its memory; of an animation or a file with several
    pages it is the first. `source` is what messages and file names call it: the path, the URL, or
    a name such as "picture 3".
    """

    image: Image.Image
    source: str


def read_picture(
    source: object,
    *,
    name: str | None = None,
    max_pixels: int = 100_000_000,
    max_bytes: int = 50_000_000,
    timeout: float = 20.0,
) -> Picture:
    """Decode one picture.

    `source` is a path, an http(s) URL, the bytes of a file, an open binary file, a PIL image (as it
    stands, so the frame it is at), a NumPy array of uint8 or bool, (H, W) or (H, W, 1 | 3 | 4), or
    a torch tensor of the same. A tensor with three axes is (C, H, W) where its first axis has 1, 3
    or 4 entries, (H, W, C) otherwise. `name` replaces the path or URL as the picture's `source`.
    Refused are pictures of more than `max_pixels` pixels (before they are decoded), and downloads
    of more than `max_bytes` bytes or about `timeout` seconds.

    Raises `PictureError`, which names the picture, for anything that is not a readable picture.
    """
    label = name or _label(source)
    if isinstance(source, Image.Image):
        return Picture(_to_rgb(source, label, max_pixels), label)
    if hasattr(source, "dtype") and hasattr(source, "shape"):
        return Picture(_to_rgb(_from_array(source, label), label, max_pixels), label)
    with _open(source, label, max_bytes, timeout) as stream:
        return Picture(_decode(stream, label, max_pixels), label)


def find_pictures(sources: object) -> list[Any]:
    """List the single pictures in `sources`, one source or an iterable of them, in their order.

    A folder becomes the paths of the picture files directly in it, sorted as a person would (2
    before 10), without hidden files. A string with `*`, `?` or `[...]` that names no file is a
    pattern and becomes the paths of the files it matches (`**` crosses folders). Anything else,
    a single array or tensor included, is passed on as it came.

    Raises `PictureError` where a folder holds no picture or a pattern matches no file.
    """
    several = isinstance(sources, Iterable) and not (
        isinstance(sources, (str, os.PathLike, bytes, bytearray, memoryview))
        or hasattr(sources, "shape")
        or hasattr(sources, "read")
    )
    found: list[Any] = []
    for source in sources if several else [sources]:  # type: ignore[attr-defined]
        is_path = isinstance(source, (str, os.PathLike)) and not _scheme(source)
        found += _expand(source) if is_path else [source]
    return found


def _expand(source: str | os.PathLike[str]) -> list[Any]:
    try:
        path = Path(source).expanduser()
        if path.is_dir():
            files = [p for p in path.iterdir() if _SUFFIX.fullmatch(p.suffix)]
            what = f"The folder {source} holds no pictures"
        elif isinstance(source, str) and re.search(r"[*?[]", source) and not path.exists():
            files = [Path(p) for p in glob.glob(str(path), recursive=True)]  # noqa: PTH207 - may be absolute
            what = f"No file matches {source}"
        else:
            return [source]
        files = [p for p in files if p.is_file() and not p.name.startswith(".")]
    except (OSError, ValueError, RuntimeError) as error:
        raise PictureError(f"{source} cannot be listed ({error}): check the path.") from error
    if not files:
        raise PictureError(f"{what}: give the path of a file, a folder of pictures or a pattern.")
    return sorted(files, key=_natural)


def _natural(path: Path) -> list[tuple[str | int, ...]]:
    """Order paths by folder, then with the numbers in their names compared as numbers."""
    parts = [re.split(r"(\d+)", part.casefold()) for part in path.parts]
    return [tuple(int(t) if t.isdecimal() else t for t in part) for part in parts]


def _label(source: object) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fsdecode(source)
    for attribute in ("filename", "name"):  # of a PIL image, of an open file
        own = getattr(source, attribute, None)
        if isinstance(own, str) and own:
            return own
    return "picture"


def _open(source: object, label: str, max_bytes: int, timeout: float) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(bytes(source))
    if isinstance(source, (str, os.PathLike)):
        if _scheme(source):
            return io.BytesIO(_download(os.fsdecode(source), max_bytes, timeout))
        return _open_file(os.fsdecode(source), label)
    if hasattr(source, "read"):
        try:
            content = source.read()
        except (OSError, ValueError) as error:
            raise PictureError(f"{label} cannot be read ({error}): open it again.") from error
        if not isinstance(content, bytes):
            raise PictureError(f"{label} is open as text: open it in binary mode, open(..., 'rb').")
        return io.BytesIO(content)
    raise PictureError(
        f"{label} is of type {type(source).__name__}: give a path, a URL, bytes, an open binary "
        "file, a PIL image, or a uint8 array or tensor; several pictures go in a list."
    )


def _open_file(source: str, label: str) -> BinaryIO:
    try:
        path = Path(source).expanduser()
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{label} is a folder, not a picture: give the path of one file.")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise PictureError(f"{label} is not a regular file: give its content as bytes.")
        return path.open("rb")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PictureError(f"{label} does not exist: {_nearest(path)}.") from error
    except PermissionError as error:
        raise PictureError(f"{label} may not be read: give yourself read permission.") from error
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, PictureError):
            raise
        raise PictureError(f"{label} cannot be opened ({error}): check the path.") from error


def _nearest(path: Path) -> str:
    """Advise on a missing path: similar names beside it, or the folder that is missing too."""
    try:
        names = {p.name.casefold(): p.name for p in itertools.islice(path.parent.iterdir(), 5000)}
    except OSError:
        return f"neither does the folder {path.parent}; check the path"
    close = difflib.get_close_matches(path.name.casefold(), names, n=3)
    return f"did you mean {' or '.join(names[n] for n in close)}?" if close else "check the path"


def _scheme(source: object) -> str:
    """Return "https" for "https://...", and nothing for a path."""
    match = re.match(r"([a-z][a-z0-9+.-]*)://", str(source), re.IGNORECASE)
    return match[1].lower() if match and isinstance(source, str) else ""


def _download(url: str, max_bytes: int, timeout: float) -> bytes:
    if _scheme(url) not in {"http", "https"}:
        raise PictureError(f"{url} is neither http nor https: for a local file give its path.")
    too_large = PictureError(f"{url} is larger than {max_bytes:,} bytes: raise max_bytes.")
    deadline = time.monotonic() + timeout
    content = bytearray()
    try:
        quoted = urllib.parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        request = urllib.request.Request(quoted, headers={"User-Agent": "seewhy"})  # noqa: S310 - checked above
        with urllib.request.build_opener(_NoFTP).open(request, timeout=timeout) as response:
            if int(response.headers.get("Content-Length") or 0) > max_bytes:
                raise too_large
            while block := response.read1(1 << 16):
                content += block
                if len(content) > max_bytes:
                    raise too_large
                if time.monotonic() > deadline:  # the socket's own limit holds for each block only
                    raise TimeoutError(f"not complete after {timeout:g} s")
    except PictureError:
        raise
    except (OSError, ValueError, http.client.HTTPException) as error:
        advice = "check the address, or download the picture and give its path"
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise PictureError(f"{url} cannot be fetched ({error}): {advice}.") from error
    return bytes(content)


class _NoFTP(urllib.request.FTPHandler):
    """Follow no redirection to ftp, which urllib would."""

    def ftp_open(self, req: urllib.request.Request) -> NoReturn:
        raise urllib.error.URLError(f"it leads to {req.full_url}")


_filters = threading.Lock()  # warning filters belong to the process

_AGAIN = "copy or download it again, or save it as an 8 bit PNG"
_HEIC = "a HEIC picture"
_KINDS = (
    (rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM", "a damaged picture", _AGAIN),
    (rb"II[*+]\0|MM\0[*+]", "a TIFF that is damaged or of a rare kind", _AGAIN),
    (rb"....ftyp(he|mif1|msf1)", _HEIC, "pip install pillow-heif"),
    (rb"....ftypavi[fs]", "an AVIF picture", "pip install -U pillow, or " + _AGAIN),
    (rb"....ftyp", "a video", "save one frame as PNG"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "a JPEG XL picture", "convert it to PNG first"),
    (rb"%PDF", "a PDF", "save the page as PNG first"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", "convert it to PNG first"),
    (rb"PK\x03\x04", "a zip file", "unpack it first"),
    (rb"\x1f\x8b", "a gzip file", "unpack it first"),
    (rb"\x93NUMPY", "a NumPy file", "give the array that numpy.load reads from it"),
    (rb".{128}DICM", "a DICOM file", "give the pixels as a uint8 array, after windowing"),
    (rb"version https://git-lfs", "a Git LFS pointer", "run git lfs pull"),
    (rb"\s*<(!doctype html|html)", "an HTML page", "give the address of the picture itself"),
    (rb"(?=.*<svg)\s*<", "an SVG drawing", "convert it to PNG first"),
)


def _looks_like(head: bytes) -> tuple[str, str]:
    """Tell from a file's first bytes what it is, and what to do about it."""
    for pattern, kind, advice in _KINDS:
        if re.match(pattern, head.removeprefix(codecs.BOM_UTF8), re.DOTALL | re.IGNORECASE):
            return kind, advice
    # A letter of several bytes may be cut in two at the end of the head.
    is_utf8 = len(head.decode("utf-8", "ignore").encode()) >= len(head) - 3
    if is_utf8 and not re.search(rb"[\0-\x08\x0e-\x1a]", head):
        return "a text file", "give a picture, such as a PNG or JPEG"
    return "no kind of picture that is known here", "give a picture, such as a PNG or JPEG"


def _decode(stream: BinaryIO, label: str, max_pixels: int) -> Image.Image:
    try:
        head = stream.read(1024)
    except OSError as error:
        raise PictureError(f"{label} cannot be read ({error}): copy it elsewhere first.") from error
    if not head:
        raise PictureError(f"{label} is empty: copy or download it again.")
    kind, advice = _looks_like(head)
    Image.init()
    if kind == _HEIC and "HEIF" not in Image.OPEN:
        with contextlib.suppress(ImportError):  # then the message below says what to install
            importlib.import_module("pillow_heif").register_heif_opener()
    # Pillow hands PostScript to another program, which runs it.
    formats = [known for known in Image.ID if known != "EPS"]
    try:
        with _filters, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels decides
            image = Image.open(stream, formats=formats)
    except Image.DecompressionBombError as error:
        raise _too_large(label, str(error)) from error
    except Exception as error:
        why = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise PictureError(f"{label} looks like {kind}{why}: {advice}.") from error
    return _to_rgb(image, label, max_pixels)


def _too_large(label: str, detail: str) -> PictureError:
    return PictureError(
        f"{label} is too large ({detail}): scale it down first, or raise max_pixels and "
        f"PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def _to_rgb(image: Image.Image, label: str, max_pixels: int) -> Image.Image:
    """Decode, flatten and turn upright; `image` itself is only loaded."""
    width, height = image.size
    if width * height > max_pixels:
        raise _too_large(label, f"{width} x {height} pixels, at most {max_pixels:,} are read")
    if width * height == 0:
        raise PictureError(f"{label} has no pixels ({width} x {height}): give one with some.")
    try:
        image.load()
        rgb = _flatten(image, label)
        rgb.info = {}  # what was said of the file, such as its orientation, holds no longer
        rgb.getexif()[ExifTags.Base.Orientation] = _orientation(image)
        ImageOps.exif_transpose(rgb, in_place=True)
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(label, str(error)) from error
    except Exception as error:
        why = str(error) or type(error).__name__
        raise PictureError(f"{label} is damaged or incomplete ({why}): {_AGAIN}.") from error
    return rgb


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - Pillow's parser raises anything; broken EXIF turns nothing
        return 1


def _flatten(image: Image.Image, label: str) -> Image.Image:
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if tags.get(284) == 2 and tags.get(259) == 1 and max(tags.get(258, (8,))) > 8:
        # Pillow reads the planes of these as if they were of 8 bits.
        raise PictureError(f"{label} is an uncompressed 16 bit TIFF in planes: {_AGAIN}.")
    if image.mode.startswith("I") or image.mode == "F":
        grey = _deep_grey(np.asarray(image), image.info.get("transparency"), label)
        return Image.fromarray(255 - grey if tags.get(262) == 0 else grey).convert("RGB")
    if image.has_transparency_data:
        if image.mode == "P":  # convert() writes the transparency into the very palette it reads
            image = image.copy()
        if image.mode == "La":  # the one mode that convert() does not bring to RGBA at once
            image = image.convert("LA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "CMYK" and "icc_profile" in image.info:
        # A profile may be broken or not for CMYK, and Pillow may come without LittleCMS.
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ImportError):
            ink = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
            screen = ImageCms.createProfile("sRGB")
            return cast(
                "Image.Image", ImageCms.profileToProfile(image, ink, screen, outputMode="RGB")
            )
    return image.convert("RGB")


def _deep_grey(values: np.ndarray[Any, Any], clear: object, label: str) -> np.ndarray[Any, Any]:
    """Bring grey of more than 8 bits to 8; the value `clear` is transparent, so white."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise PictureError(f"{label} holds NaN or infinite values: replace them first.")
    if values.dtype.kind == "f" or low < 0 or high > 65535:
        span = float(high) - float(low)
        scaled = (values.astype(np.float64) - float(low)) * (255 / span if span else 0)
        grey = np.rint(scaled).astype(np.uint8)
    else:
        grey = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.where(values == clear, np.uint8(255), grey) if isinstance(clear, int) else grey


def _from_array(array: Any, label: str) -> Image.Image:
    is_tensor = hasattr(array, "detach")
    kind = "tensor" if is_tensor else "array"
    dtype, shape = str(array.dtype).removeprefix("torch."), tuple(array.shape)
    came = f"{label} is a {kind} of {dtype}, shape {shape}{_range(array)}"
    if 0 in shape:
        raise PictureError(f"{came}: it has no pixels; give one with some.")
    if "float" in dtype:
        raise PictureError(
            f"{came}: a float tensor with a batch axis is taken as model input, a single picture "
            "must be uint8, 0 to 255; if this is one in 0 to 1, multiply by 255, round, convert."
        )
    if dtype not in {"uint8", "bool"}:
        raise PictureError(f"{came}: a picture must be uint8 (0 to 255) or bool; convert it.")
    first = is_tensor and len(shape) == 3 and shape[0] in {1, 3, 4}
    if len(shape) != 2 and not first and (len(shape) != 3 or shape[2] not in {1, 3, 4}):
        hint = "give the pictures of a batch one by one" if len(shape) == 4 else "rearrange it"
        wanted = "(H, W), (C, H, W) or (H, W, C)" if is_tensor else "(H, W) or (H, W, C)"
        raise PictureError(f"{came}: expected {wanted} with C of 1, 3 or 4; {hint}.")
    try:
        pixels = np.asarray(array.detach().cpu().numpy() if is_tensor else array)
    except (TypeError, RuntimeError, ValueError) as error:  # sparse, or without storage
        raise PictureError(f"{came}, without plain values ({error}): make it dense.") from error
    pixels = pixels.astype(np.uint8) * np.uint8(255) if dtype == "bool" else pixels
    pixels = np.moveaxis(pixels, 0, 2) if first else pixels
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return Image.fromarray(np.ascontiguousarray(pixels))


def _range(array: Any) -> str:
    try:
        return f", values {array.min():g} to {array.max():g}"
    except (TypeError, ValueError, RuntimeError, NotImplementedError):  # empty, or not numbers
        return ""
