"""Architectures by name: how to build each (untrained), its input, and where its map belongs."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Entry:
    """An architecture: source and name, input shape, and the default layer with its reading."""

    name: str
    shape: tuple
    layer: str
    layout: str
    prefix: int
    grid: tuple
    options: tuple = ()

    @property
    def id(self):
        size = "x".join(map(str, self.shape[1:]))
        return f"{self.name}-{size}"

    def build(self):
        torch.manual_seed(0)
        source, _, name = self.name.partition("/")
        module = {"torchvision": _torchvision, "timm": _timm, "hf": _transformers}[source](
            name, dict(self.options)
        )
        return module.eval()


def first(name, layer, grid, size=224, **options):
    shape = (3, size, size) if isinstance(size, int) else (3, *size)
    return Entry(name, shape, layer, "channels-first", 0, grid, tuple(options.items()))


def last(name, layer, grid, size=224):
    shape = (3, size, size) if isinstance(size, int) else (3, *size)
    return Entry(name, shape, layer, "channels-last", 0, grid)


def tokens(name, layer, prefix, grid, size=224, **options):
    shape = (3, size, size) if isinstance(size, int) else (3, *size)
    return Entry(name, shape, layer, "tokens", prefix, grid, tuple(options.items()))


ZOO = [
    first("torchvision/resnet18", "layer4", (7, 7)),
    first("torchvision/resnet50", "layer4", (7, 7)),
    first("torchvision/resnet18", "layer4", (5, 8), (160, 256)),
    first("torchvision/r3d_18", "layer4", (1, 7, 7), (8, 112, 112)),
    # the paper's conv5_3 after its ReLU: what `features` ends in only pools it
    first("torchvision/vgg16", "features.29", (14, 14)),
    first("torchvision/alexnet", "features.11", (13, 13)),
    first("torchvision/squeezenet1_1", "features", (13, 13)),
    first("torchvision/densenet121", "features", (7, 7)),
    first("torchvision/mobilenet_v2", "features", (7, 7)),
    first("torchvision/mobilenet_v3_large", "features", (7, 7)),
    first("torchvision/efficientnet_b0", "features", (7, 7)),
    first("torchvision/convnext_tiny", "features", (7, 7)),
    first("torchvision/googlenet", "inception5b", (7, 7), init_weights=False),
    first("torchvision/inception_v3", "Mixed_7c", (8, 8), 299, init_weights=False),
    first("torchvision/regnet_y_400mf", "trunk_output", (7, 7)),
    first("torchvision/shufflenet_v2_x1_0", "conv5", (7, 7)),
    first("torchvision/mnasnet1_0", "layers", (7, 7)),
    first("torchvision/maxvit_t", "blocks.3", (7, 7)),
    last("torchvision/swin_t", "norm", (7, 7)),
    last("torchvision/swin_t", "norm", (6, 9), (192, 288)),
    last("torchvision/swin_v2_t", "norm", (7, 7)),
    tokens("torchvision/vit_b_16", "encoder.layers.encoder_layer_10", 1, (14, 14)),
    first("torchvision/fcn_resnet50", "classifier.2", (16, 16), 128, weights_backbone=None),
    last("timm/swin_tiny_patch4_window7_224", "norm", (7, 7)),
    tokens("timm/vit_tiny_patch16_224", "blocks.10", 1, (14, 14)),
    tokens("timm/vit_tiny_patch16_224", "blocks.10", 1, (10, 16), (160, 256), img_size=(160, 256)),
    tokens(
        "timm/vit_tiny_patch16_224",
        "blocks",
        0,
        (10, 16),
        (160, 256),
        img_size=(160, 256),
        global_pool="avg",
        class_token=False,
    ),
    tokens("timm/deit_tiny_distilled_patch16_224", "blocks.10", 2, (14, 14)),
    tokens("timm/vit_small_patch14_reg4_dinov2", "blocks.10", 5, (16, 16), img_size=224),
    tokens("timm/mixer_s32_224", "norm", 0, (7, 7)),
    tokens("timm/cait_xxs24_224", "blocks", 0, (14, 14)),
    tokens("timm/xcit_nano_12_p16_224", "cls_attn_blocks.0", 1, (14, 14)),
    tokens("timm/levit_128s", "stages", 0, (4, 4)),
    first("timm/convnext_atto", "stages", (7, 7)),
    first("timm/poolformer_s12", "stages", (7, 7)),
    first("timm/pvt_v2_b0", "stages", (7, 7)),
    first("timm/mobilevit_xxs", "final_conv", (8, 8), 256),
    first("timm/resnetv2_50", "norm", (7, 7)),
    tokens("hf/ViT", "vit.layers.2", 1, (6, 6), 96),
    tokens("hf/ViTModel", "layers.2", 1, (6, 6), 96),
    tokens("hf/CLIPVision", "encoder.layers.2", 1, (6, 6), 96),
    tokens("hf/Swin", "swin.layernorm", 0, (8, 8), 128),
    tokens("hf/Dinov2", "dinov2.layernorm", 1, (7, 7), 98),
    tokens("hf/Dinov2WithRegisters", "dinov2_with_registers.layernorm", 5, (7, 7), 98),
    first("hf/ConvNext", "convnext.encoder.stages.3", (4, 4), 128),
    first("hf/ResNet", "resnet.encoder.stages.3", (4, 4), 128),
    first("hf/MobileViT", "mobilevit.conv_1x1_exp", (8, 8), 256),
    first("hf/Segformer", "segformer.stages.3", (4, 4), 128),
]

QUICK = (  # one of each kind of layout and family, small enough for every run
    "torchvision/resnet18",
    "torchvision/squeezenet1_1",
    "torchvision/mobilenet_v2",
    "timm/vit_tiny_patch16_224",
    "timm/levit_128s",
    "timm/convnext_atto",
    "hf/ViT",
    "hf/CLIPVision",
    "hf/Swin",
    "hf/ResNet",
    "hf/Segformer",
)


def entry(name):
    """The first entry of that name."""
    return next(each for each in ZOO if each.name == name)


def _torchvision(name, options):
    import torchvision.models as models

    return models.get_model(name, weights=None, **options)


def _timm(name, options):
    import timm

    return timm.create_model(name, pretrained=False, **options)


_VIT = {
    "hidden_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "image_size": 96,
    "patch_size": 16,
}
_DINO = {**_VIT, "image_size": 98, "patch_size": 14}
_CONV = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]}
_SETTINGS = {
    "ViT": ("ViT", _VIT),
    "ViTModel": ("ViT", _VIT),
    "CLIPVision": ("CLIPVision", _VIT),
    "Dinov2": ("Dinov2", _DINO),
    "Dinov2WithRegisters": ("Dinov2WithRegisters", {**_DINO, "num_register_tokens": 4}),
    "Swin": (
        "Swin",
        {
            "image_size": 128,
            "patch_size": 4,
            "embed_dim": 24,
            "depths": [1, 1, 2],
            "num_heads": [2, 2, 4],
            "window_size": 4,
        },
    ),
    "ConvNext": ("ConvNext", _CONV),
    "ResNet": ("ResNet", {**_CONV, "embedding_size": 16, "layer_type": "basic"}),
    "MobileViT": ("MobileViT", {}),
    "Segformer": ("Segformer", {"depths": [1, 1, 1, 1]}),
}


def _transformers(name, options):
    import transformers

    kind, settings = _SETTINGS[name]
    config = getattr(transformers, f"{kind}Config")(**settings, num_labels=10, **options)
    whole = name in ("ViTModel", "CLIPVision")
    ending = "Model" if whole else "ForImageClassification"
    return getattr(transformers, f"{kind}{ending}")(config)
