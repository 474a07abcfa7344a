"""What all tests share: one thread a worker, no test left with a changed random state."""

import os
from pathlib import Path

import pytest
import torch
import torchvision_operators  # noqa: F401 - before anything imports torchvision

SUPPORT = Path(__file__).parent / "support"

if not os.environ.get("SEEWHY_BACKEND_TESTED"):  # `test_backends.py` runs these, a backend each
    collect_ignore_glob = ["bridge/backends/*"]

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # the workers share the cores


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data():
    """The folder of photographs and a trained network beside the repository, where it exists."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no folder shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def demo():
    import seewhy as sw

    return sw.load("demo")


@pytest.fixture
def linear():
    """A linear model of six numbers and the classes a, b and c."""
    import seewhy as sw

    module = torch.nn.Linear(6, 3)
    torch.nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(0))
    return sw.Model(module.eval(), input_shape=(6,), labels=["a", "b", "c"])
