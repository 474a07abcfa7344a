"""`seewhy demo digits`: the page and its pictures come out, and in full the bars are reached."""

import re
import struct
import sys

import numpy as np
import pytest
import torch
from browser import PHONE, WIDE
from markupsafe import escape
from PIL import Image

import seewhy as sw
from seewhy.demo import digits, digits_data, digits_models
from seewhy.demo.digits_models import CNN, FC, SECOND
from seewhy.errors import MethodError, MissingDependencyError, PictureError

FIGURES = ("prototypes", "free", "eight", "sensitivity", "cam", "layers")


@pytest.fixture(scope="module")
def quick():
    return digits.demo(steps=4, epochs=2)


def test_networks_come_back_ready_to_be_asked(quick):
    assert set(quick.models) == {FC, CNN, SECOND}
    picture = quick.material.digits.tested.images[0]
    for model in quick.models.values():
        assert not model.module.training
        assert all(each.grad is None for each in model.module.parameters())
        assert sw.explain(model, picture, 3, "gradient").heatmap().shape == (28, 28)
    assert sw.explain(quick.models[CNN], picture, 3, "cam:channels=20").layers == ("relu4",)
    assert len(quick.prototypes[FC]) == 10
    assert quick.prototypes[FC].inputs.shape == (10, 784)
    assert quick.prototypes[CNN].inputs.shape == (10, 1, 28, 28)


def test_every_figure_is_on_the_page_and_a_picture(quick, tmp_path):
    page, *pictures = quick.save(tmp_path)
    assert [each.name for each in pictures] == [f"digits-{name}.png" for name in FIGURES]
    for each in pictures:
        pixels = np.asarray(Image.open(each))
        assert pixels.shape[1] >= 480
        assert pixels.std() > 20
    text = page.read_text()
    for figure in quick.figures.values():
        assert figure.title in text
        assert all(escape(name) in text for name, _ in figure.rows)
    assert 'src="data:' in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert page.stat().st_size < 1_500_000


@pytest.fixture(scope="module")
def pages(quick, tmp_path_factory):
    """Where `visit` finds the page."""
    folder = tmp_path_factory.mktemp("digits")
    quick.save(folder)
    return folder


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_keeps_anyone_from_reading_the_page(visit, axe, scheme, viewport):
    tab = visit("digits.html", color_scheme=scheme, viewport=viewport)
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")["violations"]
    assert [(each["id"], each["impact"]) for each in found] == []
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_figures_show_what_they_say(quick):
    rows = {name: dict(figure.rows) for name, figure in quick.figures.items()}
    assert all(len(cells) == 10 for cells in rows["prototypes"].values())
    steps = [cell.title for cell in rows["eight"]["CNN: the 8 becomes a 3"]]
    assert steps == [f"step {step}" for step in quick.material.turned[CNN].steps]
    names = [name.partition(":")[0] for name in rows["layers"]]
    blocks = [f"{kind}{number}" for number in (2, 3, 4) for kind in ("conv", "relu")]
    assert names == ["the digits", "conv1", "relu1", "halve", *blocks]
    assert set(rows["cam"]) == {"the digits", "all 96 feature maps", "20 of them"}
    seven = quick.material.digits.tested.first_of_each().images[7]
    whole = sw.explain(quick.models[CNN], seven, 7, "cam")
    shown = rows["cam"]["all 96 feature maps"][7]
    if shown.caption:
        assert shown.caption == "nothing for it"
        assert not (whole.relevance > 0).any()
    else:
        assert shown.image == whole.overlay(opacity=0.85, sign="positive")


