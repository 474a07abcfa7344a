"""Architectures by name: how to build each (untrained), its input, and where its map belongs."""

from dataclasses import dataclass, replace

import torch
from torch.nn.modules.batchnorm import _BatchNorm

import seewhy as sw
from seewhy.model.tape.trees import float_tensors


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
        pooled = "-avg" if ("global_pool", "avg") in self.options else ""
        return f"{self.name}-{size}{pooled}"

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


SPACES = {  # in place of SMALL; None: as it is, since there is only one
    "torchvision/maxvit_t": None,
    "timm/levit_128s": None,
    "torchvision/resnet18-160x256": (96, 160),
    "torchvision/swin_t-192x288": (96, 144),
    "timm/vit_tiny_patch16_224-160x256": (64, 112),
    "timm/vit_tiny_patch16_224-160x256-avg": (64, 112),
    "torchvision/r3d_18": (8, 48, 48),
    "torchvision/inception_v3": (160, 160),
    "torchvision/fcn_resnet50": (64, 64),
    "timm/vit_small_patch14_reg4_dinov2": (112, 112),
    "timm/swin_tiny_patch4_window7_224": (128, 128),
    "timm/mobilevit_xxs": (128, 128),
    "hf/MobileViT": (128, 128),
}
SMALL = (96, 96)
BUILT_FOR = {  # the option that says for which pictures a network of one size is built
    "torchvision/vit_b_16": "image_size",
    **dict.fromkeys(
        (
            "timm/vit_tiny_patch16_224",
            "timm/deit_tiny_distilled_patch16_224",
            "timm/vit_small_patch14_reg4_dinov2",
            "timm/mixer_s32_224",
            "timm/cait_xxs24_224",
            "timm/swin_tiny_patch4_window7_224",
        ),
        "img_size",
    ),
}


def smaller(entry):
    """The entry with small pictures: methods do the same there in a fraction of the time.

    Its grid is another one, and is left out.
    """
    own = entry.shape[1:] if max(entry.shape[1:]) <= 128 else SMALL
    space = SPACES.get(entry.id, SPACES.get(entry.name, own))
    if space is None or space == entry.shape[1:]:
        return entry
    options = dict(entry.options)
    if entry.name in BUILT_FOR:
        options[BUILT_FOR[entry.name]] = space if entry.name.startswith("timm/") else space[0]
    return replace(entry, shape=(3, *space), grid=(), options=tuple(options.items()))


NEXT_TO_NOTHING = 1e-4  # what layers are scaled by before training, in ConvNeXt and CaiT


def pictures_of(entry, count, seed=1):
    """Noise that is as strong at every scale, as pictures are: white noise looks all the same."""
    draw = torch.Generator().manual_seed(seed)
    channels, *space = entry.shape
    found = torch.zeros(count, channels, *space)
    mode = {2: "bilinear", 3: "trilinear"}[len(space)]
    for halvings in range(8):
        size = [max(1, side >> halvings) for side in space]
        noise = torch.randn(count, channels, *size, generator=draw)
        found += torch.nn.functional.interpolate(noise, space, mode=mode)
    return found / 8**0.5


def model_of(entry):
    """The untrained network, without what would make it degenerate.

    Weights that begin as zeros (heads, norms) are made small numbers, and so are scales of layers
    that begin as next to nothing. Batch norms have seen pictures: until then what an untrained
    network computes dies out with its depth.
    """
    module = entry.build()
    norms = [each for each in module.modules() if isinstance(each, _BatchNorm)]
    with torch.no_grad():
        for part in module.modules():
            weight = getattr(part, "weight", None)
            if isinstance(weight, torch.nn.Parameter) and not bool(weight.any()):
                weight.uniform_(0.5, 1.5) if weight.ndim == 1 else weight.normal_(0, 0.02)
        for each in module.parameters():
            if 0 < float(each.abs().amax()) <= NEXT_TO_NOTHING:
                each.uniform_(0.1, 0.5)
        for each in norms:
            each.momentum = None  # the mean of all that it sees
            each.train()
        if norms:
            module(pictures_of(entry, 8, seed=0))
        for each in norms:
            each.eval()
    return sw.Model(module, name=entry.name, input_shape=entry.shape)


def spread(scores):
    """A number a row that every output has a part in."""
    flat = scores.flatten(1)
    return (flat * torch.linspace(-1, 1, flat.shape[1])).sum(1)


def everything():
    """The target that every output has a part in, whatever the outputs are."""
    return sw.targets.Custom(lambda outputs: spread(float_tensors(outputs)[0]))


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
