"""What fails is told once and kept; the training, and what does not fail, go on."""

import warnings

import pytest
from watched import SIDE, photos, small, watching

import seewhy as sw
from seewhy.errors import MethodError, SeewhyWarning


class Writer:
    """A SummaryWriter that keeps what it is given, and fails where it is told to."""

    def __init__(self, broken=()):
        self.broken, self.images, self.scalars, self.flushed = broken, [], [], 0

    def add_image(self, tag, pixels, step, dataformats):
        self._maybe("image")
        self.images.append((tag, step))

    def add_scalar(self, tag, value, step):
        self._maybe("scalar")
        self.scalars.append((tag, step, value))

    def flush(self):
        self._maybe("flush")
        self.flushed += 1

    def _maybe(self, what):
        if what in self.broken:
            raise RuntimeError(f"no {what} today")


class Fickle:
    """A preprocessing that fails while it is told to."""

    def __init__(self):
        self.bad = False

    def __call__(self, image):
        if self.bad:
            raise ValueError("not now")
        return sw.Preprocess(SIDE)(image)


def warned(call):
    """What a call returns, and the SeewhyWarnings that it gives."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = call()
    return found, [str(each.message) for each in told if each.category is SeewhyWarning]


def test_a_failure_is_told_once_and_the_rest_goes_on():
    watch = watching(methods=("cam:layer=nowhere", "gradient"))
    with pytest.warns(SeewhyWarning, match=r"cam:layer=nowhere failed at epoch 1") as told:
        assert set(watch.log(small(), 1)) == {"gradient"}
    assert len(told) == 1
    found, said = warned(lambda: watch.log(small(), 2))
    assert (set(found), said) == ({"gradient"}, [])
    with pytest.raises(MethodError, match="nothing was explained by 'cam:layer=nowhere'"):
        watch.panel("cam:layer=nowhere")


def test_the_reason_of_every_failure_is_kept():
    watch = watching(methods=("cam:layer=nowhere", "gradient"))
    for step in (1, 2, 3):
        warned(lambda step=step: watch.log(small(), step))
    assert list(watch.failures) == [(step, "cam:layer=nowhere") for step in (1, 2, 3)]
    reason = watch.failures[3, "cam:layer=nowhere"]
    assert reason.startswith("LayerError: Sequential has no layer 'nowhere'")
    warned(lambda: watch.log(small(), 2))  # the run goes back, and what it left is gone
    assert list(watch.failures) == [(step, "cam:layer=nowhere") for step in (1, 2)]


def test_the_reason_is_kept_where_one_picture_fails():
    def narrow(image):
        if image.width == 30:
            raise ValueError("too wide")
        return sw.Preprocess(SIDE)(image)

    wide = photos()[0].resize((30, 20))
    watch = watching(pictures=[photos()[0], wide], preprocess=narrow)
    warned(lambda: watch.log(small(), 1))
    [(key, reason)] = watch.failures.items()
    assert key == (1, "grad-cam of picture 1")
    assert "too wide" in reason


@pytest.mark.filterwarnings("error")
def test_warnings_that_are_errors_do_not_end_training():
    watch = watching(layer="nowhere")
    assert watch.log(small(), 1) == {}
    assert "no layer 'nowhere'" in watch.failures[1, "grad-cam"]


def test_a_layer_is_of_the_methods_that_have_one():
    watch = watching(methods=("gradient", "grad-cam"), layer="0")
    found = watch.log(small(), 1)
    assert found["grad-cam"][0].layers == ("0",)
    assert set(found) == {"gradient", "grad-cam"}


def test_a_folder_that_cannot_be_written_costs_no_answer(tmp_path):
    (tmp_path / "taken").write_text("a file")
    writer = Writer()
    watch = watching(folder=tmp_path / "taken" / "below", tensorboard=writer)
    with pytest.warns(SeewhyWarning, match="folder failed at epoch 1 .SaveError"):
        assert list(watch.log(small(), 1)) == ["grad-cam"]
    assert writer.images == [("explanations/grad-cam", 1)]
    assert list(watch.failures) == [(1, "folder")]


@pytest.mark.parametrize("broken", ["image", "scalar", "flush"])
def test_a_board_that_fails_costs_no_file_and_no_answer(tmp_path, broken):
    watch = watching(folder=tmp_path, tensorboard=Writer(broken=[broken]))
    with pytest.warns(SeewhyWarning, match=f"tensorboard failed at epoch 1 .*no {broken} today"):
        assert list(watch.log(small(), 1)) == ["grad-cam"]
    assert (tmp_path / "grad-cam.png").is_file()
    assert (tmp_path / "step-0001" / "grad-cam.npz").is_file()
    assert list(watch.failures) == [(1, "tensorboard")]


def test_a_board_that_takes_no_picture_takes_numbers():
    writer = Writer(broken=["image"])
    warned(lambda: watching(tensorboard=writer).log(small(), 1))
    assert [tag for tag, *_ in writer.scalars] == [
        "explanations/score/picture_0",
        "explanations/score/picture_1",
    ]


def test_of_an_epoch_that_fails_nothing_old_is_written():
    writer, fickle = Writer(), Fickle()
    watch = watching(tensorboard=writer, preprocess=fickle)
    watch.log(small(), 1)
    fickle.bad = True
    written = len(writer.scalars), len(writer.images)
    warned(lambda: watch.log(small(), 1))
    assert (len(writer.scalars), len(writer.images)) == written


def test_an_epoch_that_fails_drops_what_a_run_goes_back_behind(tmp_path):
    fickle = Fickle()
    watch = watching(folder=tmp_path, preprocess=fickle)
    for step in (1, 2, 3):
        watch.log(small(), step)
    fickle.bad = True
    warned(lambda: watch.log(small(), 2))
    assert watch.steps == [1]
    assert [each.parent.name for each in tmp_path.glob("*/*.npz")] == ["step-0001"]
    fickle.bad = False
    watch.log(small(), 4)
    assert watch.steps == [1, 4]


def test_a_resumed_run_that_fails_drops_them_too_and_the_panel_with_them(tmp_path):
    for step in (1, 2):
        watching(folder=tmp_path).log(small(), step)
    fickle = Fickle()
    fickle.bad = True
    watch = watching(folder=tmp_path, preprocess=fickle)
    warned(lambda: watch.log(small(), 1))
    assert watch.steps == []
    assert not list(tmp_path.glob("**/*.npz")) + list(tmp_path.glob("**/*.png"))
