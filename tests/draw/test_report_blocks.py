"""What stands on a page beside cards: it escapes what it is given, and its numbers are right."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from test_report import EVIL, Reader, picture

from seewhy.draw.overlay import strength
from seewhy.draw.report import (
    Chart,
    Concept,
    Film,
    Films,
    Gallery,
    Page,
    Row,
    Rows,
    Scene,
    Sheet,
    Sheets,
    render,
)
from seewhy.draw.report.pictures import MASK, UNSEEN, concepts_address
from seewhy.errors import PictureError

RED, BLUE = (200, 30, 10), (0, 114, 178)


def gallery(maps, names=("one", "two"), **settings):
    legend = [
        Concept(name, color, [(name, "97%", 0.97)], [picture()])
        for name, color in zip(names, (RED, BLUE), strict=True)
    ]
    return Gallery(legend, [Scene(names[0], picture(), maps)], **settings)


def page(*blocks):
    return Page("A page", blocks=blocks)


def opened(address):
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def test_every_text_is_escaped_and_every_element_closed():
    chart = Chart([(EVIL, [(0, 1), (1, 2)])], EVIL, EVIL, 0.5, EVIL, EVIL, [EVIL])
    film = Film(EVIL, [(EVIL, picture()), (EVIL, picture())], 0, [EVIL], chart)
    rows = Rows([Row(EVIL, EVIL, [0.5], EVIL)], EVIL, [EVIL], (EVIL, EVIL))
    both = [np.eye(8)[None].repeat(2, 0)] * 2
    sheets = Sheets([Sheet(picture(), EVIL, EVIL)], EVIL)
    legend = gallery(both, (EVIL, EVIL), sides=(EVIL, EVIL))
    text = render(page(legend, Films([film]), chart, rows, sheets))
    read = Reader(text)
    assert all("onload" not in attributes for _, attributes in read.elements)
    assert len(read.all("script")) == 1
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    assert all("style" not in attributes for _, attributes in read.elements)  # its policy forbids


def test_a_place_has_the_colour_of_the_strongest_and_its_strength():
    maps = np.zeros((2, 30, 40), np.float32)
    maps[0, :, :20], maps[1, :, 10:] = 0.9, 0.4
    maps[:, :5] = np.nan
    seen = opened(concepts_address(maps, [RED, BLUE], (40, 30)))
    assert seen.shape == (30, 40, 4)
    assert (seen[:5] == UNSEEN).all()
    assert (seen[5:, :20, :3] == RED).all()
    assert (seen[5:, 20:, :3] == BLUE).all()
    for place, value in ((0, 0.9), (39, 0.4)):
        alpha = 255 * strength(np.float32(value), signed=False)
        assert abs(float(seen[20, place, 3]) - alpha) <= 1
    alone = opened(concepts_address(maps[1:], [BLUE], (400, 300), most=MASK))
    assert alone.shape == (72, 96, 4)
    assert (alone[40, 0, 3], tuple(alone[40, 95, :3])) == (0, BLUE)


def test_the_shares_of_a_picture_are_told_largest_first():
    maps = np.zeros((2, 10, 10))
    maps[0, :2], maps[1, 2:9] = 1, 0.5
    text = " ".join(" ".join(Reader(render(page(gallery([maps])))).words).split())
    assert text.index("two 70%") < text.index("one 20%")
    nothing = render(page(gallery([np.zeros((2, 4, 4))])))
    assert "None of the concepts is strong here." in nothing


def test_only_pages_with_concepts_carry_their_script():
    assert "gallery" not in render(page(Rows([Row("a", "b", [0.1])])))
    assert "gallery" not in render(Page("Words"))


def test_charts_have_round_ticks_and_both_ends():
    points = [(step, 3.2 - step / 100) for step in range(1, 401)]
    drawn = Chart([("loss", points)], "steps", "loss").drawn()
    assert [said for _, said in drawn.x_ticks] == ["100", "200", "300", "400"]
    assert [said for _, said in drawn.y_ticks] == ["−1", "0", "1", "2", "3", "4"]
    ((_, path),) = drawn.paths
    assert path.count("L") < 170
    assert drawn.said == "loss 3.19 at 1 to -0.8 at 400"
    flat = Chart([("a", [(0, 2.0), (1, 2.0), (2, float("nan"))])], "x").drawn()
    assert "nan" not in flat.paths[0][1]
    assert Chart([("a", [])], "x").drawn().paths == []


def test_of_many_frames_the_first_the_last_and_the_best_are_kept():
    frames = [(f"step {number}", picture(8, 8)) for number in range(500)]
    (view,) = Films([Film("a", frames, best=321)]).view(1).views
    told = [said for said, _ in view.frames]
    assert len(told) == 240
    assert (told[0], told[view.best], told[-1]) == ("step 0", "step 321", "step 499")


def test_what_does_not_fit_is_refused():
    with pytest.raises(PictureError, match=r"give \(k, h, w\) for each of 1 sides, 2 concepts"):
        render(page(gallery([np.zeros((3, 4, 4))])))
    with pytest.raises(PictureError, match="one or more pictures"):
        render(page(Gallery([], [])))
    with pytest.raises(PictureError, match="one or more frames"):
        render(page(Films([Film("a", [])])))
