"""A page holds all it shows, escapes what it is given, and is small."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy import report
from seewhy.data.world import generate
from seewhy.draw.report import Card, Layer, Page, Table, render, save_page, where_strongest
from seewhy.errors import Failure, PictureError, SaveError
from seewhy.explanation import Explanations

EVIL = "<script>alert('1')</script>\" onload='x' \N{CAT FACE} \N{HEBREW LETTER ALEF} &amp; \udcff"
VOID = {"meta", "img", "input", "path", "rect", "link", "br", "hr"}


class Reader(HTMLParser):
    """Reads a page; fails where an element is left open or closed by another."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def picture(width=40, height=30):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise)


def layer(name="grad-cam", height=30, width=40, **more):
    return Layer(name, np.linspace(0, 1, height * width).reshape(height, width), **more)


def full():
    return Page(
        "Why tabby?",
        ["One.", "Two."],
        [
            Card(
                f"{number}.png",
                picture(),
                [layer("a", target="Why tabby?", words=["One word."]), layer("b", 3, 4)],
                [("tabby", 281, 0.75), ("lynx", 287, 0.2)],
                ["Checked."],
                truth=np.eye(30, 40) > 0,
            )
            for number in range(2)
        ],
        [Table(("method", "share", "hits"), [("a", "50%", 3.25), ("b", "", float("nan"))], "Hits")],
        [("model", "demo")],
    )


@pytest.mark.parametrize(
    "page",
    [
        full(),
        Page("One card", cards=[Card("a", picture(), [layer()])]),
        Page("No map", cards=[Card("a", picture())]),
        Page("No picture", cards=[Card("a", None, [layer()])]),
        Page("Only words", ["Words."]),
        Page("Only a table", tables=[Table(("a", "b"), [])]),
    ],
    ids=lambda page: page.title,
)
def test_a_page_is_well_formed_whatever_is_missing(page):
    text = render(page)
    assert text.startswith("<!doctype html>")
    read = Reader(text)
    assert page.title in read.words
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for _, attributes in read.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids


def test_every_text_is_escaped():
    page = Page(
        EVIL,
        [EVIL],
        [
            Card(
                EVIL,
                picture(),
                [
                    layer(f"{EVIL}{number}", target=EVIL, details=EVIL, words=[EVIL])
                    for number in range(2)
                ],
                [(EVIL, 1, 0.5)],
                [EVIL],
                truth=np.eye(5) > 0,
            )
        ],
        [Table((EVIL, "b"), [(EVIL, EVIL)], EVIL)],
        [(EVIL, EVIL)],
        truth=EVIL,
    )
    text = render(page)
    assert text.encode()  # what no file can hold is gone
    read = Reader(text)
    assert len(read.all("script")) == 1
    assert not any("onload" in attributes for _, attributes in read.elements)
    said = EVIL.replace("\udcff", "?")
    assert read.words.count(said) >= 10
    assert [each["value"] for each in read.all("input") if each["type"] == "radio"] == [
        f"{said}{number}" for number in range(2)
    ]


def test_a_page_asks_for_nothing_beyond_itself():
    text = render(full())
    assert "://" not in text
    read = Reader(text)
    assert all(attributes["src"].startswith("data:image/") for attributes in read.all("img"))
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in read.elements}
    assert not any("href" in attributes for _, attributes in read.elements)
    [policy] = [each["content"] for each in read.all("meta") if "http-equiv" in each]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    assert not any("style" in attributes for _, attributes in read.elements)  # it would forbid them
    assert not re.search(r"url\(|@import|\bfetch\b|XMLHttp", text)


def test_without_script_the_first_map_is_seen_and_no_control():
    read = Reader(render(full()))
    maps = [each for each in read.all("img") if each.get("class") == "map"]
    assert ["hidden" in each for each in maps] == [False, True] * 2
    controls = [
        *read.all("fieldset"),
        *[e for e in read.all("section") if e["class"] == "controls"],
    ]
    [everywhere] = [each for each in controls if each["class"] == "switch all"]
    controls.remove(everywhere)  # within the controls
    assert len(controls) == 3
    assert all("hidden" in each for each in controls)


def test_pictures_and_maps_are_described():
    read = Reader(render(full()))
    alts = [each["alt"] for each in read.all("img")]
    assert "0.png: the picture itself" in alts
    lies = "Strongest in the lower right; half of it lies on"
    assert f"Map by a, Why tabby? {lies} 29% of the picture." in alts  # 1 - sqrt(1/2)
    assert f"Map by b. {lies} 33% of the picture." in alts  # 4 of 12 places


@pytest.mark.parametrize(
    ("row", "column", "words"),
    [
        (2, 2, "strongest in the upper left"),
        (2, 50, "strongest at the top"),
        (50, 50, "strongest in the centre"),
        (50, 97, "strongest on the right"),
        (97, 97, "strongest in the lower right"),
    ],
)
def test_where_a_map_is_strongest_is_said(row, column, words):
    heat = np.full((100, 100), 0.01)
    heat[row - 2 : row + 3, column - 2 : column + 3] = 1
    heat[60, 10] = np.nan
    assert where_strongest(heat).startswith(words + "; half of it lies on ")


