"""Facts about reading pictures: what comes out is what a person would see, or one clear error."""

import io
import os
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFile

from seewhy.data.images import find_pictures, read_picture
from seewhy.errors import PictureError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
CORNERS = np.array([[RED, GREEN, BLUE], [WHITE, BLACK, (255, 255, 0)]], np.uint8)


def encoded(image: Image.Image | np.ndarray, kind: str = "PNG", **options) -> bytes:
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def tiff(values: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + extra
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def pixels(source: object, **options) -> np.ndarray:
    picture = read_picture(source, **options)
    assert picture.image.mode == "RGB"
    assert type(picture.image) is Image.Image
    return np.asarray(picture.image)


def grey_of(source: object) -> list[int]:
    values = pixels(source)
    assert (values == values[..., :1]).all()
    return values[..., 0].ravel().tolist()


def refusal(source: object, **options) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(source, **options)
    return str(caught.value)


# --- What comes out right ------------------------------------------------------------------------

# EXIF 2.3, tag 274: which side of the scene the first stored row and column show.
AS_STORED = {
    1: lambda upright: upright,  # row top, column left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.swapaxes(0, 1),  # left, top
    6: lambda upright: upright.swapaxes(0, 1)[::-1],  # right, top
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],  # right, bottom
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],  # left, bottom
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_turned_upright(kind, orientation):
    upright = CORNERS.repeat(16, 0).repeat(16, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    stored = np.ascontiguousarray(AS_STORED[orientation](upright))
    read = pixels(encoded(stored, kind, exif=exif, **options.get(kind, {})))
    assert read.shape == upright.shape
    assert np.abs(read.astype(int) - upright).max() <= (4 if kind == "JPEG" else 0)


def test_an_upright_picture_is_not_turned_again():
    exif = Image.Exif()
    exif[0x0112] = 6
    once = read_picture(encoded(CORNERS, exif=exif)).image
    twice = read_picture(once).image
    assert once.size == twice.size == (2, 3)
    again = read_picture(encoded(once)).image
    assert np.array_equal(np.asarray(again), np.asarray(once))


def test_broken_exif_turns_nothing():
    assert np.array_equal(pixels(encoded(CORNERS, exif=b"Exif\0\0no EXIF")), CORNERS)


def cmyk_profile() -> bytes:
    """Write an ICC profile, as in ICC.1:2001-04 6.5.8 (lut8Type), of an ink set where C is red."""
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    lut += struct.pack(">9i", *(65536 if i % 4 == 0 else 0 for i in range(9)))
    lut += bytes(range(256)) * 4
    for node in range(16):  # C varies slowest
        lab = {0b0000: (255, 128, 128), 0b1000: (138, 209, 198)}.get(node, (0, 128, 128))
        lut += bytes(lab)
    lut += bytes(range(256)) * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    head = struct.pack(">I4sI4s4s4s12s4s", 144 + len(lut), b"", 0x02400000, b"prtr", b"CMYK",
                       b"Lab ", bytes(12), b"acsp")  # fmt: skip
    head += bytes(28) + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + tags + lut


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])  # a JPEG stores its inks inverted, as Adobe does
def test_ink_becomes_light(kind):
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    data = encoded(inks, kind)
    assert (b"Adobe" in data) == (kind == "JPEG")
    assert np.abs(pixels(data)[0, 0].astype(int) - (0, 255, 255)).max() <= 2
    black = encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), kind)
    assert pixels(black).max() <= 2


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_an_embedded_profile_decides_what_colour_ink_has(kind):
    inks = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    read = pixels(encoded(inks, kind, icc_profile=cmyk_profile()))
    assert np.abs(read[0, 0].astype(int) - RED).max() <= 6


def test_a_broken_profile_is_passed_over():
    inks = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert pixels(encoded(inks, "TIFF", icc_profile=b"no profile")).min() == 255


def paletted(**info) -> Image.Image:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).copy()
    image.putpalette([*RED, *GREEN, *BLUE])
    image.info.update(info)
    return image


