"""What methods promise holds for Keras networks of every make, or the method says why not."""

import numpy as np
import pytest
import torch
from networks import MAKES, SIZE, pictures

import seewhy as sw
from seewhy.errors import SeewhyError
from seewhy.model.bridge.foreign import Foreign
from seewhy.testing.conformance import check_method
from seewhy.testing.kinds import KINDS, Kind

QUICK = ("grad-cam", "ablation-cam", "integrated-gradients", "rise")
OPERATIONS = "operations of torch's own"
CHEAP = {
    "rise": "rise:samples=16",
    "extremal-perturbation": "extremal-perturbation:steps=60,areas=0.1",
}

_nets = {name: make() for name, make in MAKES.items()}
_modules = {name: sw.Model(net).module for name, net in _nets.items()}


@pytest.fixture(autouse=True)
def keras_kinds(monkeypatch):
    for name in MAKES:
        kind = Kind(name, "a Keras network", lambda name=name: _modules[name], (3, SIZE, SIZE))
        monkeypatch.setitem(KINDS, name, kind)


def _everything_is_as_it_was(before):
    for name, net in _nets.items():
        for layer in net._flatten_layers():
            assert "call" not in vars(layer), f"{name}: {layer.name} still has another call"
        for one, two in zip(before[name], net.get_weights(), strict=True):
            assert np.array_equal(one, two)


@pytest.mark.parametrize("method", QUICK)
def test_promises(method):
    before = {name: net.get_weights() for name, net in _nets.items()}
    found = check_method(CHEAP.get(method, method), list(MAKES))
    assert set(found.values()) == {"applies"}
    _everything_is_as_it_was(before)


@pytest.mark.slow
@pytest.mark.parametrize("method", sw.methods())
def test_promises_of_every_method(method):
    before = {name: net.get_weights() for name, net in _nets.items()}
    needs = sw.methods()[method].needs
    found = check_method(CHEAP.get(method, method), list(MAKES))
    foreign = isinstance(_modules["sequential"], Foreign)
    for name, said in found.items():
        if "operations" in needs and foreign:
            assert OPERATIONS in said, f"{name}: {said}"
    _everything_is_as_it_was(before)


@pytest.mark.filterwarnings("ignore::seewhy.errors.SeewhyWarning")  # of empty and partial maps
def test_every_method_applies_or_says_in_one_error_why_not():
    model = sw.Model(_nets["sequential"])
    given, refused = torch.tensor(pictures(1)), {}
    for name in sw.methods():
        try:
            found = sw.explain(model, given, 1, CHEAP.get(name, name))[0]
        except SeewhyError as error:
            refused[name] = str(error)
        else:
            assert bool(torch.isfinite(found.relevance).all())
    assert all(len(said) > 20 for said in refused.values())
    if isinstance(model.module, Foreign):
        for name, cls in sw.methods().items():
            assert "operations" not in cls.needs or OPERATIONS in refused[name]
    assert {"grad-cam", "layer-cam", "integrated-gradients", "rise", "lime"}.isdisjoint(refused)
