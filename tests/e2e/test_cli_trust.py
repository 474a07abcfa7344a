"""The command line: what a map is worth (demo, evaluate, --check, --report)."""

import json
import re

import numpy as np
from PIL import Image

from seewhy.data import world
from seewhy.demo import METHODS


def test_the_demo_tells_two_models_apart(seewhy, tmp_path):
    said = seewhy("demo", "--count", "3", "--seed", "4", "--out", "here").stdout
    assert re.search(r"grad-cam +\d+% .* 1\.00 ", said)
    assert re.search(r"sobel \(control\) .* 0\.50 ", said)
    assert "saved: here/demo.html" in said
    page = (tmp_path / "here/demo.html").read_text()
    assert "picture 3, shortcut model" in page
    assert all(name in page for name in METHODS)
    panel = np.asarray(Image.open(tmp_path / "here/demo.png"))
    assert panel.shape[1] > 7 * 3 * 64  # the picture, and three maps of each model


def test_evaluate_prints_a_table_and_saves_it(seewhy, tmp_path):
    scenes = world.generate(4, seed=4, conflict=True)
    for row, mask in enumerate(scenes.mask("shape")):
        for folder, pixels in (("pictures", scenes.pictures[row]), ("masks", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / folder / f"p{row}.png")
    (tmp_path / "pictures" / "p9.png").write_bytes(b"no picture")
    (tmp_path / "masks" / "p9.png").write_bytes(b"never read")
    command = ["evaluate", "pictures", "--model", "demo", "--methods", "grad-cam"]
    command += ["--masks", "masks", "--metrics", "relevance-mass", "--metrics", "srg:patch=32"]
    told = seewhy(*command, "--out", "here", code=1)  # one picture cannot be read
    assert re.search(r"grad-cam +0\.\d+ ±0\.\d+ +", told.stdout)
    assert "random (control)" in told.stdout
    assert "p9.png" in told.stderr
    for ending in (".md", ".csv", ".json", ".html"):
        assert (tmp_path / f"here/evaluation{ending}").stat().st_size > 200
    data = json.loads(seewhy(*command, "--json", code=1).stdout)
    assert data["pictures"] == 4
    assert data["methods"]["grad-cam"]["metrics"]["relevance-mass"]["mean"] > 0.2
    assert seewhy("evaluate", "pictures", "-m", "demo", "--masks", "here", code=1).stderr
    assert (
        "relevance-mass"
        in seewhy("evaluate", "pictures", "-m", "demo", "--metrics", "relevance-mas", code=2).stderr
    )


def test_a_checked_explanation_says_what_came_of_it_and_stands_on_the_page(
    seewhy, pictures, tmp_path
):
    command = ["explain", pictures / "b/dog.png", "-m", "demo", "-t", "disk", "--check"]
    said = seewhy(*command, "--report", "--out", "here").stdout
    assert re.search(r"check: (It is|What|Whether)", said)
    assert "saved: here/report.html" in said
    assert (
        "With that part blurred, the probability of disk goes"
        in (tmp_path / "here/report.html").read_text()
    )
    data = json.loads(seewhy(*command, "--report", "--json").stdout)
    assert [each["fill"] for each in data["explanations"][0]["trials"]] == ["blur", "noisy-linear"]
    assert data["report"].endswith("report.html")
