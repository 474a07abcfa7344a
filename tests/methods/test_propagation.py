"""Propagation: known answers, one rule at a time, how it is done."""

import gc
import weakref

import pytest
import torch
from ruled import FLAT_MAPS, LRP_METHODS, Mixed, Skipping, explained, two_layers
from test_known_answers import (
    PICTURE_A,
    PICTURE_B,
    about,
    linear,
    network_a,
    network_b,
    noise,
    relevance,
)
from torch import nn
from torch.nn import functional

import seewhy as sw
from seewhy.testing import KINDS

# ---------------------------------------------------------------------- known answers


@pytest.mark.parametrize("inplace", [False, True])
def test_network_b_by_epsilon_guided_backprop_and_deconvolution(inplace):
    module = network_b(inplace=inplace)
    epsilon = relevance(module, PICTURE_B, 0, "lrp:composite=epsilon")
    assert epsilon[0, 0].numpy() == about(
        [[0.0, 1, 2, 3], [0, 5, 6, 7], [0, 9, 10, 11], [0, 0, 0, 0]]
    )
    guided = relevance(module, PICTURE_B, 0, "guided-backprop")
    assert guided[0, 0].tolist() == [[0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]]
    deconvolved = relevance(module, PICTURE_B, 0, "deconvolution")
    assert deconvolved[0, 0].tolist() == [[2, 3, 3, 1], [3, 5, 5, 2], [3, 5, 5, 2], [1, 2, 2, 1]]


def test_two_layers_by_epsilon_gamma_and_alpha_beta():
    module, picture = two_layers()
    found = relevance(module.eval(), picture, 1, "lrp:composite=epsilon")
    assert found[0].numpy() == about([18.0, 36, 54])
    module[0].weight.data[0, 0] = -2
    found = relevance(module, picture, 1, "lrp:composite=epsilon,first=gamma:1,dense=gamma:0.25")
    assert found[0].numpy() == about([28 / 3, 104 / 3, 52])
    found = relevance(module, picture, 1, "lrp:composite=epsilon,dense=alpha1-beta0")
    assert found[0].numpy() == about([12, 33.6, 50.4])


def test_a_residual_sum_shares_by_its_parts():
    found = relevance(Skipping().eval(), torch.tensor([[2.0, 3]]), 1, "lrp:composite=epsilon")
    assert found[0].numpy() == about([10.0, 18])


def test_deeplift_of_network_a_from_zero_is_78_195_117():
    found = relevance(network_a(), PICTURE_A, 0, "deeplift")
    assert found[0].numpy() == about([78.0, 195, 117])


def test_deeplift_of_two_thresholds():
    class Thresholds(nn.Module):
        def forward(self, x):
            return 2 * x[:, :1].relu() + 2 * functional.relu(x[:, 1:] - 1.5)

    found = relevance(Thresholds().eval(), torch.tensor([[1.0, 2]]), 1, "deeplift")
    assert found[0].numpy() == about([2.0, 1])


# ---------------------------------------------------------------------- one rule at a time


@FLAT_MAPS
def test_each_rule_of_a_dense_layer_is_its_formula():
    # One layer of three inputs and one output; R is its output z = 5, or 4 with the bias.
    x, w, bias = torch.tensor([[1.0, -2, 3]]), torch.tensor([2.0, -3, -1]), -1.0
    module = linear([w.tolist()], [bias])
    z = 2 + 6 - 3 - 1.0
    expected = {
        "epsilon:1": torch.tensor([2.0, 6, -3]) * z / (z + 1),
        "z-plus": torch.tensor([2.0, 6, 0]) * z / 8,
        "alpha2-beta1": torch.tensor([4.0, 12, 0]) * z / 8 - torch.tensor([0.0, 0, -3]) * z / -4,
        "gamma:0.5": torch.tensor([3.0, 9, -3]) * z / (12 - 3 - 1),
        "flat": torch.full((3,), z / 3),
        "w-square": w**2 * z / 14,
        "z-box:-2:3": (x[0] * w - -2 * w.clamp(min=0) - 3 * w.clamp(max=0)) * z / (5 + 4 + 12),
        "z-box": (x[0] * w - -2 * w.clamp(min=0) - 3 * w.clamp(max=0)) * z / (5 + 4 + 12),
    }
    for rule, wanted in expected.items():
        found = relevance(module.eval(), x, 1, f"lrp:first={rule}")
        assert found[0].numpy() == about(wanted), rule


