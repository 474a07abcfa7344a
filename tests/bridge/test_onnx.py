"""ONNX models: their maps are those of the torch network that was exported."""

import numpy as np
import pytest
import torch
from onnx_graphs import CHANNELS_LAST, SEVERAL, Kind, exported, scores, small, written

import seewhy as sw
from seewhy.errors import MethodError, MissingDependencyError, ModelError
from seewhy.model.bridge import onnx as bridge
from seewhy.model.bridge.onnx import Runtime, load_onnx
from seewhy.testing import CHECKS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnx.parser")


@pytest.fixture(scope="module")
def net():
    return small()


@pytest.fixture(scope="module")
def proto(net):
    return exported(net)


@pytest.fixture
def pictures():
    return torch.randn(3, 3, 16, 16)


def quietly(source, **options):
    """Leave it to ONNX Runtime."""
    return load_onnx(source, differentiable=False, **options)


# ---------------------------------------------------------------------- run by ONNX Runtime


def test_scores_are_those_of_the_exported_network(net, proto, pictures, tmp_path):
    onnx.save(proto, tmp_path / "small.onnx")
    for source in (proto, tmp_path / "small.onnx", str(tmp_path / "small.onnx")):
        model = quietly(source)
        torch.testing.assert_close(scores(model, pictures), net(pictures).detach())
        assert model.input_shape == (3, 16, 16)
        assert (model.offers.gradient, model.offers.layers, model.offers.batch) == (
            False,
            False,
            None,
        )
    assert model.name == "small.onnx"


@pytest.mark.parametrize("method", ["rise:samples=24,grid=4", "occlusion:patch=4,stride=4"])
def test_maps_are_those_of_the_torch_network(net, proto, pictures, method):
    ours = sw.explain(quietly(proto), pictures, 1, method)
    torchs = sw.explain(sw.Model(net), pictures, 1, method)
    size = net(pictures).abs().max()  # the maps are differences of scores
    for one, two in zip(ours, torchs, strict=True):
        assert (one.relevance - two.relevance).abs().max() <= 1e-5 * size


@pytest.mark.parametrize("batch", [None, 4])
@pytest.mark.parametrize("check", CHECKS)
def test_promises_hold_in_onnx_runtime(net, check, batch, request):
    proto = request.getfixturevalue("proto") if batch is None else exported(net, batch)
    for method in ("rise:samples=8,grid=3", "occlusion:patch=8,stride=8"):
        CHECKS[check](sw.methods.as_method(method), Kind(proto, differentiable=False))


def test_a_fixed_batch_takes_any_number_of_pictures(net, pictures):
    model = quietly(exported(net, batch=4))
    assert model.offers.batch == 4
    for count in (1, 3, 6):
        some = torch.randn(count, 3, 16, 16)
        torch.testing.assert_close(scores(model, some), net(some).detach())


def test_channels_last_is_permuted_to():
    pictures = torch.randn(2, 3, 8, 6)
    head = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    model = quietly(written(CHANNELS_LAST))
    assert model.input_shape == (3, 8, 6)
    torch.testing.assert_close(scores(model, pictures), pictures.mean((2, 3)) @ head)
    why = sw.explain(model, pictures, 1, "occlusion:patch=2,stride=2")
    assert why[0].relevance.shape[-2:] == (8, 6)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ("N, 3, H, W", None),
        ("N, H, W, 3", None),
        ("N, 3, 9, 7", (3, 9, 7)),
        ("N, 9, 7, 1", (1, 9, 7)),
        ("N, 1, 9, 3", (1, 9, 3)),
        ("2, 5, 9, 7", (5, 9, 7)),
    ],
)
def test_the_shape_is_read_from_the_graph(shape, found):
    model = quietly(written(f"g (float[{shape}] x) => (float[A, B, C, D] y) {{ y = Relu(x) }}"))
    assert model.input_shape == found
    sizes = {"N": 2, "H": 9, "W": 7}
    wanted = [sizes.get(each, each) for each in shape.split(", ")]
    given = torch.randn([int(each) for each in wanted])
    first = given if "W, 3" not in shape and "7, 1" not in shape else given.movedim(-1, 1)
    torch.testing.assert_close(scores(model, first), given.relu())


@pytest.mark.parametrize(("kind", "dtype"), [("float16", torch.float32), ("double", torch.float64)])
def test_other_floating_dtypes_are_cast_to(kind, dtype):
    model = quietly(written(f"g ({kind}[N, 3, 4, 4] x) => ({kind}[N, 48] y) {{ y = Flatten(x) }}"))
    pictures = torch.randn(2, 3, 4, 4)
    found = scores(model, pictures)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), pictures.flatten(1), atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("shape", ["N, 3, 4, 4", "N, H, W, 3"])
