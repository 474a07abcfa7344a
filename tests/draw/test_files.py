"""A picture is written whole or not at all, and what cannot be written says why."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seewhy.draw import save_image, to_png_bytes
from seewhy.errors import SaveError


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize(
    ("suffix", "format_name"),
    [
        (".png", "PNG"),
        (".jpg", "JPEG"),
        (".jpeg", "JPEG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
        (".tiff", "TIFF"),
        (".PNG", "PNG"),
    ],
)
def test_the_suffix_decides_the_format(tmp_path, picture, suffix, format_name):
    path = save_image(picture, tmp_path / f"map{suffix}")
    with Image.open(path) as read:
        assert (read.format, read.size) == (format_name, picture.size)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_formats_give_the_same_pixels_back(tmp_path, picture, suffix):
    with Image.open(save_image(picture, tmp_path / f"map{suffix}")) as read:
        assert read.tobytes() == picture.tobytes()


def test_jpeg_keeps_thin_coloured_lines(tmp_path):
    lines = np.zeros((32, 32, 3), dtype=np.uint8)
    lines[:, ::2, 0] = 255
    with Image.open(save_image(Image.fromarray(lines), tmp_path / "lines.jpg")) as read:
        difference = np.abs(np.asarray(read).astype(int) - lines)
    assert difference.mean() < 10


def test_options_reach_the_format(tmp_path, picture):
    fine = save_image(picture, tmp_path / "fine.jpg")
    coarse = save_image(picture, tmp_path / "coarse.jpg", quality=20)
    assert coarse.stat().st_size < fine.stat().st_size


def test_missing_folders_are_made_and_nothing_else_is_left(tmp_path, picture):
    path = save_image(picture, str(tmp_path / "a" / "b" / "map.png"))
    assert isinstance(path, Path)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["map", "map.gif", "map.png.bak", ".png"])
def test_an_unknown_suffix_is_refused_and_the_known_ones_are_named(tmp_path, picture, name):
    with pytest.raises(SaveError, match=r"\.png, \.jpg, \.jpeg, \.webp, \.tif, \.tiff"):
        save_image(picture, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"quality": "splendid"}, {"format": "PNG"}])
def test_options_that_the_format_does_not_take_are_refused(tmp_path, picture, options):
    with pytest.raises(SaveError, match="options"):
        save_image(picture, tmp_path / "map.jpg", **options)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_the_format_does_not_take_is_refused(tmp_path, picture):
    with pytest.raises(SaveError, match=r'RGBA.*convert\("RGB"\)'):
        save_image(picture.convert("RGBA"), tmp_path / "map.jpg")


def test_a_path_that_cannot_be_written_is_named_with_the_reason(tmp_path, picture):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SaveError, match=r"map\.png: .*(exists|directory)"):
        save_image(picture, tmp_path / "file" / "map.png")


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path, picture, monkeypatch):
    path = save_image(picture, tmp_path / "map.png")
    before = path.read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(SaveError, match="No space left"):
        save_image(Image.new("RGB", (4, 4)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_not_replaced_by_a_file(tmp_path, picture):
    (tmp_path / "map.png").mkdir()
    with pytest.raises(SaveError, match="directory"):
        save_image(picture, tmp_path / "map.png")
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_a_link_is_followed(tmp_path, picture):
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    target.touch()
    try:
        link.symlink_to(target)
    except OSError:
        pytest.skip("this system makes no links")
    save_image(picture, link)
    assert link.is_symlink()
    assert target.stat().st_size > 0


def test_a_file_has_the_permissions_of_any_new_file(tmp_path, picture):
    (tmp_path / "plain.png").touch()
    saved = save_image(picture, tmp_path / "map.png")
    assert saved.stat().st_mode == (tmp_path / "plain.png").stat().st_mode


def test_png_bytes_hold_the_picture(picture):
    with Image.open(BytesIO(to_png_bytes(picture))) as read:
        assert read.format == "PNG"
        assert read.tobytes() == picture.tobytes()


def test_png_bytes_of_a_mode_that_png_lacks_are_refused():
    with pytest.raises(SaveError, match="CMYK"):
        to_png_bytes(Image.new("CMYK", (2, 2)))


def test_drawing_is_imported_without_matplotlib_and_torch():
    code = (
        "import sys, seewhy.draw; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603
