"""Attention: what is made of the maps, where it is undefined, networks that people use."""

import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from attending import HEADS, METHODS, TOKENS, WIDTH, Network, captured, logits, maps, pictures, sdpa
from torch import nn

import seewhy as sw
from seewhy.errors import LayerError, MethodError, NoSpaceError, SeewhyWarning
from seewhy.model.tape.attention import AttentionMap

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
