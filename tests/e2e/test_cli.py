"""What the commands print, save and refuse; run in this process."""

import json
import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import seewhy as sw
from seewhy.cli import app, options
from seewhy.run import PRECISIONS


def explained(result):
    return json.loads(result.stdout)["explanations"]


# ---------------------------------------------------------------------- explain


def test_a_picture_is_explained_in_words_and_saved(seewhy, pictures, tmp_path):
    said = seewhy("explain", pictures / "b/dog.png", "--model", "demo").stdout
    why = sw.explain("demo", pictures / "b/dog.png")
    saved = tmp_path / "seewhy-out/dog.grad-cam.png"
    assert said.splitlines()[0] == str(pictures / "b/dog.png")
    assert f"explained: {why.target} (score {why.score:.4g}) by grad-cam at block4" in said
    for each in why.prediction:
        assert re.search(rf"{each.label} +{each.number} +{each.probability:.1%}", said)
    assert "saved: seewhy-out/dog.grad-cam.png" in said
    assert np.array_equal(np.asarray(Image.open(saved)), np.asarray(why.draw("panel")))


def test_json_says_the_same_as_python(seewhy, pictures, tmp_path):
    result = seewhy(
        *("explain", pictures / "b/dog.png", "-m", "demo", "--json", "--data"),
        *("--method", "integrated-gradients:steps=8", "--target", "cross"),
    )
    (found,) = explained(result)
    why = sw.explain("demo", pictures / "b/dog.png", "cross", "integrated-gradients:steps=8")
    assert found["source"] == str(pictures / "b/dog.png")
    assert (found["target"], found["method"]) == ("cross", "integrated-gradients:steps=8")
    assert found["score"] == pytest.approx(why.score)
    assert found["layers"] == ["input"]
    assert found["prediction"][0]["label"] == why.prediction[0].label
    assert found["checks"] == pytest.approx(why.checks)
    assert found["passes"]["backwards"] == 8
    assert found["seconds"] > 0
    picture, data = (tmp_path / each for each in found["files"])
    assert picture.suffix == ".png"
    assert torch.equal(sw.read(data).relevance, why.relevance)
    assert result.stderr == ""


def test_several_targets_are_explained_in_each_picture(seewhy, pictures):
    words = ("explain", pictures / "b/dog.png", pictures / "a/cat.png", "-m", "demo")
    result = seewhy(*words, "--json", "-t", "disk", "-t", "3")
    assert [each["target"] for each in explained(result)] == ["disk", "cross"] * 2
    files = [each["files"][0] for each in explained(result)]
    assert files[:2] == ["seewhy-out/dog.disk.grad-cam.png", "seewhy-out/dog.cross.grad-cam.png"]
    assert seewhy(*words, "-t", "disk", "-t", "3").stdout.count("probability") == 2


def test_equal_names_from_different_folders_keep_apart(seewhy, pictures, tmp_path):
    found = explained(seewhy("explain", pictures / "a", pictures / "b", "-m", "demo", "--json"))
    files = [each["files"][0] for each in found]
    assert len(set(files)) == 5
    assert {"seewhy-out/cat.grad-cam.png", "seewhy-out/cat.grad-cam.2.png"} < set(files)
    assert all((tmp_path / file).is_file() for file in files)


def test_folders_patterns_and_stdin_are_taken(seewhy, pictures):
    content = (pictures / "a/cat.png").read_bytes()
    words = ("explain", pictures / "a", f"{pictures}/b/d*.png", "-", "-m", "demo", "--json")
    found = explained(seewhy(*words, input=content))
    assert [each["source"] for each in found] == [
        str(pictures / "a/cat.png"),
        str(pictures / "b/dog.png"),
        "stdin",
    ]
    assert found[0]["score"] == found[2]["score"]
    assert found[2]["files"] == ["seewhy-out/stdin.grad-cam.png"]


