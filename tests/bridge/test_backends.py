"""Keras has one backend a process: what holds on each is tested in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "backends"
BACKENDS = ("tensorflow", "jax", "torch")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "part", [each.stem for each in sorted(HERE.glob("test_*.py"))], ids=lambda part: part[5:]
)
@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_on(backend, part, marked):
    for package in ("keras", backend):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    run = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-m", "pytest", "-q", "-m", marked, str(HERE / f"{part}.py")],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "SEEWHY_BACKEND_TESTED": backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": threads,
        },
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parents[2],
    )
    assert run.returncode in (0, 5), run.stdout[-6000:] + run.stderr[-2000:]  # 5: none is marked
