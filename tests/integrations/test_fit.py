"""Keras's fit on each backend, which is one a process: weights as without the callback."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPT = Path(__file__).parent / "fit_in_keras.py"
METHODS = ("grad-cam", "smoothgrad_samples=3", "rise_samples=20_grid=3")


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_fit_is_bit_identical_with_and_without(backend, tmp_path):
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    run = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-W", "error::seewhy.errors.SeewhyWarning", str(SCRIPT), str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    found = json.loads(run.stdout)
    expected = {"repeatable": True, "untouched": True, "steps": [1, 2, 3], "failures": []}
    assert found == expected, run.stderr[-2000:]
    for method in METHODS:
        with Image.open(tmp_path / f"{method}.png") as panel:
            assert panel.width == 4 * 128 + 5 * 6
