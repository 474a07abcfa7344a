"""Evaluating: controls, intervals, the table."""

import csv
import io
import json
import math
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

import seewhy as sw
from seewhy.data import world
from seewhy.errors import MethodError, NoAnswerError, PictureError
from seewhy.methods import Attribution, Method, methods, perform
from seewhy.targets import Class, Score
from seewhy.trust import (
    CONTROLS,
    SRG,
    Case,
    Centre,
    GridPG,
    Maps,
    PointingGame,
    Random,
    RelevanceMass,
    Sobel,
    as_metric,
    auroc,
    bootstrap,
    bootstrap_difference,
    evaluate,
)

QUICK = (SRG(patch=16), RelevanceMass())


@pytest.fixture(scope="module")
def scenes():
    return world.generate(12, seed=5, conflict=True)


@pytest.fixture(scope="module")
def pictures(scenes):
    return [Image.fromarray(each) for each in scenes.pictures]


@pytest.fixture(scope="module")
def table(demo, scenes, pictures):
    return evaluate(
        demo, pictures, ["grad-cam", "layer-cam:layer=halve"], scenes.mask("shape"), QUICK
    )


# ---------------------------------------------------------------------- controls


def attribute(how, model, prepared, seed=0):
    score = Score([Class(None)] * len(prepared), model, prepared)
    return perform(how, model, prepared, score, sw.Run(seed=seed))


@pytest.mark.parametrize("how", [*CONTROLS, Random(blur=0.1)], ids=str)
def test_controls_run_as_methods_and_ask_the_model_nothing(demo, pictures, how):
    prepared = demo.prepare(pictures[:3])
    found = attribute(how, demo, prepared)
    assert found.relevance.shape == (3, 1, 64, 64)
    assert found.passes.forwards == found.passes.backwards == 0
    assert float(found.relevance.min()) >= 0
    alone = attribute(how, demo, prepared.rows([2])).relevance
    torch.testing.assert_close(alone[0], found.relevance[2])
    assert how.name not in methods()


def test_sobel_finds_an_edge_and_the_centre_is_in_the_centre(demo):
    step = torch.zeros(1, 3, 64, 64)
    step[..., 32:] = 1
    prepared = demo.prepare(step)
    edges = attribute(Sobel(), demo, prepared).relevance[0, 0]
    assert edges.argmax(1).unique().tolist() == [31]
    assert edges[5, 31] == edges[5, 32] == 4
    assert edges.count_nonzero() == 2 * 64
    blob = attribute(Centre(), demo, prepared).relevance[0, 0]
    assert divmod(int(blob.argmax()), 64) in {(y, x) for y in (31, 32) for x in (31, 32)}
    torch.testing.assert_close(blob, blob.flip(0, 1))


def test_random_follows_the_seed(demo, pictures):
    prepared = demo.prepare(pictures[:1])
    one, two = (attribute(Random(), demo, prepared, seed).relevance for seed in (0, 1))
    assert not torch.equal(one, two)


# ---------------------------------------------------------------------- intervals


def test_the_bootstrap_covers_the_mean_as_often_as_it_says():
    """100 samples of 50 normal numbers: at the level .9, about 90 intervals hold the mean."""
    inside = 0
    for seed in range(100):
        values = torch.randn(50, generator=torch.Generator().manual_seed(seed))
        _, low, high = bootstrap(values, level=0.9, seed=seed)
        inside += low <= 0 <= high
    assert 80 <= inside <= 97


def test_the_bootstrap_leaves_nan_out_and_the_random_state_alone():
    values, state = torch.randn(20), torch.random.get_rng_state()
    gaps = torch.cat([values, torch.full((5,), math.nan)])
    assert bootstrap(values) == bootstrap(gaps)
    assert torch.equal(state, torch.random.get_rng_state())
    assert bootstrap(values) != bootstrap(values, seed=1)
    assert all(math.isnan(each) for each in bootstrap(gaps[20:]))
    one = bootstrap(torch.tensor([2.0]))
    assert one.mean == 2
    assert math.isnan(one.low)


def test_pairs_are_surer_than_their_parts():
    base = torch.randn(40) * 10
    found = bootstrap_difference(base + 1 + 0.01 * torch.randn(40), base)
    assert 0.98 < found.low < found.high < 1.02
    apart = bootstrap(base)
    assert apart.high - apart.low > 1
    with pytest.raises(MethodError):
        bootstrap_difference(base, base[:3])
    with pytest.raises(MethodError):
        bootstrap(base, level=1.5)


