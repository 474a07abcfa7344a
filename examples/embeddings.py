"""Where in a picture is what is like a reference, and where is what is not?

    python examples/embeddings.py street.jpg --reference car.jpg --reference cloud.jpg
    python examples/embeddings.py [PICTURE] [--weights none|default] [--out FOLDER]

A ResNet-50 without its head turns a picture into 2,048 numbers, its embedding. No class is asked
for, so what is explained is the *cosine similarity* to the reference's embedding, minus that to the
other references: what all have in common does not count. Absence is the opposite question.

Without references they are the picture's own left and right third. Without a picture some are
generated, and the network is "demo", which knows them: disks stand in for the car, crosses for the
cloud, and triangles are there too. One picture has a disk and a cross, the other neither.
"""

from pathlib import Path

import common
from PIL import Image

import seewhy as sw
from seewhy.data.world import CLASSES


def main() -> None:
    parser = common.parser_of(__doc__)
    parser.add_argument("--reference", action="append", default=[], metavar="FILE")
    args = parser.parse_args()
    if args.picture:
        model = common.load("torchvision/resnet50", "demo", args.weights)
        pictures = [args.picture]
        references = {Path(each).stem: each for each in args.reference} or thirds(args.picture)
    else:
        model = common.stand_in("demo", "without PICTURE")
        pictures, references = generated(args.out)

    found = sw.find(model, pictures, references)
    print(found)  # how much each picture as a whole is like each reference
    found.save(args.out / "embeddings.png")  # reference | picture | where it is | where it is not
    found.save(args.out / "embeddings.npz")  # sw.read(...) brings all of it back
    print(f"saved: embeddings.png and embeddings.npz in {args.out}")


def thirds(picture: str) -> dict[str, Image.Image]:
    whole = Image.open(picture)
    x, y = whole.width // 3, whole.height
    return {"left": whole.crop((0, 0, x, y)), "right": whole.crop((2 * x, 0, 3 * x, y))}


def generated(out: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    alone = common.generate(40, seed=1, empty=0.0, sticker="none", distractors=0)
    references = {}
    for name in ("disk", "cross", "triangle"):
        rows = (alone.labels == CLASSES.index(name)).nonzero()[0][:4]
        references[name] = common.write(alone[rows], out, name)
    two = common.generate(24, seed=2, empty=0.0, shapes=2)[[0, 23]]
    return common.write(two, out, "scene"), references


if __name__ == "__main__":
    main()
