"""Attention: what is captured, in every form it is written in, and what is made of it."""

import math
import threading
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.overrides import _get_current_function_mode_stack

import seewhy as sw
from seewhy.errors import LayerError, MethodError, NoSpaceError, SeewhyWarning
from seewhy.model.tape.attention import AttentionMap, attend
from seewhy.testing.conformance import difference, snapshot

HEADS, TOKENS, WIDTH = 2, 16, 8
EACH = WIDTH // HEADS
METHODS = ("attention", "attention-rollout", "gradient-attention-rollout")


class Score(NamedTuple):
    """A score that reads the logits."""

    read: Callable[[Any], Any]
    layers: tuple = ()

    def __call__(self, outcome, rows):
        return self.read(outcome.main)


FIRST = Score(lambda logits: logits[:, 0])

# ---------------------------------------------------------------------- the forms of attention


def bias():
    return torch.linspace(-2, 2, TOKENS * TOKENS).reshape(TOKENS, TOKENS)


def seen():
    """A mask: each token attends to itself and to some of the others."""
    return (bias() > -0.5) | torch.eye(TOKENS, dtype=torch.bool)


def logits(q, k):
    return q @ k.transpose(-2, -1) / math.sqrt(EACH)


class Dropped(nn.Module):
    """Softmax and dropout as modules, as in many papers' code."""

    def __init__(self):
        super().__init__()
        self.softmax, self.dropout = nn.Softmax(dim=-1), nn.Dropout(0.5)

    def forward(self, q, k, v):
        return self.dropout(self.softmax(logits(q, k))) @ v


def merged(q, k, v):
    """Heads and pictures on one axis, as in older transformers."""
    q, k, v = (each.reshape(-1, TOKENS, EACH) for each in (q, k, v))
    weights = F.softmax(torch.bmm(q, k.transpose(1, 2)) / math.sqrt(EACH), dim=-1)
    return torch.bmm(weights, v).view(-1, HEADS, TOKENS, EACH)


def regrouped(q, k, v):
    """One axis for the softmax, two for the product."""
    weights = logits(q, k).reshape(-1, TOKENS, TOKENS).softmax(-1)
    return torch.matmul(weights.view(-1, HEADS, TOKENS, TOKENS), v)


def in_half(q, k, v):
    return F.softmax(logits(q, k), dim=-1, dtype=torch.float64).to(v.dtype).type_as(v) @ v


def turned(q, k, v):
    """Values before probabilities, as in convolutional code."""
    weights = logits(q, k).softmax(dim=3)
    return (v.transpose(-2, -1) @ weights.transpose(-2, -1)).transpose(-2, -1)


def permuted(q, k, v):
    return (v.mT @ logits(q, k).softmax(-1).permute(0, 1, 3, 2)).mT


def einsum(q, k, v):
    weights = (torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(EACH)).softmax(-1)
    return torch.einsum("bhij, bhjd -> bhid", weights, v)


def einsum_turned(q, k, v):
    weights = torch.softmax(logits(q, k), -1).transpose(2, 3)
    return torch.einsum("bhjd,bhji->bhid", v, weights)


def grouped(q, k, v):
    """One key and value for all heads."""
    k, v = (each[:, :1] for each in (k, v))
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def nothing_to_see(q, k, v):
    mask = seen()
    mask[3] = False
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


sdpa = F.scaled_dot_product_attention
FORMS = {
    "fused": sdpa,
    "fused with a mask": lambda q, k, v: sdpa(q, k, v, seen()),
    "fused with a bias": lambda q, k, v: sdpa(query=q, key=k, value=v, attn_mask=bias().to(q)),
    "fused and causal": lambda q, k, v: sdpa(q, k, v, is_causal=True),
    "fused with a scale": lambda q, k, v: sdpa(q, k, v, scale=0.1),
    "fused in groups": grouped,
    "fused with nothing to see": nothing_to_see,
    "softmax": lambda q, k, v: torch.matmul(logits(q, k).softmax(-1), v),
    "modules": Dropped(),
    "merged": merged,
    "regrouped": regrouped,
    "cast": in_half,
    "turned": turned,
    "permuted": permuted,
    "einsum": einsum,
    "einsum turned": einsum_turned,
}


