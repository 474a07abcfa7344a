"""The command line, run in an empty folder, and pictures for it; a browser for pages."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from browser import AXE, BROWSER, OPTIONS, WIDE
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


@pytest.fixture(scope="session")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if BROWSER is None:
        pytest.skip("neither chromium nor google-chrome here")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, pages):
    """Open one of the module's pages; it may neither complain nor ask for anything elsewhere."""
    contexts, complaints = [], []

    def open_page(name, **options):
        context = chromium.new_context(**{"viewport": WIDE, **options})
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        own = ("data:", (pages / name).as_uri())
        tab.on("request", lambda it: it.url.startswith(own) or complaints.append(it.url))
        tab.goto((pages / name).as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def axe(request):
    """The text of axe-core, which npm fetches once into pytest's cache."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not here to fetch axe-core")
    folder = request.config.cache.mkdir("axe-core")
    [*known] = Path(folder).glob("*.tgz")
    if not known:
        done = subprocess.run(  # noqa: S603 - our own
            [npm, "pack", AXE, "--silent"], cwd=folder, capture_output=True, check=False, timeout=60
        )
        [*known] = Path(folder).glob("*.tgz")
        if done.returncode or not known:
            pytest.skip("npm could not fetch axe-core")
    with tarfile.open(known[0]) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()
