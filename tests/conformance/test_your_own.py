"""The page for those who write a method says what works."""

import re
import sys
import tomllib
import types
from pathlib import Path

import pytest
import torch

import seewhy as sw
from seewhy.methods import registry
from seewhy.testing import check_method

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "your-own.md"


@pytest.fixture
def written():
    """The page's method, registered for the time of a test."""
    text = PAGE.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    module = sys.modules["your_own"] = types.ModuleType("your_own")  # as a package of theirs
    exec(compile(blocks[0], str(PAGE), "exec"), module.__dict__)  # noqa: S102 - our own page
    yield blocks
    registry._methods.pop("loud-gradient")
    del sys.modules["your_own"]


def test_the_method_of_the_page_keeps_every_promise(written, demo):
    found = check_method("loud-gradient", ["plain", "tokens", "flat"])
    assert set(found.values()) == {"applies"}
    pictures = torch.randn(2, 3, 64, 64)
    one = sw.explain(demo, pictures, method="loud-gradient:power=1")
    assert torch.equal(one[0].relevance, sw.explain(demo, pictures, method="gradient")[0].relevance)
    assert len([line for line in written[0].splitlines() if line.strip()]) <= 20


def test_the_entry_point_of_the_page_is_the_one_that_is_read():
    block = re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)[1]
    assert list(tomllib.loads(block)["project"]["entry-points"]) == [registry.ENTRY_POINTS]
