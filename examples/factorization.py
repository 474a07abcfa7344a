"""What all does a network find in pictures, and what does each of it speak for?

    python examples/factorization.py [PICTURE or FOLDER] [--weights none|default] [--out FOLDER]

Deep feature factorization (Collins et al. 2018): at each place of a picture the last layer has a
vector of channels; all of them together are nearly sums of a few, the concepts.

What is asked of a concept is a *probability*: the classifier sees the concept alone, and the
softmax of its answer says which classes it speaks for, so that concepts can be compared: one may
speak for a single class, another for none. With probabilities=False there are logits.

With --weights none, or where there are none, the network is the one that comes along, and without
pictures of yours they are generated: it knows disks, squares, triangles and crosses.
"""

import common

import seewhy as sw


def main() -> None:
    parser = common.parser_of(__doc__)
    parser.add_argument("--concepts", type=int, default=6)
    args = parser.parse_args()
    model = common.load("torchvision/resnet50", "demo", args.weights)
    if args.picture:
        pictures = args.picture
    elif model.name == "demo":
        pictures = common.write(common.generate(8, seed=0, empty=0.0), args.out, "scene")
    else:
        pictures = [common.cat(args.out)]

    found = sw.factorize(model, pictures, args.concepts)
    print(found)  # the legend in words: the classes that each concept speaks for
    found.save(args.out / "factorization.png")  # each picture beside its concepts, with the legend
    found.save(args.out / "factorization.html")  # a page: point at a concept to see it alone
    found.save(args.out / "factorization.npz")  # vectors and maps: sw.read(...) brings them back
    print(f"saved: factorization.png, .html and .npz in {args.out}")


if __name__ == "__main__":
    main()
