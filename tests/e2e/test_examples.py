"""Every example runs to its end as it stands, and what it writes is what it says."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy.data.world import CLASSES, generate

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(each.stem for each in (ROOT / "examples").glob("*.py"))
SCRIPTS = [each for each in EXAMPLES if each not in ("common", "observations")]
UNREACHABLE = "http://127.0.0.1:9"


def example(name, *words, out, **environment):
    """Run a script with its files in `out`; return what it said."""
    own = {"PYTHONPATH": str(ROOT / "tests" / "support"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "examples" / f"{name}.py", *words, "--out", out]
    done = subprocess.run(  # noqa: S603 - our own
        list(map(str, command)),
        env=os.environ | own | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "SeewhyWarning" not in done.stderr
    return done.stdout


def stand_in(said):
    """The one line that says what stands in for trained weights."""
    [line] = [each for each in said.splitlines() if each.startswith("Going on with ")]
    assert "it shows nothing of " in line
    return line


def pixels(path):
    """What a picture file holds, which is not of one colour."""
    found = np.asarray(Image.open(path).convert("RGB"))
    assert found.std() > 5
    return found


@pytest.fixture
def photograph(tmp_path):
    """A picture that is no square, in RGB."""
    path = tmp_path / "photograph.png"
    Image.fromarray(generate(1, seed=4, empty=0.0).pictures[0]).resize((90, 60)).save(path)
    return path


@pytest.fixture(scope="module")
def untrained_vgg16(tmp_path_factory):
    """Runs the script without weights, once for each backend; gives its folder, what it said."""

    @cache
    def run(backend):
        pytest.importorskip("keras")
        pytest.importorskip(backend)
        out = tmp_path_factory.mktemp(backend)
        return out, example("keras_vgg16", "--weights", "none", out=out, KERAS_BACKEND=backend)

    return run


@pytest.mark.parametrize(
    "backend",
    ["torch", pytest.param("tensorflow", marks=pytest.mark.slow)],
)
def test_vgg16_has_a_map_of_14_by_14_drawn_at_the_size_of_the_picture(backend, untrained_vgg16):
    out, said = untrained_vgg16(backend)
    assert stand_in(said).startswith("Going on with keras/VGG16?weights=none, which is untrained")
    assert "(probability: the network ends in a softmax)" in said
    assert [line[:4] for line in said.splitlines() if re.match(r"\| \d", line)] == [
        f"| {rank} " for rank in range(1, 6)
    ]
    why = sw.read(out / "vgg16.npz")
    assert why.layers == ("block5_conv3",)
    assert why.relevance.shape == (1, 14, 14)
    drawn = pixels(out / "vgg16-heatmap.png")
    assert drawn.shape == (14 * 16, 14 * 16, 3)
    places = drawn.reshape(14, 16, 14, 16, 3)
    assert (places == places[:, :1, :, :1]).all()  # a place is a square of one colour
    strongest = divmod(int(why.relevance[0].argmax()), 14)
    assert tuple(places[strongest[0], 0, strongest[1], 0]) == (253, 231, 37)  # viridis' last
    overlay = Image.open(out / "vgg16-overlay.png")
    assert overlay.size == Image.open(out / "cat.png").size == (451, 300)
    assert overlay.tobytes() != Image.open(out / "cat.png").tobytes()


def test_an_untrained_vgg16_is_the_same_after_a_failed_download(tmp_path, untrained_vgg16):
    out, _ = untrained_vgg16("torch")
    nothing = {"KERAS_HOME": str(tmp_path), "https_proxy": UNREACHABLE, "KERAS_BACKEND": "torch"}
    said = example("keras_vgg16", out=tmp_path, **nothing)
    assert "keras/VGG16 cannot be fetched" in stand_in(said)
    one, other = (sw.read(each / "vgg16.npz") for each in (out, tmp_path))
    assert torch.equal(one.relevance, other.relevance)


def test_seven_methods_are_compared_and_find_the_shape(tmp_path):
    said = example("compare_methods", "--weights", "none", out=tmp_path)
    assert stand_in(said).startswith("Going on with demo, which knows generated pictures only")
    assert "; explained: the logit of cross\n" in said
    text = (tmp_path / "observations.md").read_text()
    assert text in said
    header, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines()]
    table = {row[0]: dict(zip(header, row, strict=True)) for row in rows}
    assert [each.partition(":")[0] for each in table] == [
        "layer-activation", "gradient", "grad-cam", "smoothgrad", "integrated-gradients",
        "gradient-x-input", "occlusion",
    ]  # fmt: skip
    area = generate(1, seed=9, conflict=True).mask("shape").mean()
    for method, row in table.items():
        assert float(row["on the shape"].strip("%")) / 100 > 2 * area
        other, rank = row["most alike"].split(", ")
        assert other in table
        assert other != method
        assert 0 < float(rank) <= 1
        assert 0 < int(row["half of it in"].strip("%")) < 50
    assert re.fullmatch(r"more \(blur\), more \(noisy-linear\)", table["grad-cam"][header[4]])
    assert pixels(tmp_path / "methods.png").shape[1] > 4 * 256


def test_the_share_of_a_map_that_holds_half_of_it_is_counted(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    from observations import cells, half

    even, one = np.ones((45, 30), np.float32), np.zeros((45, 30), np.float32)
    one[0, 0] = 1
    assert half(cells(even, 15)) == pytest.approx(113 / 225)
    assert half(cells(one, 15)) == pytest.approx(1 / 225)
    assert cells(one, 3)[0, 0] == pytest.approx(1 / 150)


def test_disk_and_cross_are_found_where_they_are(tmp_path):
    said = example("embeddings", out=tmp_path)
    assert stand_in(said).startswith("Going on with demo, which knows generated pictures only")
    found = sw.read(tmp_path / "embeddings.npz")
    assert found.names == ("disk", "cross", "triangle")
    assert len(found.shown) == 2
    scenes = generate(24, seed=2, empty=0.0, shapes=2)[[0, 23]]
    assert [{CLASSES[kind] for kind in each} for each in scenes.shape_classes] == [
        {"disk", "cross"},
        {"square", "triangle"},
    ]
    masks = {
        CLASSES[kind]: scenes.mask(part)[0]
        for kind, part in zip(scenes.shape_classes[0], ("shape", "shape 2"), strict=True)
    }
    disk, cross, _ = found.heatmaps(0)
    assert disk[masks["disk"]].mean() > 4 * disk[masks["cross"]].mean()
    assert cross[masks["cross"]].mean() > 4 * cross[masks["disk"]].mean()
    away = found.heatmaps(0, absence=True)
    assert away[1][masks["disk"]].mean() > 4 * away[1][masks["cross"]].mean()
    pale = found.heatmaps(1)  # the second picture has neither, and a triangle
    assert pale[2].max() > max(pale[0].max(), pale[1].max())
    assert pixels(tmp_path / "embeddings.png").shape[0] > 6 * 256


def test_references_are_files_or_parts_of_the_picture(tmp_path, photograph):
    words = (photograph, "--weights", "none")
    example("embeddings", *words, out=tmp_path / "parts")
    assert sw.read(tmp_path / "parts" / "embeddings.npz").names == ("left", "right")
    other = tmp_path / "other.png"
    Image.open(photograph).rotate(180).save(other)
    words += ("--reference", photograph, "--reference", other)
    example("embeddings", *words, out=tmp_path / "files")
    found = sw.read(tmp_path / "files" / "embeddings.npz")
    assert found.names == ("photograph", "other")
    assert found.scores[0, 0] > found.scores[0, 1]  # a picture is most like itself


def test_the_legend_names_a_concept_for_each_shape(tmp_path):
    said = example("factorization", "--weights", "none", out=tmp_path)
    assert stand_in(said).startswith("Going on with demo, which knows generated pictures only")
    found = sw.read(tmp_path / "factorization.npz")
    first = [found.tops(number)[0][0] for number in range(6)]
    assert {"disk", "square", "triangle", "cross"} <= set(first)
    legend = [line.partition(": ")[2] for line in said.splitlines() if re.match(r"\d: ", line)]
    assert [each.split()[0] for each in legend] == first
    assert len(found.shown) == 8
    assert "100%" in (tmp_path / "factorization.html").read_text()
    assert min(pixels(tmp_path / "factorization.png").shape[:2]) > 4 * 256


def test_weights_that_are_there_are_taken(tmp_path):
    from torchvision.models import ResNet50_Weights, resnet50

    url = ResNet50_Weights.DEFAULT.url
    file = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(resnet50().state_dict(), file)
    kept = {"TORCH_HOME": str(tmp_path), "https_proxy": UNREACHABLE}
    words = ("--concepts", "3")
    said = example("factorization", *words, out=tmp_path, **kept)
    assert "of torchvision/resnet50" in said
    found = sw.read(tmp_path / "factorization.npz")
    assert found.layer == "layer4"
    assert found.maps[0].shape == (3, 7, 7)
    assert [each.source.rpartition("/")[2] for each in found.shown] == ["cat.png"]


def test_without_weights_one_line_says_what_stands_in(tmp_path, photograph):
    nothing = {"TORCH_HOME": str(tmp_path), "https_proxy": UNREACHABLE}
    said = example("compare_methods", photograph, out=tmp_path, **nothing)
    assert "(torchvision/resnet50 cannot be fetched" in stand_in(said)
    assert said.count("cannot be fetched") == 1
    assert "on the shape" not in said  # nobody knows, in a picture of one's own
    assert pixels(tmp_path / "methods.png").shape[1] > 4 * 256


PICTURES = ("prototypes", "eight-to-three", "sensitivity", "cam", "layers")


def test_five_questions_are_answered_about_an_eight_of_ones_own(tmp_path, photograph):
    words = (photograph, "--weights", "none", "--steps", "4")
    said = example("digits", *words, out=tmp_path)
    assert stand_in(said).startswith("Going on with an untrained CNN")
    assert re.search(r"right on new digits: \d+\.\d%", said)
    assert all(pixels(tmp_path / f"digits-{name}.png").shape[1] >= 480 for name in PICTURES)
    made = sw.read(tmp_path / "digits-prototypes.npz")
    assert made.targets == tuple(map(str, range(10)))
    assert made.inputs.shape == (10, 1, 28, 28)
    assert not (tmp_path / "eight.png").exists()


@pytest.mark.slow
def test_in_full_the_digits_are_read_and_so_are_the_prototypes(tmp_path):
    said = example("digits", out=tmp_path)
    assert float(re.search(r"digits: ([\d.]+)%", said)[1]) >= 95
    assert Image.open(tmp_path / "eight.png").size == (28, 28)
    assert all((tmp_path / f"digits-{name}.png").is_file() for name in PICTURES)
    made = sw.read(tmp_path / "digits-prototypes.npz")
    assert [label for label, _ in made.predictions] == list(map(str, range(10)))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_short_and_says_which_output_it_explains(name):
    text = (ROOT / "examples" / f"{name}.py").read_text()
    doc = text.split('"""')[1]
    assert len(text.splitlines()) <= 60
    assert re.search(r"\*(probability|logit|log-probability|cosine\s+similarity)\*", doc)
    assert f"python examples/{name}.py [PICTURE" in doc
    assert f"`{name}.py`" in (ROOT / "examples" / "README.md").read_text()
