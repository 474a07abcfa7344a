"""The same pictures at each epoch: what is written is there, and training does not notice."""

import random
import subprocess
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from watched import CELL, GAP, METHODS, SIDE, examples, photos, small, watching

import seewhy as sw
from seewhy.errors import (
    MethodError,
    MissingDependencyError,
    PictureError,
    SeewhyWarning,
    TargetError,
)
from seewhy.integrations.history import Moment, _alike, thinned
from seewhy.integrations.untouched import same_randomness, same_variables
from seewhy.testing.conformance import difference, snapshot


def trained(watch=None, epochs=3):
    """A plain loop: shuffled, with momentum, and random numbers of Python and NumPy."""
    net = small()
    torch.manual_seed(7)
    random.seed(7)
    np.random.seed(7)  # noqa: NPY002 - as training scripts do
    loader = DataLoader(TensorDataset(*examples()), 8, shuffle=True)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    drawn = []
    for epoch in range(1, epochs + 1):
        for given, wanted in loader:
            noisy = given + 0.01 * random.random() + 0.01 * np.random.rand()  # noqa: NPY002, S311
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(noisy), wanted).backward()
            optimizer.step()
        if watch is not None:
            watch.log(net, epoch)
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))  # noqa: NPY002, S311
    return net, optimizer, drawn


def state_of(net, optimizer):
    inner = [v for each in optimizer.state_dict()["state"].values() for v in each.values()]
    return [*net.state_dict().values(), *(each.grad for each in net.parameters()), *inner]


