"""The command line on files of other frameworks, in a process of its own on this backend."""

import os
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import onnx_graphs
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("files")
    networks.nested().save(folder / "model.keras")
    onnx.save(onnx_graphs.exported(onnx_graphs.small()), folder / "model.onnx")
    values = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(values).save(folder / "cat.png")
    return folder


@pytest.mark.parametrize(
    ("file", "method", "said", "warned"),
    [
        ("model.keras", "grad-cam", "probability", ""),
        ("model.keras?logits=true", "gradient", "by gradient at input", ""),
        ("model.onnx", "rise:samples=64", "by rise", "stretched to 16 x 16"),
    ],
)
def test_explain_takes_a_file_and_a_picture_of_any_size(files, file, method, said, warned):
    out = files / f"{file.partition('.')[2]} out"
    command = [sys.executable, "-c", "from seewhy.cli import main; main()", "explain"]
    command += [str(files / "cat.png"), "--model", str(files / file), "--method", method]
    support = Path(onnx_graphs.__file__).parent
    run = subprocess.run(  # noqa: S603 - this very interpreter
        [*command, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(support)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert said in run.stdout
    assert warned in run.stderr
    (shown,) = out.glob("cat.*.png")
    assert Image.open(shown).size[0] >= 50
