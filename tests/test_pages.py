"""The pages on methods: every method has its answers and its place in a picture."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

from seewhy.methods import as_method, methods

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {each.stem: each.read_text() for each in (DOCS / "methods").glob("*.md")}
ATTENTION = {"attention", "attention-rollout", "gradient-attention-rollout"}
MOST = 150_000  # bytes of a picture


def script():
    spec = importlib.util.spec_from_file_location("make_pictures", DOCS / "make_pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(set(methods()) - ATTENTION))
def test_every_method_has_its_question_cost_source_and_faults(name):
    parts = [part for page in PAGES.values() for part in page.split("\n### ")[1:]]
    own = [part for part in parts if part.partition("\n")[0] == name]
    assert len(own) == 1
    for each in ("\n- Cost: ", "Source: ", "\n- Fails: "):
        assert each in own[0]


def test_methods_of_attention_have_theirs_in_a_table():
    first = PAGES["attention"].partition("\n## ")[0]
    rows = [row for row in first.splitlines() if row.startswith("| `")]
    assert {row.split("`")[1] for row in rows} == ATTENTION
    assert "\n## Where they fail" in PAGES["attention"]


def test_every_method_is_in_a_picture():
    drawn = [as_method(each) for page in script().PAGES.values() for each in page]
    assert {each.name for each in drawn} == set(methods())


@pytest.mark.parametrize("page", sorted(script().PAGES))
def test_pictures_are_small_and_in_their_page(page):
    path = DOCS / "methods" / "pictures" / f"{page}.png"
    assert f"](pictures/{path.name})" in PAGES[page]
    assert path.stat().st_size < MOST
    with Image.open(path) as picture:
        picture.verify()
