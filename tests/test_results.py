"""What comes out can be drawn, saved and read back without losing anything."""

import csv
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.comparison import Comparison
from seewhy.errors import Failure, LayerError, MethodError, PictureError, SaveError, SeewhyWarning
from seewhy.explanation import Explanation, Explanations, file_names
from seewhy.model.geometry import Geometry
from seewhy.model.predictions import Prediction
from seewhy.model.tape.passes import Passes


def noise(width=50, height=40, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def explanation(relevance, **settings):
    height, width = 40, 50
    known = {
        "method": "grad-cam:layer=conv",
        "target": "cat",
        "score": 2.25,
        "picture": noise(width, height),
        "geometry": Geometry.stretched((height, width), (16, 16)),
        "size": (16, 16),
    }
    return Explanation(relevance=torch.as_tensor(relevance), **{**known, **settings})


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    with torch.no_grad():
        net[4].weight.abs_()  # every feature speaks for every class
    return sw.Model(net.eval(), sw.Preprocess(16, resize=18), ["cat", "dog", "bird"], name="small")


@pytest.fixture(scope="module")
def why(model):
    return sw.explain(model, noise(), "dog", "integrated-gradients:steps=8", seed=3)


def same(one, other):
    """Field by field, to the bit."""
    for each in fields(Explanation):
        mine, theirs = getattr(one, each.name), getattr(other, each.name)
        assert type(mine) is type(theirs) or each.name == "picture", each.name
        if isinstance(mine, torch.Tensor):
            assert mine.dtype == theirs.dtype
            assert torch.equal(mine, theirs)
        elif each.name == "picture" and mine is not None:
            assert np.array_equal(np.asarray(mine), np.asarray(theirs))
        else:
            assert mine == theirs, each.name


# ---------------------------------------------------------------------- saving and reading back


@pytest.mark.parametrize("ending", ["npz", "json", "NPZ"])
def test_what_is_saved_is_read_back_in_every_field(why, tmp_path, ending):
    path = why.save(tmp_path / f"new/folder/why.{ending}")
    again = sw.read(path)
    same(why, again)
    assert again.checks.keys() == {"completeness gap"}
    assert again.prediction[0].label in ("cat", "dog", "bird")
    assert np.array_equal(again.heatmap("signed"), why.heatmap("signed"))


@pytest.mark.parametrize("ending", ["npz", "json"])
@pytest.mark.parametrize(
    "settings",
    [
        {"picture": None, "geometry": None, "size": (4, 16, 16)},
        {"relevance": torch.randn(1, 4, 4, dtype=torch.float64)},
        {"relevance": torch.tensor([[[1e-38, -3.4e38], [1 / 3, 0.0]]])},
        {
            "relevance": torch.randn(16),
            "geometry": Geometry((40, 50), (4, 4), (0.1, 1 / 3), (0.5, -7.25), (1, 4, 4)),
        },
        {"target": "Käfer «1»\n", "source": "höhle/ü.png", "checks": {"gap": 1e-300}},
        {"prediction": (Prediction("cat", 0, 1 / 3),), "passes": Passes(3, 2, 1)},
    ],
    ids=["no picture", "float64", "extremes", "flat", "letters", "numbers"],
)
def test_odd_explanations_survive_too(settings, tmp_path, ending):
    settings = dict(settings)
    given = explanation(settings.pop("relevance", torch.randn(1, 4, 4)), **settings)
    same(given, sw.read(given.save(tmp_path / f"why.{ending}")))


def test_a_saved_file_holds_no_pickle(why, tmp_path):
    with np.load(why.save(tmp_path / "why.npz"), allow_pickle=False) as stored:
        data = json.loads(bytes(stored["data"]))
        assert not any(stored[name].dtype.hasobject for name in stored.files)
    assert (data["schema"], data["kind"]) == (1, "explanation")
    assert data["method"] == "integrated-gradients:steps=8"
    assert data["versions"]["torch"] == torch.__version__


def test_a_fresh_process_reads_what_was_saved(why, tmp_path):
    """Reading must not depend on what happens to be imported."""
    path = why.save(tmp_path / "why.npz")
    code = f"import seewhy; print(seewhy.read({str(path)!r}).target)"
    ran = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "dog"


def changed(path, **changes):
    """The saved answer with some of its plain data changed."""
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return path
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    data = {**json.loads(bytes(arrays.pop("data"))), **changes}
    np.savez(path, data=np.frombuffer(json.dumps(data).encode(), np.uint8), **arrays)
    return path


@pytest.mark.parametrize("ending", ["npz", "json"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "of schema 2, and this seewhy reads up to 1: pip install --upgrade seewhy"),
        ({"schema": "new"}, "of schema new"),
        ({"kind": "opinion"}, "holds 'opinion'"),
        ({"prediction": [{"label": "cat"}]}, "lacks a part"),
        ({"colour": "red"}, "lacks a part .*colour"),
    ],
)
def test_an_answer_of_another_kind_or_schema_is_refused(why, tmp_path, ending, changes, said):
    path = changed(why.save(tmp_path / f"why.{ending}"), **changes)
    with pytest.raises(SaveError, match=rf"why.{ending} .*{said}"):
        sw.read(path)


