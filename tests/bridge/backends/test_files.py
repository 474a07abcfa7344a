"""What is no model, or no file of one, leads to what is."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import seewhy as sw
from seewhy.errors import ModelError

OWN = """
import keras

class Doubled(keras.layers.Layer):
    def call(self, given):
        return 2 * given
"""
MADE = """
import keras
import own

def network():
    return keras.models.load_model("model.keras", custom_objects={"Doubled": own.Doubled})
"""


def test_a_layer_of_keras_is_no_model():
    for make in (sw.load, sw.Model):
        with pytest.raises(ModelError, match=r"make a model of it, such as keras\.Sequential"):
            make(layers.Conv2D(3, 3))


@pytest.mark.parametrize("name", ["gone.keras", "gone.h5", "gone.onnx", "keras/gone.keras"])
def test_a_file_that_is_not_there_is_called_a_file(name):
    for asked in (name, f"{name}?logits=true"):
        with pytest.raises(ModelError, match=f"there is no file {name}: give the path"):
            sw.load(asked)


def test_a_class_of_ones_own_comes_by_a_function_that_imports_it(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "made.py").write_text(MADE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    from own import Doubled

    net = keras.Sequential(
        [keras.Input((8, 8, 3)), Doubled(), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )
    net.save("model.keras")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("cat.png")
    with pytest.raises(ModelError, match=r"command line give package\.module:callable, a function"):
        sw.load("model.keras")
    command = [sys.executable, "-c", "from seewhy.cli import main; main()", "explain", "cat.png"]
    command += ["--model", "made:network", "--method", "rise:samples=4"]
    run = subprocess.run(  # noqa: S603 - this very interpreter
        command, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]
