"""Why did a VGG16 in Keras decide as it did? Grad-CAM at its last convolution, block5_conv3.

    python examples/keras_vgg16.py [PICTURE] [--weights none|default] [--out FOLDER]

What is explained is the *probability* of the most probable class: VGG16 ends in a softmax, and
its output is taken as it is. A probability near 1 hardly has a gradient, and falls where another
class gains; for the score before the softmax load "keras/VGG16?logits=true".

With --weights none, or where there are none, nothing was learned, so the map means nothing: it only
shows how it is asked.
KERAS_BACKEND (tensorflow, jax, torch) chooses what computes.
"""

import common
import keras
from PIL import Image

import seewhy as sw
from seewhy.draw import heatmap_image, save_image

LAYER = "block5_conv3"  # the last convolution: 14 x 14 places, 512 channels
CELL = 16  # 14 x 16 = 224, the side of what VGG16 sees


def main() -> None:
    args = common.parser_of(__doc__).parse_args()
    picture = args.picture or common.cat(args.out)
    model = common.load("keras/VGG16", "keras/VGG16?weights=none", args.weights, seeded)

    # One call: what is predicted, and the map for it. The Keras model is left as it was.
    why = sw.explain(model, picture, method="grad-cam", layer=LAYER)
    print(why.target)
    print(why.table())  # the five most probable classes

    # The raw map: one number for each of the layer's places, nothing scaled or smoothed.
    places = why.relevance[0]
    print(f"{LAYER}: {places.shape[0]} x {places.shape[1]} places, largest {places.max():.3g}")
    small = heatmap_image((places / places.max().clamp(min=1e-12)).numpy(), colormap="viridis")
    large = small.resize((CELL * small.width, CELL * small.height), Image.Resampling.NEAREST)
    save_image(large, args.out / "vgg16-heatmap.png")

    # Over the picture, at the picture's own size; the colour is the stronger, the more it counts.
    save_image(why.overlay("viridis", opacity=0.7), args.out / "vgg16-overlay.png")
    why.save(args.out / "vgg16.npz")  # sw.read(...) brings all of it back
    print(f"saved: vgg16-heatmap.png, vgg16-overlay.png and vgg16.npz in {args.out}")


def seeded(reference: str) -> sw.Model:
    keras.utils.set_random_seed(0)  # so that an untrained network is the same each time
    return sw.load(reference)


if __name__ == "__main__":
    main()