def test_gamma_of_a_negative_output_favours_what_is_negative():
    module, x = linear([[2.0, -3]], [0.0]), torch.tensor([[1.0, 2]])
    found = relevance(module.eval(), x, 1, "lrp:composite=epsilon,dense=gamma:1")
    assert found[0].numpy() == about([2 * -4 / -10, -12 * -4 / -10])


@FLAT_MAPS
def test_a_flat_first_layer_gives_relevance_where_the_picture_is_zero():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)).eval()
    module[0].bias.data = torch.ones(2)
    found = relevance(module, torch.zeros(1, 1, 4, 4), 1, "lrp")
    assert float(found.abs().min()) > 0
    assert (
        float(relevance(module, torch.zeros(1, 1, 4, 4), 1, "lrp:first=epsilon").abs().max()) == 0
    )


def test_a_batch_norm_is_merged_into_the_convolution_before_it():
    norm, convolution = nn.BatchNorm2d(4), nn.Conv2d(3, 4, 3)
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    merged = nn.utils.fuse_conv_bn_eval(convolution.eval(), norm.eval())
    rest = [nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(64, 3)]
    for method in LRP_METHODS:
        one = relevance(
            nn.Sequential(convolution, norm, *rest).eval(), noise(2, 3, 6, 6), 1, method
        )
        two = relevance(nn.Sequential(merged, *rest).eval(), noise(2, 3, 6, 6), 1, method)
        assert one.numpy() == about(two, 1e-4), method


def test_relevance_passes_an_affine_normalisation_within_the_network_as_it_is():
    class Normalising(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, pictures):
            return self.inner((pictures - 0.5) / 0.25)

    inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    pictures = noise(2, 3, 6, 6)
    for method in ("lrp", "lrp:composite=epsilon", "lrp:composite=epsilon-gamma-box"):
        one = relevance(Normalising(inner).eval(), pictures, 1, method)
        two = relevance(inner, (pictures - 0.5) / 0.25, 1, method)
        assert one.numpy() == about(two), method


def test_attention_is_that_of_attn_lrp():
    # Achtibat et al. 2024: a product shares by halves, softmax is x (R - s sum R) (its Taylor
    # expansion); linear layers are left out here, so that what remains is one head of attention.
    class Head(nn.Module):
        def forward(self, x):  # (N, 3, 2, 4): queries, keys and values of two tokens
            query, key, value = x.unbind(1)
            return functional.scaled_dot_product_attention(query, key, value)[:, 0]

    picture = noise(1, 3, 2, 4).double()
    query, key, value = picture[0]
    found = relevance(Head().eval(), picture, 1, "attn-lrp", precision="float64")[0]
    logits = query @ key.T / 2
    shares = logits.softmax(-1)
    score = (shares @ value)[0, 1]
    of_value = torch.zeros_like(value)
    of_value[:, 1] = shares[0] * value[:, 1] / 2
    of_shares = shares[0] * value[:, 1] / 2
    of_logits = logits[0] * (of_shares - shares[0] * of_shares.sum())
    products = query[0][None] * key / 2  # (key, channel): what each adds to the logit
    spread = products / logits[0][:, None] * of_logits[:, None] / 2
    assert found[2].numpy() == about(of_value)
    assert found[0, 0].numpy() == about(spread.sum(0))
    assert found[1].numpy() == about(spread)
    assert float(of_value.sum()) == pytest.approx(float(score) / 2)


def test_a_gate_takes_no_relevance():
    class Gated(nn.Module):
        def forward(self, x):
            signal, gate = x.chunk(2, 1)
            return signal * gate.sigmoid()

    found = relevance(Gated().eval(), torch.tensor([[3.0, 0.5]]), 1, "attn-lrp")
    assert found[0].numpy() == about([3 * torch.tensor(0.5).sigmoid(), 0])


# ---------------------------------------------------------------------- excitation


def test_excitation_backprop_is_its_formula():
    # Zhang et al. 2016: P(a_j | a_i) = a_j w_ij+ / sum_k a_k w_ik+, from the target down.
    first, head = nn.Conv2d(1, 3, 3), nn.Linear(12, 4)
    module = nn.Sequential(first, nn.ReLU(), nn.Flatten(), head).eval()
    picture = noise(1, 1, 4, 4)
    hidden = first(picture).relu().flatten(1)[0]
    for contrastive in (False, True):
        shares = [
            hidden * sign * weight.clamp(min=0) / (hidden * weight.clamp(min=0)).sum()
            for sign, weight in ((1, head.weight[2]), (-1, -head.weight[2]))
        ]
        wanted = sum(shares) if contrastive else shares[0]
        method = sw.ExcitationBackprop(layer="1", contrastive=contrastive)
        (each,) = explained(module, picture, 2, method)[:1]
        assert each.relevance[0].numpy() == about(wanted.detach().reshape(3, 2, 2).sum(0), 1e-4)


