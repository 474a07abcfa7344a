"""On the generated world every method is worth more than a control, but those that are known."""

from pathlib import Path

import pytest
import torch
from benchmarks import world
from torch import nn

import seewhy as sw
from seewhy.data.world import generate, load_network, normalise
from seewhy.methods import methods

# internal-influence is the same at all places there, and says so
pytestmark = pytest.mark.filterwarnings("ignore:.*the same everywhere:seewhy.errors.SeewhyWarning")

PAGES = Path(__file__).parents[2] / "docs" / "methods"
COUNTS = {world.MODEL: 12, world.TRANSFORMER: 48}  # the edges gain much on the first 12


@pytest.fixture(scope="module", params=[world.MODEL, world.TRANSFORMER])
def model(request):
    return request.param


@pytest.fixture(scope="module")
def found(model):
    return world.judge(COUNTS[model], model)


@pytest.mark.slow
def test_no_method_is_below_a_control_in_mass_and_gain_but_those_explained(found, model):
    """Random-cam is one of the controls."""
    low = set(world.below(found, "srg")) & set(world.below(found, "relevance-mass"))
    explained = world.EXPLAINED[model]
    assert low <= explained["srg"] & explained["relevance-mass"]


@pytest.mark.slow
def test_no_method_gains_less_than_a_control_that_knows_nothing_but_those_explained(found, model):
    blind = [each for each in found.controls if each != world.RANDOM_CAM]
    assert set(world.below(found, "srg", blind)) <= world.EXPLAINED[model]["srg"]


@pytest.mark.slow
def test_every_method_is_judged_on_the_object_model_or_the_transformer(found, model):
    judged = {each.partition(":")[0] for each in world.real(found)}
    on_transformer = {*world.OF_ATTENTION, *world.COMPANIONS}
    others = set(methods()) - {*world.OF_ATTENTION, world.RANDOM_CAM}
    assert judged == (on_transformer if model == world.TRANSFORMER else others)
    assert not found.failures


def test_what_is_below_a_control_is_explained_on_its_page():
    """The page names the table, and says of each of these methods what it measured."""
    pages = [each.read_text() for each in PAGES.glob("*.md")]
    explained = world.EXPLAINED[world.MODEL]
    for name in sorted(explained["srg"] | explained["relevance-mass"]):
        parts = [part for page in pages for part in page.split("\n### ") if part.startswith(name)]
        own = [part for part in parts if part.partition("\n")[0] == name]
        assert len(own) == 1, name
        assert "benchmarks.md#all-methods-on-the-generated-world" in own[0], name


def test_what_is_below_a_control_on_the_transformer_is_explained_on_the_page_of_attention():
    explained = world.EXPLAINED[world.TRANSFORMER]
    page = (PAGES / "attention.md").read_text()
    section = page.partition("\n## Where the truth is known")[2].partition("\n## ")[0]
    assert "benchmarks.md#all-methods-on-the-generated-world" in section
    for name in explained["srg"] | explained["relevance-mass"]:
        assert f"`{name}`" in section, name


# ---------------------------------------------------------------------- the reasons


@pytest.fixture(scope="module")
def pictures():
    return list(generate(4, seed=0, conflict=True).pictures)


def maps(model, pictures, method):
    return torch.stack([each.relevance for each in sw.explain(model, pictures, 0, method)])


def test_deconvolution_knows_of_a_picture_only_what_each_max_pooling_took(demo, pictures):
    """With average pooling in its place, all pictures have one map."""
    network = load_network("object")
    network.halve = nn.AvgPool2d(2)
    averaging = sw.Model(network.eval(), preprocess=demo.preprocess, labels=demo.labels)
    one, *others = maps(averaging, pictures, "deconvolution")
    for each in others:
        torch.testing.assert_close(each, one)
    one, *others = maps(demo, pictures, "deconvolution")
    assert all((each - one).norm() > one.norm() / 2 for each in others)


def test_attn_lrp_by_epsilon_is_gradient_x_input_where_there_are_relus_alone(demo, pictures):
    plain = maps(demo, pictures, "gradient-x-input")
    torch.testing.assert_close(maps(demo, pictures, "attn-lrp"), plain, rtol=0.02, atol=1e-3)