# ---------------------------------------------------------------------- the table


def test_methods_that_see_beat_controls_that_do_not(table):
    """On pictures of the generated world, for its model that follows the shape."""
    for metric in table.metrics:
        assert table.beats_controls("layer-cam:layer=halve", metric)
        assert not table.beats_controls("random", metric)


def test_the_table_says_what_was_measured(table):
    assert table.methods == ("grad-cam", "layer-cam:layer=halve", "sobel", "centre", "random")
    assert table.metrics == ("srg:patch=16", "relevance-mass")
    assert [row["method"] for row in table.rows()][-1] == "random (control)"
    assert "srg:patch=16 ↑" in table.markdown()
    assert table.costs["grad-cam"].forwards == 1
    assert table.costs["sobel"].forwards == 0
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    found = table.interval("grad-cam", "relevance-mass")
    assert float(rows[0]["relevance-mass low"]) == found.low < found.mean < found.high
    data = json.loads(table.json())
    values = data["methods"]["grad-cam"]["metrics"]["relevance-mass"]["values"]
    torch.testing.assert_close(
        torch.tensor(values).double(), table.values["grad-cam"]["relevance-mass"]
    )


def test_values_do_not_depend_on_the_batch(demo, scenes, pictures, table):
    again = evaluate(
        demo, pictures[:5], ["grad-cam"], list(scenes.mask("shape"))[:5], QUICK, batch=2
    )
    for metric in again.metrics:
        for name in again.methods:
            torch.testing.assert_close(
                again.values[name][metric], table.values[name][metric][:5], atol=1e-4, rtol=1e-4
            )


def test_values_are_those_of_the_metric_itself(demo, scenes, pictures, table):
    prepared = demo.prepare(pictures)
    case = Case.of(demo, prepared, masks=scenes.mask("shape"))
    maps = Maps(attribute(sw.GradCAM(), demo, prepared).relevance, sw.GradCAM().display)
    torch.testing.assert_close(
        RelevanceMass().measure(case, maps), table.values["grad-cam"]["relevance-mass"]
    )


@dataclass(frozen=True)
class Picky(Method):
    """Answers only for pictures that are bright on the left."""

    def attribute(self, model, prepared, score, run):
        if bool((prepared.tensor[..., 0].mean((1, 2)) < 0).any()):
            raise NoAnswerError("too dark: give a brighter one")
        return Attribution(prepared.tensor)


Picky.name = "picky"


def test_a_picture_without_an_answer_is_nan_and_the_others_count(demo):
    inputs = torch.randn(4, 3, 64, 64)
    inputs[..., 0] = torch.tensor([1.0, -1.0, 1.0, 1.0]).view(4, 1, 1)
    found = evaluate(demo, inputs, [Picky()], metrics=[SRG(patch=32)])
    assert [each.source for each in found.left_out] == ["picture 1, picky"]
    assert found.examples["picky"][1] is None
    assert found.values["picky"]["srg:patch=32"].isnan().tolist() == [False, True, False, False]


def test_a_method_that_does_not_apply_is_named(demo, pictures):
    found = evaluate(
        demo, pictures[:2], ["gradient", "grad-cam:layer=nowhere"], metrics=[SRG(patch=32)]
    )
    assert [each.source for each in found.failures] == ["grad-cam:layer=nowhere"]
    assert "does not apply" in found.markdown()
    with pytest.raises(sw.errors.LayerError):
        evaluate(demo, pictures[:2], ["grad-cam:layer=nowhere"], metrics=[SRG(patch=32)])


def test_pictures_that_cannot_be_read_leave_with_their_masks(demo, scenes, pictures, table):
    given = [pictures[0], b"no picture", pictures[1]]
    masks = [scenes.mask("shape")[0], None, scenes.mask("shape")[1]]
    found = sw.evaluate(demo, given, ["grad-cam"], masks, QUICK)
    assert [each.source for each in found.left_out] == ["picture 1"]
    assert found.pictures == 2
    torch.testing.assert_close(
        found.values["grad-cam"]["relevance-mass"],
        table.values["grad-cam"]["relevance-mass"][:2],
    )
    with pytest.raises(PictureError, match="none of the pictures"):
        sw.evaluate(demo, [b"no picture"], ["grad-cam"])