def test_one_seed_one_result_and_nothing_of_the_callers_is_changed(quick):
    before = torch.random.get_rng_state()
    again = digits.demo(steps=4, epochs=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    for title, model in again.models.items():
        assert model.fingerprint() == quick.models[title].fingerprint()
    assert torch.equal(again.prototypes[CNN].inputs, quick.prototypes[CNN].inputs)
    assert again.figures["layers"].rows == quick.figures["layers"].rows


def test_no_digit_is_in_two_parts():
    parts = digits_data.digits_of(None, 3)
    assert sum(map(len, (parts.learned, parts.second, parts.tested))) == 1797
    assert parts.learned.pictures.shape[1:] == (28, 28)
    again = digits_data.digits_of(None, 3)
    assert np.array_equal(parts.tested.pictures, again.tested.pictures)
    assert list(parts.tested.first_of_each().labels) == list(range(10))


def test_a_network_learns_from_digits_a_little_aside_under_noise(quick):
    pictures = digits_models.as_tensor(quick.material.digits.learned)[:50]
    seen = digits_models._seen(pictures, torch.Generator().manual_seed(0))
    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    for one, other in zip(pictures, seen, strict=True):
        left = [float((other - one.roll(shift, (1, 2))).std()) for shift in shifts]
        assert min(left) == pytest.approx(digits_models.NOISE, rel=0.1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_an_untrained_cnn_tells_digits_apart_or_it_would_not_learn(quick, seed):
    """With torch's own weights its outputs differ by 0.0005, and some seeds stay at 9 %."""
    torch.manual_seed(seed)
    pictures = digits_models.as_tensor(quick.material.digits.learned)[:50]
    outputs = digits_models.convolutional()(pictures).detach()
    assert outputs.std(0).mean() > 0.005


def test_mnist_is_read_from_a_folder(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for name, count in (("train", 40), ("t10k", 10)):
        pictures = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(head + pictures.tobytes())
        head = struct.pack(">II", 0x801, count)
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
        if name == "train":
            known = {each.tobytes(): label for each, label in zip(pictures, labels, strict=True)}
    parts = digits_data.digits_of(tmp_path, 0)
    assert len(parts.learned) + len(parts.second) + len(parts.tested) == 40
    for one, label in zip(parts.learned.pictures, parts.learned.labels, strict=True):
        assert known[one.tobytes()] == label


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(PictureError, match=r"no MNIST in .*leave --data out"):
        digits_data.digits_of(tmp_path, 0)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'seewhy\[digits\]'"):
        digits.demo()
    for wrong in ({"steps": 0}, {"epochs": 0}, {"seed": -1}):
        with pytest.raises(MethodError, match=next(iter(wrong))):
            digits.demo(**wrong)


def test_the_command_line_saves_the_page(seewhy, tmp_path):
    said = seewhy("demo", "digits", "--steps", "2", "--epochs", "1", "--out", "here").stdout
    assert "saved: here/digits.html" in said
    assert re.search(r"fully connected +235,146 +899 digits +\d+\.\d%", said)
    assert (tmp_path / "here/digits-eight.png").exists()
    assert "Examples:" in seewhy("demo", "digits", "--help").stdout
    refused = seewhy("demo", "--seed", "3", "digits", code=2).stderr
    assert "give options after 'digits'" in refused
    assert "there is no MNIST" in seewhy("demo", "digits", "--data", "nowhere", code=1).stderr


def test_interrupted_it_stops(seewhy, monkeypatch):
    from seewhy.cli.screen import Screen

    def stop(self, done, total, what):
        if what.startswith("steps"):
            raise KeyboardInterrupt

    monkeypatch.setattr(Screen, "progress", stop)
    seewhy("demo", "digits", "--steps", "2", "--epochs", "1", code=130)


@pytest.mark.slow
def test_in_full_the_networks_are_good_and_others_read_their_prototypes():
    found = digits.demo()
    assert found.accuracy[FC] >= 0.96
    assert found.accuracy[CNN] >= 0.97
    for title, other in ((FC, CNN), (CNN, FC)):
        for reader in (SECOND, other):
            assert found.agreement(found.prototypes[title].pictures, reader) >= 9
    # without a hint of the kind, the fully connected network draws digits that others read
    assert found.agreement(found.material.free[FC].pictures, SECOND) >= 9
    for title, made in found.material.turned.items():
        said = digits_models.read(found.models[SECOND], made.pictures).argmax(1)
        assert said.tolist() == [3, 1], title