@pytest.mark.parametrize("ending", ["npz", "json"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_is_refused_by_name(why, tmp_path, ending, share):
    path = why.save(tmp_path / f"why.{ending}")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(SaveError, match=f"why.{ending} cannot be read back"):
        sw.read(path)


def test_a_file_with_a_changed_byte_is_refused_or_read_as_it_was(why, tmp_path):
    """Every byte of the archive is checked, or does not matter."""
    path = why.save(tmp_path / "why.npz")
    data = path.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 60)):
        broken = bytearray(data)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        try:
            again = sw.read(path)
        except SaveError:
            continue
        same(why, again)


def test_files_of_others_are_refused(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "object.json").write_text('{"kind": "explanation", "arrays": 3}')
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    for name in ("array.npz", "other.npz", "list.json", "object.json", "zip.npz", "gone.npz"):
        with pytest.raises(SaveError, match=f"{name} cannot be read back"):
            sw.read(tmp_path / name)


def test_a_pickle_in_a_file_is_not_read(tmp_path):
    np.savez(tmp_path / "evil.npz", data=np.array([{"kind": "explanation"}], dtype=object))
    with pytest.raises(SaveError, match=r"evil\.npz cannot be read back"):
        sw.read(tmp_path / "evil.npz")


@pytest.mark.parametrize("name", ["why.pkl", "why", "why.gif", "why.npz.txt"])
def test_unknown_endings_are_refused_and_nothing_is_written(why, tmp_path, name):
    with pytest.raises(SaveError, match=r"ends in .*\.png.*\.npz or \.json"):
        why.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["npz", "json", "png"])