def expected(form, q, k):
    """The probabilities of a form, by its formula."""
    scores = logits(q, k)
    if form == "fused with a bias":
        scores = scores + bias().to(q)
    elif form == "fused with a scale":
        scores = scores * math.sqrt(EACH) * 0.1
    elif form == "fused in groups":
        scores = logits(q, k[:, :1])
    mask = torch.ones(TOKENS, TOKENS, dtype=torch.bool)
    if form in ("fused with a mask", "fused with nothing to see"):
        mask = seen()
    elif form == "fused and causal":
        mask = mask.tril()
    weights = scores.masked_fill(~mask, -math.inf).softmax(-1)
    if form == "fused with nothing to see":
        weights[:, :, 3] = 0
    return weights


class Network(nn.Module):
    """Patches, one attention in some form, the mean of its tokens, a head."""

    def __init__(self, form, values=None):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 4, 4)
        self.inner = nn.Module()
        self.inner.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.inner.forward = self.attends
        self.form, self.head = form, nn.Linear(WIDTH, 5)

    def qkv(self, pictures):
        tokens = self.patches(pictures).flatten(2).transpose(1, 2)
        found = self.inner.qkv(tokens).reshape(len(tokens), TOKENS, 3, HEADS, EACH)
        return found.permute(2, 0, 3, 1, 4)

    def attends(self, pictures):
        return self.form(*self.qkv(pictures))

    def answer(self, mixed):
        return self.head(mixed.transpose(1, 2).reshape(len(mixed), TOKENS, WIDTH).square().mean(1))

    def forward(self, pictures):
        return self.answer(self.inner(pictures))


def pictures(count=3, size=16):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def captured(module, inputs=None, **options):
    model = sw.Model(module.eval())
    inputs = pictures() if inputs is None else inputs
    return attend(model, model.prepare(inputs), FIRST, **options)


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


# ---------------------------------------------------------------------- the methods


def one_map(*weights, gradients=None):
    """A map of one picture whose heads have these matrices."""
    stacked = torch.stack([torch.tensor(each) for each in weights])[None].float()
    slopes = None if gradients is None else torch.tensor(gradients).float()[None]
    return AttentionMap("", stacked, gradients=slopes)


def test_rollout_of_known_matrices():
    one, two = [[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.5, 0.5]]
    found = sw.AttentionRollout().mixed([one_map(one), one_map(two)])
    # (one + I) / 2 = [[.75, .25], [0, 1]]; (two + I) / 2 = [[1, 0], [.25, .75]]; the second @ first
    assert found[0].tolist() == [[0.75, 0.25], [0.1875, 0.8125]]


def test_rollout_fuses_heads_and_normalises_rows():
    heads = ([[1.0, 0.0], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]])
    rows = {
        "mean": [[0.8, 0.2], [0.3, 0.7]],
        "max": [[1.0, 0.4], [0.4, 0.8]],
        "min": [[0.6, 0.0], [0.2, 0.6]],
    }
    for name, weights in rows.items():
        wanted = torch.tensor(weights) + torch.eye(2)
        wanted = wanted / wanted.sum(-1, keepdim=True)
        found = sw.AttentionRollout(heads=name).mixed([one_map(*heads)])
        torch.testing.assert_close(found[0], wanted)


def test_discarding_sets_the_smallest_weights_of_each_picture_to_zero():
    weights = torch.rand(2, 1, 4, 4)
    found = sw.AttentionRollout(discard_ratio=0.5).mixed([AttentionMap("", weights)])
    for row in range(2):
        kept = weights[row, 0].clone()
        kept[kept <= kept.flatten().sort().values[7]] = 0
        wanted = kept + torch.eye(4)
        torch.testing.assert_close(found[row], wanted / wanted.sum(-1, keepdim=True))


