"""Concepts of the generated world: found, placed, and asked what they speak for."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.data.world import generate
from seewhy.errors import MethodError, NoSpaceError, PictureError

PARTS = ("shape", "sticker")


@pytest.fixture(scope="module")
def world():
    return generate(64, seed=5)


@pytest.fixture(scope="module")
def model():
    return sw.load("demo")


@pytest.fixture(scope="module")
def found(model, world):
    return sw.factorize(model, list(world.pictures), 8)


def overlaps(found, world, rows, cls, threshold=None):
    """IoU of every concept with the masks of a class's shapes, best threshold or the one given."""
    rows = [i for i in rows if world.labels[i] == cls]
    maps = np.stack([found.heatmaps(i) for i in rows])
    mask = world.mask("shape")[rows]
    thresholds = np.linspace(0.05, 0.95, 19) if threshold is None else [threshold]
    best = {}
    for concept in range(len(found)):
        scored = []
        for level in thresholds:
            strong = maps[:, concept] > level
            scored.append(
                ((strong & mask).sum((1, 2)) / np.maximum((strong | mask).sum((1, 2)), 1)).mean()
            )
        best[concept] = max(zip(scored, thresholds, strict=True))
    return best


@pytest.mark.parametrize("cls", range(4))
def test_each_shape_has_a_concept_that_lies_on_it_and_speaks_for_it(found, world, model, cls):
    """The threshold is chosen on half of the pictures, and the overlap measured on the others."""
    chosen = overlaps(found, world, range(0, 64, 2), cls)
    concept = max(chosen, key=lambda each: chosen[each][0])
    held_out = overlaps(found, world, range(1, 64, 2), cls, chosen[concept][1])
    assert held_out[concept][0] >= 0.4
    assert found.tops(concept)[0][0] == str(model.labels[cls])


def test_removing_a_shapes_concept_drops_its_class_most(found, world, model):
    removed = sw.factorize(model, list(world.pictures), 8, meaning="removal")
    assert torch.equal(removed.vectors, found.vectors)
    for cls in range(4):
        chosen = overlaps(found, world, range(64), cls)
        concept = max(chosen, key=lambda each: chosen[each][0])
        assert removed.tops(concept)[0][0] == str(model.labels[cls])


def test_the_head_is_the_networks_own(found, model):
    strong = torch.stack([each.flatten(1).amax(1) for each in found.maps]).amax(0)
    expected = model.module.head(found.vectors * strong[:, None])
    torch.testing.assert_close(found.scores, expected.detach())
    given = sw.factorize(model, list(generate(4, seed=1).pictures), 3, head=model.module.head)
    assert given.meaning == "own"
    assert given.scores.shape == (3, 5)


def test_auto_finds_about_as_many_as_there_are(model, world):
    found = sw.factorize(model, list(world.pictures), "auto")
    assert 4 <= len(found) <= 8
    assert [each[0] for each in found.curve] == list(range(1, 16))
    errors = [each[1] for each in found.curve]
    assert errors == sorted(errors, reverse=True)


def test_a_stream_finds_the_same_concepts(found, model, world):
    streamed = sw.factorize(model, iter(list(world.pictures)), 8)
    cosines = (streamed.vectors @ found.vectors.T).amax(0)
    assert float(cosines.sort().values[2]) > 0.9
    assert len(streamed.shown) == 16


def test_an_earlier_layer_is_replayed(model, world):
    found = sw.factorize(model, list(world.pictures[:8]), 4, layer="halve")
    assert found.meaning == "replay"
    assert found.scores.shape == (4, 5)
    assert not found.scores.requires_grad


def test_a_network_without_classes_has_concepts_without_them():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU()).eval()
    found = sw.factorize(sw.Model(module), torch.randn(3, 3, 12, 12), 3, layer="1")
    assert found.scores is None
    assert found.tops(0) == []
    assert float(found.vectors.min()) < 0
    assert all(float(each.min()) >= 0 for each in found.maps)
    with pytest.raises(MethodError, match="gives no class scores"):
        sw.factorize(sw.Model(module), torch.randn(3, 3, 12, 12), 3, layer="1", meaning="head")


def test_it_is_drawn_saved_and_read_back(found, tmp_path, world):
    for view, picture in (("overlay", 3), ("concepts", 2), ("panel", 1)):
        assert isinstance(found.draw(view, picture), Image.Image)
    named = found.named([f"idea {i}" for i in range(8)])
    for ending in ("npz", "json"):
        again = sw.read(named.save(tmp_path / f"found.{ending}"))
        assert torch.equal(again.vectors, found.vectors)
        assert all(map(torch.equal, again.maps, found.maps))
        assert again.names == named.names
        assert again.tops(1) == found.tops(1)
        assert np.array_equal(np.asarray(again.overlay(0)), np.asarray(found.overlay(0)))
    assert (found.save(tmp_path / "panel.png")).stat().st_size > 10_000


def test_places_of_no_concept_keep_the_photograph(found):
    picture = np.asarray(found.shown[0].picture.convert("L").convert("RGB"))
    clear = np.asarray(found.overlay(0, opacity=0.0))
    assert np.array_equal(picture, clear)
    white = np.asarray(found.overlay(0, opacity=0.0, photo=0.0))
    assert (white == 255).all()


def test_what_makes_no_sense_is_said(model, world):
    pictures = list(world.pictures[:2])
    for wrong, said in (
        ({"concepts": 0}, "give a number from 1"),
        ({"concepts": 500}, "ask for at most 96"),
        ({"solver": "ica"}, "use one of nmf"),
        ({"top_k": 0}, "classes from 1"),
        ({"top_k": 2.5}, "classes from 1"),
    ):
        with pytest.raises(MethodError, match=said):
            sw.factorize(model, pictures, **wrong)
    with pytest.raises(MethodError, match="by 'nmf'"):
        sw.factorize(model, iter(pictures), solver="pca")
    with pytest.raises(NoSpaceError, match="has no space"):
        sw.factorize(model, pictures, layer="head")
    with pytest.raises(PictureError):
        sw.factorize(model, iter([]), 3)
    with pytest.raises(PictureError, match="one for each"):
        sw.factorize(model, pictures, 3).named(["one"])


def test_the_model_comes_back_as_it_was(model, world):
    from seewhy.testing.conformance import difference, snapshot

    before = snapshot(model.module)
    for meaning in ("head", "replay", "removal"):
        sw.factorize(model, list(world.pictures[:4]), 3, meaning=meaning)
    difference(before, snapshot(model.module, copies=False))
