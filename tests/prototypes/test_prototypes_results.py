"""Prototypes are drawn, saved, read back and made by the command line; errors say what to do."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import seewhy as sw
from seewhy.cli import app
from seewhy.data.world import generate
from seewhy.errors import MethodError, PictureError, TargetError
from seewhy.prototypes import Jitter
from seewhy.targets import Neuron


@pytest.fixture(scope="module")
def made():
    return sw.prototype("demo", steps=16)


def test_it_is_drawn_saved_and_read_back(made, tmp_path):
    for view in ("panel", "trajectory", "picture"):
        assert isinstance(made.draw(view), Image.Image)
    assert made.image(2).size == (64, 64)
    assert made.draw("panel", 1).width < made.draw("panel").width
    for ending in ("npz", "json"):
        again = sw.read(made.save(tmp_path / f"made.{ending}"))
        for name in ("inputs", "pictures", "loss", "losses", "trajectory"):
            assert torch.equal(getattr(again, name), getattr(made, name))
        assert str(again) == str(made)
        assert np.array_equal(np.asarray(again.draw()), np.asarray(made.draw()))
    assert made.steps == tuple(range(0, 17, 2))
    assert made.trajectory.shape == (9, 5, 3, 64, 64)
    assert float(made.pictures.min()) >= 0
    assert float(made.pictures.max()) <= 1
    assert "disk: loss -" in str(made)
    assert json.dumps(made.plain())
    for wrong in ({"number": 5}, {"view": "film"}):
        with pytest.raises(PictureError):
            made.draw(**wrong)


def test_what_makes_no_sense_is_said(linear):
    for wrong, said in (
        ({"steps": 0}, "steps is 0"),
        ({"each": True}, "each is True"),
        ({"rate": 0}, "rate is 0"),
        ({"image": "fourier"}, "use image='pixels'"),
        ({"transforms": [Jitter(2)]}, "give transforms="),
        ({"mean": torch.zeros(6)}, "with a batch axis"),
        ({"mean": torch.zeros(2, 6)}, "one for all or one for each"),
        ({"mean": 0, "distance": -1}, "distance is -1"),
        ({"start": "nosie"}, "start is 'nosie': give 'zeros', 'noise'"),
        ({"start": torch.zeros(2, 6), "target": [0, 1, 2]}, "2 pictures to start from"),
    ):
        with pytest.raises(MethodError, match=said):
            sw.prototype(linear, **wrong)
    for target, said in (("d", "there is no class"), ([], "is empty"), (7, "0 to 2")):
        with pytest.raises(TargetError, match=said):
            sw.prototype(linear, target)
    with pytest.raises(MethodError, match="no gradients"):
        sw.prototype(sw.Model(lambda x: x.flatten(1), input_shape=(3, 4, 4)), 0)
    many = sw.Model(nn.Linear(4, 500).eval(), input_shape=(4,))
    with pytest.raises(TargetError, match="500 classes"):
        sw.prototype(many)
    with pytest.raises(MethodError, match="no single class"):
        sw.prototype("demo", Neuron("block4", 1), mean=[generate(1, seed=0).pictures[0]])


# ---------------------------------------------------------------------- the command line


def test_the_command_line_makes_them(tmp_path):
    words = ["prototype", "-m", "demo", "-t", "disk", "-t", "cross", "--steps", "4", "--json"]
    ended = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert [each["target"] for each in told["prototypes"]] == ["disk", "cross"]
    assert [name.rpartition("/")[2] for name in told["files"]] == [
        "prototypes.html",
        "prototypes.png",
        "prototypes.npz",
        "prototypes.trajectory.png",
    ]
    assert len(sw.read(tmp_path / "prototypes.npz")) == 2


def test_the_command_line_says_which_pictures_are_left_out(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    for number, each in enumerate(generate(3, seed=4).pictures):
        Image.fromarray(each).save(tmp_path / f"{number}.png")
    label = sw.load("demo").predict(sw.load("demo").prepare(tmp_path / "0.png"), 1)[0][0].label
    words = ["prototype", "-m", "demo", "-t", label, "--mean", str(tmp_path), "--steps", "1"]
    ended = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert ended.exit_code == 1
    assert "broken.png" in ended.output.partition("left out:")[2].replace("\n", "")
    assert (tmp_path / "out" / "prototypes.npz").exists()


def test_the_command_line_saves_the_best_when_interrupted(tmp_path, monkeypatch):
    from seewhy.cli.screen import Screen

    def interrupted(self, done, total, what):
        if done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "progress", interrupted)
    words = ["prototype", "-m", "demo", "-t", "disk", "--steps", "50", "--out", str(tmp_path)]
    ended = CliRunner().invoke(app, words)
    assert ended.exit_code == 130
    assert sw.read(tmp_path / "prototypes.npz").interrupted
    assert "stopped after 3 of 50 steps" in ended.output


def test_concepts_of_a_file_become_prototypes(tmp_path):
    found = sw.factorize("demo", list(generate(6, seed=2).pictures), 2)
    saved = found.save(tmp_path / "concepts.npz")
    words = ["prototype", "-m", "demo", "--concepts", str(saved), "--steps", "2", "--json"]
    ended = CliRunner().invoke(app, [*words, "--out", str(tmp_path)])
    told = json.loads(ended.stdout)
    assert [each["target"] for each in told["prototypes"]] == [
        "concept 1 of block4",
        "concept 2 of block4",
    ]