def test_failures_are_listed_and_the_others_explained(seewhy, pictures):
    words = (pictures / "bad.png", pictures / "a/cat.png", "nowhere.png", "none/*.png", "-")
    result = seewhy("explain", *words, "-m", "demo", "--json", code=1)
    document = json.loads(result.stdout)
    assert [each["source"] for each in document["explanations"]] == [str(pictures / "a/cat.png")]
    failed = {each["source"]: each for each in document["failures"]}
    assert set(failed) == {str(pictures / "bad.png"), "nowhere.png", "none/*.png", "stdin"}
    assert failed["nowhere.png"]["kind"] == "PictureError"
    assert "error: 4 pictures could not be explained (saved: 1)" in result.stderr
    for each in failed.values():
        assert each["error"] in result.stderr


def test_nothing_explained_is_still_a_document(seewhy):
    result = seewhy("explain", "nowhere.png", "-m", "demo", "--json", code=1)
    assert json.loads(result.stdout)["explanations"] == []


@pytest.mark.parametrize("view", options.View)
def test_each_view_is_what_draw_gives(seewhy, pictures, tmp_path, view):
    words = ("explain", pictures / "b/dog.png", "-m", "demo", "--view", view.value)
    seewhy(*words, "--colormap", "viridis", "--opacity", "0.3", "--out", "here")
    look = {"colormap": "viridis", "opacity": 0.3}
    drawn = sw.explain("demo", pictures / "b/dog.png").draw(view.value, **look)
    saved = Image.open(tmp_path / "here/dog.grad-cam.png")
    assert np.array_equal(np.asarray(saved), np.asarray(drawn))


@pytest.mark.parametrize("ending", options.Format)
def test_each_format_is_written(seewhy, pictures, tmp_path, ending):
    seewhy("explain", pictures / "a/cat.png", "-m", "demo", "--format", ending.value)
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(ending.value, ending.value.upper())
    assert Image.open(tmp_path / f"seewhy-out/cat.grad-cam.{ending.value}").format == kind


def test_layers_top_batch_memory_precision_and_device(seewhy, pictures):
    words = ("explain", pictures / "b", "-m", "demo", "--json", "--layer", "block2+block3")
    how = ("--device", "cpu", "--precision", "float64", "--memory", "64MiB", "--batch", "1")
    found = explained(seewhy(*words, *how, "--top", "2"))
    assert {tuple(each["layers"]) for each in found} == {("block2", "block3")}
    assert {len(each["prediction"]) for each in found} == {2}
    plain = explained(seewhy(*words))
    assert {len(each["prediction"]) for each in plain} == {5}
    for one, other in zip(found, plain, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert one["score"] != other["score"]  # it was the other precision


def test_the_seed_repeats_what_is_random(seewhy, pictures):
    def data(seed, out):
        words = ("explain", pictures / "a", "-m", "demo", "--method", "smoothgrad:samples=2")
        (found,) = explained(seewhy(*words, "--seed", seed, "--data", "--json", "--out", out))
        return sw.read(found["files"][1]).relevance

    assert torch.equal(data(1, "one"), data(1, "two"))
    assert not torch.equal(data(1, "one"), data(2, "three"))


def test_labels_and_pickles(seewhy, pictures, tmp_path):
    layers = [torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
    torch.save(torch.nn.Sequential(*layers, torch.nn.Linear(4, 2)), tmp_path / "net.pt")
    (tmp_path / "names.txt").write_text("empty\nfull\n")
    words = ("explain", pictures / "a", "-m", "net.pt", "--labels", "names.txt", "-t", "full")
    refused = seewhy(*words, code=1)
    assert refused.stderr.startswith("error: net.pt ")
    assert "--allow-pickle" in refused.stderr
    result = seewhy(*words, "--allow-pickle", "--json")
    assert explained(result)[0]["target"] == "full"
    assert re.match("warning: .* no preprocessing", result.stderr)
    assert result.stderr.count("\n") == 1


def test_names_are_never_markup_and_stay_readable_in_ascii(seewhy, pictures):
    result = seewhy("explain", pictures / "b/[red] ü.png", "-m", "demo")
    assert "[red] ü.png" in result.stdout
    runner = CliRunner(charset="ascii")
    result = runner.invoke(app, ["explain", str(pictures / "b/[red] ü.png"), "-m", "demo"])
    assert result.exit_code == 0
    assert "[red] \\xfc.png" in result.stdout


# ---------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--method", "grad-cm"), 2, "did you mean grad-cam"),
        (("--method", "grad-cam:steps=3"), 2, "no setting 'steps'"),
        (("--layer", "block9"), 2, "block4"),
        (("--method", "gradient", "--layer", "block2"), 2, "uses no layer"),
        (("--target", "dog"), 2, "the classes are disk"),
        (("--target", "17"), 2, "0 to 4"),
        (("--device", "nowhere"), 2, "'nowhere'"),
        (("--precision", "float8"), 2, "'bfloat16'"),
        (("--memory", "much"), 2, "2GB"),
        (("--batch", "0"), 2, "--batch"),
        (("--seed", "-1"), 2, "--seed"),
        (("--top", "0"), 2, "--top"),
        (("--opacity", "2"), 2, "--opacity"),
        (("--view", "side"), 2, "'overlay'"),
        (("--format", "gif"), 2, "'webp'"),
        (("--colormap", "virids"), 2, "viridis"),
        (("--speed", "1"), 2, "--speed"),
        (("--labels", "nowhere.txt"), 1, "nowhere.txt"),
        (("--out", "/dev/null/x"), 1, "/dev/null/x"),
        (("--model", "dmo"), 1, "did you mean 'demo'"),
        (("--model", "torchvisoin/resnet18"), 1, "torchvision"),
    ],
)
def test_a_wrong_option_is_answered_in_a_line_or_two(seewhy, pictures, words, code, said):
    result = seewhy("explain", pictures / "a/cat.png", "-m", "demo", "--json", *words, code=code)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") <= 2