def test_a_palette_is_looked_up():
    assert pixels(encoded(paletted())).tolist() == [[[*RED], [*GREEN], [*BLUE]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(kind):
    data = encoded(paletted(), kind, transparency=1)
    assert pixels(data).tolist() == [[[*RED], [*WHITE], [*BLUE]]]


def test_a_half_transparent_palette_entry_is_mixed_with_white():
    data = encoded(paletted(), transparency=bytes([255, 0, 51]))
    assert pixels(data).tolist() == [[[*RED], [*WHITE], [204, 204, 255]]]


def test_alpha_is_composited_over_white():
    rgba = np.array([[(255, 0, 0, 255), (0, 0, 0, 0), (0, 0, 0, 51)]], np.uint8)
    expected = [[[*RED], [*WHITE], [204, 204, 204]]]
    assert pixels(encoded(rgba)).tolist() == expected
    assert pixels(rgba).tolist() == expected
    assert pixels(encoded(rgba, "WEBP", lossless=True, exact=True)).tolist() == expected
    la = Image.fromarray(rgba).convert("LA")
    assert grey_of(encoded(la)) == [76, 255, 204]


@pytest.mark.parametrize("mode", ["RGBa", "PA", "La"])
def test_rarer_modes_with_alpha_are_composited_over_white(mode):
    assert pixels(Image.new(mode, (2, 1))).tolist() == [[[*WHITE], [*WHITE]]]


def test_a_transparent_colour_is_white():
    image = Image.fromarray(CORNERS)
    assert pixels(encoded(image, transparency=RED))[0, 0].tolist() == [*WHITE]
    assert pixels(encoded(image, transparency=RED))[0, 1].tolist() == [*GREEN]
    deep = np.array([[0, 300, 65535]], ">u2")
    clear = png_chunk(b"tRNS", struct.pack(">H", 300))
    assert grey_of(png(3, 1, 16, 0, b"\0" + deep.tobytes(), clear)) == [0, 255, 255]


def test_grey_and_bilevel_pictures():
    grey = np.array([[0, 7, 255]], np.uint8)
    for kind in ("PNG", "TIFF", "BMP"):
        assert grey_of(encoded(grey, kind)) == [0, 7, 255]
        assert grey_of(encoded(Image.fromarray(grey).convert("1", dither=0), kind)) == [0, 0, 255]
    assert grey_of(tiff(grey, photometric="miniswhite")) == [255, 248, 0]


DEEP = np.array([[0, 128, 129, 257, 257 * 100, 65534, 65535]], np.uint16)
SHALLOW = [0, 0, 1, 1, 100, 255, 255]


def test_sixteen_bit_grey_is_divided_by_257():
    assert grey_of(encoded(DEEP)) == SHALLOW
    assert grey_of(png(7, 1, 16, 0, b"\0" + DEEP.astype(">u2").tobytes())) == SHALLOW
    assert grey_of(tiff(DEEP)) == grey_of(tiff(DEEP, byteorder=">")) == SHALLOW
    assert Image.open(io.BytesIO(tiff(DEEP, byteorder=">"))).mode == "I;16B"
    assert grey_of(Image.fromarray(DEEP.astype(np.int32))) == SHALLOW
    assert grey_of(tiff(DEEP.astype(np.int32))) == SHALLOW
    assert grey_of(tiff(DEEP, photometric="miniswhite")) == [255 - value for value in SHALLOW]


def test_sixteen_bit_colour_keeps_its_upper_byte():
    colour = np.stack([DEEP, DEEP[:, ::-1], DEEP], -1)
    contiguous = pixels(tiff(colour, photometric="rgb"))
    assert contiguous[0].tolist() == (colour[0] >> 8).tolist()
    planes = np.ascontiguousarray(colour.transpose(2, 0, 1))
    options = {"photometric": "rgb", "planarconfig": "separate"}
    assert np.array_equal(pixels(tiff(planes, compression="zlib", **options)), contiguous)
    assert "save it as an 8 bit PNG" in refusal(tiff(planes, **options))  # Pillow misreads these


def test_values_without_a_range_are_stretched_to_their_own():
    floats = np.array([[-2, 0, 0.5, 3]], np.float32)
    assert grey_of(encoded(floats, "TIFF")) == grey_of(tiff(floats)) == [0, 102, 128, 255]
    assert grey_of(Image.fromarray(np.array([[-100_000, 0, 100_000]], np.int32))) == [0, 128, 255]
    assert grey_of(Image.fromarray(np.full((1, 2), 7.5, np.float32))) == [0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(value):
    message = refusal(tiff(np.array([[0, value]], np.float32)), name="x.tif")
    assert message.startswith("x.tif holds NaN or infinite values")


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_or_page_is_read(kind):
    frames = [Image.new("RGB", (5, 4), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert (pixels(data) == RED).all()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM", "TGA"])
def test_lossless_formats_are_read_exactly(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(pixels(encoded(CORNERS, kind, **options)), CORNERS)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr", "HSV"])
def test_other_colour_spaces_are_converted(mode):
    read = pixels(Image.fromarray(CORNERS).convert(mode))
    assert np.abs(read.astype(int) - CORNERS).max() <= (24 if mode == "LAB" else 4)


# --- Where pictures come from --------------------------------------------------------------------


def test_every_source_gives_the_same_picture(tmp_path, monkeypatch):
    data = encoded(CORNERS)
    path = tmp_path / "corners.png"
    path.write_bytes(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    spaced = bytearray(2 * len(data))
    spaced[::2] = data
    sources = [path, str(path), "~/corners.png", data, bytearray(data), memoryview(data)]
    sources += [memoryview(spaced)[::2], io.BytesIO(data), Image.open(path), CORNERS]
    sources += [np.asfortranarray(CORNERS), torch.tensor(CORNERS), torch.tensor(CORNERS).mT.mT]
    sources += [torch.tensor(CORNERS).permute(2, 0, 1)]
    for source in sources:
        assert np.array_equal(pixels(source), CORNERS)
    with path.open("rb") as file:
        assert np.array_equal(pixels(file), CORNERS)


def test_a_picture_is_called_by_its_path_or_by_its_given_name(tmp_path):
    path = tmp_path / "corners.png"
    path.write_bytes(encoded(CORNERS))
    assert read_picture(path).source == read_picture(str(path)).source == str(path)
    assert read_picture(Image.open(path)).source == str(path)
    with path.open("rb") as file:
        assert read_picture(file).source == str(path)
    assert read_picture(path, name="picture 3").source == "picture 3"
    assert read_picture(CORNERS).source == "picture"
    assert read_picture(torch.tensor(CORNERS)).source == "picture"


def test_grey_and_boolean_arrays():
    grey = np.array([[0, 7, 255]], np.uint8)
    assert grey_of(grey) == grey_of(grey[..., None]) == [0, 7, 255]
    assert grey_of(torch.tensor(grey)) == grey_of(torch.tensor(grey)[None]) == [0, 7, 255]
    mask = np.array([[True, False]])
    assert grey_of(mask) == grey_of(torch.tensor(mask)) == [255, 0]


def test_an_ambiguous_tensor_has_its_channels_first():
    tensor = torch.arange(3 * 2 * 4, dtype=torch.uint8).reshape(3, 2, 4)
    assert np.array_equal(pixels(tensor), tensor.permute(1, 2, 0).numpy()[..., :3])
    square = torch.arange(3 * 5 * 3, dtype=torch.uint8).reshape(3, 5, 3)
    assert pixels(square).shape == (5, 3, 3)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_the_result_shares_no_memory_with_an_array(shape):
    array = np.full(shape, 255, np.uint8)
    image = read_picture(array).image
    array[:] = 0
    assert np.asarray(image).min() == 255
    image.putpixel((0, 0), (9, 9, 9))
    assert array.max() == 0


def test_a_given_image_is_left_as_it_was():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.open(io.BytesIO(encoded(CORNERS, exif=exif)))
    for image in (
        Image.fromarray(CORNERS),
        Image.fromarray(CORNERS).convert("RGBA"),
        paletted(transparency=1),
        paletted(transparency=bytes([9, 8, 7])),
        turned,
    ):
        before = image.tobytes(), image.mode, image.size, dict(image.info)
        palette = image.im.getpalettemode() if image.mode == "P" else None
        read = read_picture(image).image
        read.paste((1, 2, 3), (0, 0, *read.size))
        assert (image.tobytes(), image.mode, image.size, dict(image.info)) == before
        assert (image.im.getpalettemode() if image.mode == "P" else None) == palette


@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_any_array_survives_a_png(array):
    assert np.array_equal(pixels(encoded(array)), array)
    assert np.array_equal(pixels(array), array)


# --- Finding -------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    names = ["b10.PNG", "b2.png", "a1.jpg", ".hidden.png", "notes.txt", "b2.tif"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "inner.png").mkdir()
    (tmp_path / "inner.png" / "deep.png").write_bytes(b"x")
    return tmp_path


def names(found: list) -> list[str]:
    return [path.name for path in found]


def test_a_folder_is_its_pictures_in_natural_order(folder):
    expected = ["a1.jpg", "b2.png", "b2.tif", "b10.PNG"]
    assert names(find_pictures(folder)) == names(find_pictures(str(folder))) == expected


def test_a_pattern_is_the_files_it_matches(folder):
    assert names(find_pictures(f"{folder}/b*")) == ["b2.png", "b2.tif", "b10.PNG"]
    assert names(find_pictures(f"{folder}/*.txt")) == ["notes.txt"]
    assert names(find_pictures(f"{folder}/**/d*.png")) == ["deep.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(folder):
    odd = folder / "a[1].png"
    odd.write_bytes(b"x")
    assert find_pictures(str(odd)) == [str(odd)]


def test_anything_else_is_passed_on_in_order(folder):
    image, data, url = Image.new("RGB", (1, 1)), b"data", "https://example.org/a?b=*"
    stream, tensor = io.BytesIO(), torch.zeros(2, 3, 4, 4)
    for single in (image, data, url, stream, tensor, CORNERS, 7):
        found = find_pictures(single)
        assert len(found) == 1
        assert found[0] is single
    mixed = find_pictures([image, str(folder / "missing.png"), folder, url])
    assert mixed[0] is image
    assert mixed[1] == str(folder / "missing.png")
    assert names(mixed[2:-1]) == ["a1.jpg", "b2.png", "b2.tif", "b10.PNG"]
    assert mixed[-1] == url
    assert names(find_pictures(folder.glob("b2.*"))) != []
    assert find_pictures(()) == []


def test_nothing_found_is_an_error(tmp_path):
    with pytest.raises(PictureError, match="holds no pictures"):
        find_pictures(tmp_path)
    with pytest.raises(PictureError, match="No file matches"):
        find_pictures(f"{tmp_path}/*.jpg")


# --- What is refused -----------------------------------------------------------------------------


def test_a_missing_path_brings_up_names_like_it(tmp_path):
    (tmp_path / "cat_dog.PNG").write_bytes(b"x")
    assert "did you mean cat_dog.PNG?" in refusal(tmp_path / "cat-dog.png")
    message = refusal(tmp_path / "nowhere" / "cat.png")
    assert str(tmp_path / "nowhere" / "cat.png") in message
    assert f"neither does the folder {tmp_path / 'nowhere'}" in message
    assert "check the path" in refusal(tmp_path / "zzz")


def test_a_path_that_is_no_readable_file(tmp_path, monkeypatch):
    assert "is a folder" in refusal(tmp_path)
    assert "is a folder" in refusal("")
    assert "cannot be opened" in refusal("a\0b.png")
    assert "cannot be opened" in refusal("a" * 5000)
    assert "not a regular file" in refusal(os.devnull)
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(CORNERS))

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert refusal(path) == f"{path} may not be read: give yourself read permission."


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "is empty"),
        (b"The quick brown fox.\n", "a text file"),
        ("Füße ".encode() * 300, "a text file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "a PostScript file"),
        (b"PK\x03\x04" + bytes(40), "a zip file"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"\x93NUMPY\x01\0", "a NumPy file"),
        (bytes(128) + b"DICM", "a DICOM file"),
        (b"\0\0\0\x20ftypisom", "a video"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer: run git lfs pull"),
        (b"<!DOCTYPE html><title>", "an HTML page"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg xmlns=''>", "an SVG drawing: convert it to PNG"),
        (b"\xff\xd8\xff\xe0", "a damaged picture"),
        (bytes([250, 3, 177, 0]) * 99, "no kind of picture that is known"),
    ],
)
def test_what_is_no_picture_is_called_what_it_is(tmp_path, content, kind):
    path = tmp_path / "cat.png"
    path.write_bytes(content)
    message = refusal(path)
    assert message.startswith(f"{path} ")
    assert kind in message
    assert "\n" not in message
    assert refusal(content, name="picture 3").startswith("picture 3 ")


def test_a_picture_with_the_wrong_suffix_is_read(tmp_path):
    path = tmp_path / "cat.jpg"
    path.write_bytes(encoded(CORNERS))
    assert np.array_equal(pixels(path), CORNERS)


def test_heic_without_its_plugin_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    message = refusal(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", name="cat.heic")
    assert message == "cat.heic looks like a HEIC picture: pip install pillow-heif."


def textured() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_cut_off_file_is_damaged(tmp_path, kind):
    path = tmp_path / "cut"
    data = encoded(textured(), kind)
    path.write_bytes(data[: len(data) // 2])
    message = refusal(path)
    assert message.startswith(f"{path} ")
    assert "damaged" in message
    assert "copy or download it again" in message


def outcome(data: bytes | bytearray) -> object:
    """Tell the shape of the picture that was read, or that it was refused by its name."""
    try:
        return pixels(data, name="cat.x", max_pixels=1_000_000).shape
    except PictureError as error:
        return "refused" if str(error).startswith("cat.x ") else str(error)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG"]), st.floats(0, 1))
def test_a_file_cut_anywhere_is_read_or_refused(kind, share):
    data = encoded(textured()[:12, :12], kind)
    assert outcome(data[: int(share * len(data))]) in {"refused", (12, 12, 3)}


STARTS = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff", b"GIF89a", b"II*\0\x08\0\0\0"]
STARTS += [b"RIFF\x40\0\0\0WEBPVP8L", b"BM", b"P6 3 2 255 ", b"\0\0\1\0\1\0", b"8BPS\0\1", b"qoif"]
STARTS += [b"\0\0\0\x20ftypavif", b"\0\0\0\x0cjP  \r\n\x87\n", b"DDS |\0\0\0", b"%!PS-Adobe-3.0\n"]


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow on what it finds broken
@settings(max_examples=300, deadline=None)
@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(start, rest):
    assert outcome(start + rest) == "refused" or isinstance(outcome(start + rest), tuple)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "GIF"]), st.data())
def test_a_file_with_wrong_bytes_is_read_or_refused(kind, data):
    content = bytearray(encoded(textured()[:8, :8], kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    assert outcome(content) == "refused" or isinstance(outcome(content), tuple)


@pytest.mark.parametrize("size", [(50_000, 50_000), (30_000, 4_000)])
def test_a_decompression_bomb_is_refused_by_its_header(size):
    bomb = png(*size, 8, 2, bytes(100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(bomb, name="bomb.png")
    assert message.startswith("bomb.png is too large")
    assert "max_pixels" in message


def test_max_pixels_decides_what_is_too_large(monkeypatch):
    assert "3 x 2 pixels, at most 5" in refusal(encoded(CORNERS), max_pixels=5)
    assert "at most 5" in refusal(Image.fromarray(CORNERS), max_pixels=5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(pixels(encoded(CORNERS)), CORNERS)


def test_the_settings_of_the_process_are_left_alone():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    read_picture(encoded(CORNERS))
    refusal(encoded(textured())[:900])
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, warnings.filters) == before


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor])
def test_arrays_that_are_no_picture(wrap):
    def said(array: np.ndarray) -> str:
        return refusal(wrap(array), name="picture 2")

    message = said(np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 2, 3))
    assert "of float32, shape (2, 2, 3), values 0 to 1" in message
    assert "float tensor with a batch axis is taken as model input" in message
    assert "must be uint8" in message
    assert "values nan to nan" in said(np.full((2, 2), np.nan))
    assert "of int64, shape (2, 2), values 0 to 3" in said(np.arange(4).reshape(2, 2))
    assert "has no pixels" in said(np.zeros((0, 5, 3), np.uint8))
    assert "has no pixels" in said(np.zeros((0, 5, 3), np.float32))
    assert "one by one" in said(np.zeros((2, 5, 5, 3), np.uint8))
    assert "with C of 1, 3 or 4" in said(np.zeros((5, 5, 2), np.uint8))
    assert "expected (H, W)" in said(np.zeros(5, np.uint8))
    assert "expected (H, W)" in said(np.uint8(5))
    assert "must be uint8" in said(np.zeros((2, 2), np.complex64))


def test_rarer_arrays_and_tensors_are_refused_too():
    assert "must be uint8" in refusal(np.array([["a", "b"]]))
    assert "of bfloat16" in refusal(torch.zeros(2, 2, dtype=torch.bfloat16))
    assert "without plain values" in refusal(torch.zeros(2, 2, dtype=torch.uint8).to_sparse())
    assert "without plain values" in refusal(torch.zeros(2, 2, dtype=torch.uint8, device="meta"))
    assert "expected (H, W)" in refusal(np.zeros((3, 8, 8), np.uint8))  # arrays: channels last


@pytest.mark.parametrize("thing", [None, 7, ["a.png"], {"a": 1}, object()])
def test_other_objects_are_refused(thing):
    message = refusal(thing, name="picture 2")
    assert message.startswith(f"picture 2 is of type {type(thing).__name__}: give a path")


def test_streams_and_images_that_cannot_be_read(tmp_path):
    assert "binary mode" in refusal(io.StringIO("text"))
    closed = io.BytesIO(b"x")
    closed.close()
    assert "cannot be read" in refusal(closed)
    path = tmp_path / "corners.png"
    path.write_bytes(encoded(CORNERS))
    image = Image.open(path)
    image.close()
    assert refusal(image).startswith(f"{path} ")
    assert "has no pixels" in refusal(Image.new("RGB", (0, 4)))


# --- The web -------------------------------------------------------------------------------------


class Site(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        answer = getattr(self, self.path.split("?")[0].strip("/").replace("-", "_"), None)
        if answer is None:
            self.send_error(404)
        else:
            answer()

    def _send(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def corners(self) -> None:
        self._send(encoded(CORNERS))

    def page(self) -> None:
        self._send(b"<html><body>A cat.</body></html>", Content_Type="text/html")

    def endless(self) -> None:
        self._send(bytes(100_000))

    def declared(self) -> None:
        self._send(b"", Content_Length="10000000000")

    def drip(self) -> None:
        self._send(b"")
        for _ in range(40):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def silent(self) -> None:
        time.sleep(0.6)

    def cut(self) -> None:
        self._send(encoded(textured())[:2000], Content_Length="6000")

    def garbage(self) -> None:
        self.wfile.write(b"not HTTP at all\r\n\r\n")

    def onward(self) -> None:
        self._send(b"", 302, Location="/corners")

    def to_ftp(self) -> None:
        self._send(b"", 302, Location="ftp://127.0.0.1/corners.png")

    def to_file(self) -> None:
        self._send(b"", 302, Location="file:///etc/hostname")

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            """The reader has had enough."""


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_url_is_fetched(site):
    picture = read_picture(f"{site}/corners")
    assert np.array_equal(np.asarray(picture.image), CORNERS)
    assert picture.source == f"{site}/corners"
    assert np.array_equal(pixels(f"{site}/onward"), CORNERS)
    assert np.array_equal(pixels(f"{site}/corners?of=a café"), CORNERS)


@pytest.mark.parametrize(
    ("page", "reason"),
    [
        ("missing", "HTTP Error 404: Not Found"),
        ("page", "an HTML page: give the address of the picture itself"),
        ("endless", "is larger than 50,000 bytes: raise max_bytes"),
        ("declared", "is larger than 50,000 bytes: raise max_bytes"),
        ("drip", "not complete after 0.3 s"),
        ("silent", "timed out"),
        ("cut", "damaged or incomplete"),
        ("garbage", "cannot be fetched"),
        ("to-ftp", "it leads to ftp://127.0.0.1/corners.png"),
        ("to-file", "cannot be fetched"),
    ],
)
def test_a_url_that_gives_no_picture(site, page, reason):
    message = refusal(f"{site}/{page}", max_bytes=50_000, timeout=0.3)
    assert message.startswith(f"{site}/{page} ")
    assert reason in message


def test_addresses_that_are_not_fetched():
    assert "neither http nor https" in refusal("ftp://example.org/cat.png")
    assert "give its path" in refusal("file:///etc/hostname")
    assert "cannot be fetched" in refusal("http://127.0.0.1:1/cat.png", timeout=1)
    assert "cannot be fetched" in refusal("http://")
    assert "cannot be fetched" in refusal("http://[bad/cat.png")
