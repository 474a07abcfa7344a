"""Compiled networks: those that come compiled, and `compile=True`."""

import shutil
import threading

import pytest
import torch
from PIL import Image
from torch import nn
from torch._dynamo import eval_frame, register_backend
from typer.testing import CliRunner

import seewhy as sw
from seewhy.cli import app
from seewhy.errors import MethodError, SeewhyWarning
from seewhy.testing import KINDS
from seewhy.testing.conformance import difference, snapshot

COMPILED = []
"""How many inputs each graph had that was compiled by the backend "noting"."""

OCCLUSION = "occlusion:patch=6,stride=4"
METHODS = (
    "gradient",
    "grad-cam",
    "layer-integrated-gradients:steps=3",
    "lrp",
    "smoothgrad:samples=2,method=layer-activation",
    OCCLUSION,
)


@register_backend(name="noting")
def noting(graph, inputs):
    COMPILED.append(len(inputs))
    return graph


@register_backend(name="failing")
def failing(graph, inputs):
    raise RuntimeError("no compiler here")


@register_backend(name="wrong")
def wrong(graph, inputs):
    return lambda *given: [each * 1.5 for each in graph(*given)]


class Outer(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pictures):
        return self.net(pictures)


class Decorated(Outer):
    @torch.compile(backend="noting")
    def forward(self, pictures):
        return self.net(pictures)


def in_place(module):
    whole = Outer(module).eval()  # torch compiles no module of its own in place
    whole.compile(backend="noting")
    return whole


WAYS = {
    "torch.compile": lambda module: torch.compile(module, backend="noting"),
    "module.compile": in_place,
    "a part": lambda module: Outer(torch.compile(module, backend="noting")).eval(),
    "a part in place": lambda module: Outer(in_place(module)).eval(),
    "forward": lambda module: Decorated(module).eval(),
}


@pytest.fixture(autouse=True)
def afresh():
    torch.compiler.reset()
    COMPILED.clear()
    yield
    torch.compiler.reset()


def relevance(module, pictures, method, target=0, **options):
    found = sw.explain(module, pictures, target, method, **options)
    return torch.stack([each.relevance for each in found])


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


# ---------------------------------------------------------------------- networks that come compiled


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["plain", pytest.param("tokens", marks=pytest.mark.slow)])
def test_a_compiled_network_is_explained_as_the_plain_one(way, kind):
    pictures = KINDS[kind].pictures()
    module = WAYS[way](KINDS[kind].module())
    with torch.no_grad():
        expected = module(pictures)  # it is compiled before anything hooks it
    compiled = len(COMPILED)
    assert compiled
    before, plain = snapshot(module), KINDS[kind].module()
    for method in (*METHODS, *(["attention-rollout"] if kind == "tokens" else [])):
        same(relevance(module, pictures, method), relevance(plain, pictures, method))
    difference(before, snapshot(module))
    with torch.no_grad():
        assert torch.equal(module(pictures), expected)
    assert len(COMPILED) == compiled  # and it is still compiled


@pytest.mark.parametrize("way", WAYS)
def test_a_compiled_network_can_be_compiled_for_changed_pictures(way):
    pictures = KINDS["plain"].pictures()
    module = WAYS[way](KINDS["plain"].module())
    expected = relevance(KINDS["plain"].module(), pictures, OCCLUSION)
    same(relevance(module, pictures, OCCLUSION, compile="noting"), expected)


# ---------------------------------------------------------------------- compile=True


@pytest.mark.parametrize("backend", ["eager", pytest.param("aot_eager", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["plain", "residual", "tokens", "two-inputs", "volume", "signal"])
def test_what_is_compiled_gives_the_same_maps_and_passes(kind, backend):
    kind = KINDS[kind]
    model, others = kind.model(), kind.more()
    before = snapshot(model.module)
    plain = sw.explain(model, kind.pictures(), 0, OCCLUSION, others=others)
    found = sw.explain(model, kind.pictures(), 0, OCCLUSION, others=others, compile=backend)
    for one, two in zip(plain, found, strict=True):
        same(two.relevance, one.relevance)
        assert one.passes == two.passes
    difference(before, snapshot(model.module))


def test_a_network_is_compiled_once_whatever_the_number_of_rows():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    relevance(model, pictures, "rise:samples=100", compile="noting")
    assert len(COMPILED) == 1
    for samples in (40, 53, 77):  # below 16 rows convolutions are others, and so is the code
        relevance(model, pictures, f"rise:samples={samples}", compile="noting")
    assert len(COMPILED) <= 2
    relevance(model, pictures, OCCLUSION, compile="noting", precision="float64")
    compiled = len(COMPILED)
    relevance(model, pictures, OCCLUSION, compile="noting", precision="float64")
    assert len(COMPILED) == compiled


def test_what_changes_in_the_network_is_compiled_anew():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    relevance(model, pictures, OCCLUSION, compile="noting")
    compiled = len(COMPILED)
    model.module.conv1.stride = (2, 2)
    expected = relevance(sw.Model(model.module), pictures, OCCLUSION)
    same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)
    assert len(COMPILED) > compiled
    with torch.no_grad():
        model.module.head.weight.mul_(-2)
    expected = relevance(sw.Model(model.module), pictures, OCCLUSION)
    same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)


def test_hooks_that_come_and_go_are_heeded():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    plain = relevance(model, pictures, OCCLUSION, compile="noting")
    handle = model.module.conv2.register_forward_hook(lambda _, __, output: output.abs())
    expected = relevance(sw.Model(model.module), pictures, OCCLUSION)
    assert not torch.allclose(expected, plain)
    with pytest.warns(SeewhyWarning, match="something else when it is compiled"):
        same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)
    handle.remove()
    same(relevance(model, pictures, OCCLUSION, compile="noting"), plain)


