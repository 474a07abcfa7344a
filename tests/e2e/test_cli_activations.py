"""`seewhy activations`, run in this process."""

import json

import numpy as np
import pytest
from PIL import Image

import seewhy as sw


def test_sheets_and_data_are_saved_and_told(seewhy, pictures, tmp_path):
    dog = pictures / "b/dog.png"
    said = seewhy("activations", dog, "-m", "demo", "--layer", "block1+block4", "--top", 3).stdout
    found = sw.activations("demo", dog, ["block1", "block4"], top=3)
    assert said.splitlines()[0] == "1 picture in demo, the 3 channels that vary most over places"
    listed = ", ".join(map(str, found.channels["block4"]))
    assert f"block4: 96 channels of 16 x 16, channels {listed}" in said
    sheet = Image.open(tmp_path / "seewhy-out/dog.activations.png")
    assert np.array_equal(np.asarray(sheet), np.asarray(found.draw()))
    again = sw.read(tmp_path / "seewhy-out/activations.npz")
    assert again.channels == found.channels


def test_one_file_and_json(seewhy, pictures, tmp_path):
    words = ("activations", pictures / "b/dog.png", "-m", "demo", "--layer", "all", "--json")
    data = json.loads(seewhy(*words, "--channels", "mean", "--out", "maps.png").stdout)
    assert data["files"] == ["maps.png"]
    assert [each["layer"] for each in data["layers"]][-1] == "block4"
    assert Image.open(tmp_path / "maps.png").height > 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--channels", "3,x"), "write top, all, mean, or numbers"),
        (("--channels", "96"), "has 96 channels: there is no 96"),
        (("--layer", "blok4"), "did you mean"),
        (("--layer", "head"), "has no space"),
        (("--colormap", "no such"), "no colour map"),
    ],
)
def test_wrong_options_are_said(seewhy, pictures, words, said):
    result = seewhy("activations", pictures / "b/dog.png", "-m", "demo", *words, code=2)
    assert said in result.stderr


def test_what_cannot_be_read_is_left_out(seewhy, pictures):
    words = (pictures / "b/dog.png", pictures / "bad.png", "-m", "demo")
    result = seewhy("activations", *words, code=1)
    assert "bad.png" in result.stderr
    assert "saved: seewhy-out/dog.activations.png" in result.stdout
