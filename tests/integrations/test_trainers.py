"""The callbacks of Lightning and of Hugging Face: weights as without them, panels as of each."""

import importlib
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import seewhy as sw
from seewhy.errors import MethodError, MissingDependencyError, SeewhyWarning

SIDE, EPOCHS = 16, 3
METHODS = ("grad-cam", "smoothgrad:samples=3", "rise:samples=20,grid=3")


def photos():
    draw = np.random.default_rng(0)
    return [Image.fromarray(draw.integers(0, 255, (20, 24, 3), np.uint8)) for _ in range(2)]


def examples():
    draw = torch.Generator().manual_seed(1)
    return torch.rand(24, 3, SIDE, SIDE, generator=draw), torch.arange(24) % 3


def body():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(6, 3),
    )


def given(folder, **options):
    return {
        "pictures": photos(),
        "methods": METHODS,
        "target": 1,
        "preprocess": sw.Preprocess(SIDE),
        "folder": folder,
    } | options


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def lit_trained(package, folder, callback=None, logger=False, epochs=EPOCHS):
    lightning = importlib.import_module(package)

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = body()

        def forward(self, pictures):
            return self.net(pictures)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    torch.manual_seed(3)
    module = Lit()
    data = TensorDataset(*examples())
    lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[] if callback is None else [callback],
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    ).fit(module, DataLoader(data, 8, shuffle=True), DataLoader(data, 8))
    return module


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_trains_as_without_the_callback(package, tmp_path):
    pytest.importorskip(package)
    from seewhy.integrations.lightning import ExplanationsCallback

    callback = ExplanationsCallback(**given(tmp_path / "out"))
    assert equal(lit_trained(package, tmp_path), lit_trained(package, tmp_path, callback))
    assert callback.explanations.steps == [1, 2, 3]  # nothing of the sanity check
    assert callback.explanations.failures == {}
    assert (tmp_path / "out" / "step-0003" / "grad-cam.png").is_file()


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning_writes_to_the_trainers_tensorboard(tmp_path):
    pytest.importorskip("lightning.pytorch")
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from seewhy.integrations.lightning import ExplanationsCallback

    logger = TensorBoardLogger(tmp_path, name="", version="")
    callback = ExplanationsCallback(**given(None, methods="grad-cam"))
    lit_trained("lightning.pytorch", tmp_path, callback, logger)
    read = EventAccumulator(str(tmp_path)).Reload()
    assert read.Tags()["images"] == ["explanations/grad-cam"]
    assert "loss" in read.Tags()["scalars"]  # the trainer's own, in the same files


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_second_trainer_goes_on_counting_and_has_its_own_tensorboard(tmp_path):
    pytest.importorskip("lightning.pytorch")
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from seewhy.integrations.lightning import ExplanationsCallback

    callback = ExplanationsCallback(**given(tmp_path / "out", methods="grad-cam"))
    for name in ("one", "two"):
        logger = TensorBoardLogger(tmp_path, name=name, version="")
        lit_trained("lightning.pytorch", tmp_path, callback, logger, epochs=2)
    assert callback.explanations.steps == [1, 2, 3, 4]
    assert len(list((tmp_path / "out").glob("*/grad-cam.npz"))) == 4
    for name, steps in (("one", [1, 2]), ("two", [3, 4])):
        images = EventAccumulator(str(tmp_path / name)).Reload().Images("explanations/grad-cam")
        assert [each.step for each in images] == steps


@pytest.mark.parametrize("silent", ["sanity_checking", "another process"])
def test_lightning_is_silent_elsewhere(silent):
    pytest.importorskip("lightning.pytorch")
    from seewhy.integrations.lightning import ExplanationsCallback

    callback = ExplanationsCallback(**given(None))
    trainer = SimpleNamespace(
        sanity_checking=silent == "sanity_checking",
        is_global_zero=silent != "another process",
        loggers=[],
        current_epoch=0,
    )
    callback.on_train_epoch_end(trainer, body())
    assert callback.explanations.steps == []


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_a_failure_does_not_end_lightnings_training(tmp_path):
    pytest.importorskip("lightning.pytorch")
    from seewhy.integrations.lightning import ExplanationsCallback

    callback = ExplanationsCallback(**given(None, methods="grad-cam", layer="nowhere"))
    with pytest.warns(SeewhyWarning, match="grad-cam failed at epoch 1"):
        module = lit_trained("lightning.pytorch", tmp_path, callback)
    assert equal(module, lit_trained("lightning.pytorch", tmp_path))


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning_explains_the_classifier_within_a_module(package, monkeypatch):
    pytest.importorskip(package)
    from seewhy.integrations import lightning as own

    monkeypatch.setattr(own, "_package", lambda: package)
    own._callback.cache_clear()

    class Holder(importlib.import_module(package).LightningModule):
        def __init__(self):
            super().__init__()
            self.net = body()

    trainer = SimpleNamespace(
        sanity_checking=False, is_global_zero=True, loggers=[], current_epoch=0
    )
    callback = own.ExplanationsCallback(**given(None, methods="grad-cam", network="net"))
    callback.on_fit_start(trainer, Holder())
    callback.on_train_epoch_end(trainer, Holder())
    assert callback.explanations.steps == [1]
    with pytest.warns(SeewhyWarning, match="Holder has no forward: .*network='net'"):
        own.ExplanationsCallback(**given(None)).on_train_epoch_end(trainer, Holder())
    callback = own.ExplanationsCallback(**given(None, network="head"))
    with pytest.raises(MethodError, match=r"Holder has no 'head': give network= .*: net"):
        callback.on_fit_start(trainer, Holder())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = body()

    def forward(self, pixel_values, labels=None):
        from transformers.modeling_outputs import ImageClassifierOutput

        logits = self.body(pixel_values)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return ImageClassifierOutput(loss=loss, logits=logits)