@pytest.mark.parametrize(
    "words", [("explain",), ("explain", "a.png"), ("bogus",), ("--bogus",), ("compare", "a", "b")]
)
def test_wrong_usage_names_the_help(seewhy, words):
    result = seewhy(*words, code=2)
    assert result.stdout == ""
    assert re.fullmatch(r"error: .*\ntry 'seewhy.* --help'\n", result.stderr)


def test_what_was_not_foreseen_is_a_line_without_debug(seewhy, pictures, tmp_path):
    (tmp_path / "broken_net.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        raise RuntimeError('boom')\n"
    )
    words = ("explain", str(pictures / "a"), "-m", "broken_net:Net")
    said = seewhy(*words, code=1).stderr
    assert "error: RuntimeError: boom\n" in said
    assert "while running Net on an input of shape" in said
    assert "seewhy --debug" in said
    debugged = CliRunner().invoke(app, ["--debug", *words])
    assert debugged.exit_code == 1
    assert "Traceback" in debugged.stderr


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("2GB", 2 * 10**9), ("1.5 kb", 1500), ("512MiB", 512 * 2**20), ("1g", 10**9)],
)
def test_sizes_in_memory(text, size):
    assert options.read_memory(text) == size


def test_the_precisions_are_those_of_a_run():
    assert {each.value for each in options.Precision} == set(PRECISIONS)


# ---------------------------------------------------------------------- the other commands


def test_compare_prints_a_table_and_saves_it(seewhy, pictures, tmp_path):
    words = ("compare", pictures / "b/dog.png", "-m", "demo", "-t", "cross")
    chosen = ("--methods", "grad-cam", "--methods", "integrated-gradients:steps=4")
    said = seewhy(*words, *chosen, "--layer", "block3").stdout
    assert re.search(r"grad-cam:layer=block3 +block3 +cross", said)
    assert re.search(r"integrated-gradients:steps=4 +input +cross", said)
    base = tmp_path / "seewhy-out/dog.comparison"
    assert "| grad-cam:layer=block3 |" in base.with_suffix(".comparison.md").read_text()
    assert base.with_suffix(".comparison.csv").read_text().count("\n") == 3
    panel = Image.open(base.with_suffix(".comparison.png"))
    assert panel.width > 3 * 256  # the picture once, and a map each
    assert panel.width < 4 * 256


