"""Attention of networks that people use: every map, or one error that says why there is none."""

import pytest
import torch
from attending import METHODS, captured, maps
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError


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
