"""Plain functions: what they get, and whose the errors are."""

import numpy as np
import pytest
import torch

import seewhy as sw
from seewhy.errors import ModelError


def means(pictures):
    return pictures.mean(axis=(1, 2))


@pytest.mark.parametrize(
    "network",
    [
        lambda pictures: means(pictures.astype("float64")),
        lambda pictures: means(pictures.transpose(0, 2, 3, 1)),
        lambda pictures: means(np.moveaxis(pictures, 1, -1)),
        lambda pictures: np.ones((4, 4)) @ pictures,
    ],
    ids=["astype", "transpose", "moveaxis", "matmul"],
)
def test_a_function_of_numpy_says_how_to_begin(network):
    model, given = sw.Model(network), torch.rand(2, 3, 4, 4)
    with pytest.raises(ModelError, match=r"torch tensor \(N, C, H, W\): begin with x\.numpy\(\)"):
        model.outputs(model.prepare(given))
    begun = sw.Model(lambda pictures: network(pictures.numpy()))
    assert len(begun.outputs(begun.prepare(given))) == 2


def absent(pictures):
    return pictures.no_such_thing


def mixed(pictures):
    return pictures + {}


def refused(pictures):
    raise TypeError("my own")


@pytest.mark.parametrize(
    ("network", "kind"), [(absent, AttributeError), (mixed, TypeError), (refused, TypeError)]
)
def test_errors_of_the_function_itself_pass(network, kind):
    model = sw.Model(network)
    with pytest.raises(kind):
        model.outputs(model.prepare(torch.rand(1, 3, 4, 4)))
