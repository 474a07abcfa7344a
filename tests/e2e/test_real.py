"""On a real trained network and real photographs, where they are beside the repository."""

import json
import sys

import numpy as np
import pytest
import torch

import seewhy as sw


@pytest.fixture(scope="module")
def cifar(data):
    folder = data / "cifar10"
    known = json.loads((folder / "cifarnet.json").read_text())
    preprocess = sw.Preprocess(known["size"], mean=tuple(known["mean"]), std=tuple(known["std"]))
    sys.path.insert(0, str(folder))
    try:
        return sw.load(
            f"cifarnet:CifarNet@{folder / 'cifarnet.safetensors'}",
            preprocess=preprocess,
            labels=known["labels"],
        )
    finally:
        sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def photographs(data):
    with np.load(data / "cifar10" / "test600.npz") as stored:
        return stored["images"], stored["labels"]


def test_the_network_sees_through_our_preprocessing_what_it_was_trained_on(cifar, photographs):
    """86.4 % on all 10,000 test photographs, by its card; here are 600 of them."""
    images, labels = photographs
    best = [row[0].number for row in cifar.predict(cifar.prepare(list(images)), top=1)]
    assert np.mean(np.array(best) == labels) == pytest.approx(0.864, abs=0.03)


def test_what_a_map_points_at_matters_more_than_what_it_does_not(cifar, photographs):
    """Blurring the most relevant fifth of the places costs more score than the least relevant."""
    images, _ = photographs
    prepared = cifar.prepare(list(images[:64]))
    blurred = torch.nn.functional.avg_pool2d(prepared.tensor, 9, 1, 4, count_include_pad=False)
    found = sw.explain(cifar, list(images[:64]), method="grad-cam", batch=64)
    heat = torch.from_numpy(np.stack([each.heatmap() for each in found]))
    score = torch.tensor([each.score for each in found])
    classes = torch.tensor([each.prediction[0].number for each in found])

    def without(places):
        with torch.no_grad():
            changed = torch.where(places[:, None], blurred, prepared.tensor)
            return cifar.module(changed).gather(1, classes[:, None])[:, 0]

    order = (heat + 1e-6 * torch.rand(heat.shape)).flatten(1).argsort(1).argsort(1).view_as(heat)
    fifth = order[0].numel() // 5
    most, least = order >= 4 * fifth, order < fifth
    assert float((score - without(most)).mean()) > 2 * float((score - without(least)).mean())


def test_every_photograph_is_explained(data):
    """All of a folder by an untrained network: each map on the whole original picture."""
    model = sw.load("torchvision/resnet18?weights=none")
    found = sw.explain(model, data / "photos", method="grad-cam")
    assert len(found) == 14
    assert not found.failures
    for each in found:
        assert each.heatmap("absolute").shape == (each.picture.height, each.picture.width)
        assert each.overlay(sign="absolute").size == each.picture.size
