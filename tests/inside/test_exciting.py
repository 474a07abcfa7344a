"""Which pictures excite a unit most, and the part of them that does it."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.data.world import generate
from seewhy.errors import LayerError, MethodError, PictureError, SeewhyWarning, TargetError
from seewhy.inside.field import receptive_field
from seewhy.prototypes import objective
from seewhy.targets import Direction, Neuron
from seewhy.testing.conformance import difference, snapshot
from seewhy.testing.kinds import KINDS


@pytest.fixture(scope="module")
def world():
    return generate(40, seed=5)


@pytest.fixture(scope="module")
def every(world):
    """What block4 gives for all pictures, (40, 96, 16, 16)."""
    return sw.activations("demo", list(world.pictures), "block4", "all")["block4"]


def brightness(size=8, **options):
    """Three channels: brightness, what is one pixel to the right of it, and nothing at all."""
    layer = nn.Conv2d(1, 3, 3, padding=1, bias=False)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0, 1, 1] = 1.0
        layer.weight[1, 0, 1, 2] = 1.0
    model = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    preprocess = sw.Preprocess(size, mean=(0.0,), std=(1.0,), interpolation="nearest", **options)
    return sw.Model(model.eval(), preprocess)


def dot(row, column, level=255, size=8):
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[row, column] = level
    return pixels


# ---------------------------------------------------------------------- which


@pytest.mark.parametrize("by", ["max", "mean"])
def test_the_pictures_are_those_of_the_largest_values(demo, world, every, by):
    found = sw.exciting(demo, list(world.pictures), [3, 40], top=5, layer="block4", by=by)
    flat = every.flatten(2)
    values = flat.amax(2) if by == "max" else flat.mean(2)
    for unit, channel in enumerate((3, 40)):
        best = values[:, channel].sort(descending=True, stable=True)
        assert [each.index for each in found[unit]] == best.indices[:5].tolist()
        said = torch.tensor([each.value for each in found[unit]])
        torch.testing.assert_close(said, best.values[:5])
        for each in found[unit]:
            own = every[each.index, channel]
            assert float(own[each.place]) == float(own.max())
    assert found.units == ("channel 3 of block4", "channel 40 of block4")
    assert found.seen == 40


def test_a_class_finds_its_shapes_and_their_place(demo, world):
    found = sw.exciting(demo, list(world.pictures), ["cross", 1], top=4)
    assert found.units == ("cross", "square")
    for cls, own in zip((3, 1), found, strict=True):
        for each in own:
            assert world.labels[each.index] == cls
            rows, columns = np.nonzero(world.mask("shape")[each.index])
            left, top, right, bottom = each.box
            assert left < columns.mean() < right
            assert top < rows.mean() < bottom
    scores = demo.outputs(demo.prepare(list(world.pictures)))[:, 3]
    assert [each.index for each in found[0]] == scores.topk(4).indices.tolist()


def test_a_stream_gives_the_same_and_keeps_little(demo, world):
    listed = sw.exciting(demo, list(world.pictures), [3], top=4, layer="block4")
    held = []

    def stream():
        for pixels in world.pictures:
            picture = Image.fromarray(pixels)
            held.append(picture)
            yield picture

    streamed = sw.exciting(demo, stream(), [3], top=4, layer="block4")
    assert [each.index for each in streamed[0]] == [each.index for each in listed[0]]
    assert [each.value for each in streamed[0]] == pytest.approx([e.value for e in listed[0]])
    assert len(held) == streamed.seen == 40
    assert len(streamed[0]) == 4


def test_concepts_and_directions_are_units(demo, world, every):
    pictures = list(world.pictures)
    concepts = sw.factorize(demo, pictures, 3)
    found = sw.exciting(demo, pictures, concepts, top=2)
    assert found.units == tuple(f"concept {number} of block4" for number in (1, 2, 3))
    one = sw.exciting(demo, pictures, [(concepts, 1), (concepts, 2)], top=2)
    assert [[e.index for e in own] for own in one] == [[e.index for e in own] for own in found][1:]
    vector = torch.zeros(96)
    vector[40] = 2.0
    direction = sw.exciting(demo, pictures, Direction("block4", vector, name="mine"), top=3)
    channel = sw.exciting(demo, pictures, 40, top=3, layer="block4")
    assert direction.units == ("mine",)
    assert [e.value for e in direction[0]] == pytest.approx([e.value for e in channel[0]])
    example = sw.concept_vector(demo, pictures[:8], pictures[8:16], name="idea")
    more = sw.exciting(demo, pictures, [example, objective("disk") - 0.5 * objective("cross")])
    assert more.units == ("idea", "disk - 0.5 x cross")
    scores = demo.outputs(demo.prepare(pictures))
    assert more[1][0].value == pytest.approx(float((scores[:, 0] - 0.5 * scores[:, 3]).max()))
    with pytest.raises(MethodError, match="with other weights"):
        sw.exciting("demo/shortcut", pictures, concepts)


def test_equal_values_come_in_order():
    pictures = [dot(1, 1, 100), dot(2, 2), dot(3, 3), dot(4, 4), dot(5, 5, 50)]
    found = sw.exciting(brightness(), pictures, 0, top=3, layer="0")
    assert [each.index for each in found[0]] == [1, 2, 3]


def test_a_unit_that_is_the_same_everywhere_is_warned_of():
    with pytest.warns(SeewhyWarning, match="channel 2 of 0: the same for all of 3 pictures"):
        found = sw.exciting(brightness(), [dot(1, 1), dot(2, 2), dot(3, 3)], [0, 2], 2, layer="0")
    assert [each.index for each in found[1]] == [0, 1]
    assert found[1][0].box is None  # no place of it does more than others
    assert found[1][0].crop.size == (8, 8)


# ---------------------------------------------------------------------- where


def test_the_crop_is_what_the_place_sees():
    found = sw.exciting(brightness(), [dot(2, 5)], [0, 1], layer="0")
    itself, beside = found[0][0], found[1][0]
    assert itself.place == (2, 5)
    assert beside.place == (2, 4)  # it sees what is on its right
    for each in (itself, beside):
        left, top, right, bottom = each.box
        assert left <= 5 < right
        assert top <= 2 < bottom
        assert right - left <= 3
        assert np.asarray(each.crop).max() == 255


def test_crops_lie_on_the_original():
    model = brightness(8)
    picture = Image.new("RGB", (64, 32), "black")  # each place of the input is 8 x 4 pixels
    picture.paste("white", (40, 8, 48, 12))
    (example,) = sw.exciting(model, picture, 0, layer="0")[0]
    assert example.place == (2, 5)
    left, top, right, bottom = example.box
    assert (left, right) == (40, 56)  # all channels together see the place and the next
    assert (top, bottom) == (8, 12)
    assert example.size == (64, 32)


def test_crops_lie_on_what_was_cropped_for_the_model():
    model = brightness(8, resize=8)  # sees the 32 x 32 pixels in the middle
    picture = Image.new("RGB", (96, 32), "black")
    picture.paste("white", (0, 0, 8, 8))
    picture.paste("gray", (60, 8, 64, 12))  # its last column, where the field meets the edge
    (example,) = sw.exciting(model, picture, 0, layer="0")[0]
    assert example.place == (2, 7)
    assert example.box == pytest.approx((60, 8, 64, 12))
    assert np.asarray(example.crop).min() == 128


@pytest.mark.parametrize(
    ("padding", "strides", "stride", "seen"),
    [(1, (1, 2), 2, 5), (0, (1, 2), 2, 5), (0, (2, 2), 4, 7), (1, (2, 2), 4, 7), (0, (1, 1), 1, 5)],
)
def test_fields_are_those_of_arithmetic(padding, strides, stride, seen):
    """Two convolutions of 3 x 3: the field is 3 + 2 x first stride wide, padding or not."""
    torch.manual_seed(3)
    layers = [nn.Conv2d(3, 16, 3, strides[0], padding), nn.Conv2d(16, 16, 3, strides[1], padding)]
    model = sw.Model(nn.Sequential(*layers).eval(), input_shape=(3, 64, 64))
    prepared = model.prepare(torch.zeros(1, 3, 64, 64))
    with model.held():
        field = receptive_field(model, model.layer("1", prepared), prepared)
    for place in (3, 9):
        left, top, right, bottom = field.at((place, place))
        first = place * stride - padding * (1 + strides[0])
        for start, end in ((left, right), (top, bottom)):
            assert start == pytest.approx(first, abs=1)
            assert end == pytest.approx(first + seen, abs=1)


def test_without_a_gradient_the_crop_is_the_place():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, 2, 1)

        def forward(self, pictures):
            return self.conv(pictures.detach())

    model = sw.Model(Cut().eval())
    with pytest.warns(SeewhyWarning, match="cannot be measured"):
        found = sw.exciting(model, torch.randn(2, 3, 16, 16), 1, layer="conv")
    example = found[0][0]
    row, column = example.place
    assert example.box == (2 * column, 2 * row, 2 * column + 2, 2 * row + 2)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_model_has_exciting_pictures(name):
    kind = KINDS[name]
    model = kind.model()
    before = snapshot(model.module)
    unit = 1 if kind.target is None else kind.target
    found = sw.exciting(model, kind.pictures(), unit, 2, others=kind.more())
    turned = None if kind.more() is None else {k: v.flip(0) for k, v in kind.more().items()}
    again = sw.exciting(model, kind.pictures().flip(0), unit, 2, others=turned)
    assert found[0][0].value >= found[0][1].value
    assert [e.value for e in again[0]] == pytest.approx([e.value for e in found[0]], rel=1e-4)
    assert [e.place for e in again[0]] == [e.place for e in found[0]]
    difference(before, snapshot(model.module, copies=False))


# ---------------------------------------------------------------------- the rest


def test_a_picture_that_fails_is_listed(demo, world, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("words")
    pictures = [world.pictures[0], bad, world.pictures[1]]
    with pytest.warns(SeewhyWarning, match="1 of the pictures could not be looked at"):
        found = sw.exciting(demo, pictures, 3, layer="block4")
    assert [each.source for each in found.failures] == [str(bad)]
    assert sorted(each.index for each in found[0]) == [0, 2]


def test_a_picture_without_a_number_does_not_fail_the_others():
    tensor = torch.rand(5, 1, 8, 8)
    tensor[3, 0, 2, 2] = torch.nan
    with pytest.warns(SeewhyWarning, match="not a finite number"):
        found = sw.exciting(brightness(), tensor, 0, layer="0")
    assert sorted(each.index for each in found[0]) == [0, 1, 2, 4]
    assert found.seen == 4
    assert len(found.failures) == 1


def test_it_is_drawn_saved_and_read_back(demo, world, tmp_path):
    found = sw.exciting(demo, list(world.pictures), [3, 40], top=11, layer="block4")
    for view in ("panel", "crops", "pictures"):
        assert found.draw(view, 1).width == pytest.approx(9 * 117, abs=12)
    for ending in ("npz", "json"):
        again = sw.read(found.save(tmp_path / f"found.{ending}"))
        assert again.units == found.units
        assert [e.box for e in again[1]] == [e.box for e in found[1]]
        assert np.array_equal(np.asarray(again.draw()), np.asarray(found.draw()))
    assert found.plain()["units"][0]["examples"][0]["value"] == found[0][0].value
    assert str(found).startswith("of 40 pictures")


def test_units_of_flat_networks_have_no_place():
    kind = KINDS["flat"]
    found = sw.exciting(kind.model(), kind.pictures(), 1)
    assert found[0][0].place is None
    with pytest.raises(PictureError, match="nothing to draw"):
        found.draw()


def test_what_makes_no_sense_is_said(demo, world):
    pictures = list(world.pictures[:2])
    for unit, options, error, said in (
        (96, {"layer": "block4"}, TargetError, "has 96 channels: there is no 96"),
        (Neuron("block4", 3, (16, 0)), {}, TargetError, "is not on it"),
        ("circle", {}, TargetError, "circle"),
        (None, {}, TargetError, "there is no unit"),
        ([], {}, TargetError, "there is no unit"),
        (3, {"layer": "blok4"}, LayerError, "did you mean"),
        (3, {"top": 0}, MethodError, "at least 1"),
        (3, {"by": "sum"}, MethodError, "'max' or 'mean'"),
    ):
        with pytest.raises(error, match=said):
            sw.exciting(demo, pictures, unit, **options)
    with pytest.raises(PictureError, match="there are no pictures"):
        sw.exciting(demo, iter([]), 1)


def test_a_neuron_is_looked_for_at_its_place(demo, world, every):
    found = sw.exciting(demo, list(world.pictures), Neuron("block4", 40, (8, 3)), top=3)
    best = every[:, 40, 8, 3].sort(descending=True, stable=True)
    assert [each.index for each in found[0]] == best.indices[:3].tolist()
    assert {each.place for each in found[0]} == {(8, 3)}


def test_work_can_be_cancelled_and_says_how_far_it_is(demo, world):
    said = []
    pictures = list(world.pictures)
    sw.exciting(demo, pictures, 1, progress=lambda *each: said.append(each))
    assert said[-1] == (40, 40, "pictures")
    with pytest.raises(sw.errors.CancelledError):
        sw.exciting(demo, pictures, 1, cancel=lambda: True)