def test_masks_are_taken_from_files_of_the_same_names(demo, scenes, pictures, table, tmp_path):
    for folder in ("pictures", "masks"):
        (tmp_path / folder).mkdir()
    for row in range(2):
        pictures[row].save(tmp_path / "pictures" / f"{row}.png")
        grey = Image.fromarray(7 * scenes.mask("shape")[row].astype("uint8"))
        grey.save(tmp_path / "masks" / f"{row}.bmp")
    found = evaluate(
        demo, tmp_path / "pictures", ["grad-cam"], tmp_path / "masks", ["relevance-mass"]
    )
    torch.testing.assert_close(
        found.values["grad-cam"]["relevance-mass"],
        table.values["grad-cam"]["relevance-mass"][:2],
    )
    (tmp_path / "masks" / "1.bmp").unlink()
    with pytest.raises(PictureError, match=r"no mask for .*1\.png"):
        evaluate(demo, tmp_path / "pictures", ["grad-cam"], tmp_path / "masks")


def test_metrics_are_written_and_read_alike():
    for each in (
        SRG(fill="noisy-linear", steps=16),
        PointingGame(15.0),
        GridPG(3),
        RelevanceMass(),
    ):
        assert as_metric(str(each)) == each
        assert str(as_metric(str(each))) == str(each)
    assert as_metric("srg") == SRG()
    assert as_metric(SRG) == SRG()
    with pytest.raises(MethodError, match="did you mean srg"):
        as_metric("srk")
    with pytest.raises(MethodError, match="no setting 'size'"):
        as_metric("srg:size=3")


def test_an_evaluation_is_saved_in_every_form(table, tmp_path):
    written = table.save(tmp_path / "all")
    assert sorted(each.suffix for each in written) == [".csv", ".html", ".json", ".md"]
    page = (tmp_path / "all" / "evaluation.html").read_text()
    assert "90% interval" in page
    assert "sobel" in page
    with pytest.raises(sw.errors.SaveError):
        table.save(tmp_path / "table.xlsx")


def test_the_areas_under_two_samples():
    apart = torch.tensor([3.0, 4.0, math.nan]), torch.tensor([1.0, 2.0])
    assert auroc(*apart) == 1.0
    assert auroc(*apart[::-1]) == 0.0
    assert auroc(apart[0], apart[0]) == 0.5
    assert math.isnan(auroc(torch.tensor([math.nan]), apart[1]))


def test_the_grid_pointing_game_stands_in_the_table(demo, pictures):
    found = evaluate(demo, pictures, ["grad-cam"], metrics=[GridPG()], controls=[Centre()])
    assert found.metrics == ("grid-pointing-game",)
    assert found.interval("centre", "grid-pointing-game").mean == pytest.approx(0.25)
    assert found.beats_controls("grad-cam", "grid-pointing-game")


def test_what_makes_no_sense_is_refused(demo, scenes, pictures):
    with pytest.raises(MethodError, match="nothing to evaluate"):
        evaluate(demo, pictures, [])
    with pytest.raises(MethodError, match="twice"):
        evaluate(demo, pictures, ["gradient", "gradient"])
    with pytest.raises(MethodError, match="masks="):
        evaluate(demo, pictures, ["gradient"], metrics=[PointingGame()])
    with pytest.raises(PictureError, match="masks for"):
        evaluate(demo, pictures, ["gradient"], scenes.mask("shape")[:3])
    with pytest.raises(MethodError, match="was not measured"):
        evaluate(demo, pictures[:1], ["gradient"], metrics=[SRG(patch=32)]).interval("a", "b")


# ---------------------------------------------------------------------- what once went wrong


class Bright(torch.nn.Module):
    """A score that is NaN for an all-black picture."""

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(3, 3)

    def forward(self, pictures):
        largest = pictures.flatten(1).amax(1)
        return self.head(pictures.mean((2, 3))) + 0 * torch.log(largest).clamp(max=9)[:, None]


def test_a_picture_without_a_score_is_left_out_and_the_others_are_judged():
    model = sw.Model(Bright().eval(), input_shape=(3, 16, 16))
    inputs = torch.rand(3, 3, 16, 16)
    inputs[1] = 0
    found = evaluate(model, inputs, ["gradient-x-input"], metrics=["srg:patch=4"])
    assert found.pictures == 2
    assert found.names == ("picture 0", "picture 2")
    assert [each.source for each in found.left_out] == ["picture 1"]
    assert not found.values["gradient-x-input"]["srg:patch=4"].isnan().any()