def test_a_pooling_layer_has_no_skip_connection():
    square, pooling = [[0.5, 0.5], [0.0, 1.0]], [[0.25, 0.75]]
    found = sw.AttentionRollout().mixed([one_map(square), one_map(pooling)])
    torch.testing.assert_close(found[0], torch.tensor([[0.25 * 0.75, 0.25 * 0.25 + 0.75]]))
    gradients = [[[1.0, -1.0], [2.0, 1.0]]]
    found = sw.GradientAttentionRollout().mixed(
        [one_map(square, gradients=gradients), one_map(pooling, gradients=[[[1.0, 2.0]]])]
    )
    # the relevance is [[1.5, 0], [0, 2]] after the first, and [.25, 1.5] of it after the second
    assert found[0].tolist() == [[0.375, 3.0]]


def test_gradient_rollout_of_known_matrices():
    heads = ([[0.5, 0.5], [0.25, 0.75]], [[1.0, 0.0], [0.5, 0.5]])
    gradients = [[[2.0, -4.0], [4.0, 0.0]], [[-1.0, 3.0], [2.0, 4.0]]]
    one = one_map(*heads, gradients=gradients)
    # head 1: [[1, 0], [1, 0]]; head 2: [[0, 0], [1, 2]]; mean A = [[.5, 0], [1, 1]]
    first = torch.tensor([[0.5, 0.0], [1.0, 1.0]])
    found = sw.GradientAttentionRollout().mixed([one, one])
    wanted = (torch.eye(2) + first) @ (torch.eye(2) + first) - torch.eye(2)
    torch.testing.assert_close(found[0], wanted)


