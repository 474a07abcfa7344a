"""The page in a browser: what turns, turns by hand and by keyboard, and anyone can read it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from browser import BROWSER, PHONE, WIDE
from PIL import Image

import seewhy as sw
from seewhy import report
from seewhy.data.world import generate
from seewhy.draw.report import Table, save_page

pytestmark = pytest.mark.skipif(BROWSER is None, reason="neither chromium nor google-chrome here")


@pytest.fixture(scope="module")
def pages(tmp_path_factory, demo):
    """One picture by five methods, and three pictures by two with their truth and a table."""
    folder = tmp_path_factory.mktemp("pages")
    scenes = generate(3, seed=0, empty=0.0)
    methods = {"Grad-CAM": "grad-cam", "gradient": "gradient"}
    maps = {
        title: sw.explain(demo, list(scenes.pictures), method=method)
        for title, method in methods.items()
    }
    rows = [("Grad-CAM", "2 of 3", 0.5), ("gradient", "3 of 3", 9.0), ("at random", "", 10.0)]
    several = report.of_methods(
        maps,
        title="Do maps point at the shape?",
        introduction=["Three pictures."],
        tables=[Table(("method", "hits", "seconds"), rows, "Hits")],
        truths=list(scenes.mask("shape")),
        truth="the shape",
    )
    save_page(several, folder / "several.html")
    single = report.of_comparison(sw.compare(demo, scenes.pictures[0]))
    save_page(single, folder / "single.html")
    return folder


def pixels(place):
    return np.asarray(Image.open(io.BytesIO(place.screenshot())).convert("RGB"), np.float32)


def differ(one, two):
    return one.shape != two.shape or np.abs(one - two).mean() > 0.5


def test_the_slider_changes_how_strongly_maps_are_seen(visit):
    tab = visit("several.html")
    stage, shown = tab.locator(".stage").first, tab.locator(".map:visible").first
    slider = tab.get_by_label("Opacity of the maps")
    before = pixels(stage)
    assert shown.evaluate("it => getComputedStyle(it).opacity") == "0.7"
    slider.focus()
    for _ in range(10):
        tab.keyboard.press("ArrowLeft")
    assert shown.evaluate("it => getComputedStyle(it).opacity") == "0.6"
    assert slider.get_attribute("aria-valuetext") == "60%"
    tab.keyboard.press("Home")
    assert shown.evaluate("it => getComputedStyle(it).opacity") == "0"
    assert differ(before, pixels(stage))


def test_one_switch_turns_all_cards_and_each_card_has_its_own(visit):
    tab = visit("several.html")
    cards = tab.locator(".card")
    before = pixels(cards.first.locator(".stage"))
    everywhere = tab.get_by_role("group", name="All maps")
    everywhere.get_by_role("radio", name="Grad-CAM").focus()
    tab.keyboard.press("ArrowRight")
    for card in cards.all():
        assert card.locator(".map:visible").get_attribute("alt").startswith("Map by gradient")
        assert card.locator(".about:visible .method").inner_text().startswith("gradient")
    assert differ(before, pixels(cards.first.locator(".stage")))
    cards.nth(1).get_by_role("radio", name="Grad-CAM").click()
    shown = [card.locator(".map:visible").get_attribute("alt")[:14] for card in cards.all()]
    assert shown == ["Map by gradien", "Map by Grad-CA", "Map by gradien"]
    assert everywhere.locator(":checked").count() == 0  # the cards no longer agree


def test_one_picture_has_a_strip_of_its_maps(visit):
    tab = visit("single.html")
    assert tab.locator(".thumb").count() == 5
    before = pixels(tab.locator(".stage"))
    tab.locator(".thumb").nth(4).click()
    assert all(each.is_visible() for each in tab.locator(".thumb .map").all())
    assert tab.get_by_role("radio", name="integrated-gradients").is_checked()
    assert tab.locator(".about:visible").inner_text().startswith("integrated-gradients")
    assert differ(before, pixels(tab.locator(".stage")))


def test_the_original_is_seen_as_long_as_it_is_held(visit):
    tab = visit("several.html")
    shown = tab.locator(".map[data-layer='0']")
    tab.get_by_role("button", name="Hold for the original").focus()
    tab.keyboard.down("Space")
    assert not any(each.is_visible() for each in shown.all())
    tab.keyboard.up("Space")
    assert all(each.is_visible() for each in shown.all())
    tab.locator(".stage").first.hover()
    tab.mouse.down()
    assert [each.is_visible() for each in shown.all()] == [False, True, True]
    tab.mouse.up()
    assert all(each.is_visible() for each in shown.all())


def test_the_outline_of_the_truth_can_be_left_out(visit):
    tab = visit("several.html")
    assert tab.locator(".truth").first.is_visible()
    tab.get_by_label("Outline the shape").uncheck()
    assert not tab.locator(".truth").first.is_visible()


def test_tables_sort_by_what_numbers_mean(visit):
    tab = visit("several.html")
    heads, first = tab.locator("thead th"), tab.locator("tbody th")
    tab.get_by_role("button", name="seconds").click()
    assert first.all_inner_texts() == ["at random", "gradient", "Grad-CAM"]  # 10 is more than 9
    assert heads.nth(2).get_attribute("aria-sort") == "descending"
    tab.get_by_role("button", name="hits").focus()
    tab.keyboard.press("Enter")
    tab.keyboard.press("Enter")
    assert first.all_inner_texts() == ["Grad-CAM", "gradient", "at random"]  # empty is last
    assert [head.get_attribute("aria-sort") for head in heads.all()] == [None, "ascending", None]
    assert tab.get_by_role("status").inner_text() == "Sorted by hits, ascending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_reader(visit, scheme):
    tab = visit("several.html", color_scheme=scheme)
    paper = "getComputedStyle(document.body).backgroundColor"
    colors = {"light": "rgb(250, 249, 246)", "dark": "rgb(19, 21, 24)"}
    assert tab.evaluate(paper) == colors[scheme]
    tab.get_by_role("button", name="Dark").click()
    assert tab.evaluate(paper) == colors["dark" if scheme == "light" else "light"]


@pytest.mark.parametrize("name", ["several.html", "single.html"])
def test_a_phone_scrolls_down_only(visit, name):
    tab = visit(name, viewport=PHONE, has_touch=True, is_mobile=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert tab.evaluate("innerWidth") == PHONE["width"]


@pytest.mark.parametrize("name", ["several.html", "single.html"])
def test_a_page_prints_without_controls(visit, name):
    tab = visit(name)
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    tab.emulate_media(media="print", color_scheme="dark")
    assert not tab.locator(".controls").is_visible()
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("name", ["several.html", "single.html"])
def test_without_script_the_first_map_is_seen(visit, name):
    tab = visit(name, java_script_enabled=False)
    for card in tab.locator(".card").all():
        assert card.locator(".map:visible").count() == 1
        assert card.locator(".map").first.is_visible()
    assert not tab.locator(".controls").is_visible()
    assert not tab.locator(".switch").first.is_visible()


def test_a_strict_policy_of_a_server_changes_nothing(chromium, pages):
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    )
    context = chromium.new_context(viewport=WIDE)
    tab, complaints = context.new_page(), []
    tab.on("console", lambda message: complaints.append(message.text))
    body = (pages / "several.html").read_bytes()
    headers = {"Content-Type": "text/html", "Content-Security-Policy": policy}
    tab.route("https://page.test/", lambda route: route.fulfill(body=body, headers=headers))
    tab.goto("https://page.test/")
    tab.get_by_label("Opacity of the maps").fill("20")
    shown = tab.locator(".map:visible").first
    assert shown.evaluate("it => getComputedStyle(it).opacity") == "0.2"
    assert shown.evaluate("it => it.naturalWidth") == 64
    context.close()
    assert complaints == []


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["several.html", "single.html"])
def test_nothing_keeps_anyone_from_reading(visit, axe, name, scheme, viewport):
    tab = visit(name, color_scheme=scheme, viewport=viewport)
    tab.evaluate(axe)
    found = tab.evaluate("axe.run()")["violations"]
    assert [
        (each["id"], each["impact"], [node["html"][:120] for node in each["nodes"]])
        for each in found
    ] == []
