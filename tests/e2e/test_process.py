"""The command line as a process of its own: imports, streams, signals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from seewhy.data import world

SUPPORT = Path(__file__).parents[1] / "support"
COMMAND = [sys.executable, "-c", "from seewhy.cli import main; main()"]


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "shape.png"
    Image.fromarray(world.generate(1, seed=2, empty=0.0).pictures[0]).save(path)
    return path


def start(*words, command=COMMAND, **options):
    environment = os.environ | {"PYTHONPATH": str(SUPPORT), "OMP_NUM_THREADS": "1"}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    line = [*command, *map(str, words)]
    return subprocess.Popen(line, env=environment, **piped, **options)  # noqa: S603 - our own


def run(*words, **options):
    process = start(*words, **options)
    said, complained = process.communicate(timeout=60)
    return process.returncode, said, complained


@pytest.mark.parametrize(
    "words", ["--help", "--version", "methods --help", "explain --help", "explain --bogus"]
)
def test_help_imports_nothing_heavy(words):
    script = (
        "import sys, seewhy.cli\n"
        f"sys.argv[1:] = {words.split()}\n"
        "try:\n"
        "    seewhy.cli.main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "    print('heavy:', heavy, file=sys.stderr)\n"
    )
    _, _, complained = run(command=[sys.executable, "-c", script])
    assert complained.endswith("heavy: set()\n")


def test_stdout_holds_the_document_alone(picture):
    model = "torchvision/resnet18?weights=none"
    words = ("explain", picture, "gone.png", "-m", model, "--json")
    code, said, complained = run(*words, cwd=picture.parent)
    assert code == 1
    document = json.loads(said)
    assert document["explanations"][0]["layers"] == ["layer4"]
    assert len(document["failures"]) == 1
    assert "gone.png does not exist" in complained


def test_a_closed_pipe_is_quiet(picture):
    process = start("explain", picture, "-m", "demo", cwd=picture.parent)
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 141


def test_an_interrupt_says_what_was_saved(picture, tmp_path):
    how = ("-m", "demo", "--method", "integrated-gradients:steps=200", "--batch", "1", "--json")
    process = start("explain", *[picture] * 500, *how, cwd=tmp_path)
    until = time.monotonic() + 60
    # with the second picture there, the first is told of too
    while len(list(tmp_path.glob("seewhy-out/*.png"))) < 2 and time.monotonic() < until:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(said)
    saved = len(document["explanations"])
    assert 1 <= saved < 500
    assert document["error"] == "interrupted"
    assert f"interrupted: {saved} explained and saved in seewhy-out" in complained
    assert "Traceback" not in complained


def test_the_demo_runs_as_installed(tmp_path):
    code, said, complained = run("demo", "--count", "1", cwd=tmp_path)
    assert (code, complained) == (0, "")
    assert "saved: seewhy-out/demo.png" in said
    assert (tmp_path / "seewhy-out/demo.png").is_file()