class Transformer(nn.Module):
    """Pre-norm blocks; `read` takes the answer from tokens of which `front` stand before a grid."""

    def __init__(self, read, front=1, depth=2, size=(4, 4)):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, size, size)
        self.token = nn.Parameter(torch.randn(1, front, WIDTH))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(WIDTH, HEADS, 16, batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.read, self.head = read, nn.Linear(WIDTH, 5)

    def tokens(self, pictures):
        tokens = self.patches(pictures).flatten(2).transpose(1, 2)
        return torch.cat([self.token.expand(len(tokens), -1, -1), tokens], 1)

    def forward(self, pictures):
        tokens = self.tokens(pictures)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(self.read(tokens))


def maps(module, method, inputs=None, target=0, **options):
    inputs = pictures() if inputs is None else inputs
    found = sw.explain(sw.Model(module.eval()), inputs, target, method, **options)
    return torch.stack([each.relevance for each in found])


READERS = {  # the tokens that are read at the end, how many stand in front, and what that is
    "a class token": (lambda tokens: tokens[:, 0], 1, [0]),
    "two tokens in front": (lambda tokens: (tokens[:, 0] + tokens[:, 1]) / 2, 2, [0, 1]),
    "class token and mean": (lambda tokens: tokens[:, 0] + tokens[:, 5:].mean(1), 5, [0]),
    "the mean, beside a class token": (lambda tokens: tokens[:, 1:].mean(1), 1, range(1, 17)),
    "the mean, beside registers": (lambda tokens: tokens[:, 4:].mean(1), 4, range(4, 20)),
    "the mean of all": (lambda tokens: tokens.mean(1), 0, range(16)),
}


@pytest.mark.parametrize("name", READERS)
def test_the_map_is_that_of_the_tokens_the_answer_is_read_from(name):
    read, front, rows = READERS[name]
    module = Transformer(read, front).eval()
    weights = captured(module)[-1].weights.mean(1)
    wanted = weights[:, list(rows), front:].mean(1).reshape(3, 1, 4, 4)
    torch.testing.assert_close(maps(module, "attention"), wanted)
    assert maps(module, "attention-rollout").shape == (3, 1, 4, 4)


def test_a_head_of_zeros_leaves_the_class_token():
    module = Transformer(READERS["a class token"][0]).eval()
    nn.init.zeros_(module.head.weight)
    wanted = captured(module)[-1].weights.mean(1)[:, 0, 1:].reshape(3, 1, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SeewhyWarning)
        torch.testing.assert_close(maps(module, "attention"), wanted)


def test_layers_and_heads_by_number_and_name():
    module = Transformer(READERS["a class token"][0], depth=3).eval()
    weights = [each.weights[:, :, 0, 1:].reshape(3, HEADS, 4, 4) for each in captured(module)]

    def same(method, wanted):
        torch.testing.assert_close(maps(module, method)[:, 0], wanted)

    same("attention", weights[2].mean(1))
    same("attention:layer=-1,head=max", weights[2].amax(1))
    same("attention:layer=1,head=0", weights[1][:, 0])
    same("attention:layer=blocks.1.self_attn,head=-1", weights[1][:, 1])
    same("attention:layer=blocks.0", weights[0].mean(1))
    same(sw.Attention(module.blocks[1]), weights[1].mean(1))
    same(sw.Attention(module.blocks[1].self_attn), weights[1].mean(1))
    (why,) = sw.explain(sw.Model(module), pictures(1), 0, "attention:layer=1")
    assert why.layers == ("blocks.1.self_attn",)

    for wrong in ("layer=3", "layer=blocks", "layer=patches"):
        with pytest.raises(LayerError, match=r"blocks\.2\.self_attn"):
            maps(module, f"attention:{wrong}")
    with pytest.raises(MethodError, match="has 2, counted from 0"):
        maps(module, "attention:head=2")
    with pytest.raises(MethodError, match="one layer"):
        sw.Attention(layer=("blocks.0", "blocks.1"))
    with pytest.raises(MethodError, match="discard_ratio"):
        sw.AttentionRollout(discard_ratio=1.0)
    with pytest.raises(MethodError, match="heads"):
        sw.AttentionRollout(heads="median")


def test_rollouts_of_a_network_are_the_formulas_on_its_maps():
    module = Transformer(READERS["a class token"][0], depth=3).eval()
    found = captured(module, gradients=True)
    eye = torch.eye(TOKENS + 1)
    rollout, relevance = eye, eye
    for each in found:
        rollout = (each.weights.mean(1) + eye) / 2 @ rollout
        relevance = relevance + (each.weights * each.gradients).relu().mean(1) @ relevance
    row = rollout[:, 0, 1:].reshape(3, 1, 4, 4)
    torch.testing.assert_close(maps(module, "attention-rollout"), row)
    row = relevance[:, 0, 1:].reshape(3, 1, 4, 4)
    torch.testing.assert_close(maps(module, "gradient-attention-rollout"), row)


def test_gradient_rollout_answers_for_its_target_and_the_others_do_not():
    module = Transformer(READERS["a class token"][0]).eval()
    for method in METHODS:
        same = torch.equal(maps(module, method, target=1), maps(module, method, target=2))
        assert same == (method != "gradient-attention-rollout")


def test_pooling_by_attention_gives_its_one_query():
    class Pooled(Transformer):
        def __init__(self):
            super().__init__(None, front=0)
            self.probe = nn.Parameter(torch.randn(1, 1, WIDTH))
            self.pool = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
            self.read = lambda tokens: self.pool(
                self.probe.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False
            )[0][:, 0]

    module = Pooled().eval()
    first, second, pool = (each.weights.mean(1) for each in captured(module))
    assert pool.shape == (3, 1, 16)
    torch.testing.assert_close(maps(module, "attention"), pool.reshape(3, 1, 4, 4))
    wanted = pool @ (second + torch.eye(16)) / 2 @ (first + torch.eye(16)) / 2
    torch.testing.assert_close(maps(module, "attention-rollout"), wanted.reshape(3, 1, 4, 4))
    assert float(maps(module, "gradient-attention-rollout").std()) > 0


def test_pictures_that_are_no_squares():
    module = Transformer(READERS["a class token"][0], size=(4, 8)).eval()
    for method in METHODS:
        assert maps(module, method, torch.randn(1, 3, 16, 64)).shape == (1, 1, 4, 8)


def test_signals_and_volumes():
    class Other(Transformer):
        def __init__(self, patches):
            super().__init__(READERS["a class token"][0])
            self.patches = patches

    signal = Other(nn.Conv1d(2, WIDTH, 4, 4))
    volume = Other(nn.Conv3d(1, WIDTH, 4, 4))
    for method in METHODS:
        assert maps(signal, method, torch.randn(2, 2, 64)).shape == (2, 1, 16)
        assert maps(volume, method, torch.randn(2, 1, 8, 16, 12)).shape == (2, 1, 2, 4, 3)


def test_passes_are_what_the_cost_says():
    module = Transformer(READERS["a class token"][0]).eval()
    for method in METHODS:
        (why,) = sw.explain(sw.Model(module), pictures(1), 0, method)
        backwards = int(method == "gradient-attention-rollout")
        assert (why.passes.forwards, why.passes.backwards) == (1, backwards)


# ---------------------------------------------------------------------- where it is undefined


def windowed(q, k, v):
    """Four windows of four tokens."""
    q, k, v = (each.unflatten(2, (4, 4)).transpose(1, 2).flatten(0, 1) for each in (q, k, v))
    return sdpa(q, k, v).unflatten(0, (-1, 4)).transpose(1, 2).flatten(2, 3)


def talking(q, k, v):
    """Heads mixed after the softmax."""
    weights = logits(q, k).softmax(-1).permute(0, 2, 3, 1)
    mix = torch.tensor([[0.6, 0.4], [0.3, 0.7]]).to(q)
    return F.linear(weights, mix).permute(0, 3, 1, 2) @ v


def talking_by_einsum(q, k, v):
    mix = torch.tensor([[0.6, 0.4], [0.3, 0.7]]).to(q)
    return torch.einsum("bhij,gh->bgij", logits(q, k).softmax(-1), mix) @ v


def channels(q, k, v):
    """Channels attend to channels."""
    q, k, v = (each.transpose(-2, -1) for each in (q, k, v))
    return ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(-2, -1)


UNDEFINED = {
    "windows": (windowed, "windows, as in Swin"),
    "talking heads": (talking, "heads"),
    "talking heads by einsum": (talking_by_einsum, "heads"),
    "channels": (channels, "XCiT attends to channels"),
    "none": (lambda q, k, v: v.relu(), "no attention was seen"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", UNDEFINED)
def test_where_it_is_undefined_one_error_says_so_and_what_to_do(name, method):
    form, words = UNDEFINED[name]
    with pytest.raises(MethodError, match=words) as caught:
        maps(Network(form), method)
    assert "grad-cam" in str(caught.value)


def test_layers_that_do_not_follow_on_each_other():
    class Halving(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = Network(sdpa), Network(sdpa)

        def forward(self, pictures):
            return self.first(pictures) + self.small(pictures[:, :, :8, :8])

        def small(self, pictures):
            found = self.second.patches(pictures).flatten(2).transpose(1, 2)[:, None]
            return self.second.head(sdpa(found, found, found).mean((1, 2)))

    for method in METHODS[1:]:
        with pytest.raises(MethodError, match="looks at 4 where the one before gave 16"):
            maps(Halving(), method)
    assert maps(Halving(), "attention:layer=first").shape == (3, 1, 4, 4)


def test_an_input_without_space():
    class Flat(nn.Module):
        def forward(self, inputs):
            tokens = inputs.reshape(len(inputs), 1, 16, 4)
            return sdpa(tokens, tokens, tokens).flatten(1)[:, :5]

    with pytest.raises(NoSpaceError, match="no space"):
        maps(Flat(), "attention", torch.randn(2, 64))


# ---------------------------------------------------------------------- networks that people use


def timm_model(name, **options):
    import timm

    return timm.create_model(name, pretrained=False, num_classes=5, **options).eval()


def transformers_model(kind, ending="ForImageClassification", **options):
    import transformers

    settings = {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "image_size": 64,
        "patch_size": 16,
    }
    config = getattr(transformers, f"{kind}Config")(**settings, **options)
    return getattr(transformers, f"{kind}{ending}")._from_config(config).eval()


def torchvision_model(name):
    import torchvision

    module = torchvision.models.get_model(name, weights=None).eval()
    for part in module.modules():
        if isinstance(part, nn.Linear) and not bool(part.weight.any()):
            nn.init.normal_(part.weight, std=0.02)
    return module


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "front", "grid", "rows"),
    [
        ("vit_tiny_patch16_224", {}, 1, 14, [0]),
        ("vit_tiny_patch16_224", {"global_pool": "map", "class_token": False}, 0, 14, [0]),
        ("deit_tiny_distilled_patch16_224", {}, 2, 14, [0, 1]),
        ("beit_base_patch16_224", {"depth": 3}, 1, 14, range(1, 197)),
        ("vit_small_patch14_dinov2", {"depth": 3, "img_size": 224}, 1, 16, [0]),
        ("vit_small_patch14_reg4_dinov2", {"depth": 3, "img_size": 224}, 5, 16, [0]),
    ],
    ids=["vit", "vit-map", "deit", "beit", "dinov2", "dinov2-reg"],
)
def test_vision_transformers_of_timm(name, options, front, grid, rows):
    module = timm_model(name, **options)
    inputs = torch.randn(2, 3, 224, 224)
    found = captured(module, inputs)
    assert len(found) == options.get("depth", 12) + ("global_pool" in options)
    last = found[-1].weights.mean(1)[:, list(rows), front:].mean(1)
    torch.testing.assert_close(maps(module, "attention", inputs), last.reshape(2, 1, grid, grid))
    for part in module.modules():  # written out instead of fused
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
    for one, two in zip(found, captured(module, inputs), strict=True):
        assert one.name == two.name
        torch.testing.assert_close(one.weights, two.weights, rtol=1e-4, atol=1e-6)
    for method in METHODS[1:]:
        relevance = maps(module, method, inputs)
        assert relevance.shape == (2, 1, grid, grid)
        assert float(relevance.std()) > 0


@pytest.mark.slow
def test_the_vision_transformer_of_torchvision():
    module, inputs = torchvision_model("vit_b_16"), torch.randn(1, 3, 224, 224)
    found = captured(module, inputs)
    assert [each.name for each in found] == [
        f"encoder.layers.encoder_layer_{i}.self_attention" for i in range(12)
    ]
    assert maps(module, "gradient-attention-rollout", inputs).shape == (1, 1, 14, 14)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Beit", "Dinov2", "CLIPVision", "SiglipVision"])
def test_transformers_own_maps_are_those_that_are_captured(kind):
    ending = "Model" if kind.endswith("Vision") else "ForImageClassification"
    inputs = torch.randn(2, 3, 64, 64)
    eager = transformers_model(kind, ending, attn_implementation="eager")
    with torch.no_grad():
        own = eager(inputs, output_attentions=True).attentions
    found = captured(eager, inputs)[: len(own)]  # SigLIP pools by one more
    assert len(found) == 3
    assert all(torch.equal(a, b.weights) for a, b in zip(own, found, strict=True))

    fused = transformers_model(kind, ending, attn_implementation="sdpa")
    fused.load_state_dict(eager.state_dict())
    for one, two in zip(own, captured(fused, inputs), strict=False):
        torch.testing.assert_close(one, two.weights, rtol=1e-4, atol=1e-6)
    for method in METHODS:
        target = sw.targets.Custom(lambda outputs: outputs[1 if ending == "Model" else 0][:, 0])
        assert maps(eager, method, inputs, target).shape == (2, 1, 4, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("swin_tiny_patch4_window7_224", "windows, as in Swin"),
        ("xcit_nano_12_p16_224", "XCiT attends to channels"),
        ("cait_xxs24_224", "heads"),
        ("resnet18", "no attention was seen"),
    ],
)
def test_networks_for_which_it_is_undefined(name, words):
    module, inputs = timm_model(name), torch.randn(1, 3, 224, 224)
    for method in ("attention:layer=0", *METHODS[1:]):
        with pytest.raises(MethodError, match=words):
            maps(module, method, inputs)
    if name != "resnet18":  # the last layer looks at a whole picture in each of them
        assert maps(module, "attention", inputs).shape[:2] == (1, 1)
