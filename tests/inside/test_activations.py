"""What layers make of pictures: every layout as (N, C, *space), channels chosen, and drawn."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import seewhy as sw
from seewhy.data.world import generate
from seewhy.errors import MethodError, NoSpaceError, PictureError, SeewhyWarning
from seewhy.inside.tiles import seen_part
from seewhy.testing.conformance import difference, snapshot
from seewhy.testing.kinds import KINDS


@pytest.fixture(scope="module")
def pictures():
    return list(generate(3, seed=5, empty=0.0).pictures)


def hooked(model, name, tensor):
    """What a module gives, by a plain hook."""
    kept = []
    handle = model.module.get_submodule(name).register_forward_hook(
        lambda _, __, output: kept.append(output.detach().clone())
    )
    with torch.no_grad():
        model.module.eval()(tensor)
    handle.remove()
    return kept[0]


def test_maps_are_what_the_layer_gives(demo, pictures):
    found = sw.activations(demo, pictures, ["block1", "block3"], "all")
    tensor = demo.prepare(pictures).tensor
    assert found.layers == ("block1", "block3")
    for name in found.layers:
        torch.testing.assert_close(found[name], hooked(demo, name, tensor))
    assert found.channels["block3"] == tuple(range(64))


def test_tokens_become_maps(pictures):
    model = sw.load("demo/transformer")
    name = "layers.1"
    found = sw.activations(model, pictures, name, "all")
    tokens = hooked(model, name, model.prepare(pictures).tensor)
    places = found[name].shape[2] * found[name].shape[3]
    expected = tokens[:, -places:].transpose(1, 2).reshape(found[name].shape)
    torch.testing.assert_close(found[name], expected)


def test_top_channels_are_those_that_vary_most(demo, pictures):
    every = sw.activations(demo, pictures, "block4", "all")["block4"]
    found = sw.activations(demo, pictures, "block4", top=5)
    spread = every.numpy().astype(np.float64).var(axis=(2, 3)).sum(0)
    assert found.channels["block4"] == tuple(np.argsort(-spread, kind="stable")[:5])
    assert torch.equal(found["block4"], every[:, list(found.channels["block4"])])
    assert found.shapes["block4"] == (96, 16, 16)
    assert "vary most" in str(found)


def test_channels_by_number_and_their_mean(demo, pictures):
    every = sw.activations(demo, pictures, "block4", "all")["block4"]
    assert torch.equal(sw.activations(demo, pictures, "block4", [7, 2])["block4"], every[:, [7, 2]])
    assert torch.equal(sw.activations(demo, pictures, "block4", 7)["block4"], every[:, [7]])
    mean = sw.activations(demo, pictures, "block4", "mean")
    torch.testing.assert_close(mean["block4"], every.mean(1, keepdim=True))
    assert mean.channels["block4"] == ()


def test_neither_batches_nor_memory_matter(demo, pictures):
    together = sw.activations(demo, pictures, ["block2", "block4"])
    small = sw.activations(demo, pictures, ["block2", "block4"], memory=1)
    assert small.channels == together.channels
    for name in together.layers:
        torch.testing.assert_close(small[name], together[name])
    alone = sw.activations(demo, pictures[1], "block4", together.channels["block4"])
    torch.testing.assert_close(alone["block4"][0], together["block4"][1])


def test_all_layers_come_once_in_order(demo, pictures):
    found = sw.activations(demo, pictures[0], "all", "mean")
    blocks = ("block1", "block2", "halve", "block3", "block4")
    expected = []
    for name in blocks:
        expected += [name] if name == "halve" else [f"{name}.conv", f"{name}.norm", name]
    assert found.layers == tuple(expected)


def test_a_block_comes_after_what_is_in_it():
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.rest = nn.Conv2d(3, 3, 3, padding=1), nn.Identity()

        def forward(self, pictures):
            return self.rest(pictures + self.one(pictures))

    module = nn.Sequential(nn.Conv2d(3, 3, 1), Sum(), nn.Dropout(), nn.AdaptiveAvgPool2d(1))
    model = sw.Model(nn.Sequential(module, nn.Flatten()).eval())
    found = sw.activations(model, torch.randn(1, 3, 8, 8), "all", "all")
    assert found.layers == ("0.0", "0.1.one", "0.1")  # what Identity and Dropout pass on is 0.1's


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_kind_of_model_has_maps_or_one_clear_error(name):
    kind = KINDS[name]
    model = kind.model()
    before = snapshot(model.module)
    if name in ("flat", "scripted", "function"):
        with pytest.raises(NoSpaceError, match="has no layer with space"):
            sw.activations(model, kind.pictures(), "all", "all", others=kind.more())
        return
    found = sw.activations(model, kind.pictures(), "all", "all", others=kind.more())
    for each, maps in found.maps.items():
        assert len(maps) == 3
        assert maps[0, 0].numel() > 1
        assert tuple(maps.shape[1:]) == found.shapes[each]
        assert bool(torch.isfinite(maps).all())
    if len(kind.shape) == 3:
        assert found.draw(0).width > 100
    else:
        with pytest.raises(PictureError, match="axes of space"):
            found.draw(0)
    difference(before, snapshot(model.module, copies=False))


def test_half_precision_gives_float32(demo, pictures):
    found = sw.activations(demo, pictures, "block4", [3], precision="bfloat16")["block4"]
    assert found.dtype == torch.float32
    exact = sw.activations(demo, pictures, "block4", [3])["block4"]
    assert float((found - exact).abs().max()) < 0.05 * float(exact.max())


# ---------------------------------------------------------------------- drawn


def identity(size, **options):
    """A network whose only layer passes the picture's brightness on."""
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    preprocess = sw.Preprocess(size, mean=(0.0,), std=(1.0,), **options)
    return sw.Model(nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), preprocess)


