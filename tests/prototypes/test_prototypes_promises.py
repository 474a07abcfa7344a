"""Prototypes: one seed, one answer, for any input, and the best of stopped work."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import CancelledError, PictureError, SeewhyWarning
from seewhy.prototypes import objective
from seewhy.targets import Neuron
from seewhy.testing.conformance import difference, snapshot


def test_one_seed_gives_one_answer():
    one, two, other = (sw.prototype("demo", "disk", steps=6, seed=each) for each in (0, 0, 1))
    assert torch.equal(one.inputs, two.inputs)
    assert not torch.equal(one.inputs, other.inputs)


def test_a_prototype_does_not_depend_on_the_others_or_on_memory():
    options = {"steps": 6}
    together = sw.prototype("demo", ["disk", "cross", "square"], **options)
    alone = sw.prototype("demo", "cross", **options)
    torch.testing.assert_close(together.inputs[1:2], alone.inputs, atol=2e-2, rtol=0)
    little = sw.prototype("demo", ["disk", "cross", "square"], memory=1, **options)
    torch.testing.assert_close(together.inputs, little.inputs, atol=2e-2, rtol=0)


def test_model_and_random_state_come_back():
    model = sw.load("demo")
    before, state = snapshot(model.module), torch.random.get_rng_state()
    sw.prototype(model, ["disk", Neuron("block2", 1)], steps=3, each=2, diversity=1.0)
    difference(before, snapshot(model.module, copies=False))
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("how", ["cancel", "interrupt", "cancel at once"])
def test_stopped_work_keeps_the_best_so_far(how, linear):
    done = []

    def progress(step, total, what):
        done.append((step, total, what))
        if how == "interrupt" and step == 5:
            raise KeyboardInterrupt

    def cancel():
        return how == "cancel" and len(done) == 5

    options = {"steps": 400, "progress": progress, "cancel": cancel}
    if how == "cancel at once":

        def broken(_):
            raise CancelledError("stop")

        with pytest.raises(CancelledError):
            sw.prototype(linear, objective(broken), **options)
        return
    with pytest.warns(SeewhyWarning, match="stopped after"):
        found = sw.prototype(linear, "a", mean=0, distance=0.1, **options)
    assert found.interrupted
    assert len(found.losses) in (5, 6)
    assert float(found.loss) <= float(found.losses.min())
    assert done[0][:2] == (1, 400)
    assert done[0][2].startswith("steps, loss ")


def test_the_best_is_kept_where_steps_are_too_long(linear):
    found = sw.prototype(linear, "a", mean=0, distance=1.0, rate=1e4, steps=3, frames=3)
    assert found.loss.item() == pytest.approx(found.losses[0].item())
    assert float(found.inputs.abs().max()) == 0


@pytest.mark.parametrize("precision", ["float64", "bfloat16"])
def test_precisions_work(precision):
    found = sw.prototype("demo", "disk", steps=40, precision=precision)
    assert found.predictions[0][0] == "disk"
    assert found.inputs.dtype == torch.float32


def test_flat_grey_and_plain_inputs():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()
    grey = sw.Preprocess(8, mean=(0.5,), std=(0.5,))

    def flattened(image):
        return grey(image).flatten()

    for preprocess, shape, inputs in (
        (grey, (1, 8, 8), (1, 8, 8)),
        (flattened, (1, 8, 8), (64,)),
    ):
        found = sw.prototype(sw.Model(module, preprocess), [0, 2], steps=5)
        assert found.known
        assert tuple(found.pictures.shape[1:]) == shape
        assert tuple(found.inputs.shape[1:]) == inputs
        assert found.image(1).size == (8, 8)
    plain = sw.prototype(sw.Model(module, input_shape=(64,)), steps=5, mean=0)
    assert plain.pictures.shape == (3, 64)
    assert plain.image(0).size == (8, 8)
    assert float(plain.pictures.abs().max()) > 0
    sound = nn.Sequential(nn.Conv1d(2, 3, 3), nn.AdaptiveAvgPool1d(1), nn.Flatten()).eval()
    found = sw.prototype(sw.Model(sound, input_shape=(2, 40)), 1, steps=5)
    assert found.inputs.shape == (1, 2, 40)
    with pytest.raises(PictureError, match="are no pictures"):
        found.draw()


def test_a_fixed_batch_and_further_inputs_are_served():
    class Two(nn.Module):
        def forward(self, pictures, gain):
            return pictures.mean((2, 3)) * gain

    model = sw.Model(Two().eval(), input_shape=(3, 8, 8))
    found = sw.prototype(model, [0, 1], steps=5, others={"gain": torch.ones(1, 1)})
    assert bool((found.loss < 0).all())
