"""On the generated world it is known where the cause is: maps have to point there."""

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy.data import world


def pointing(demo, method, scenes):
    """The share of pictures in which the map's strongest point lies in the shape, no tolerance."""
    found = sw.explain(demo, [Image.fromarray(each) for each in scenes.pictures], method=method)
    peaks = [np.unravel_index(each.heatmap().argmax(), (64, 64)) for each in found]
    hits = [mask[peak] for mask, peak in zip(scenes.mask("shape"), peaks, strict=True)]
    return float(np.mean(hits))


@pytest.mark.parametrize(("method", "least"), [("layer-cam:layer=halve", 0.95), ("grad-cam", 0.80)])
def test_maps_point_at_the_shape(demo, method, least):
    """On 200 pictures of which every one has a shape and a sticker."""
    scenes = world.generate(200, seed=11, conflict=True)
    assert pointing(demo, method, scenes) >= least


def test_the_answer_follows_the_target(demo):
    """The map of the class that is there points at its shape more than that of another class."""
    scenes = world.generate(50, seed=12, conflict=True)
    pictures = [Image.fromarray(each) for each in scenes.pictures]
    masks = torch.from_numpy(scenes.mask("shape"))

    def inside(targets):
        found = sw.explain(demo, pictures, targets, "integrated-gradients:steps=8")
        summed = torch.stack([each.relevance.sum(0) for each in found])
        return (summed * masks).flatten(1).sum(1).mean()

    own = scenes.labels.tolist()
    other = [(number + 1) % 4 for number in own]
    assert inside(own) > 2 * abs(inside(other))


def test_the_demonstration_tells_the_models_apart_by_every_method_and_by_no_control():
    """The sticker's share of the map, of two models on the same pictures: the AUROC is 1 or .5."""
    from seewhy.demo import METHODS
    from seewhy.demo import demo as demonstrate

    shown = demonstrate(8, seed=3)
    controls = shown.found["object"].controls
    for each in shown.methods:
        assert shown.told_apart(each) == (0.5 if each in controls else 1.0)
    assert shown.methods == (*METHODS, *controls)
    assert shown.habits["object"].by_shape > 0.98
    assert shown.habits["shortcut"].by_sticker > 0.98
    assert len(shown.page().cards) == 12
    assert shown.draw().width > 300
