"""The pictures that are explained at each epoch: what they hold, and what they are called."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from watched import SIDE, examples, photos, small, watching

from seewhy.errors import PictureError


def test_tensors_are_model_input_and_keep_their_values():
    given = examples()[0][:2]
    watch = watching(pictures=given, preprocess=None)
    given.zero_()
    net = small()
    found = watch.log(net, 1)["grad-cam"]
    expected = net.eval()(examples()[0][:2])[:, 1].tolist()
    assert [each.score for each in found] == pytest.approx(expected, rel=1e-5)
    assert watch.names == ("picture 0", "picture 1")
    single = watching(pictures=[examples()[0][0], examples()[0][1]], preprocess=None)
    assert [each.score for each in single.log(net, 1)["grad-cam"]] == pytest.approx(expected)


def test_pictures_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        photos()[0].save(tmp_path / folder / "cat.png")
    paths = [tmp_path / "a" / "cat.png", tmp_path / "b" / "cat.png"]
    watch = watching(pictures=paths, target=[0, 1])
    assert watch.names == ("cat", "cat 2")
    assert [each.source for each in watch.log(small(), 1)["grad-cam"]] == list(watch.names)


def test_a_file_called_as_a_tensor_is_is_told_apart_from_it(tmp_path):
    photos()[0].save(tmp_path / "picture 1.png")
    given = [tmp_path / "picture 1.png", examples()[0][:1]]
    watch = watching(pictures=given, target=[0, 2])
    assert watch.names == ("picture 1 2", "picture 1")
    net = small()
    found = watch.log(net, 1)["grad-cam"]
    expected = net.eval()(examples()[0][:1])[0, 2].item()
    row = watch._histories["grad-cam"].moments[1]
    assert [each.target for each in row] == ["class 0", "class 2"]
    assert row[1].score == found[1].score == pytest.approx(expected, rel=1e-5)


def test_names_stay_apart_where_tags_and_files_are_made(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("a b.png", "a_b.png"):
        photos()[0].save(folder / name)
    watch = watching(pictures=folder, tensorboard=tmp_path / "board")
    watch.log(small(), 1)
    watch.close()
    read = EventAccumulator(str(tmp_path / "board")).Reload()
    tags = {f"explanations/score/{name}" for name in ("a_b", "a_b_2")}
    assert set(read.Tags()["scalars"]) == tags
    assert all(len(read.Scalars(tag)) == 1 for tag in tags)


def test_methods_stay_apart_in_files(tmp_path):
    convolutions = {"a": nn.Conv2d(3, 4, 3), "a_0": nn.Conv2d(4, 4, 3), "relu": nn.ReLU()}
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    methods = ("layer-activation:layer=a_0", "layer-activation:layer=a#0")
    watch = watching(methods=methods, folder=tmp_path)
    net = nn.Sequential(OrderedDict(convolutions, head=head))
    found = watch.log(net, 1)
    for method, file in zip(methods, ("layer=a_0", "layer=a_0_2"), strict=True):
        with np.load(tmp_path / "step-0001" / f"layer-activation_{file}.npz") as stored:
            assert np.array_equal(stored["map0"], found[method][0].relevance.sum(0).numpy())


@pytest.mark.parametrize("shape", [(4, 6), (2, 1, 4, 4, 4), (6,)])
@pytest.mark.parametrize("listed", [False, True])
def test_what_cannot_be_drawn_is_refused_before_training(shape, listed):
    given = torch.rand(shape)
    with pytest.raises(PictureError, match=r"give pictures \(N, C, h, w\)"):
        watching(pictures=[given] if listed else given)


def test_signals_are_not_taken_for_a_picture():
    with pytest.raises(PictureError, match=r"signals .* call seewhy.explain at each epoch"):
        watching(pictures=torch.rand(5, 2, SIDE))


def test_what_is_kept_of_a_photograph_is_smaller_than_its_pixels():
    down, across = np.mgrid[:300, :400]
    smooth = np.stack([down // 2, across // 2, (down + across) // 3], -1).astype(np.uint8)
    watch = watching(pictures=[Image.fromarray(smooth)], target=[1])
    watch.log(small(), 1)
    [moment] = watch._histories["grad-cam"].moments[1]
    assert moment.image.size == (128, 96)
    assert len(moment.png) < 128 * 96 * 3 / 2
