"""Handwritten digits, from nothing: train a small CNN, then ask it five questions.

    python examples/digits.py [PICTURE] [--weights none|default] [--out FOLDER]

PICTURE is an 8 of your own, white on black; else it is one of scikit-learn's digits. The network is
trained here, in about a minute; with --weights none it is not. `seewhy demo digits` asks more.

What is explained: CAM and Grad-CAM, the *logit* of the 8, since the mean of a CAM is the logit but
for the bias, which no map of a probability is. Sensitivity, the logit of each digit and the sum of
all logits. Prototypes, the *log-probability*: a typical 8 must not be a 3 as well.
"""

import common
import torch

import seewhy as sw
from seewhy.demo.digits_data import digits_of
from seewhy.demo.digits_models import RECIPES, accuracy, as_tensor, trained
from seewhy.draw import save_image


def main() -> None:
    parser = common.parser_of(__doc__)
    parser.add_argument("--epochs", type=int, help="of training; else as many as it needs")
    parser.add_argument("--steps", type=int, default=200, help="of each prototype")
    args = parser.parse_args()
    parts, epochs = digits_of(None, seed=0), 0 if args.weights == "none" else args.epochs
    if args.weights == "none":
        print("Going on with an untrained CNN: it shows nothing of digits (--weights none)")
    model = trained(RECIPES[1], parts.learned, seed=0, epochs=epochs)  # the CNN
    print(f"right on new digits: {accuracy(model, parts.tested):.1%}")
    examples = parts.tested.first_of_each().images
    eight = args.picture or save_image(examples[8], args.out / "eight.png")

    # 1. What does it take for a typical digit? The loss holds each near the mean of its kind.
    learned, labels = as_tensor(parts.learned), torch.from_numpy(parts.learned.labels)
    means = torch.stack([learned[labels == kind].mean(0) for kind in range(10)])
    made = sw.prototype(model, range(10), mean=means, distance=0.01, steps=args.steps)
    made.save(args.out / "digits-prototypes.png")
    made.save(args.out / "digits-prototypes.npz")  # sw.read(...) brings all of it back

    # 2. What has to change for an 8 to become a 3?
    how = {"mean": means[3:4], "distance": 0.1, "rate": 0.02, "steps": args.steps}
    turned = sw.prototype(model, 3, start=eight, **how)
    turned.save(args.out / "digits-eight-to-three.png", view="trajectory")

    # 3. Which pixels would change a score?
    sw.sensitivity(model, dict(enumerate(examples))).save(args.out / "digits-sensitivity.png")

    # 4. Which places speak for the 8, by all 96 feature maps, and by the 20 strongest?
    sw.compare(model, eight, ["cam", "cam:channels=20"], 8).save(args.out / "digits-cam.png")

    # 5. And at the other layers, from the first to the last? Some only speak against it: signed.
    layers = [f"grad-cam:layer={layer}" for layer in model.layers() if layer.spatial]
    sw.compare(model, eight, layers, 8).save(args.out / "digits-layers.png", sign="signed")
    print(f"saved: five pictures, digits-*.png, in {args.out}")


if __name__ == "__main__":
    main()
