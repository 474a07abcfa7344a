"""Where methods do not apply, and where they warn: the table, and the page that it makes.

`python tests/support/where.py` writes the page.
"""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "where.md"


@dataclass(frozen=True)
class Case:
    """What some methods say of some architectures of the zoo, these by name or by id.

    why: as the page says it. says: part of the error or the warning itself. blank: the map has
    nothing in it then but rounding.
    """

    methods: tuple
    networks: tuple
    why: str
    says: str
    blank: bool = False

    def of(self, name, entry):
        return name in self.methods and (entry.name in self.networks or entry.id in self.networks)


ROLLOUTS = ("attention-rollout", "gradient-attention-rollout")
AT_RELUS = ("guided-backprop", "deconvolution", "guided-grad-cam")

NO_ATTENTION = (
    "torchvision/resnet18",
    "torchvision/resnet50",
    "torchvision/r3d_18",
    "torchvision/vgg16",
    "torchvision/alexnet",
    "torchvision/squeezenet1_1",
    "torchvision/densenet121",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_large",
    "torchvision/efficientnet_b0",
    "torchvision/convnext_tiny",
    "torchvision/googlenet",
    "torchvision/inception_v3",
    "torchvision/regnet_y_400mf",
    "torchvision/shufflenet_v2_x1_0",
    "torchvision/mnasnet1_0",
    "torchvision/fcn_resnet50",
    "timm/mixer_s32_224",
    "timm/convnext_atto",
    "timm/poolformer_s12",
    "timm/resnetv2_50",
    "hf/ConvNext",
    "hf/ResNet",
)
WINDOWS = (
    "torchvision/maxvit_t",
    "torchvision/swin_t",
    "torchvision/swin_v2_t",
    "timm/swin_tiny_patch4_window7_224",
    "timm/mobilevit_xxs",
    "hf/Swin",
    "hf/MobileViT",
)
VITS_BY_TOKEN = (
    "torchvision/vit_b_16",
    "timm/vit_tiny_patch16_224-224x224",
    "timm/vit_tiny_patch16_224-160x256",
    "timm/deit_tiny_distilled_patch16_224",
    "timm/vit_small_patch14_reg4_dinov2",
    "timm/cait_xxs24_224",
    "timm/xcit_nano_12_p16_224",
    "hf/ViT",
    "hf/Dinov2",
    "hf/Dinov2WithRegisters",
)
AVERAGED_VIT = "timm/vit_tiny_patch16_224-160x256-avg"
NO_CLASSES = ("hf/ViTModel", "hf/CLIPVision")
CONVNEXTS = ("torchvision/convnext_tiny", "timm/convnext_atto", "hf/ConvNext")
NO_RELUS = (
    "torchvision/efficientnet_b0",
    *CONVNEXTS,
    *WINDOWS,
    *VITS_BY_TOKEN,
    AVERAGED_VIT,
    *NO_CLASSES,
    "timm/mixer_s32_224",
    "timm/levit_128s",
    "timm/poolformer_s12",
    "timm/pvt_v2_b0",
    "hf/Segformer",
)
AVERAGED = (
    "torchvision/resnet18",
    "torchvision/resnet50",
    "torchvision/r3d_18",
    "torchvision/squeezenet1_1",
    "torchvision/mobilenet_v2",
    "torchvision/mobilenet_v3_large",
    "torchvision/efficientnet_b0",
    "torchvision/convnext_tiny",
    "torchvision/googlenet",
    "torchvision/inception_v3",
    "torchvision/regnet_y_400mf",
    "torchvision/shufflenet_v2_x1_0",
    "torchvision/mnasnet1_0",
    "torchvision/maxvit_t",
    "torchvision/swin_t",
    "torchvision/swin_v2_t",
    "timm/swin_tiny_patch4_window7_224",
    AVERAGED_VIT,
    "timm/mixer_s32_224",
    "timm/levit_128s",
    "timm/convnext_atto",
    "timm/poolformer_s12",
    "timm/pvt_v2_b0",
    "timm/mobilevit_xxs",
    "timm/resnetv2_50",
    "hf/Swin",
    "hf/Dinov2",
    "hf/Dinov2WithRegisters",
    "hf/ConvNext",
    "hf/ResNet",
    "hf/MobileViT",
    "hf/Segformer",
)
GATED = ("torchvision/mobilenet_v3_large", "torchvision/regnet_y_400mf")

