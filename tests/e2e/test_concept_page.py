"""The pages of concepts and prototypes in a browser: what is pointed at is seen alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from browser import BROWSER, PHONE
from PIL import Image

import seewhy as sw
from seewhy.data.world import generate

pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome here")

NAMES = [
    "concepts.html",
    "lone.html",
    "maps.html",
    "prototypes.html",
    "tcav.html",
    "activations.html",
    "sensitivity.html",
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory, demo):
    """A page of each result that has concepts, and of prototypes."""
    folder = tmp_path_factory.mktemp("pages")
    scenes = list(generate(12, seed=3, empty=0.0).pictures)
    sw.factorize(demo, scenes[:6], "auto").save(folder / "concepts.html")
    sw.factorize(demo, scenes[0], 3).save(folder / "lone.html")
    references = {"a <b>": scenes[4], "cross": scenes[5:7]}
    sw.find(demo, scenes[:2], references).save(folder / "maps.html")
    sw.prototype(demo, ["disk", "cross"], steps=8, frames=4).save(folder / "prototypes.html")
    calm = list(generate(12, seed=6, empty=1.0).pictures)
    found = sw.tcav(demo, {"shapes": scenes}, calm, scenes, "disk", sets=3, size=4)
    found.save(folder / "tcav.html")
    sw.activations(demo, scenes[:2], ["block1", "block4"]).save(folder / "activations.html")
    sw.sensitivity(demo, scenes).save(folder / "sensitivity.html")
    return folder


def pixels(place):
    return np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB"), np.float32)


def shown(tab):
    """For each picture the concepts whose maps are seen; None is all of them together."""
    seen = "its => its.map(it => it.dataset.concept ?? null)"
    return [
        scene.locator(".stage > .map:visible").evaluate_all(seen)
        for scene in tab.locator(".scene").all()
    ]


def test_an_entry_that_is_pointed_at_is_seen_alone_in_every_picture(visit):
    tab = visit("concepts.html")
    entries = tab.locator(".legend button")
    assert shown(tab) == [[None]] * 6
    before = pixels(tab.locator(".stage").first)
    entries.nth(1).hover()
    assert shown(tab) == [["1"]] * 6
    assert np.abs(pixels(tab.locator(".stage").first) - before).mean() > 5
    dim = tab.locator(".legend .dim").evaluate_all("its => its.map(it => it.dataset.concept)")
    assert dim == [str(place) for place in range(entries.count()) if place != 1]
    tab.mouse.move(5, 5)
    assert shown(tab) == [[None]] * 6


def test_an_entry_is_shown_by_keyboard_and_kept_until_it_is_let_go(visit):
    tab = visit("concepts.html")
    entries = tab.locator(".legend button")
    tab.get_by_role("button", name="Dark").focus()
    tab.keyboard.press("Tab")
    assert shown(tab) == [["0"]] * 6
    tab.keyboard.press("Tab")
    tab.keyboard.press("Enter")
    assert entries.nth(1).get_attribute("aria-pressed") == "true"
    assert tab.get_by_role("status").inner_text() == "concept 2 is shown alone"
    tab.keyboard.press("Tab")
    assert shown(tab) == [["2"]] * 6  # while it has the focus
    entries.nth(2).blur()
    assert shown(tab) == [["1"]] * 6
    tab.keyboard.press("Escape")  # from nowhere in the gallery: nothing is let go
    assert shown(tab) == [["1"]] * 6
    entries.nth(1).press("Escape")
    assert entries.nth(1).get_attribute("aria-pressed") == "false"


def test_an_entry_is_shown_by_a_tap_and_hidden_by_another(visit):
    tab = visit("concepts.html", viewport=PHONE, has_touch=True, is_mobile=True)
    entry = tab.locator(".legend button").nth(1)
    entry.tap()
    assert shown(tab) == [["1"]] * 6
    entry.tap()
    assert shown(tab) == [[None]] * 6
    tab.locator(".scene").nth(1).locator(".thumb").nth(2).tap()
    assert shown(tab) == [["2"]] * 6


def test_each_concept_is_also_seen_alone_and_small(visit):
    tab = visit("concepts.html")
    count = tab.locator(".legend button").count()
    scene = tab.locator(".scene").nth(2)
    assert scene.locator(".thumb .map:visible").count() == count
    scene.locator(".thumb").nth(1).hover()
    assert shown(tab) == [["1"]] * 6
    assert scene.locator(".found li").count() >= 1
    assert "How many concepts there are" in tab.inner_text("main")
    assert tab.get_by_role("img", name="found again").is_visible()  # the curve, in words


def test_colours_are_those_of_the_legend(visit):
    tab = visit("concepts.html")
    swatch = tab.locator(".legend li").nth(2).get_attribute("data-color")
    meant = np.array([int(swatch[at : at + 2], 16) for at in (1, 3, 5)], np.float32)
    tab.get_by_label("Opacity of the maps").fill("100")
    tab.locator(".legend button").nth(2).hover()
    found = [
        np.abs(pixels(scene.locator(".stage")) - meant).max(-1).min()
        for scene in tab.locator(".scene").all()
    ]
    assert min(found) < 12  # where the concept is strongest


def test_absence_is_the_other_side_of_the_maps(visit):
    tab = visit("maps.html")
    side = ".stage > .map:visible"
    assert tab.locator(side).first.get_attribute("data-side") == "0"
    before = pixels(tab.locator(".stage").first)
    tab.get_by_role("radio", name="Where they are not").check(force=True)
    assert tab.locator(side).first.get_attribute("data-side") == "1"
    assert np.abs(pixels(tab.locator(".stage").first) - before).mean() > 1
    assert {
        each.get_attribute("data-side") for each in tab.locator(".thumb .map:visible").all()
    } == {"1"}
    tab.locator(".legend button").nth(1).hover()
    assert shown(tab) == [["1"]] * 2
    assert tab.locator(".examples img").count() == 3
    assert "a <b>" in tab.locator(".legend").inner_text()


def test_the_original_is_in_colour_as_long_as_it_is_held(visit):
    tab = visit("concepts.html")
    stage = tab.locator(".stage").first

    def colour():
        seen = pixels(stage)
        return (seen.max(-1) - seen.min(-1)).mean()

    tab.get_by_label("Opacity of the maps").fill("0")
    assert colour() < 1  # grey, so that every colour is a concept's
    tab.get_by_role("button", name="Hold for the original").focus()
    tab.keyboard.down("Space")
    tab.wait_for_timeout(300)  # the grey fades
    assert colour() > 10


def test_frames_are_gone_through_one_by_one_and_together(visit):
    tab = visit("prototypes.html")
    films, last = tab.locator(".film"), tab.locator(".film .frames img")
    picture = films.first.locator(".stage img")
    assert films.first.locator(".frames img").count() == 5
    slider = films.first.get_by_role("slider", name="Frame of disk")
    slider.focus()
    tab.keyboard.press("Home")
    assert picture.get_attribute("src") == last.first.get_attribute("src")
    assert picture.get_attribute("alt") == "disk, step 0"
    assert slider.get_attribute("aria-valuetext") == "step 0"
    films.first.locator(".frames img").nth(2).click()
    assert picture.get_attribute("alt") == "disk, step 4"
    tab.get_by_role("slider", name="All together").fill("1")
    assert [each.get_attribute("alt") for each in tab.locator(".stage img").all()] == [
        "disk, step 2",
        "cross, step 2",
    ]
    assert tab.get_by_role("img", name="loss by steps").count() == 2


def test_the_scores_of_tcav_are_dots_beside_their_table(visit):
    tab = visit("tcav.html")
    assert tab.locator(".dots circle").count() == 3
    assert tab.locator(".rows .said").inner_text().startswith(("0.", "1."))
    assert tab.locator("tbody tr").count() == 1


@pytest.mark.parametrize("name", NAMES)
def test_without_script_a_page_is_a_picture_with_a_legend(visit, name):
    tab = visit(name, java_script_enabled=False)
    for scene in tab.locator(".scene").all():
        assert scene.locator(".map:visible").count() == 1
    for stage in tab.locator(".stage").all():
        assert stage.locator(".picture").is_visible()
    assert not tab.locator("input:visible, button:visible").count()


@pytest.mark.parametrize("name", NAMES)
def test_a_phone_scrolls_down_only(visit, name):
    tab = visit(name, viewport=PHONE, has_touch=True, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert tab.evaluate("innerWidth") == PHONE["width"]


@pytest.mark.parametrize("name", ["concepts.html", "prototypes.html"])
def test_a_page_prints_without_controls(visit, name):
    tab = visit(name)
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    tab.emulate_media(media="print", color_scheme="dark")
    assert not tab.locator(".controls").is_visible()


@pytest.mark.parametrize(
    ("scheme", "options"), [("light", {}), ("dark", {"viewport": PHONE})], ids=["wide", "phone"]
)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_keeps_anyone_from_reading(visit, axe, name, scheme, options):
    tab = visit(name, color_scheme=scheme, **options)
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")["violations"]
    assert [
        (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"]])
        for each in found
    ] == []


def test_a_page_of_many_photographs_and_concepts_is_small(demo, tmp_path):
    noise = np.random.default_rng(0)
    pictures = [
        Image.fromarray(noise.integers(0, 256, (60, 80, 3), np.uint8)).resize((1024, 768))
        for _ in range(12)
    ]
    page = sw.factorize(demo, pictures, 10).save(tmp_path / "page.html")
    assert page.stat().st_size < 3_000_000
