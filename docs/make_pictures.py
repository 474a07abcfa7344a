"""Draw the pictures of the pages on methods: `python docs/make_pictures.py [page ...]`.

They come from an embedded model, the object model but for attention, one generated picture and the
seed 0, and from nothing else; the same versions on the same machine draw the same files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import seewhy as sw
from seewhy.data.world import generate
from seewhy.draw import Cell, colorbar, overlay, panel, save_image

FOLDER = Path(__file__).parent / "methods" / "pictures"
SHOWN = 4  # a triangle, a sticker and a figure, all apart from one another
WIDTH, COLUMNS = 128, 7
MODEL, MODELS = "demo", {"attention": "demo/transformer"}  # of all pages, and of some

PAGES: dict[str, tuple[str, ...]] = {
    "cam": (
        "grad-cam",
        "hires-cam",
        "layer-cam",
        "layer-cam:layer=halve",
        "grad-cam-plus-plus",
        "xgrad-cam",
        "grad-cam-element-wise",
        "finer-cam",
        "shapley-cam",
        "smooth-grad-cam-plus-plus",
        "ablation-cam",
        "score-cam",
        "ss-cam",
        "is-cam",
        "cam",
        "fullgrad",
        "eigen-cam",
        "kpca-cam",
        "fem",
        "eigen-grad-cam",
        "random-cam",
    ),
    "gradients": (
        "gradient",
        "gradient-x-input",
        "integrated-gradients",
        "integrated-gradients:baseline=black+white",
        "expected-gradients",
        "blur-ig",
        "guided-ig",
        "layer-activation",
        "gradient-x-activation",
        "conductance",
        "internal-influence",
        "internal-influence:layer=halve",
        "layer-integrated-gradients",
    ),
    "propagation": (
        "lrp",
        "lrp:composite=epsilon-gamma-box",
        "lrp:composite=epsilon-alpha2-beta1",
        "attn-lrp",
        "attn-lrp:convolution=gamma:0.25",
        "deeplift",
        "deeplift-shap",
        "guided-backprop",
        "deconvolution",
        "guided-grad-cam",
        "excitation-backprop",
        "excitation-backprop:contrastive=true,layer=halve",
    ),
    "attention": (
        "attention",
        "attention:layer=0",
        "attention:head=max",
        "attention-rollout",
        "attention-rollout:discard_ratio=0.9",
        "gradient-attention-rollout",
        "attn-lrp",
        "lrp",
        "gradient",
        "grad-cam",
        "layer-cam",
        "layer-cam:layer=layers.2.norm1",
        "occlusion:patch=8,stride=4",
    ),
    "perturbation": (
        "occlusion:patch=8,stride=4",
        "feature-ablation",
        "rise:samples=1000",
        "sobol:designs=16",
        "hsic",
        "lime",
        "kernel-shap",
        "shapley-sampling",
        "extremal-perturbation:steps=100",
        "extremal-perturbation:steps=100,areas=0.05",
        "xrai",
        "xrai:baseline=0",
    ),
    "wrappers": (
        "gradient",
        "smoothgrad",
        "smoothgrad-squared",
        "vargrad",
        "augmentation",
        "multi-scale",
        "grad-cam",
        "smoothgrad:method=grad-cam",
        "augmentation:method=grad-cam",
        "multi-scale:method=grad-cam",
        "layer-fusion:method=layer-cam,layer=halve+block4",
        "principal-component",
    ),
}
"""By page, what is drawn there: each method with its own settings, and some with others."""


def main() -> None:
    """Draw the pages that the command line names, all where it names none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", metavar="page", help=f"of {', '.join(PAGES)}; all")
    for page in parser.parse_args().pages or PAGES:
        drawn(page, PAGES[page])


def drawn(page: str, methods: Sequence[str]) -> Path:
    """Write the panel of a page: the picture, and the maps of what is predicted there."""
    shown = generate(SHOWN + 1, seed=0, conflict=True).pictures[SHOWN]
    found = sw.compare(MODELS.get(page, MODEL), shown, methods)
    picture = Image.fromarray(shown)
    grey = picture.convert("L").convert("RGB")  # the colours are the map's alone
    cells = [Cell(picture, "the picture", f"is a {found[0].prediction[0].label}")]
    for each in found:
        signed = each.display == "signed"
        heat = overlay(grey, each.drawn(each.display), opacity=0.85, signed=signed)
        name, _, settings = each.method.partition(":")
        cells.append(Cell(heat, name, settings.replace(",", ", ")))
    sheet = panel(cells, columns=COLUMNS, width=WIDTH)
    ways = sorted({each.display == "signed" for each in found})
    scales = [colorbar(signed=signed, width=256) for signed in ways]
    whole = Image.new("RGB", (sheet.width, sheet.height + scales[0].height), "white")
    whole.paste(sheet)
    room = sheet.width // len(ways)
    for place, scale in enumerate(scales):
        whole.paste(scale, (place * room + (room - scale.width) // 2, sheet.height))
    FOLDER.mkdir(exist_ok=True)
    return save_image(whole, FOLDER / f"{page}.png")


if __name__ == "__main__":
    main()