def test_excitation_backprop_hands_on_a_probability():
    kind = KINDS["volume"]
    for each in sw.explain(kind.model(), kind.pictures(), None, "excitation-backprop"):
        assert float(each.relevance.min()) >= 0
        assert float(each.relevance.sum()) == pytest.approx(1, abs=1e-3)
        assert each.checks["conservation gap"] < 1e-3


def test_guided_grad_cam_is_the_product():
    module, picture = network_b(), PICTURE_B
    found = relevance(module, picture, 0, "guided-grad-cam:method=(grad-cam:layer=0)")
    guided = relevance(module, picture, 0, "guided-backprop")
    cam = relevance(module, picture, 0, "grad-cam:layer=0").clamp(min=0)
    weights = functional.interpolate(cam, (4, 4), mode="bilinear")
    assert found.numpy() == about(guided * weights)


# ---------------------------------------------------------------------- how it is done


def test_nothing_of_the_graph_is_left():
    # A cycle through the mode would keep every activation until the collector comes by.
    seen = []

    class Watched(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, pictures):
            features = self.inner.stem(pictures)
            seen.append(weakref.ref(features.untyped_storage()))
            seen.append(weakref.ref(features))
            return self.inner(pictures) + features.mean((2, 3))[:, :5]

    model = sw.Model(Watched(Mixed()).eval())
    for method in ("lrp", "attn-lrp", "deeplift", "guided-backprop"):
        sw.explain(model, noise(1, 3, 16, 16), 1, "gradient")
        seen.clear()
        gc.collect()
        gc.disable()
        try:
            sw.explain(model, noise(1, 3, 16, 16), 1, method) if method != "guided-backprop" else (
                sw.explain(sw.Model(network_b()), PICTURE_B, 0, method)
            )
            assert [each() for each in seen] == [None] * len(seen), method
        finally:
            gc.enable()


@pytest.mark.parametrize("method", ["lrp", "deeplift"])
def test_a_picture_costs_one_forward_and_one_backward_for_each_pass(method):
    module, pictures = network_b(), PICTURE_B.repeat(2, 1, 1, 1)
    passes = explained(module, pictures, 0, method)[0].passes
    assert (passes.forwards, passes.backwards) == ((1, 1) if method == "lrp" else (2, 1))


def test_a_neuron_and_several_targets_at_once_are_handed_back_too():
    module, pictures = Mixed().eval(), noise(2, 3, 16, 16).double()
    model, wanted = sw.Model(module), sw.targets.Neuron("stem", 3, (8, 8))
    for method in ("lrp:composite=epsilon", "deeplift"):
        for each in sw.explain(model, pictures, wanted, method, precision="float64"):
            assert int((each.relevance.abs().sum(0) > 0).sum()) == 9  # what a 3 x 3 kernel sees
        both = sw.explain(model, pictures, [1, 4], method, precision="float64")
        for row, target in enumerate((1, 4)):
            alone = sw.explain(model, pictures[row : row + 1], target, method, precision="float64")
            assert both[row].relevance.numpy() == about(alone[0].relevance)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "torchvision/vgg16",
        "torchvision/resnet50",
        "torchvision/vit_b_16",
        "timm/vit_tiny_patch16_224",
        "timm/convnext_atto",
        "hf/ViT",
    ],
)
def test_the_books_close_on_published_architectures(name):
    from zoo import entry

    one = entry(name)
    module = one.build()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 2)
        if isinstance(part, nn.Linear) and not bool(part.weight.any()):
            nn.init.normal_(part.weight, 0, 0.02)  # torchvision begins a head with zeros
    model = sw.Model(module, input_shape=one.shape)
    pictures = noise(2, *one.shape).double()
    # Before training biases are zero: a baseline of zero is zero in every layer, and what layer
    # norms make of it has slopes that cancel to the last digit.
    for method in ("lrp", "attn-lrp", "deeplift:baseline=0.3"):
        for each in sw.explain(model, pictures, 3, method, precision="float64"):
            for gap in ("conservation gap", "completeness gap"):
                assert each.checks.get(gap, 0) <= 1e-6, (method, each.checks)