def test_training_is_bit_identical_with_and_without(tmp_path):
    net, optimizer, drawn = trained()
    watch = watching(methods=METHODS, folder=tmp_path)
    other, other_optimizer, other_drawn = trained(watch)
    assert (watch.steps, watch.failures) == ([1, 2, 3], {})
    assert drawn == other_drawn
    pairs = zip(state_of(net, optimizer), state_of(other, other_optimizer), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def test_training_does_go_elsewhere_with_other_random_numbers():
    """Or the test above could not fail."""
    net, *_ = trained(SimpleNamespace(log=lambda net, epoch: torch.rand(1)))
    other, *_ = trained()
    assert not all(map(torch.equal, net.parameters(), other.parameters()))


@pytest.mark.parametrize("fails", [False, True])
def test_modes_gradients_and_random_states_are_put_back(fails):
    net = small()
    net(examples()[0]).sum().backward()
    net[1].eval()  # a frozen norm in a network that trains
    net[0].weight.requires_grad_(False)
    before, states = snapshot(net), (torch.get_rng_state(), random.getstate())
    watch = watching(methods=METHODS)
    if fails:
        net[-1].weight = nn.Parameter(torch.ones(3, 9))  # its forward fails on the way
        before = snapshot(net)
        with pytest.warns(SeewhyWarning, match="failed at epoch 1"):
            assert watch.log(net, 1) == {}
    else:
        assert set(watch.log(net, 1)) == set(watch.methods)
    assert not difference(before, snapshot(net))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()


def test_maps_are_those_of_explain():
    net = small()
    found = watching().log(net, 1)["grad-cam"]
    model = sw.Model(net.eval(), sw.Preprocess(SIDE))
    for one, other in zip(found, sw.explain(model, photos(), 1, "grad-cam"), strict=True):
        assert torch.equal(one.relevance, other.relevance)
        assert one.score == other.score


def test_a_panel_has_the_photograph_and_a_column_for_each_epoch(tmp_path):
    watch = watching(folder=tmp_path, methods=("grad-cam", "gradient"))
    for epoch in (1, 2, 3):
        watch.log(small(), epoch)
    for method in watch.methods:
        with Image.open(tmp_path / f"{method}.png") as panel:
            assert panel.width == 4 * CELL + 5 * GAP
        for epoch in (1, 2, 3):
            with Image.open(tmp_path / f"step-000{epoch}" / f"{method}.png") as sheet:
                assert sheet.width == 2 * CELL + 3 * GAP


def test_a_panel_has_at_most_a_dozen_epochs_the_first_and_last_among_them():
    assert thinned(range(12)) == list(range(12))
    assert thinned(range(13))[0] == 0
    assert thinned(range(13))[-1] == 12
    for count in range(13, 200):
        steps = thinned(range(count))
        assert (len(steps), steps[0], steps[-1]) == (12, 0, count - 1)
        assert len({b - a for a, b in pairwise(steps)}) <= 2
    watch = watching()
    for epoch in range(14):
        watch.log(small(), epoch)
    assert watch.panel().width == 13 * CELL + 14 * GAP


def test_numbers_on_disk_are_those_of_the_explanations(tmp_path):
    watch = watching(folder=tmp_path)
    found = watch.log(small(), 4)["grad-cam"]
    with np.load(tmp_path / "step-0004" / "grad-cam.npz") as stored:
        assert stored["scores"].tolist() == [each.score for each in found]
        assert np.array_equal(stored["map1"], found[1].relevance.sum(0).numpy())
        assert stored["names"].tolist() == ["picture 0", "picture 1"]
        assert np.isnan(stored["similarities"]).all()


def test_similarity_is_the_rank_correlation():
    from scipy.stats import spearmanr

    draw = np.random.default_rng(0)
    one, other = draw.normal(size=(2, 9, 9)).round(1)  # with ties
    assert _alike(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert _alike(one, 3 * one + 1) == pytest.approx(1)
    assert _alike(one, -one) == pytest.approx(-1)
    assert np.isnan(_alike(one, np.zeros_like(one)))
    assert np.isnan(_alike(one, one[:3]))


def test_a_map_with_nothing_in_it_says_so_and_shows_the_photograph():
    picture = Image.new("RGB", (20, 10), "teal")
    nothing = sw.Explanation(-torch.ones(1, 10, 20), "m", "t", 0.0, picture=picture)
    signed = Moment.of(nothing)
    assert (signed.empty, signed.remark) == (False, "")
    positive = Moment.of(
        sw.Explanation(-torch.ones(1, 10, 20), "m", "t", 0.0, picture=picture, display="positive")
    )
    assert positive.empty
    assert positive.remark
    assert np.array_equal(np.asarray(positive.image), np.asarray(picture))


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"methods": ("grad-came",)}, MethodError, "did you mean grad-cam"),
        ({"methods": ()}, MethodError, "at least one method"),
        ({"methods": ("rise:samples=-1",)}, MethodError, "samples"),
        ({"pictures": "no/such.png"}, PictureError, "does not exist"),
        ({"pictures": []}, PictureError, "no pictures"),
        ({"target": [1, 2, 3]}, TargetError, "3 targets for 2 pictures"),
        ({"target": [[1, 2], [1]]}, TargetError, "several targets"),
        ({"every": 0}, MethodError, "every is 0"),
        ({"batch": 1.5}, MethodError, "batch is 1.5"),
        ({"device": "nowhere"}, MethodError, "cannot be used"),
        ({"tensorboard": 3}, MethodError, "SummaryWriter"),
        ({"methods": "gradient", "layer": "4"}, MethodError, "leave layer='4' out"),
    ],
)
def test_wrong_arguments_are_errors_before_training(options, error, says):
    with pytest.raises(error, match=says):
        watching(**options)


@pytest.mark.parametrize("step", [-1, 1.5, True, None])
def test_a_step_is_a_whole_number(step):
    with pytest.raises(MethodError, match="number of the epoch"):
        watching().log(small(), step)


def test_without_tensorboard_the_pip_command_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr("seewhy.integrations.board.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'seewhy\[tensorboard\]'"):
        watching(tensorboard=tmp_path)


def test_epochs_between_are_passed_over():
    watch = watching(every=2)
    assert [bool(watch.log(small(), epoch)) for epoch in (1, 2, 3, 4)] == [0, 1, 0, 1]
    assert watch.steps == [2, 4]