def hf_trained(folder, callback=None):
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(3)
    net = Net()
    pictures, classes = examples()
    rows = [
        {"pixel_values": one, "labels": int(two)}
        for one, two in zip(pictures, classes, strict=True)
    ]
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=8,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=5,
    )
    callbacks = [] if callback is None else [callback]
    Trainer(net, arguments, train_dataset=rows, callbacks=callbacks).train()
    return net


def test_hugging_face_trains_as_without_the_callback(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from seewhy.integrations.huggingface import ExplanationsCallback

    callback = ExplanationsCallback(**given(tmp_path / "out"))
    assert equal(hf_trained(tmp_path), hf_trained(tmp_path, callback))
    assert callback.explanations.steps == [1, 2, 3]
    assert (tmp_path / "out" / "step-0003" / "grad-cam.png").is_file()


def test_hugging_face_is_called_at_the_end_of_an_epoch_by_the_first_process(tmp_path):
    pytest.importorskip("transformers")
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler

    from seewhy.integrations.huggingface import ExplanationsCallback

    callback = ExplanationsCallback(**given(None))
    handler = CallbackHandler([callback], Net().train(), None, None, None)
    arguments = SimpleNamespace(spec=TrainingArguments)
    for first, epoch in ((True, 0.9999), (False, 2.0)):
        state = TrainerState(epoch=epoch, is_world_process_zero=first)
        handler.on_epoch_end(arguments, state, TrainerControl())
    assert callback.explanations.steps == [1]


@pytest.mark.parametrize(
    ("epochs", "steps"),
    [
        ([0.33], [1]),  # max_steps within the first epoch
        ([1.0, 2.0, 2.33], [1, 2, 3]),  # within the third
        ([1 / 3, 4 / 3, 7 / 3], [1, 2, 3]),  # an epoch of unknown length
        ([0.9999999, 2.0000001], [1, 2]),  # rounding
    ],
)
def test_hugging_face_counts_an_unfinished_epoch(epochs, steps):
    pytest.importorskip("transformers")
    from seewhy.integrations.huggingface import ExplanationsCallback

    callback = ExplanationsCallback(**given(None, methods="grad-cam"))
    net = Net()
    for again in (0, steps[-1]):  # a second training with the same callback goes on counting
        callback.on_train_begin(None, SimpleNamespace(epoch=None), None)
        for epoch in epochs:
            state = SimpleNamespace(epoch=epoch, is_world_process_zero=True)
            callback.on_epoch_end(None, state, None, model=net)
        assert callback.explanations.steps[-len(steps) :] == [again + each for each in steps]
    assert len(callback.explanations.steps) == 2 * len(steps)


def test_a_second_fit_of_keras_goes_on_counting(tmp_path):
    keras = pytest.importorskip("keras")
    from seewhy.integrations.keras import ExplanationsCallback

    layers = keras.layers
    parts = [layers.Conv2D(4, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((SIDE, SIDE, 3)), *parts, layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs, wanted = np.random.default_rng(0).random((8, SIDE, SIDE, 3)), np.arange(8) % 3
    callback = ExplanationsCallback(**given(tmp_path, methods="grad-cam"))
    watch = callback.explanations
    for epochs, begins, steps in ((2, 0, [1, 2]), (1, 0, [1, 2, 3]), (4, 3, [1, 2, 3, 4])):
        model.fit(
            inputs, wanted, epochs=epochs, initial_epoch=begins, verbose=0, callbacks=[callback]
        )
        assert watch.steps == steps
        assert len(list(tmp_path.glob("*/grad-cam.npz"))) == len(steps)
    assert watch.failures == {}
    assert pickle.loads(pickle.dumps(watch)).steps == watch.steps  # noqa: S301


@pytest.mark.parametrize(
    ("module", "package"),
    [("lightning", "lightning.pytorch"), ("huggingface", "transformers"), ("keras", "keras")],
)
def test_wrong_arguments_are_errors_before_training_and_callbacks_can_be_pickled(module, package):
    pytest.importorskip(package)
    own = importlib.import_module(f"seewhy.integrations.{module}")
    with pytest.raises(MethodError, match="did you mean"):
        own.ExplanationsCallback(**given(None, methods="grad-came"))
    with pytest.raises(AttributeError, match="it has ExplanationsCallback"):
        own.Explanations  # noqa: B018 - asking is the test
    copy = pickle.loads(pickle.dumps(own.ExplanationsCallback(**given(None))))  # noqa: S301
    assert copy.explanations.methods == METHODS


@pytest.mark.parametrize("module", ["lightning", "huggingface", "keras"])
def test_what_is_missing_is_named_with_the_pip_command(module, monkeypatch):
    own = importlib.import_module(f"seewhy.integrations.{module}")
    monkeypatch.setattr("seewhy.integrations.needed.find_spec", lambda name: None)
    own._callback.cache_clear()
    with pytest.raises(MissingDependencyError, match="pip install 'seewhy"):
        own.ExplanationsCallback  # noqa: B018 - asking is the test