def test_maps_have_the_inputs_proportions_and_places():
    model = identity((20, 40), interpolation="nearest")
    picture = Image.new("RGB", (80, 40), "black")
    picture.paste("white", (60, 20, 80, 40))  # the quarter below on the right
    sheet = sw.activations(model, picture, "0").draw(width=600)
    assert sheet.width <= 600
    pixels = np.asarray(sheet.convert("RGB")).astype(int)
    yellow = (abs(pixels - [253, 231, 37]).sum(2) < 40).nonzero()  # viridis' end
    purple = (abs(pixels - [68, 1, 84]).sum(2) < 40).nonzero()
    tall, wide = (np.ptp(each) + 1 for each in purple)
    assert wide / tall == pytest.approx(2, rel=0.05)
    assert yellow[0].min() - purple[0].min() == pytest.approx(tall / 2, abs=2)
    assert yellow[1].min() - purple[1].min() == pytest.approx(wide * 3 / 4, abs=2)


def test_the_picture_beside_is_what_the_model_sees():
    model = identity(20, resize=20)  # the middle of a wide picture
    picture = Image.new("RGB", (90, 30), "black")
    picture.paste("white", (30, 0, 60, 30))
    found = sw.activations(model, picture, "0")
    seen = seen_part(found.shown[0])
    assert seen.size == (30, 30)
    assert np.asarray(seen).min() == 255


def test_scales(demo, pictures):
    found = sw.activations(demo, pictures, ["block1.conv", "block4"])
    own, shared = found.draw(0, "block4"), found.draw(0, "block4", scale="layer")
    assert own.size != shared.size  # values below each, or one bar for all
    assert found.draw(width=240).width <= 250
    signed = np.asarray(found.draw(0, "block1.conv")).reshape(-1, 3)
    assert (signed == [0, 0, 255]).all(1).any() or (signed == [255, 0, 0]).all(1).any()


def test_it_is_saved_and_read_back(demo, pictures, tmp_path):
    found = sw.activations(demo, pictures, ["block1", "block4"], top=3)
    for ending in ("npz", "json"):
        again = sw.read(found.save(tmp_path / f"maps.{ending}"))
        assert again.channels == found.channels
        assert again.shapes == found.shapes
        assert all(torch.equal(again[name], found[name]) for name in found.layers)
        assert np.array_equal(np.asarray(again.draw(1)), np.asarray(found.draw(1)))
    assert found.plain()["layers"][0]["channels"] == list(found.channels["block1"])


def test_what_makes_no_sense_is_said(demo, pictures):
    for wrong, said in (
        ({"channels": [3, 96]}, "has 96 channels: there is no 96"),
        ({"channels": -1}, "there is no -1"),
        ({"channels": "some"}, "'top', 'all', 'mean'"),
        ({"channels": []}, "is empty"),
        ({"top": 0}, "at least 1"),
        ({"layers": []}, "is empty"),
    ):
        with pytest.raises(MethodError, match=said):
            sw.activations(demo, pictures, **wrong)
    with pytest.raises(NoSpaceError, match="has no space"):
        sw.activations(demo, pictures, "head")
    free = sw.Model(nn.Conv2d(3, 4, 3).eval(), name="free")
    with pytest.raises(PictureError, match="different shapes"):
        sw.activations(free, [torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 9, 9)], "")
    found = sw.activations(demo, pictures, "block4")
    with pytest.raises(PictureError, match="was not recorded: block4"):
        found["block1"]
    with pytest.raises(PictureError, match="there is no picture 3"):
        found.draw(3)


def test_a_picture_that_fails_is_left_out(demo, pictures, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("words")
    with pytest.warns(SeewhyWarning, match="1 of the pictures could not be read"):
        found = sw.activations(demo, [pictures[0], bad, pictures[1]], "block4")
    assert len(found) == 2
    assert found.failures[0].source == str(bad)
    with pytest.raises(PictureError):
        sw.activations(demo, [bad])


def test_what_is_no_number_is_grey():
    tensor = torch.rand(1, 1, 8, 8)
    tensor[0, 0, 0, 0], tensor[0, 0, 7, 7] = torch.nan, torch.inf
    found = sw.activations(identity(8), tensor, "0")
    pixels = np.asarray(found.draw()).reshape(-1, 3)
    assert (pixels == 176).all(1).any()
    assert found.plain()["layers"][0]["largest"] < 1
