"""Networks that draw random numbers: seeded, one after another, and nobody else's touched."""

import threading
import time

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import SeewhyWarning
from seewhy.model.tape.luck import Luck


def relevance(model, pictures, seed):
    return sw.explain(model, pictures, 0, "gradient", seed=seed)[0].relevance


def test_a_network_that_draws_is_seeded_and_said():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

        def forward(self, x):
            features = nn.functional.dropout(self.conv(x), 0.3, training=True)
            return self.head(features.mean((2, 3)))

    net, pictures = Noisy().eval(), torch.randn(1, 3, 8, 8)
    model = sw.Model(net)
    with pytest.warns(SeewhyWarning, match="draws random numbers"):
        one = relevance(model, pictures, 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(relevance(model, pictures, 1), one)
    assert not torch.equal(relevance(model, pictures, 2), one)
    assert torch.equal(torch.get_rng_state(), state)


def test_threads_whose_networks_draw_take_turns():
    one, two, order, inside = Luck("one"), Luck("two"), [], threading.Event()
    one.draws = two.draws = True
    cpu, before = torch.device("cpu"), torch.get_rng_state()

    def work():
        inside.wait()
        with two.seeded(2, cpu):
            order.append("two")

    thread = threading.Thread(target=work)
    thread.start()
    with one.seeded(1, cpu):
        inside.set()
        time.sleep(0.05)
        order.append("one")
    thread.join()
    assert order == ["one", "two"]
    assert torch.equal(torch.get_rng_state(), before)


def test_other_threads_random_numbers_are_not_rewound(demo):
    torch.manual_seed(3)
    expected = [float(torch.rand(1)) for _ in range(40)]
    torch.manual_seed(3)
    sw.explain(demo, torch.randn(1, 3, 64, 64, generator=torch.Generator()), 0, "gradient")
    stop = threading.Event()

    def work():
        pictures = torch.zeros(1, 3, 64, 64) + torch.linspace(-1, 1, 64)
        while not stop.is_set():
            sw.explain(demo, pictures, 0, "gradient")

    thread = threading.Thread(target=work)
    thread.start()
    found = []
    for _ in range(40):
        found.append(float(torch.rand(1)))
        stop.wait(0.005)
    stop.set()
    thread.join()
    assert found == expected