def test_a_picture_that_fails_leaves_its_place_empty():
    def fickle(image):
        if image.width == 30:
            raise ValueError("too wide")
        return sw.Preprocess(SIDE)(image)

    pictures = [photos()[0], Image.new("RGB", (30, 20)), photos()[1]]
    watch = watching(pictures=pictures, preprocess=fickle)
    with pytest.warns(SeewhyWarning, match="1 of the pictures could not be explained"):
        found = watch.log(small(), 1)["grad-cam"]
    assert [each.source for each in found] == ["picture 0", "picture 2"]
    assert [each is None for each in watch._histories["grad-cam"].moments[1]] == [0, 1, 0]
    assert watch.panel().width == 2 * CELL + 3 * GAP


def test_a_network_in_parallel_is_explained_itself():
    net = small()
    found = watching().log(nn.DataParallel(net), 1)["grad-cam"]
    assert found[0].model == "Sequential"


def test_weights_that_are_spread_are_refused():
    net = small()
    net[0].weight.device_mesh = "as a DTensor has"
    with pytest.warns(SeewhyWarning, match="spread over several processes"):
        assert watching().log(net, 1) == {}


@pytest.mark.parametrize("own", [True, False])
def test_tensorboard_has_pictures_scores_and_similarities(tmp_path, own):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if own:
        board = tmp_path
    else:
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(str(tmp_path))
    watch = watching(methods=("grad-cam", "smoothgrad:samples=3"), tensorboard=board)
    trained(watch)
    scores = [watch._histories["grad-cam"].moments[step][0].score for step in watch.steps]
    if own:
        watch.close()
    read = EventAccumulator(str(tmp_path), size_guidance={"images": 0, "scalars": 0}).Reload()
    tags = read.Tags()
    assert set(tags["images"]) == {"explanations/grad-cam", "explanations/smoothgrad_samples=3"}
    images = read.Images("explanations/grad-cam")
    assert [each.step for each in images] == [1, 2, 3]
    assert images[0].width == 2 * CELL + 3 * GAP
    logged = read.Scalars("explanations/score/picture_0")
    assert [each.value for each in logged] == pytest.approx(scores, rel=1e-5)
    alike = read.Scalars("explanations/similarity/grad-cam/picture_0")
    assert [each.step for each in alike] == [2, 3]
    assert [each.value for each in alike] == pytest.approx(watch.similarity(), rel=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_random_states_of_a_gpu_are_put_back():
    net = small().cuda()
    before = torch.cuda.get_rng_state()
    with same_randomness():
        torch.rand(3, device="cuda")
        watching(methods=METHODS).log(net, 1)
    assert torch.equal(before, torch.cuda.get_rng_state())


def test_statistics_and_seeds_of_a_keras_model_are_put_back():
    keras = pytest.importorskip("keras")
    norm, drop = keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)
    model = keras.Sequential([keras.Input((4,)), norm, drop])

    def kept():
        return [
            keras.ops.convert_to_numpy(each.value).copy() for each in model.non_trainable_variables
        ]

    before = kept()
    with same_variables(model):
        model(np.ones((2, 4), np.float32), training=True)
        assert not all(map(np.array_equal, before, kept()))
    assert all(map(np.array_equal, before, kept()))


@pytest.mark.parametrize("exists", [False, True])
def test_the_seed_that_layers_of_keras_share_is_put_back(exists):
    keras = pytest.importorskip("keras")

    def draw():
        return keras.ops.convert_to_numpy(keras.random.normal((3,))).tolist()

    def drawn(between):
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)
        if exists:
            draw()
        with same_randomness():
            between()
        return draw()

    assert drawn(draw) == drawn(lambda: None)


def test_no_framework_is_imported_unasked():
    asked = "import sys, seewhy.integrations.lightning, seewhy.integrations.huggingface, "
    asked += "seewhy.integrations.keras; print(*sys.modules)"
    found = subprocess.run(  # noqa: S603 - this very interpreter
        [sys.executable, "-c", asked], capture_output=True, text=True, check=True
    )
    heavy = {"lightning", "pytorch_lightning", "transformers", "keras", "tensorboard", "tensorflow"}
    assert not heavy & set(found.stdout.split())
