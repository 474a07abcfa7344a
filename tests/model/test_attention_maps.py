"""Attention maps: captured in every form, and nothing else is touched."""

import threading

import pytest
import torch
from attending import (
    FORMS,
    HEADS,
    TOKENS,
    WIDTH,
    Network,
    Score,
    captured,
    expected,
    logits,
    pictures,
    sdpa,
)
from torch import nn
from torch.overrides import _get_current_function_mode_stack

import seewhy as sw
from seewhy.model.tape.attention import attend
from seewhy.testing.conformance import difference, snapshot


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_captured_as_its_formula_says(form):
    module = Network(FORMS[form]).double()
    q, k, v = module.qkv(pictures().double())
    (found,) = captured(module, pictures().double(), gradients=True)
    weights = expected(form, q, k).detach().requires_grad_()
    torch.testing.assert_close(found.weights, weights.detach(), rtol=1e-12, atol=1e-12)
    values = v[:, :1] if form == "fused in groups" else v
    (gradient,) = torch.autograd.grad(module.answer(weights @ values)[:, 0].sum(), weights)
    torch.testing.assert_close(found.gradients, gradient, rtol=1e-9, atol=1e-12)
    assert found.name == ("form" if form == "modules" else "inner")
    assert found.followed
    assert found.windows == 1
    assert found.grids == ((4, 4),)
    assert (found.heads, found.queries, found.keys) == (HEADS, TOKENS, TOKENS)


@pytest.mark.parametrize("form", FORMS)
def test_the_network_gives_what_it_gives_without_being_watched(form):
    module = Network(FORMS[form]).eval()
    before, outputs = snapshot(module), []
    score = Score(lambda found: outputs.append(found.detach()) or found[:, 0])
    model = sw.Model(module)
    with torch.no_grad():
        plain = module(pictures())
        attend(model, model.prepare(pictures()), score)
    torch.testing.assert_close(outputs[0], plain)
    difference(before, snapshot(module))
    assert not _get_current_function_mode_stack()


@pytest.mark.parametrize("weights", [False, True], ids=["without weights", "with weights"])
@pytest.mark.parametrize("first", [False, True], ids=["tokens first", "batch first"])
def test_multihead_attention_is_captured_with_and_without_its_weights(weights, first):
    class Multihead(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=first)

        def forward(self, tokens):
            tokens = tokens.transpose(0, 1) if not first else tokens
            mixed, _ = self.attention(tokens, tokens, tokens, need_weights=weights)
            return mixed.mean(1 if first else 0)

    module = Multihead().eval()
    tokens = torch.randn(3, TOKENS, WIDTH)
    (found,) = captured(module, tokens)
    order = tokens if first else tokens.transpose(0, 1)
    with torch.no_grad():
        _, wanted = module.attention(order, order, order, average_attn_weights=False)
    torch.testing.assert_close(found.weights, wanted)
    assert found.name == "attention"


def test_torchs_fused_encoder_is_opened():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    found = captured(nn.Sequential(encoder), torch.randn(2, TOKENS, WIDTH))
    names = [f"0.layers.{i}.self_attn" for i in range(2)]
    assert [each.name for each in found] == names
    assert all(each.weights.shape == (2, HEADS, TOKENS, TOKENS) for each in found)
    torch.testing.assert_close(found[1].weights.sum(-1), torch.ones(2, HEADS, TOKENS))


def test_half_precision_and_inference_mode_give_the_same_maps():
    module = Network(sdpa).eval()
    (plain,) = captured(module)
    with torch.inference_mode():
        (within,) = captured(module, gradients=True)
    assert torch.equal(plain.weights, within.weights)
    for name in ("fused", "softmax", "einsum"):
        half = Network(FORMS[name]).eval()
        half.load_state_dict(module.state_dict() if name != "modules" else half.state_dict())
        (found,) = captured(half.to(torch.bfloat16), pictures().to(torch.bfloat16), gradients=True)
        assert found.weights.dtype == found.gradients.dtype == torch.float32
        torch.testing.assert_close(found.weights, plain.weights, rtol=0.05, atol=0.01)


def test_threads_capture_only_their_own():
    modules = [Network(sdpa).eval() for _ in range(2)]
    alone = [captured(module)[0].weights for module in modules]
    together, waiting = {}, threading.Barrier(3)

    def work(number):
        waiting.wait()
        together[number] = [captured(modules[number]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for each in threads:
        each.start()
    waiting.wait()
    with torch.no_grad():
        for _ in range(5):
            Network(sdpa)(pictures())  # unwatched, in this thread
    for each in threads:
        each.join()
    for number in range(2):
        assert all(len(maps) == 1 for maps in together[number])
        assert all(torch.equal(maps[0].weights, alone[number]) for maps in together[number])


def test_an_exception_leaves_no_watch_behind():
    def fails(q, k, v):
        logits(q, k).softmax(-1) @ v
        raise ZeroDivisionError

    module = Network(fails).eval()
    before = snapshot(module)
    with pytest.raises(ZeroDivisionError):
        captured(module, gradients=True)
    assert not _get_current_function_mode_stack()
    assert torch.is_grad_enabled()
    difference(before, snapshot(module))


def test_a_network_without_gradients_is_an_error_only_where_they_are_asked_for():
    class Detached(Network):
        def forward(self, pictures):
            return super().forward(pictures).detach()

    module = Detached(sdpa).eval()
    assert captured(module)[0].gradients is None
    with pytest.raises(sw.errors.ModelError, match="turns gradients off"):
        captured(module, gradients=True)


def test_a_softmax_that_is_no_attention_is_not_taken_for_it():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

        def forward(self, pictures):
            features = self.conv(pictures)
            features = features * features.softmax(1)
            tokens = features.flatten(2).transpose(1, 2)
            return self.head((tokens * tokens.softmax(1)).sum(1)).softmax(-1)

    assert captured(Gated()) == []