def test_maps_against_everything_and_empty_maps_say_so():
    against = np.zeros((9, 9))
    against[0, 0] = -1
    assert where_strongest(against).endswith("strongest against it in the upper left")
    assert where_strongest(np.zeros((3, 3))) == "the map is empty"
    assert where_strongest(np.full((3, 3), np.nan)) == "the map is empty"


def test_twelve_pictures_with_six_maps_of_noise_stay_under_three_megabytes():
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.random((7, 9), dtype=np.float32)).resize((400, 300))
    noise = random.random((300, 400), dtype=np.float32) ** 4  # as gradients are
    photograph = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize(
        (400, 300), Image.Resampling.BICUBIC
    )
    heats = [np.asarray(smooth).clip(0, 1)] * 3 + [noise] * 3
    layers = [Layer(f"method {number}", heat) for number, heat in enumerate(heats)]
    empty = len(render(Page("Many")))
    card = len(render(Page("Many", cards=[Card("a", photograph, layers)]))) - empty
    assert empty + 12 * card < 3_000_000


def test_a_large_picture_is_made_small():
    text = render(Page("Large", cards=[Card("a", Image.new("RGB", (3000, 2000)), [layer()])]))
    assert len(text) < 100_000


def test_columns_of_numbers_carry_their_values():
    rows = [
        ("a", "3 of 6", "1,234.5 ms", "12%", 1.5, "1 forward, 1 backward"),
        ("b", "−5", "2e-3", "", float("nan"), "2"),
    ]
    read = Reader(render(Page("t", tables=[Table(tuple("abcdef"), rows)])))
    values = [each.get("data-value") for each in read.all("td")]
    assert values == ["3.0", "1234.5", "12.0", "1.5", None, "-5.0", "0.002", "", "", None]


@pytest.mark.parametrize(
    "page",
    [
        Page("t", opacity=2),
        Page("t", cards=[Card("empty", None)]),
        Page("t", cards=[Card("a", picture(), [Layer("b", np.full((3, 3), 7.0))])]),
        Page("t", cards=[Card("a", picture(), [Layer("b", np.zeros((2, 3, 3)))])]),
        Page("t", cards=[Card("a", picture(), truth=np.zeros(3))]),
    ],
)
def test_what_cannot_be_drawn_is_refused(page):
    with pytest.raises(PictureError):
        render(page)


def test_a_page_is_written_whole(tmp_path):
    path = save_page(full(), tmp_path / "new" / "page.html")
    assert path.read_text("utf-8") == render(full())
    with pytest.raises(SaveError):
        save_page(full(), tmp_path)


def test_explanations_of_one_picture_share_a_card(demo):
    pictures = [picture(64, 64), picture(64, 64).rotate(90)]
    found = sw.explain(demo, pictures, target=[["disk", "square"]] * 2, method="gradient")
    page = report.of_explanations(found)
    assert [[each.name for each in card.layers] for card in page.cards] == [["disk", "square"]] * 2
    assert page.cards[0].layers[0].target == "Why disk?"
    assert len(page.cards[0].prediction) == 5
    assert Reader(render(page))


def test_pictures_that_failed_are_listed(demo, tmp_path):
    found = sw.explain(demo, [picture(64, 64)], target="disk", method="gradient")
    both = Explanations(found, [Failure(str(tmp_path / "gone.png"), ValueError("no such\nfile"))])
    [table] = report.of_explanations(both).tables
    assert table.rows == [("gone.png", "no such file")]


def test_a_comparison_is_one_card_and_its_table(demo):
    found = sw.compare(demo, picture(64, 64), ["grad-cam", "integrated-gradients:steps=4"], "disk")
    page = report.of_comparison(found)
    [card], [table] = page.cards, page.tables
    assert [each.name for each in card.layers] == ["grad-cam", "integrated-gradients"]
    assert page.title == "Why disk?"
    assert any("add up to the change of the score" in word for word in card.layers[1].words)
    assert len(table.rows) == 2


def test_a_map_for_a_tensor_stands_alone(demo):
    [found] = sw.explain(demo, torch.rand(1, 3, 64, 64), target="disk", method="gradient")
    why = replace(found, picture=None)
    [card] = report.of_explanations([why]).cards
    assert card.picture is None
    assert Reader(render(report.of_explanations([why])))


def test_nothing_explained_is_refused():
    with pytest.raises(PictureError, match="nothing to show"):
        report.of_explanations([])


def test_the_words_on_a_card_follow_what_the_map_shows(demo):
    """A magnitude is judged as a magnitude, and nothing is said where nothing is marked."""
    scenes = generate(6, seed=1, conflict=True)
    whys = sw.explain(demo, list(scenes.pictures), method="gradient")
    for why, mask in zip(whys, scenes.mask("shape"), strict=True):
        [layer] = report.card_of({"gradient": why}, mask).layers
        peak = np.unravel_index(why.heatmap("absolute").argmax(), mask.shape)
        assert layer.words[-1].endswith("in the marked region.") == bool(mask[peak])
        assert layer.ends == ("little", "for or against it")
    [bare] = report.card_of({"gradient": whys[0]}, np.zeros((64, 64), bool)).layers
    assert not any("strongest" in word for word in bare.words)
