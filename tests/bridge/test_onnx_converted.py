"""ONNX models that convert to torch: the maps of gradients are those of the torch network."""

import warnings

import pytest
import torch
from onnx_graphs import CHANNELS_LAST, SEVERAL, Kind, exported, scores, small, written
from torch import nn

import seewhy as sw
from seewhy.errors import ModelError, SeewhyWarning
from seewhy.model.bridge.onnx import load_onnx
from seewhy.testing import CHECKS
from seewhy.testing.conformance import difference, snapshot

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx.parser")
pytest.importorskip("onnx2torch")


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def proto(net):
    return exported(net)


@pytest.fixture
def pictures():
    return torch.randn(3, 3, 16, 16)


@pytest.mark.parametrize(
    "method",
    [
        "gradient",
        "integrated-gradients:steps=8",
        "smoothgrad:samples=4",
        "grad-cam:layer={last}",
        "hires-cam:layer={last}",
        "layer-cam:layer={last}",
        "guided-backprop",
        "lrp",
        "deeplift",
    ],
)
def test_methods_with_gradients_give_the_maps_of_the_torch_network(net, proto, pictures, method):
    model = load_onnx(proto, differentiable=True)
    converted = [each for each, part in model.module.named_modules() if type(part) is nn.Conv2d]
    ours = sw.explain(model, pictures, 1, method.format(last=converted[-1]))
    torchs = sw.explain(sw.Model(net), pictures, 1, method.format(last="4"))
    for one, two in zip(ours, torchs, strict=True):
        scale = two.relevance.abs().max()
        assert scale > 0
        assert (one.relevance - two.relevance).abs().max() <= 1e-5 * scale


@pytest.mark.parametrize("check", CHECKS)
def test_promises_hold_converted(proto, check):
    for method in ("gradient", "grad-cam"):
        CHECKS[check](sw.methods.as_method(method), Kind(proto, differentiable=True))


def test_the_default_layer_of_a_converted_network_is_found(proto, pictures):
    model = load_onnx(proto)
    model.prepare(pictures)
    assert model.layer().shape == (12, 8, 8)
    assert model.offers.gradient
    assert model.offers.layers


def test_weights_behind_an_identity_convert():
    graph = """g (float[N, 3, 4, 4] x) => (float[N, 48] y)
    < float[3, 3, 1, 1] kernel = {1, 2, 3, 4, 5, 6, 7, 8, 9} > {
        same = Identity(kernel)
        c = Conv(x, same)
        y = Flatten(c)
    }"""
    model = load_onnx(written(graph), differentiable=True)
    pictures = torch.randn(2, 3, 4, 4)
    kernel = torch.arange(1.0, 10).view(3, 3, 1, 1)
    expected = nn.functional.conv2d(pictures, kernel).flatten(1)
    torch.testing.assert_close(scores(model, pictures), expected)


def test_channels_last_and_several_inputs_convert():
    model = load_onnx(written(CHANNELS_LAST), differentiable=True)
    pictures = torch.randn(1, 3, 8, 6)
    why = sw.explain(model, pictures, 1, "gradient-x-input")[0]
    expected = pictures[0] * torch.tensor([2.0, 4, 6]).view(3, 1, 1) / 48
    torch.testing.assert_close(why.relevance, expected)
    model = load_onnx(written(SEVERAL.replace("same = Identity(which)", "same = Abs(which)")))
    others = {"which": torch.tensor([5]), "more": torch.tensor([[3.0, 4.0]])}
    pictures = torch.randn(1, 3, 4, 4)
    why = sw.explain(model, pictures, 0, "gradient", others=others)[0]
    torch.testing.assert_close(why.relevance, (pictures[0] > 0).float() * 3 / 48)


def test_a_fixed_batch_converts(net, pictures):
    model = load_onnx(exported(net, batch=4), differentiable=True)
    ours = sw.explain(model, pictures, 1, "gradient")
    torchs = sw.explain(sw.Model(net), pictures, 1, "gradient")
    for one, two in zip(ours, torchs, strict=True):
        torch.testing.assert_close(one.relevance, two.relevance, rtol=1e-5, atol=1e-6)


GELU = "g (float[N, 3, 4, 4] x) => (float[N, 48] y) { g = Gelu(x) y = Flatten(g) }"


def test_what_does_not_convert_is_left_to_onnx_runtime_with_a_warning():
    graph = written(GELU, opset=20)
    with pytest.warns(SeewhyWarning, match=r"does not know all of it .*Gelu.*without gradients"):
        model = load_onnx(graph)
    assert not model.offers.gradient
    pictures = torch.randn(2, 3, 4, 4)
    expected = nn.functional.gelu(pictures).flatten(1)
    torch.testing.assert_close(scores(model, pictures), expected)
    with pytest.raises(ModelError, match="cannot be converted to torch"):
        load_onnx(graph, differentiable=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_onnx(graph, differentiable=False)


def test_what_converts_to_something_else_is_not_taken(proto, monkeypatch):
    import onnx2torch

    right = onnx2torch.convert

    def wrong(graph):
        found = right(graph)
        with torch.no_grad():
            next(each for each in found.parameters() if each.ndim == 4)[0, 0] *= 1.01
        return found

    monkeypatch.setattr(onnx2torch, "convert", wrong)
    with pytest.warns(SeewhyWarning, match="differs in .* on noise"):
        assert not load_onnx(proto).offers.gradient


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        ("(uint8[N, 3, 4, 4] x) => (float[N, 48] y) { f = Cast<to=1>(x) y = Flatten(f) }", "uint8"),
        (
            "(float[N, 3, 4, 4] x) => (int64[N, 1] y) { f = Flatten(x) y = ArgMax<axis = 1>(f) }",
            "does not run",
        ),
    ],
)
def test_what_has_no_gradient_is_told(graph, said):
    with pytest.warns(SeewhyWarning, match=said):
        assert not load_onnx(written("g " + graph)).offers.gradient


def test_neither_the_graph_nor_the_folder_nor_random_state_is_touched(proto, tmp_path):
    file = tmp_path / "model.onnx"
    onnx.save(proto, file)
    before, state = proto.SerializeToString(), torch.get_rng_state()
    load_onnx(proto)
    model = load_onnx(file)
    assert proto.SerializeToString() == before
    assert [each.name for each in tmp_path.iterdir()] == ["model.onnx"]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.module.parameters())
    kept = snapshot(model.module)
    sw.explain(model, torch.randn(1, 3, 16, 16), 0, "integrated-gradients:steps=2")
    difference(kept, snapshot(model.module))
