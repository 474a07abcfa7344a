"""The command line: whether a class depends on concepts, and pages of what concepts are."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

import seewhy as sw
from seewhy.data import world


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Examples of shapes, pictures of anything, and pictures of a class."""
    folder = tmp_path_factory.mktemp("folders")
    for name, empty, seed in (("shapes", 0.0, 5), ("anything", 1.0, 6), ("disks", 0.0, 7)):
        (folder / name).mkdir()
        for number, pixels in enumerate(world.generate(8, seed=seed, empty=empty).pictures):
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def asked(folders, *options):
    command = ["tcav", folders / "disks", "-m", "demo", "-t", "disk", "--sets", "2", "--size", "4"]
    return [*command, "--random", folders / "anything", *options]


def test_concepts_are_tested_in_a_table_and_saved(seewhy, folders, tmp_path):
    examples = ("--concept", folders / "shapes", "-c", f"others={folders / 'anything'}")
    said = seewhy(*asked(folders, *examples, "--layer", "block3+block4"), "--out", "here").stdout
    assert re.search(r"^concept +target +layer +score +p +accuracy +says", said, re.MULTILINE)
    for name in ("shapes", "others"):
        for layer in ("block3", "block4"):
            assert re.search(rf"^{name} +disk +{layer} +[01]\.\d\d ±\d", said, re.MULTILINE)
    found = sw.read(tmp_path / "here/tcav.npz")
    assert [each.layer for each in found] == ["block3", "block4"] * 2
    assert "shapes for disk" in (tmp_path / "here/tcav.html").read_text()
    with Image.open(tmp_path / "here/tcav.png") as picture:
        picture.verify()


def test_tcav_in_json_says_the_same_as_python(seewhy, folders):
    result = seewhy(*asked(folders, "-c", folders / "shapes", "--shared", "--json"))
    said = json.loads(result.stdout)
    found = sw.tcav(
        "demo",
        {"shapes": folders / "shapes"},
        folders / "anything",
        folders / "disks",
        "disk",
        sets=2,
        size=4,
        disjoint=False,
    )
    (test,) = said["tests"]
    assert test["scores"] == pytest.approx(found[0].scores)
    assert test["p"] == pytest.approx(found.corrected[0])
    assert test["accuracy"] is None
    assert said["disjoint"] is False
    assert [each.rpartition(".")[2] for each in said["files"]] == ["html", "png", "npz"]


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("-c", "{shapes}", "-c", "{shapes}"), 2, "'shapes' is there twice: give NAME=FOLDER"),
        (("-c", "=x"), 2, "'=x' lacks a part"),
        (("-c", "{shapes}", "--classifier", "svm"), 2, "use ridge or mean"),
        (("-c", "{shapes}", "--layer", "none"), 2, "demo has no layer 'none'"),
        (("-c", "{shapes}", "--layer", "block4+block4"), 2, "a layer came twice"),
        (("-c", "nowhere/"), 1, "nowhere"),
        (("-c", "{shapes}", "--size", "5"), 2, "no two sets of 5"),
        ((), 2, "--concept"),
    ],
)
def test_wrong_options_of_tcav_are_told_in_a_line(seewhy, folders, options, code, told):
    given = [each.format(shapes=folders / "shapes") for each in options]
    result = seewhy(*asked(folders, *given), code=code)
    assert result.stdout == ""
    assert told in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("concepts", "{picture}", "--concepts", "2"),
        ("find", "{picture}", "--reference", "{picture}"),
        ("prototype", "--target", "disk", "--steps", "2"),
    ],
)
@pytest.mark.parametrize("ending", [".html", ".npz", ".png"])
def test_out_may_be_one_file(seewhy, folders, tmp_path, command, ending):
    picture = str(folders / "disks/0.png")
    words = [each.format(picture=picture) for each in command]
    said = seewhy(*words, "-m", "demo", "--out", f"here/one{ending}").stdout
    assert said.splitlines()[-1] == f"saved: here/one{ending}"
    assert [each.name for each in (tmp_path / "here").iterdir()] == [f"one{ending}"]
    assert not (tmp_path / "seewhy-out").exists()
    if ending == ".html":
        assert (tmp_path / "here/one.html").read_text().startswith("<!doctype html>")


def test_a_folder_has_a_page_beside_the_pictures(seewhy, folders, tmp_path):
    seewhy("concepts", folders / "disks", "-m", "demo", "--concepts", "3", "--out", "here")
    seewhy("prototype", "-m", "demo", "-t", "disk", "--steps", "2", "--out", "here")
    picture = folders / "disks/0.png"
    seewhy("find", picture, "-m", "demo", "-r", picture, "--out", "here")
    pages = sorted(each.name for each in (tmp_path / "here").glob("*.html"))
    assert pages == ["concepts.html", "found.html", "prototypes.html"]


def test_help_shows_the_options_that_commands_share(seewhy):
    for command in ("concepts", "find", "prototype", "tcav"):
        said = seewhy(command, "--help", env={"COLUMNS": "120"}).stdout
        for option in ("--model", "--labels", "--device", "--memory", "--seed", "--allow-pickle"):
            assert option in said
        assert f"seewhy {command}" in said.partition("Examples:")[2]
        assert "--asked" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--memory", "much"), "2GB"),
        (("--precision", "float8"), "'bfloat16'"),
        (("--device", "gpu9"), "device 'gpu9' cannot be used"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_shared_options_are_checked_before_the_work(seewhy, folders, words, told):
    picture = folders / "disks/0.png"
    result = seewhy("concepts", picture, "-m", "demo", *words, code=2)
    assert told in result.stderr


def test_a_long_optimisation_shows_its_loss_and_keeps_the_best_when_interrupted(tmp_path):
    """On a terminal, as a process of its own."""
    ours, theirs = pty.openpty()
    script = "import sys; from seewhy.cli import main; main()"
    words = ["prototype", "-m", "demo", "-t", "disk", "--steps", "100000", "--out", "here"]
    process = subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    seen, until, sent = "", time.monotonic() + 60, False
    while time.monotonic() < until:
        if not select.select([ours], [], [], 1)[0]:
            continue
        try:
            seen += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # it has ended
            break
        if not sent and re.search(r"steps, loss -?\d", seen):
            process.send_signal(signal.SIGINT)
            sent = True
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 130, seen
    assert re.search(r"\d+/100000", seen)
    assert re.search(r"stopped after \d+ of 100000 steps", seen)
    assert "1 prototype of demo stopped after" in said
    found = sw.read(tmp_path / "here/prototypes.npz")
    assert found.interrupted
    assert 0 < len(found.losses) < 100_000
    assert float(found.loss[0]) <= float(found.losses[0, 0])
    assert "was stopped after" in (tmp_path / "here/prototypes.html").read_text()