REFUSED = (
    Case(
        ("attention", *ROLLOUTS),
        NO_ATTENTION,
        "there is no attention",
        "no attention was seen in",
    ),
    Case(
        ROLLOUTS,
        WINDOWS,
        "attention lives in windows: what a place sees in one layer is not what it sees in the "
        "next",
        "(windows, as in Swin)",
    ),
    Case(
        ("attention",),
        ("timm/mobilevit_xxs", "hf/Swin", "hf/MobileViT"),
        "the last layer attends within windows; of another layer it may be defined",
        "(windows, as in Swin)",
    ),
    Case(
        ("attention",),
        ("torchvision/swin_t", "torchvision/swin_v2_t"),
        "a small picture is padded to whole windows: the tokens are no grid of its places (where "
        "the last layer is one window, as at 224 pixels with windows of 7, it is defined)",
        "which are no grid of places",
    ),
    Case(
        ROLLOUTS,
        ("timm/cait_xxs24_224",),
        "heads are mixed after the softmax",
        "CaiT mixes the heads in between",
    ),
    Case(
        ROLLOUTS,
        ("timm/xcit_nano_12_p16_224",),
        "channels attend to channels",
        "XCiT attends to channels",
    ),
    Case(
        ROLLOUTS,
        ("timm/pvt_v2_b0", "hf/Segformer"),
        "a layer's keys are not the tokens that the layer before gave",
        "follows tokens from layer to layer",
    ),
    Case(
        AT_RELUS,
        NO_RELUS,
        "the activations are no rectifiers (GELU, SiLU, hardswish), and have no rule",
        "has a rule for rectifiers alone",
    ),
    Case(
        ("cam",),
        ("torchvision/vgg16", "torchvision/alexnet", "torchvision/mobilenet_v3_large"),
        "several linear layers follow the mean",
        "cam does not apply",
    ),
    Case(
        ("cam",),
        (
            *CONVNEXTS,
            "timm/poolformer_s12",
            "timm/levit_128s",
            AVERAGED_VIT,
            "torchvision/maxvit_t",
        ),
        "a norm stands between the mean and the head",
        "cam does not apply",
    ),
    Case(
        ("cam",),
        VITS_BY_TOKEN,
        "the head reads a token, not the mean of the places alone",
        "cam does not apply",
    ),
    Case(
        ("cam",),
        (*NO_CLASSES, "torchvision/fcn_resnet50"),
        "there is no mean and no class head after it",
        "cam does not apply",
    ),
    Case(
        ("finer-cam", "shapley-cam"),
        (*NO_CLASSES, "torchvision/fcn_resnet50"),
        "there are no class scores to compare with (`shapley-cam:residual=false` takes any target)",
        "this model has no class scores",
    ),
    Case(
        ("deeplift", "deeplift-shap"),
        ("timm/levit_128s",),
        "untrained, its attention differs so much from the baseline's (logits by more than 88) "
        "that the slope of the softmax overflows",
        "gave a map with NaN or infinity",
    ),
    Case(
        ("deeplift",),
        ("timm/pvt_v2_b0",),
        "untrained, it has no biases: the baseline 0 stays 0 throughout, where the slopes of layer "
        "norms are so large that they overflow; other baselines do not",
        "gave a map with NaN or infinity",
    ),
    Case(
        ("multi-scale",),
        (
            "torchvision/maxvit_t",
            "torchvision/vit_b_16",
            "timm/vit_tiny_patch16_224",
            "timm/deit_tiny_distilled_patch16_224",
            "timm/vit_small_patch14_reg4_dinov2",
            "timm/swin_tiny_patch4_window7_224",
            "timm/mixer_s32_224",
            "timm/cait_xxs24_224",
            "timm/levit_128s",
            "hf/ViT",
            *NO_CLASSES,
        ),
        "the network takes one size of picture",
        "does not take its picture at the size",
    ),
    Case(
        ("augmentation",),
        ("torchvision/r3d_18",),
        "only pictures of two axes are flipped",
        "augmentation flips pictures",
    ),
    Case(
        ("xrai",),
        ("torchvision/r3d_18",),
        "regions are found in pictures of two axes",
        "xrai finds regions in pictures",
    ),
)
"""What gives one error, and no map."""

