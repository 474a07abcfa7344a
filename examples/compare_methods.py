"""Seven methods on one picture, and a table of what can be observed of their maps.

    python examples/compare_methods.py [PICTURE] [--weights none|default] [--out FOLDER]

What is explained is the *logit* of the most probable class, the score before the softmax: the
gradient of a probability near 1 is nearly nothing, and a probability asks about the other classes
too. Six of the seven ask about the class; layer-activation is the same for any, which is why it is
here. The check (check=True) removes a part of the picture, and measures the *probability*.

With --weights none, or where there are none, the network is the one that comes along; without a
picture of yours one is generated, and it is known where the answer should be: on the shape.
"""

import common
from observations import observations

import seewhy as sw
from seewhy.draw import markdown, write_whole

METHODS = [
    "layer-activation",  # what the layer gives, whatever the class
    "gradient",  # "vanilla gradients": what would change the score
    "grad-cam",
    "smoothgrad",  # the gradient, averaged over noisy copies
    "integrated-gradients",
    "gradient-x-input",
    "occlusion:patch={}",  # what the score loses where a patch is removed
]


def main() -> None:
    args = common.parser_of(__doc__).parse_args()
    model = common.load("torchvision/resnet50", "demo", args.weights)
    picture, shape = args.picture, None
    if not picture and model.name == "demo":
        scenes = common.generate(1, seed=9, conflict=True, distractors=2)
        [picture], shape = common.write(scenes, args.out, "scene"), scenes.mask("shape")[0]

    patch = model.input_shape[-1] // 8
    methods = [each.format(patch) for each in METHODS]
    found = sw.compare(model, picture or common.cat(args.out), methods, check=True)

    rows = observations(found, shape)
    table = markdown(list(rows[0]), rows)
    print(f"{found[0].prediction[0]}; explained: the logit of {found[0].target}\n\n{table}")
    write_whole(args.out / "observations.md", table.encode())
    found.save(args.out / "methods.png")  # or .html, a page with the pictures and what they cost
    print(f"saved: observations.md and methods.png in {args.out}")


if __name__ == "__main__":
    main()