def test_what_was_explained_is_what_is_measured():
    """A region is laid on each picture's own input: the score is that of the explanation."""
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.ReLU())
    model = sw.Model(module.eval(), sw.Preprocess((16, 16), resize=16))
    scenes = world.generate(17, seed=1, empty=0.0)
    region = sw.targets.Region(1, scenes.mask("shape"))
    found = evaluate(model, list(scenes.pictures), ["gradient"], metrics=["srg"], target=region)
    assert found.pictures == 17


def test_one_patch_is_enough(demo, pictures):
    assert evaluate(demo, pictures[:2], ["grad-cam"], metrics=["srg:patch=100"]).pictures == 2


def test_masks_that_cannot_be_told_apart_are_refused(demo, pictures, scenes, tmp_path):
    for folder in ("a", "b", "masks"):
        (tmp_path / folder).mkdir()
        pictures[0].save(tmp_path / folder / "cat.png")
    both = [str(tmp_path / each / "cat.png") for each in ("a", "b")]
    with pytest.raises(PictureError, match="one name"):
        evaluate(demo, both, ["grad-cam"], tmp_path / "masks")
    Image.fromarray(scenes.mask("shape")[0]).save(tmp_path / "masks" / "cat.gif")
    with pytest.raises(PictureError, match="masks of one name"):
        evaluate(demo, both[:1], ["grad-cam"], tmp_path / "masks")
    with pytest.raises(PictureError, match="no folder"):
        evaluate(demo, both[:1], ["grad-cam"], tmp_path / "nowhere")


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "I", "P", "RGBA"])
def test_a_mask_file_means_the_same_in_every_mode(demo, scenes, pictures, mode, tmp_path):
    mask = scenes.mask("shape")[0]
    if mode == "RGBA":
        image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
        image.paste((255, 255, 255, 255), mask=Image.fromarray(mask))
    elif mode in ("I;16", "I"):
        image = Image.fromarray(mask.astype("uint16" if mode == "I;16" else "int32"))
    else:
        image = Image.fromarray(mask).convert(mode)
    image.save(tmp_path / "mask.tif")
    [own] = evaluate(demo, pictures[:1], ["grad-cam"], [mask], ["relevance-mass"]).values[
        "grad-cam"
    ]["relevance-mass"]
    [read] = evaluate(
        demo, pictures[:1], ["grad-cam"], [tmp_path / "mask.tif"], ["relevance-mass"]
    ).values["grad-cam"]["relevance-mass"]
    assert read == own
    Image.fromarray(mask).convert("L").save(tmp_path / "mask.jpg")
    with pytest.raises(PictureError, match="PNG"):
        evaluate(demo, pictures[:1], ["grad-cam"], [tmp_path / "mask.jpg"], ["relevance-mass"])


def test_methods_at_layers_given_as_modules_have_their_names(demo, pictures):
    layers = [demo.module.get_submodule(each) for each in ("block3", "block4")]
    methods = [sw.GradCAM(layer=each) for each in layers]
    found = evaluate(demo, pictures[:2], methods, metrics="srg:patch=32")
    assert found.methods[:2] == ("grad-cam:layer=block3", "grad-cam:layer=block4")


def test_without_controls_nothing_is_beaten(demo, pictures, tmp_path):
    found = evaluate(
        demo, pictures[:4], "grad-cam", metrics=["srg:patch=32"], controls=(), examples=0
    )
    assert not found.beats_controls("grad-cam", "srg:patch=32")
    assert found.page().tables[0].columns == ("method", "srg:patch=32 ↑", "passes", "ms")
    found.save(tmp_path)


def test_few_values_have_no_interval_and_hits_have_that_of_wilson():
    """Wilson's interval of 4 hits of 4 at 90 % begins at 1 / (1 + z^2 / 4), z = 1.645."""
    assert math.isnan(bootstrap(torch.tensor([1.0, 0.5, 0.2])).low)
    found = bootstrap(torch.ones(4))
    assert found.high == pytest.approx(1)
    assert found.low == pytest.approx(1 / (1 + 1.6449**2 / 4), abs=1e-4)


def test_a_wrong_layer_is_told_after_the_first_batch(demo, pictures):
    told = []
    with pytest.raises(sw.errors.LayerError):
        sw.evaluate(
            demo,
            pictures,
            ["grad-cam:layer=typo"],
            metrics=["srg:patch=32"],
            batch=1,
            progress=lambda *each: told.append(each),
        )
    assert not any(what == "pictures" for _, _, what in told)