WARNED = (
    Case(
        AT_RELUS,
        GATED,
        "through other activations beside rectifiers (sigmoid, hardswish) the plain gradient flows",
        "is the plain gradient",
    ),
    Case(
        ("fullgrad",),
        ("torchvision/mobilenet_v2", *GATED, *NO_RELUS),
        "the score has parts that are no bias of a module and no ReLU's: the map misses them",
        "fullgrad misses",
    ),
    Case(
        ("fullgrad",),
        ("timm/resnetv2_50",),
        "its batch norms have the ReLU within them: their biases are not seen, and the map misses "
        "them",
        "fullgrad misses",
    ),
    Case(
        ("internal-influence",),
        AVERAGED,
        "the mean over the places follows the usual layer: the gradient is the same everywhere in "
        "each channel; name an earlier layer",
        "is the same everywhere",
        blank=True,
    ),
    Case(
        ("hires-cam",),
        (
            "torchvision/vit_b_16",
            "timm/vit_tiny_patch16_224-224x224",
            "timm/vit_tiny_patch16_224-160x256",
            "timm/deit_tiny_distilled_patch16_224",
            "timm/vit_small_patch14_reg4_dinov2",
            "timm/cait_xxs24_224",
            "timm/xcit_nano_12_p16_224",
            "hf/ViT",
        ),
        "a layer norm follows the usual layer, where channels cancel: the map is rounding noise",
        "the channels cancel in every place",
        blank=True,
    ),
)
"""What gives maps, and a warning with them."""


def page():
    """Return the page, in Markdown."""
    from zoo import ZOO

    return "\n".join(
        (
            "# What applies where, by architecture",
            "",
            INTRODUCTION.format(count=len(ZOO)),
            "",
            ORIGIN,
            "",
            "## Refused, with one error",
            *_table("does not apply to", REFUSED),
            "",
            "## Given, with a warning",
            *_table("warns on", WARNED),
            "",
            "## The architectures",
            f"{_named([each.name for each in ZOO])}. {SIZES}",
            "",
        )
    )


INTRODUCTION = (
    "Every method is run on {count} architectures of torchvision, timm and transformers, with "
    "untrained weights. It gives a map of each picture, the same alone and in a batch, and leaves "
    "the network as it was; or it says in one error why it does not apply. The tests hold to this "
    "page both ways: what is not in the first table gives maps, and what is in it does not. For "
    "other kinds of models see [methods](README.md#what-applies-where)."
)
ORIGIN = (
    "The page is made of the table in `tests/support/where.py`: change it there, then run "
    "`python tests/support/where.py`."
)
SIZES = (
    "Most get smaller pictures than they are made for, about 96 pixels a side, which takes less "
    "time; those of one size are built for them."
)


def _table(heading, cases):
    lines = [f"| method | {heading} | why |", "| --- | --- | --- |"]
    for each in cases:
        methods = ", ".join(f"`{name}`" for name in each.methods)
        lines.append(f"| {methods} | {_named(each.networks)} | {each.why} |")
    return lines


def _named(networks):
    """Names by where they are from, each once."""
    by_source = {}
    for each in networks:
        source, _, name = each.partition("/")
        name, *size = re.split(r"-\d+x\d+", name)  # of an id
        pooled = " with average pooling" if size == ["-avg"] else ""
        by_source.setdefault(source, {})[name + pooled] = None
    sources = {"torchvision": "torchvision", "timm": "timm", "hf": "transformers"}
    return "; ".join(
        f"{title} {', '.join(by_source[source])}"
        for source, title in sources.items()
        if source in by_source
    )


if __name__ == "__main__":
    PAGE.write_text(page())
