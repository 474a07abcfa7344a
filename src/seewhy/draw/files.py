"""Pictures to files and bytes."""

from __future__ import annotations

import secrets
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seewhy.errors import SaveError

if TYPE_CHECKING:
    from os import PathLike

    from PIL import Image

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# Full colour resolution: the usual subsampling smears the thin coloured lines of saliency maps.
DEFAULTS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


def save_image(image: Image.Image, path: str | PathLike[str], **options: Any) -> Path:
    """Write a picture to a file, in the format of its suffix, whole or not at all.

    The suffixes are .png, .jpg, .jpeg, .webp, .tif and .tiff; `options` are Pillow's for that
    format, such as quality=80. Missing folders are made, a link is followed, and a file of that
    name is replaced only once the new one is complete. Returns the path. Raises SaveError for
    another suffix, for options or a picture that the format does not take, and for a path that
    cannot be written.
    """
    path = Path(path)
    format_name = FORMATS.get(path.suffix.lower())
    if format_name is None:
        known = ", ".join(FORMATS)
        what = f"the suffix {path.suffix!r}" if path.suffix else "no suffix"
        raise SaveError(f"Cannot save {path} with {what}: end the name in one of {known}.")
    return write_whole(path, _encoded(image, format_name, options))


def write_whole(path: Path, data: bytes) -> Path:
    """Write a file that is complete or not there; missing folders are made, a link is followed.

    Returns the path. Raises SaveError for a path that cannot be written.
    """
    try:
        target = path.resolve()  # replacing a link itself would leave its file as it was
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".seewhy-{secrets.token_hex(8)}.part")
        try:
            part.write_bytes(data)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"Cannot write {path}: {reason}. Choose a file in a folder you may write to."
        raise SaveError(message) from error
    return path


def to_png_bytes(image: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file, as notebooks and pages display them.

    Raises SaveError for a picture of a mode that PNG does not have.
    """
    return _encoded(image, "PNG", {})


def _encoded(image: Image.Image, format_name: str, options: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    settings = {**DEFAULTS.get(format_name, {}), **options}
    try:
        image.save(buffer, format=format_name, **settings)
    except (OSError, ValueError, TypeError) as error:
        message = f"Cannot write a picture of mode {image.mode} and size {image.size} as "
        advice = 'Convert it with .convert("RGB"), or change the options or the suffix'
        raise SaveError(f"{message}{format_name}: {error}. {advice}.") from error
    return buffer.getvalue()