def test_internal_influence_is_the_same_at_all_places_before_the_pooling(demo, pictures):
    found = maps(demo, pictures, "internal-influence:steps=4")
    assert float(found.flatten(2).std(2).amax()) < 1e-6 * float(found.abs().amax())


def test_no_more_of_extremal_masks_can_lie_on_a_shape_than_it_has_pixels(demo):
    """Three areas of 5, 10 and 20 %, and shapes of 4 %: a third at most."""
    shape = generate(96, seed=0, conflict=True).mask("shape").mean()
    assert 0.03 < shape < 0.045
    assert shape / ((0.05 + 0.1 + 0.2) / 3) < 0.36


# ---------------------------------------------------------------------- of the transformer


class Halves:
    """The transformer in two parts, and what it says when the tokens between them are mixed."""

    def __init__(self, after):
        scenes = generate(24, seed=0, conflict=True)
        self.network, self.after = load_network("transformer"), after
        self.rows, self.labels = torch.arange(24), torch.from_numpy(scenes.labels)
        self.tokens, self.without = (
            self.first(normalise(each)) for each in (scenes.pictures, scenes.without("shape"))
        )

    def first(self, inputs):
        kept = []
        layer = self.network.layers[self.after]
        with layer.register_forward_hook(lambda *call: kept.append(call[2])), torch.no_grad():
            self.network(inputs)
        return kept[0]

    def scores(self, tokens):
        logits = self.network.head(
            self.network.norm(self.network.layers[self.after + 1 :](tokens))[:, 0]
        )
        return logits[self.rows, self.labels]

    def drop(self, tokens):
        with torch.no_grad():
            return float((self.scores(self.tokens) - self.scores(tokens)).mean())


def test_before_the_last_layer_the_class_token_has_read_the_shape():
    """Where CAMs look by default, little is left to be read from the places."""
    halves = Halves(after=2)
    of_shape, of_none = halves.tokens, halves.without
    whole = halves.drop(of_none)
    assert whole > 3
    assert halves.drop(torch.cat([of_shape[:, :1], of_none[:, 1:]], 1)) < 0.15 * whole
    assert halves.drop(torch.cat([of_none[:, :1], of_shape[:, 1:]], 1)) > 0.6 * whole


def test_most_of_what_a_token_holds_is_the_same_at_all_places():
    """Zero does not mean that nothing is there, as it does after a ReLU."""
    for after in range(3):
        places = Halves(after).tokens[:, 1:]
        common = places.mean(1).norm(dim=1) / places.norm(dim=2).mean(1)
        assert float(common.mean()) > 0.7
        assert 0.4 < float((places < 0).float().mean()) < 0.6


def slopes(halves):
    """Gradients of the scores with respect to the places, (N, places, channels)."""
    tokens = halves.tokens.clone().requires_grad_()
    return torch.autograd.grad(halves.scores(tokens).sum(), tokens)[0][:, 1:]


def test_where_a_layer_norm_follows_the_channels_cancel_in_every_place():
    """What layer-cam keeps, the positive part, is as large as what it leaves out."""
    halves = Halves(after=2)
    products = slopes(halves) * halves.tokens[:, 1:]
    most = products.abs().sum(2).amax(1)
    assert float((products.sum(2).abs().amax(1) / most).max()) < 1e-4
    earlier = Halves(after=1)
    products = slopes(earlier) * earlier.tokens[:, 1:]
    assert float((products.sum(2).abs().amax(1) / products.abs().sum(2).amax(1)).min()) > 1e-3


def test_layer_cam_lies_more_on_the_shape_where_the_common_part_is_taken_off():
    halves = Halves(after=1)
    places, rising = halves.tokens[:, 1:], slopes(halves).relu()
    shape = torch.from_numpy(generate(24, seed=0, conflict=True).mask("shape"))
    touched = shape.reshape(24, 8, 8, 8, 8).any(4).any(2).flatten(1)

    def share(activations):
        cam = (rising * activations).sum(2).relu()
        return float(((cam * touched).sum(1) / cam.sum(1)).mean())

    assert share(places - places.mean(1, keepdim=True)) > share(places) + 0.1
