"""The code on the page runs as it stands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import seewhy as sw
from seewhy.data.world import generate

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
BLOCKS = [each.partition("```")[0] for each in PAGE.split("```python\n")[1:]]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the page takes as known: a few pictures, and what is trained on many."""
    monkeypatch.chdir(tmp_path)
    scenes = generate(24, seed=5)
    pictures = [Image.fromarray(each) for each in scenes.pictures]
    inputs = torch.stack([sw.Preprocess(64)(each) for each in pictures])
    wanted = torch.as_tensor(np.asarray(scenes.labels), dtype=torch.long)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    return {
        "sw": sw,
        "torch": torch,
        "pictures": pictures[:3],
        "classes": wanted[:3].tolist(),
        "inputs": inputs,
        "wanted": wanted,
        "network": network,
        "optimizer": torch.optim.SGD(network.parameters(), 0.1),
        "loader": DataLoader(TensorDataset(inputs, wanted), 8, shuffle=True),
    }


def run(block, names):
    exec(BLOCKS[block], names)  # noqa: S102 - the page's own code
    assert Path("explanations/grad-cam.png").is_file()


def test_there_is_a_block_for_each_of_the_four():
    assert len(BLOCKS) == 4


def test_the_plain_loop_runs(names):
    run(0, names)
    assert Path("explanations/step-0003/smoothgrad_samples=10.npz").is_file()


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_lightning_runs(names):
    lightning = pytest.importorskip("lightning.pytorch")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = names["network"]

        def forward(self, pictures):
            return self.network(pictures)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return names["optimizer"]

    run(1, names | {"module": Module()})


def test_hugging_face_runs(names):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    configuration = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=5
    )
    more = {
        "model": transformers.ResNetForImageClassification(configuration),
        "processor": transformers.ViTImageProcessor(size={"height": 64, "width": 64}),
        "arguments": transformers.TrainingArguments(
            "out", num_train_epochs=2, use_cpu=True, report_to=[], save_strategy="no"
        ),
        "rows": [
            {"pixel_values": one, "labels": int(two)}
            for one, two in zip(names["inputs"], names["wanted"], strict=True)
        ],
    }
    run(2, names | more)


def test_keras_runs(names):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((64, 64, 3)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs = names["inputs"].permute(0, 2, 3, 1).numpy()
    run(3, names | {"keras_model": model, "inputs": inputs, "wanted": names["wanted"].numpy()})