def test_a_file_is_replaced_whole_or_not_at_all(why, tmp_path, monkeypatch, ending):
    path = tmp_path / f"why.{ending}"
    path.write_bytes(b"old")

    def full(self, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(SaveError, match=rf"why.{ending}: No space left on device"):
            why.save(path)
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    why.save(path)
    assert path.read_bytes() != b"old"


# ---------------------------------------------------------------------- maps


@pytest.fixture
def signed():
    """Plus in one corner, half as much minus in the other, on a map of 4 x 4."""
    relevance = torch.zeros(1, 4, 4)
    relevance[0, 0, 0], relevance[0, 3, 3] = 2.0, -1.0
    return explanation(relevance)


def test_the_signs_of_a_heatmap(signed):
    top, bottom = (0, 0), (-1, -1)
    positive = signed.heatmap("positive")
    assert (positive[top], positive[bottom]) == (1, 0)
    absolute = signed.heatmap("absolute")
    assert (absolute[top], absolute[bottom]) == (1, 0.5)
    both = signed.heatmap("signed")
    assert (both[top], both[bottom]) == (1, -0.5)
    assert np.array_equal(signed.heatmap(), positive)
    magnitude = replace(signed, display="absolute")
    assert np.array_equal(magnitude.heatmap(), absolute)


@pytest.mark.parametrize("sign", ["positive", "absolute", "signed"])
def test_a_heatmap_has_the_pictures_size_and_its_range(why, sign):
    heat = why.heatmap(sign)
    assert heat.shape == (40, 50)
    assert heat.dtype == np.float32
    assert np.abs(heat).max() == 1
    assert heat.min() >= (-1 if sign == "signed" else 0)


def test_channels_are_summed_by_sign_and_by_magnitude():
    """A channel for and one against cancel, unless magnitudes are asked for."""
    relevance = torch.zeros(2, 4, 4)
    relevance[0, 0, 0], relevance[1, 0, 0] = 3.0, -3.0
    relevance[0, 3, 3] = 1.0
    given = explanation(relevance)
    assert given.heatmap("signed")[0, 0] == 0
    assert given.heatmap("signed")[-1, -1] == 1
    assert given.heatmap("absolute")[0, 0] == 1
    assert given.heatmap("absolute")[-1, -1] == pytest.approx(1 / 6)


def test_places_that_the_model_did_not_see_are_zero_in_a_heatmap(model):
    tall = sw.explain(model, noise(20, 60), 0, "gradient")
    heat = tall.heatmap("absolute")
    assert heat.shape == (60, 20)
    assert not heat[:12].any()
    assert not heat[-12:].any()
    assert heat[20:40].any()


def test_what_the_model_did_not_see_is_grey_in_an_overlay(model):
    picture = Image.new("RGB", (20, 60), (250, 0, 0))
    picture.paste(noise(20, 20), (0, 20))
    drawn = np.asarray(sw.explain(model, picture, 0, "gradient").overlay(), dtype=int)
    top = drawn[:10].reshape(-1, 3)
    assert np.ptp(top, axis=1).max() < 40


def test_an_overlay_has_the_pictures_size_and_keeps_what_is_irrelevant(signed):
    drawn = signed.overlay(sign="positive")
    assert drawn.size == signed.picture.size
    changed = np.abs(np.asarray(drawn, int) - np.asarray(signed.picture, int)).sum(2)
    assert changed[:5, :5].min() > 0
    assert not changed[20:, 25:].any()
    assert np.array_equal(np.asarray(signed.overlay(opacity=0)), np.asarray(signed.picture))


@pytest.mark.parametrize("view", ["overlay", "heatmap", "mask"])
def test_every_view_has_the_pictures_size(why, view):
    assert why.draw(view).size == (50, 40)


def test_a_mask_keeps_the_asked_share_of_pixels(why):
    shown = np.asarray(why.draw("mask", keep=0.25), int)
    original = np.asarray(why.picture, int)
    kept = (shown == original).all(2)
    assert kept.sum() == pytest.approx(0.25 * 2000, abs=3)
    outside = why.heatmap()[~kept]
    assert why.heatmap()[kept].min() >= outside.max()


def test_an_unknown_view_lists_the_views(why):
    with pytest.raises(PictureError, match="'overlay', 'heatmap', 'mask' or 'panel'"):
        why.draw("video")


def test_a_map_of_nothing_is_warned_of():
    against = explanation(-torch.rand(1, 4, 4), target="cat")
    with pytest.warns(SeewhyWarning, match="nothing in picture speaks for cat.*sign='signed'"):
        heat = against.heatmap()
    assert not heat.any()
    assert against.heatmap("signed").min() == -1


def test_a_flat_input_is_drawn_as_the_picture_it_was():
    """As MNIST networks take it: a weight at one place of 28 x 28 peaks there in the picture."""

    def flat(image):
        return torch.from_numpy(
            np.asarray(image.convert("L").resize((28, 28)), np.float32)
        ).flatten()

    net = nn.Linear(784, 2, bias=False).eval()
    with torch.no_grad():
        net.weight.zero_()
        net.weight[1, 7 * 28 + 21] = 1
    why = sw.explain(sw.Model(net, flat), noise(56, 56), 1, "gradient")
    assert why.relevance.shape == (784,)
    heat = why.heatmap()
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert (row // 2, column // 2) == (7, 21)
    assert why.overlay().size == (56, 56)


def test_a_map_without_space_is_no_picture():
    given = explanation(torch.randn(16), geometry=None)
    with pytest.raises(PictureError, match=r"no space to be drawn on \(its shape is \(16,\)\)"):
        given.heatmap()


def test_a_video_has_a_map_for_every_frame():
    net = nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten()
    ).eval()
    video = torch.randn(1, 3, 8, 16, 20)
    for method in ("gradient", "layer-cam"):
        layer = "1" if method == "layer-cam" else None
        why = sw.explain(net, video, 0, method, layer=layer)[0]
        heat = why.heatmap()
        assert heat.shape == (8, 16, 20)
        assert heat.max() == 1
        with pytest.raises(PictureError, match="given as a tensor that is no picture"):
            why.overlay()


# ---------------------------------------------------------------------- several


def test_explanations_are_a_sequence(model):
    found = sw.explain(model, [noise(seed=i) for i in range(4)], "cat", "gradient")
    assert isinstance(found, Explanations)
    assert len(found) == 4
    assert [each.score for each in found] == [found[i].score for i in range(4)]
    assert found[-1] is found[3]
    assert isinstance(found[1:3], Explanations)
    assert list(found[1:3]) == [found[1], found[2]]
    with pytest.raises(IndexError):
        found[4]


def test_one_picture_gives_one_explanation_and_a_list_of_one_a_list(model):
    assert isinstance(sw.explain(model, noise(), "cat", "gradient"), Explanation)
    assert isinstance(sw.explain(model, [noise()], "cat", "gradient"), Explanations)


def test_pictures_that_fail_are_left_out_and_listed(model, tmp_path):
    noise().save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.warns(SeewhyWarning, match="1 of the pictures could not be explained: .*bad.png"):
        found = sw.explain(model, tmp_path, "cat", "gradient")
    assert [Path(each.source).name for each in found] == ["good.png"]
    (failure,) = found.failures
    assert Path(failure.source).name == "bad.png"
    assert isinstance(failure.error, PictureError)
    assert "failed: " in repr(found)
    with pytest.raises(PictureError, match=r"none of the pictures .*bad\.png.*gone\.png"):
        sw.explain(model, [tmp_path / "bad.png", tmp_path / "gone.png"], "cat", "gradient")
    for alone in (tmp_path / "bad.png", [tmp_path / "bad.png"]):
        with pytest.raises(PictureError, match=r"bad\.png looks like a text file"):
            sw.explain(model, alone, "cat", "gradient")


def test_a_folder_gets_each_explanation_as_a_picture_and_as_data(model, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        noise(seed=len(folder)).save(tmp_path / folder / "x.png")
    paths = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    found = sw.explain(model, paths, "cat", "gradient")
    written = found.save(tmp_path / "out")
    names = ["x.gradient.png", "x.gradient.npz", "x.gradient.2.png", "x.gradient.2.npz"]
    assert [each.name for each in written] == names
    same(found[1], sw.read(tmp_path / "out" / "x.gradient.2.npz"))


def test_file_names_are_safe_and_different():
    given = [
        explanation(torch.ones(1, 2, 2), source=source, method=method)
        for source, method in [
            ("https://host/a b.png?size=3", "rise:samples=5"),
            ("../../etc/passwd", "rise"),
            ("x.png", "grad-cam"),
            ("x.jpg", "grad-cam"),
            ("", "grad-cam"),
        ]
    ]
    names = file_names(given)
    assert names == ["a_b.rise", "passwd.rise", "x.grad-cam", "x.grad-cam.2", "picture.grad-cam"]


def test_several_explanations_do_not_fit_one_data_file(model, tmp_path):
    found = sw.explain(model, [noise(), noise(seed=1)], "cat", "gradient")
    with pytest.raises(SaveError, match="there are 2: give a folder"):
        found.save(tmp_path / "all.npz")


def test_a_panel_has_each_picture_once(model):
    """Four maps of one picture take five cells, of two pictures six."""
    one = sw.explain(model, noise(), ["cat", "dog", "bird", None], "gradient")
    assert (
        one.draw(columns=10, width=64).width
        == Explanations(one[:4]).draw(width=64, columns=5).width
    )
    two = sw.explain(model, [noise(), noise(seed=1)], [["cat", "dog"], ["cat", "dog"]], "gradient")
    narrow, wide = one.draw(columns=10, width=64).width, two.draw(columns=10, width=64).width
    assert wide > narrow


# ---------------------------------------------------------------------- comparisons


@pytest.fixture(scope="module")
def comparison(model):
    methods = ["grad-cam", "gradient", "integrated-gradients:steps=8", "grad-cam:layer=gone"]
    return sw.compare(model, noise(), methods, "dog")


def test_a_comparison_has_the_methods_that_apply_and_names_those_that_do_not(comparison):
    assert [each.method for each in comparison] == [
        "grad-cam",
        "gradient",
        "integrated-gradients:steps=8",
    ]
    (failure,) = comparison.failures
    assert failure.source == "grad-cam:layer=gone"
    assert "no layer 'gone'" in str(failure.error)
    assert len({each.score for each in comparison}) == 1


def test_a_comparison_is_a_table_in_markdown_and_csv(comparison):
    rows = list(csv.DictReader(io.StringIO(comparison.csv())))
    assert [row["method"] for row in rows] == [
        "grad-cam",
        "gradient",
        "integrated-gradients:steps=8",
        "grad-cam:layer=gone",
    ]
    assert rows[0]["target"] == "dog"
    assert float(rows[0]["score"]) == pytest.approx(comparison[0].score, rel=1e-3)
    assert rows[2]["checks"].startswith("completeness gap ")
    assert rows[3]["checks"].startswith("does not apply: ")
    lines = comparison.markdown().splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
    assert comparison._repr_markdown_() == comparison.markdown()


def test_a_comparison_is_saved_in_every_form(comparison, tmp_path):
    assert comparison.save(tmp_path / "table.md")[0].read_text() == comparison.markdown()
    assert comparison.save(tmp_path / "table.csv")[0].read_text() == comparison.csv()
    names = {each.name for each in comparison.save(tmp_path / "all")}
    assert {"comparison.png", "comparison.md", "comparison.csv"} <= names
    assert len([name for name in names if name.endswith(".npz")]) == 3


def test_bars_in_names_and_lines_in_errors_do_not_break_the_table():
    failed = Failure("lrp", MethodError("this | does not\napply"))
    given = Comparison([explanation(torch.ones(1, 2, 2), target="cat|dog")], [failed])
    lines = given.markdown().splitlines()
    assert len(lines) == 4
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_a_comparison_of_nothing_is_refused(model):
    with pytest.raises(MethodError, match="give at least one method"):
        sw.compare(model, noise(), [])
    with pytest.raises(LayerError, match="gone"):
        sw.compare(model, noise(), ["grad-cam:layer=gone"])


# ---------------------------------------------------------------------- notebooks and print


def test_notebooks_are_given_png_pictures(why, comparison):
    for given in (why, Explanations([why]), comparison):
        shown = Image.open(io.BytesIO(given._repr_png_()))
        assert shown.format == "PNG"
        assert np.asarray(shown.convert("L")).std() > 5


def test_an_explanation_in_words_has_the_target_the_method_and_the_prediction(why):
    text = str(why)
    assert "dog (score" in text
    assert "integrated-gradients:steps=8" in text
    assert str(why.prediction[0]) in text
    assert "completeness gap" in text


def test_the_prediction_is_a_table(why):
    lines = why.table().splitlines()
    assert len(lines) == 2 + 3
    first = [cell.strip() for cell in lines[2].strip("|").split("|")]
    best = why.prediction[0]
    assert first == ["1", best.label, str(best.number), f"{best.probability:.4f}"]


def test_a_failure_in_words_names_its_picture():
    assert str(Failure("a.png", PictureError("it is empty"))) == "a.png: it is empty"