def test_bytes_hold_0_to_255(shape):
    flat = "{ f = Cast<to = 1>(x) y = Flatten(f) }"
    model = quietly(written(f"g (uint8[{shape}] x) => (float[N, K] y) {flat}"))
    white = np.full((4, 4, 3), 255, np.uint8)
    white[0, 0] = (0, 100, 200)
    given = torch.from_numpy(white).float()
    expected = given.flatten() if shape.endswith("3") else given.movedim(-1, 0).flatten()
    assert torch.equal(scores(model, white)[0], expected)
    rounded = torch.tensor([-3.0, 0.6, 254.6, 300.0]).repeat(12).view(1, 3, 4, 4)
    assert set(scores(model, rounded).flatten().tolist()) == {0.0, 1.0, 255.0}


def test_further_inputs_come_by_name_and_outputs_go_by_name():
    model = quietly(written(SEVERAL))
    pictures, more, which = torch.randn(3, 3, 4, 4), torch.randn(3, 2), torch.tensor([5, 6, 7])
    found = scores(model, pictures, which=which, more=more)
    assert list(found) == ["features", "logits", "same"]
    assert torch.equal(found["same"], which)
    logits = pictures.relu().mean((1, 2, 3))[:, None] * more
    torch.testing.assert_close(sw.model.outputs.main_output(found), logits)
    why = sw.explain(model, pictures, 0, "occlusion:patch=2", others={"which": which, "more": more})
    assert len(why) == 3
    with pytest.raises(ModelError, match=r"takes further inputs: which, more; given were more"):
        scores(model, pictures, more=more)
    with pytest.raises(ModelError, match=r"given were .*odd"):
        scores(model, pictures, more=more, which=which, odd=more)


def test_a_picture_of_another_size_is_an_error(proto):
    with pytest.raises(ModelError, match=r"cannot run .* \(2, 3, 9, 9\).*Expected: 16"):
        scores(quietly(proto), torch.randn(2, 3, 9, 9))


# ---------------------------------------------------------------------- what is refused


def test_damaged_and_foreign_files_are_errors(proto, tmp_path):
    file = tmp_path / "model.onnx"
    content = proto.SerializeToString()
    for bad in (content[: len(content) // 2], b"no graph at all, but text", b""):
        file.write_bytes(bad)
        with pytest.raises(ModelError, match=r"model\.onnx is no ONNX file, or a damaged one"):
            load_onnx(file)
    with pytest.raises(ModelError, match="there is no file"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="not dict"):
        load_onnx({})


def test_what_onnx_runtime_does_not_know_is_an_error():
    graph = "g (float[N, 3, 4, 4] x) => (float[N, 3, 4, 4] y) "
    newer = written(graph + "{ y = Relu(x) }")
    newer.opset_import[0].version = 99
    with pytest.raises(ModelError, match=r"cannot load g .*Opset 99 is under development"):
        load_onnx(newer)
    strange = written(graph + "{ y = Relu(x) }")
    strange.graph.node[0].op_type = "Rellu"
    with pytest.raises(ModelError, match="No Op registered for Rellu"):
        load_onnx(strange)


def test_a_graph_without_a_picture_is_an_error():
    with pytest.raises(ModelError, match=r"no input of g can be a picture \(x\)"):
        load_onnx(written("g (int64[N] x) => (int64[N] y) { y = Identity(x) }"))


def test_a_missing_package_is_named(proto, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        load_onnx(proto)


def test_without_onnx2torch_nothing_is_warned_and_the_way_to_gradients_is_told(proto, monkeypatch):
    monkeypatch.setattr(bridge, "_installed", lambda: False)
    model = load_onnx(proto)
    assert isinstance(model.module, Runtime)
    assert "pip install onnx2torch" in repr(model.module)
    with pytest.raises(MethodError, match="needs gradient"):
        sw.explain(model, torch.randn(1, 3, 16, 16), 0, "gradient")
    with pytest.raises(MissingDependencyError, match="pip install onnx2torch"):
        load_onnx(proto, differentiable=True)


def test_load_takes_the_file(net, proto, pictures, tmp_path):
    onnx.save(proto, tmp_path / "small.onnx")
    model = sw.load(tmp_path / "small.onnx", labels=list("abcde"))
    assert list(model.labels) == list("abcde")
    torch.testing.assert_close(
        scores(model, pictures), net(pictures).detach(), rtol=1e-4, atol=1e-5
    )
