"""A run that goes on where another stopped goes on in its panel, and in no other's."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from watched import CELL, GAP, examples, photos, small, watching


def test_a_resumed_run_goes_on_in_the_same_panel_and_replaces_what_it_does_again(tmp_path):
    first = watching(folder=tmp_path)
    for epoch in (1, 2, 3, 4):
        first.log(small(), epoch)
    resumed = watching(folder=tmp_path)
    other = small()
    nn.init.normal_(other[-1].weight, generator=torch.Generator().manual_seed(5))
    found = resumed.log(other, 3)["grad-cam"]
    assert resumed.steps == [1, 2, 3]
    assert not (tmp_path / "step-0004" / "grad-cam.npz").exists()
    with np.load(tmp_path / "step-0003" / "grad-cam.npz") as stored:
        assert stored["scores"].tolist() == [each.score for each in found]
    with Image.open(tmp_path / "grad-cam.png") as panel:
        assert panel.width == 4 * CELL + 5 * GAP
    assert resumed.similarity()[0] == pytest.approx(1)  # 1 and 2 are of one network
    assert resumed.similarity()[1] < 1


def test_what_was_written_for_other_pictures_is_not_taken_up(tmp_path):
    watching(folder=tmp_path).log(small(), 1)
    other = watching(folder=tmp_path, pictures=photos(3))
    other.log(small(), 2)
    assert other.steps == [2]


def test_other_pictures_of_the_same_names_are_not_taken_up(tmp_path):
    watching(folder=tmp_path).log(small(), 1)
    darker = [each.point(lambda value: value // 2) for each in photos()]
    other = watching(folder=tmp_path, pictures=darker)
    assert other.names == watching().names
    other.log(small(), 2)
    assert other.steps == [2]
    same = watching(folder=tmp_path, pictures=darker)
    same.log(small(), 3)
    assert same.steps == [2, 3]


def test_other_model_input_of_the_same_names_is_not_taken_up(tmp_path):
    given = examples()[0][:2]
    watching(folder=tmp_path, pictures=given).log(small(), 1)
    other = watching(folder=tmp_path, pictures=given + 1e-6)
    other.log(small(), 2)
    assert other.steps == [2]


def test_a_damaged_file_is_passed_over_whatever_is_damaged(tmp_path):
    """One byte anywhere: zipfile, zlib and NumPy raise errors of many kinds."""
    watching(folder=tmp_path, pictures=photos(1), target=[1]).log(small(), 1)
    path = tmp_path / "step-0001" / "grad-cam.npz"
    whole, kinds = path.read_bytes(), set()
    for place in range(0, len(whole), 29):
        data = bytearray(whole)
        data[place] ^= 0xFF
        path.write_bytes(data)
        watch = watching(folder=tmp_path, pictures=photos(1), target=[1])
        watch._histories["grad-cam"].resume()
        kinds.add(tuple(watch.steps))
    assert kinds == {(), (1,)}
