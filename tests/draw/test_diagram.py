"""A model as a diagram: every module once, in order, folded where neighbours are alike."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.draw.diagram import Block, diagram
from seewhy.errors import PictureError, SaveError

SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        return x + self.relu(self.conv(x))


class Net(nn.Module):
    def __init__(self, count=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList([Residual(8) for _ in range(count)])  # is never called itself
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        for each in self.blocks:
            x = each(x)
        return self.head(x.mean((2, 3)))


def summary_of(module, shape=(3, 8, 8)):
    return sw.summary(sw.Model(module.eval(), input_shape=shape))


def parsed(svg):
    return ET.fromstring(svg)  # noqa: S314 - what was drawn here


def texts(svg):
    return [each.text for each in parsed(svg).iter(f"{SVG}text")]


def test_alike_neighbours_are_one_block_with_all_their_parameters():
    (stem, blocks, head) = summary_of(Net()).blocks()
    assert (stem.name, blocks.name, head.name) == ("stem", "blocks.0–2", "head")
    assert (blocks.times, blocks.kind) == (3, "Residual")
    assert blocks.parameters == 3 * (8 * 8 * 9 + 8)
    assert [each.name for each in blocks.inner] == ["conv", "relu"]


def test_parts_that_differ_stand_apart_where_they_are_drawn_and_together_where_not():
    net = Net()
    net.blocks[0].conv = nn.Conv2d(8, 8, 1)
    deep, flat = summary_of(net).blocks(2), summary_of(net).blocks(1)
    assert [each.name for each in deep] == ["stem", "blocks.0", "blocks.1–2", "head"]
    assert [each.name for each in flat] == ["stem", "blocks.0–2", "head"]
    assert flat[1].contents == "each: 1 Conv2d, 1 ReLU"


def test_parameters_of_the_top_are_those_of_the_model(demo):
    found = sw.summary(demo)
    assert sum(each.parameters for each in found.blocks()) == found.parameters


def test_a_module_that_is_called_again_is_counted_once():
    relu = nn.Linear(8, 8)
    found = summary_of(nn.Sequential(relu, nn.Tanh(), relu), (8,))
    assert [each.name for each in found.blocks()] == ["0#0", "1", "0#1"]
    assert [each.parameters for each in found.blocks()] == [72, 0, 0]


def test_the_default_layer_is_marked_wherever_it_is():
    marks = {each.name: each.mark for each in sw.summary("demo").blocks(1) if each.mark}
    assert marks == {"block4": "default layer"}
    (layers,) = (each for each in sw.summary("demo/transformer").blocks() if each.name == "layers")
    assert [each.mark for each in layers.inner] == ["default layer: 2"]
    (hidden,) = (each for each in sw.summary("demo/transformer").blocks(1) if each.mark)
    assert (hidden.name, hidden.mark) == ("layers", "default layer inside")


def test_it_is_drawn_as_text_with_shapes_and_as_deep_as_asked(demo):
    found = sw.summary(demo)
    said = texts(found.svg())
    for each in ("input", "3 × 64 × 64", "96 × 16 × 16", "5", "output", "96,853 parameters"):
        assert each in said
    assert "default layer" in said
    assert said.index("block1") < said.index("block2") < said.index("halve") < said.index("head")
    assert "norm" in said
    assert "norm" not in texts(found.svg(depth=1))
    with pytest.raises(PictureError, match="1 or more"):
        found.svg(depth=0)


def test_it_can_be_read_aloud_in_light_and_in_dark(demo):
    svg = sw.summary(demo).svg()
    drawn = parsed(svg)
    assert drawn.get("role") == "img"
    assert drawn.find(f"{SVG}title").text == "demo (WorldNet): a diagram of the model"
    assert "block4: Block, default layer, gives 96 × 16 × 16." in drawn.find(f"{SVG}desc").text
    assert "prefers-color-scheme: dark" in svg
    assert not re.search(r"<script|href=|url\(|<image", svg)


def test_everything_stays_inside_the_sheet():
    def nested(depth):
        inner = (nested(depth - 1),) if depth else ()
        return Block("a" * 99, "Kind" * 20, "9 × 9", 10**9, mark="default layer", inner=inner)

    drawn = parsed(diagram([nested(4)], title="x" * 500, given="3", output="2"))
    width, height = (float(drawn.get(each)) for each in ("width", "height"))
    for each in drawn.iter(f"{SVG}rect"):
        x, y, wide, tall = (float(each.get(k, 0)) for k in ("x", "y", "width", "height"))
        assert x >= 0
        assert x + wide <= width
        assert y + tall <= height
    assert all(len(each) < 99 for each in texts(diagram([nested(4)], title="x" * 500)))


def test_names_are_text_and_never_markup():
    svg = diagram([Block("<script>", "a&b")], title='"<b>')
    assert "<script>" in texts(svg)
    assert "<script>" not in svg


def test_functions_and_networks_of_functions_are_one_block():
    found = sw.summary(sw.Model(lambda x: x.mean((2, 3)), input_shape=(3, 8, 8), name="mean"))
    (block,) = found.blocks()
    assert (block.name, block.kind, block.shape) == ("mean", "Function", "3")

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(5, 3))

        def forward(self, x):
            return x.mean((2, 3)) @ self.weight.T

    (block,) = summary_of(Plain()).blocks()
    assert (block.parameters, block.shape) == (15, "5")
    assert "no modules to be seen inside" in " ".join(texts(summary_of(Plain()).svg()))


def test_large_networks_are_drawn_no_deeper_than_can_be_seen():
    resnet = pytest.importorskip("torchvision").models.resnet50()
    found = summary_of(resnet, (3, 32, 32))
    assert sum(map(len, found.blocks())) <= 44
    stages = {each.name: each.inner for each in found.blocks() if each.inner}
    assert {name: inner[0].times for name, inner in stages.items()} == {
        "layer1": 3,
        "layer2": 4,
        "layer3": 6,
        "layer4": 3,
    }
    assert stages["layer1"][0].contents == "each: 3–4 Conv2d, 3–4 BatchNorm2d, 3 ReLU"


def test_it_is_saved_as_diagram_and_as_table(demo, tmp_path):
    found = sw.summary(demo)
    assert found.save(tmp_path / "new" / "model.svg").read_text() == found.svg()
    assert found.save(tmp_path / "model.SVG", depth=1).read_text() == found.svg(1)
    assert found.save(tmp_path / "model.md").read_text() == found.markdown()
    assert found.save(tmp_path / "model.txt").read_text() == f"{found}\n"
    assert found._repr_html_() == found.svg()
    with pytest.raises(SaveError, match=r"\.svg"):
        found.save(tmp_path / "model.png")


def test_the_command_line_saves_it(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from seewhy.cli import app

    monkeypatch.chdir(tmp_path)
    asked = ["summary", "-m", "demo", "--out", "model.svg", "--depth", "1"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "saved: model.svg" in done.output
    assert (tmp_path / "model.svg").read_text() == sw.summary("demo").svg(1)
