"""The command line on Keras files, in a process of its own on this backend."""

import subprocess
import sys

import networks
import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    networks.nested().save(folder / "model.keras")
    values = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(values).save(folder / "cat.png")
    return folder


@pytest.mark.parametrize(
    ("query", "method", "said"),
    [("", "grad-cam", "probability"), ("?logits=true", "gradient", "by gradient at input")],
)
def test_explain_takes_a_keras_file(files, query, method, said):
    command = ["explain", str(files / "cat.png"), "--model", f"{files / 'model.keras'}{query}"]
    run = subprocess.run(  # noqa: S603 - this very interpreter
        [
            sys.executable,
            "-c",
            "from seewhy.cli import main; main()",
            *command,
            "--method",
            method,
            "--out",
            str(files),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert said in run.stdout
    assert Image.open(files / f"cat.{method}.png").size[0] >= 50
