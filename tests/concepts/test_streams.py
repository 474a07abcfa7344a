"""Concepts of a stream: those of a random sample of all its places, whatever their order."""

import numpy as np
import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.concepts.number import knee
from seewhy.concepts.solvers import weights_of
from seewhy.data.world import generate
from seewhy.errors import MethodError, NoAnswerError, SeewhyWarning
from seewhy.model.tape.record import record


@pytest.fixture(scope="module")
def world():
    return generate(120, seed=3)


def places(model, pictures):
    prepared = model.prepare(pictures)
    layer = model.layer(None, prepared)
    found = record(model, prepared, watch=[layer]).activations[layer]
    return found.flatten(2).movedim(1, 2).flatten(0, 1)[None]


@pytest.mark.parametrize("order", ["as they come", "by class", "black ones in between"])
def test_the_order_of_a_stream_hardly_matters(demo, world, order):
    pictures = list(world.pictures)
    if order == "by class":
        pictures = [pictures[place] for place in np.argsort(world.labels, kind="stable")]
    if order == "black ones in between":
        pictures[8:8] = [np.zeros_like(pictures[0])] * 16
    streamed = sw.factorize(demo, iter(pictures), 8)
    everything = places(demo, pictures)
    best = sw.factorize(demo, pictures, 8).error
    _, error = weights_of(everything, streamed.vectors[None])
    assert float(error) <= 1.05 * best
    assert streamed.error == pytest.approx(float(error), rel=0.05)


def test_it_says_how_many_pictures_it_looked_at(demo, world):
    streamed = sw.factorize(demo, iter(list(world.pictures[:40])), np.int64(3))
    assert (streamed.looked, len(streamed.shown)) == (40, 16)
    assert "40 pictures" in str(streamed)
    assert "16 are shown" in str(streamed)
    assert len(streamed.largest) == 3


def test_what_was_seen_of_a_stream_is_kept_where_it_is_not_shown(demo, world, tmp_path):
    """Sorted by class, the first pictures lack most of the concepts: they are not their measure."""
    order = np.argsort(world.labels, kind="stable")
    streamed = sw.factorize(demo, iter([world.pictures[place] for place in order]), 8)
    shown = torch.stack([each.flatten(1).amax(1) for each in streamed.maps]).amax(0)
    assert float((shown / torch.tensor(streamed.largest)).min()) < 0.5
    assert all(streamed.tops(concept) for concept in range(8))
    again = sw.read(streamed.save(tmp_path / "streamed.npz"))
    assert (again.looked, again.largest) == (120, streamed.largest)
    assert torch.equal(again.scaled(3), streamed.scaled(3))
    assert "The first 16 of 120 pictures are shown" in str(again.page())


def test_memory_bounds_how_many_pictures_run_at_once(demo, world):
    def largest(memory):
        rows = []
        handle = demo.module.register_forward_hook(lambda _, given, __: rows.append(len(given[0])))
        try:
            head = demo.module.head
            found = sw.factorize(demo, list(world.pictures[:6]), 3, head=head, memory=memory)
        finally:
            handle.remove()
        return max(rows), found

    (most, whole), (least, single) = largest(None), largest(1)
    assert (most, least) == (6, 1)
    torch.testing.assert_close(single.error, whole.error, rtol=1e-3, atol=0)


def test_the_number_may_be_found_in_a_stream(demo, world):
    assert 2 <= len(sw.factorize(demo, iter(list(world.pictures[:20])), "auto")) <= 14


def test_a_stream_keeps_what_is_below_zero():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU()).eval()
    found = sw.factorize(sw.Model(module), iter(torch.randn(6, 1, 3, 12, 12)), 3, layer="1")
    assert float(found.vectors.min()) < 0


def test_more_concepts_than_channels_are_refused(demo, world):
    with pytest.raises(MethodError, match="ask for at most 96"):
        sw.factorize(demo, iter(list(world.pictures[:4])), 200)


def test_what_is_no_number_is_said(world):
    class Broken(nn.Module):
        def forward(self, pictures):
            return pictures.log()

    module = nn.Sequential(nn.Conv2d(3, 4, 3), Broken()).eval()
    with pytest.raises(NoAnswerError, match="'1'"):
        sw.factorize(sw.Model(module), torch.randn(2, 3, 8, 8), 2, layer="1")


def test_a_layer_without_anything_is_warned_of():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    module[0].bias.data.fill_(-100.0)
    with pytest.warns(SeewhyWarning, match="no concepts to find"):
        sw.factorize(sw.Model(module), torch.randn(2, 3, 8, 8), 2, layer="1")


@pytest.mark.parametrize("rank", [2, 3, 6])
def test_the_knee_is_at_the_number_there_is(rank):
    random = torch.Generator().manual_seed(rank)
    vectors = torch.rand(rank, 40, generator=random) * (
        torch.rand(rank, 40, generator=random) < 0.3
    )
    weights = torch.rand(600, rank, generator=random) ** 4
    values = weights @ vectors + 0.01 * torch.rand(600, 40, generator=random)
    assert knee(values[None], torch.Generator().manual_seed(0))[0] == rank


def test_without_a_knee_it_is_one_and_said():
    values = torch.rand(1, 300, 1, generator=torch.Generator().manual_seed(0)) * torch.rand(
        1, 1, 20
    )
    with pytest.warns(SeewhyWarning, match="no knee"):
        assert knee(values, torch.Generator().manual_seed(0))[0] == 1