def test_compare_in_json_names_what_does_not_apply(seewhy, pictures, tmp_path):
    (tmp_path / "flat_net.py").write_text(
        "import torch, seewhy\n"
        "def net():\n"
        "    layers = torch.nn.Flatten(), torch.nn.Linear(48, 2)\n"
        "    return seewhy.Model(torch.nn.Sequential(*layers).eval(), seewhy.Preprocess((4, 4)))\n"
    )
    words = ("compare", "-", "-m", "flat_net:net", "--json")
    result = seewhy(*words, input=(pictures / "a/cat.png").read_bytes())
    document = json.loads(result.stdout)
    assert "gradient" in [each["method"] for each in document["explanations"]]
    assert "grad-cam" in [each["source"] for each in document["failures"]]
    assert "seewhy-out/stdin.comparison.csv" in document["files"]


def test_compare_refuses_a_layer_that_is_none(seewhy, pictures):
    result = seewhy("compare", pictures / "a/cat.png", "-m", "demo", "--layer", "none.here", code=2)
    assert result.stderr.startswith("error: demo has no layer 'none.here'")


def test_summary_lists_the_layers_and_marks_the_default(seewhy, pictures):
    said = seewhy("summary", "--model", "demo").stdout
    assert re.search(r"^block4 \(default\) +Block +96x16x16", said, re.MULTILINE)
    assert said.endswith("default layer: block4\n")
    assert seewhy("summary", "-m", "demo", "--markdown").stdout == sw.summary("demo").markdown()
    document = json.loads(seewhy("summary", pictures / "a/cat.png", "-m", "demo", "--json").stdout)
    assert document["default"] == "block4"
    assert [each["name"] for each in document["layers"]] == [
        str(each) for each in sw.summary("demo").layers
    ]


def test_methods_are_listed_and_described(seewhy):
    known = sw.methods()
    said = seewhy("methods").stdout
    assert all(re.search(rf"^{name} .*{known[name].family}", said, re.MULTILINE) for name in known)
    assert seewhy("methods", "--markdown").stdout == repr(known)
    listed = json.loads(seewhy("methods", "--json").stdout)
    assert [each["name"] for each in listed] == list(known)
    assert seewhy("methods", "nope", code=2).stderr.startswith("error: there is no method 'nope'")
    assert seewhy("methods", "--json", "--markdown", code=2).stdout == ""


@pytest.mark.parametrize("name", sw.methods())
def test_each_method_is_described_with_all_of_its_settings(seewhy, name):
    cls = sw.methods()[name]
    said = seewhy("methods", name, env={"COLUMNS": "300"}).stdout
    assert cls.paper in said
    assert cls.cost in said
    document = json.loads(seewhy("methods", name, "--json").stdout)
    assert set(document["settings"]) == {each.name for each in fields(cls)}
    assert all(each["takes"] for each in document["settings"].values())
    assert all(f"{setting}:" in document["description"] for setting in document["settings"])
    assert document["written"].startswith(name)


def test_the_written_settings_are_read_as_the_defaults():
    for name, cls in sw.methods().items():
        document = json.loads(CliRunner().invoke(app, ["methods", name, "--json"]).stdout)
        given = ",".join(
            f"{setting}=({each['default']})" for setting, each in document["settings"].items()
        )
        assert sw.methods.as_method(f"{name}:{given}") == cls()


def test_bare_seewhy_shows_the_commands(seewhy):
    said = seewhy().stdout
    assert all(each in said for each in ("explain", "compare", "summary", "methods", "demo"))
    assert seewhy("--version").stdout == f"seewhy {sw.__version__}\n"


@pytest.mark.parametrize(
    "command", ["explain", "compare", "evaluate", "summary", "methods", "demo"]
)
def test_help_of_each_command_has_examples(seewhy, command):
    assert f"seewhy {command}" in seewhy(command, "--help").stdout.partition("Examples:")[2]


def test_tables_fit_a_narrow_terminal(seewhy):
    said = seewhy("methods", env={"COLUMNS": "48"}).stdout
    assert max(map(len, said.partition("\n\n")[0].splitlines())) <= 48
