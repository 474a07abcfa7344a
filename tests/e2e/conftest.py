"""The command line, run in an empty folder, and pictures for it."""

import sys

import pytest
from PIL import Image
from typer.testing import CliRunner

from seewhy.cli import app
from seewhy.data import world


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five pictures of the world: two folders with a cat.png each, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    scenes = world.generate(5, seed=3, empty=0.0)
    names = ("a/cat.png", "b/cat.png", "b/dog.png", "b/10.png", "b/[red] ü.png")
    for name, pixels in zip(names, scenes.pictures, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    (folder / "bad.png").write_text("words")
    return folder


@pytest.fixture
def seewhy(tmp_path, monkeypatch):
    """Run the command line in an empty folder: seewhy("explain", ...) -> result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*words, code=0, **options):
        result = CliRunner().invoke(app, [str(word) for word in words], **options)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return result

    return run