@pytest.mark.parametrize("method", ["grad-cam", "ablation-cam", "lrp", "gradient"])
def test_where_hooks_act_nothing_is_compiled(method):
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    expected = relevance(model, pictures, method)
    same(relevance(model, pictures, method, compile="noting"), expected)
    assert not COMPILED


def test_a_score_that_reads_a_layer_is_not_compiled():
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    target = sw.targets.Neuron("conv2", 3, (2, 2))
    expected = relevance(model, pictures, OCCLUSION, target)
    same(relevance(model, pictures, OCCLUSION, target, compile="noting"), expected)
    assert not COMPILED


@pytest.mark.parametrize(
    ("backend", "says"), [("failing", "no compiler here"), ("wrong", "gives something else")]
)
def test_what_does_not_compile_runs_as_it_is_and_that_is_said_once(backend, says, recwarn):
    model, pictures = KINDS["plain"].model(), KINDS["plain"].pictures()
    expected = relevance(model, pictures, OCCLUSION)
    for _ in range(2):
        same(relevance(model, pictures, OCCLUSION, compile=backend), expected)
    said = [str(each.message) for each in recwarn if each.category is SeewhyWarning]
    assert len(said) == 1
    assert says in said[0]
    assert "leave compile out" in said[0]


@pytest.mark.parametrize("kind", ["scripted", "function"])
def test_what_has_no_code_to_compile_runs_as_it_is(kind):
    model, pictures = KINDS[kind].model(), KINDS[kind].pictures()
    expected = relevance(model, pictures, OCCLUSION)
    with pytest.warns(SeewhyWarning, match="leave compile out"):
        same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)


def test_a_network_that_draws_is_not_compiled():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = KINDS["plain"].module()

        def forward(self, pictures):
            return self.net(nn.functional.dropout(pictures, 0.3, training=True))

    model, pictures = sw.Model(Noisy().eval()), KINDS["plain"].pictures()
    with pytest.warns(SeewhyWarning, match="draws random numbers") as said:
        found = relevance(model, pictures, OCCLUSION, compile="noting")
    assert any("compiled code draws others" in str(each.message) for each in said)
    assert not COMPILED
    assert torch.equal(found, relevance(model, pictures, OCCLUSION))


@pytest.mark.parametrize("compiled", [False, True])
def test_while_another_thread_holds_a_model_nothing_compiled_runs(compiled):
    held, done, stance = threading.Event(), threading.Event(), eval_frame._stance.stance
    other, model = KINDS["plain"].model(), KINDS["plain"].model()
    pictures = KINDS["plain"].pictures()
    expected = relevance(model, pictures, OCCLUSION)
    if compiled:
        relevance(model, pictures, OCCLUSION, compile="noting")
    COMPILED.clear()
    entered = []

    def hold():
        with other.held():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    handle = model.module.register_forward_pre_hook(
        lambda *_: entered.append(torch.compiler.is_compiling() or eval_frame._stance.stance)
    )
    try:
        same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)
    finally:
        done.set()
        thread.join()
        handle.remove()
    assert set(entered) == {"force_eager"}
    assert not COMPILED
    assert eval_frame._stance.stance == stance
    same(relevance(model, pictures, OCCLUSION, compile="noting"), expected)
    assert bool(COMPILED) != compiled


def test_a_backend_that_is_none_is_refused():
    with pytest.raises(MethodError, match="give True, False, or a backend"):
        sw.Run(compile="toaster")


def test_every_verb_takes_it(monkeypatch, tmp_path):
    picture, asked = Image.effect_noise((64, 64), 60), []
    picture.save(tmp_path / "noise.png")

    def compiled(module, backend):
        asked.append(backend)
        return module

    monkeypatch.setattr(torch, "compile", compiled)
    coarse = "occlusion:patch=32,stride=32"
    sw.explain("demo", picture, 0, coarse, compile=True)
    sw.compare("demo", picture, [coarse], 0, compile=True)
    sw.evaluate("demo", [picture], ["gradient"], metrics=["srg:patch=32"], compile=True)
    assert asked == ["inductor"] * 3
    sw.explain("demo", picture, 0, coarse)
    assert len(asked) == 3
    given = [str(tmp_path / "noise.png"), "-m", "demo", "--compile", "--out", str(tmp_path)]
    for verb in (["explain", "--method", coarse], ["compare", "--methods", coarse]):
        assert CliRunner().invoke(app, [verb[0], *given, *verb[1:]]).exit_code == 0
    evaluated = ["evaluate", *given, "--methods", "gradient", "--metrics", "srg:patch=32"]
    assert CliRunner().invoke(app, evaluated).exit_code == 0
    assert asked == ["inductor"] * 6


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("c++") is None, reason="torch's own backend needs a C++ compiler on a CPU"
)
def test_torchs_own_backend_gives_the_same_maps():
    model, pictures = KINDS["residual"].model(), KINDS["residual"].pictures()
    expected = relevance(model, pictures, "rise:samples=40")
    same(relevance(model, pictures, "rise:samples=40", compile=True), expected)


def test_a_last_part_of_one_row_is_compiled_no_more_than_others():
    """65 masks are a part of 64 and one of a single row."""
    model, picture = sw.Model(KINDS["plain"].model().module), KINDS["plain"].pictures()[:1]
    many = sw.explain(model, picture, 0, "rise:samples=65,grid=3", compile="noting")
    graphs = len(COMPILED)
    again = sw.explain(model, picture, 0, "rise:samples=64,grid=3", compile="noting")
    assert len(COMPILED) == graphs
    assert many[0].relevance.shape == again[0].relevance.shape
