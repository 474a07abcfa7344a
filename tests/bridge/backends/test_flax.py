"""Modules of flax run as in evaluation, whatever the defaults of their calls are."""

import keras
import numpy as np
import pytest
import torch

import seewhy as sw
from seewhy.errors import ModelError

if keras.config.backend() != "jax":
    pytest.skip("these are modules of JAX", allow_module_level=True)
jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")
linen = pytest.importorskip("flax.linen")
nnx = pytest.importorskip("flax.nnx")

SIZE, CLASSES = 8, 5


class Parts(nnx.Module):
    """A convolution, a norm with statistics as after training, a dropout, a head."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.norm.mean[...] += 0.2
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)

    def scores(self, pictures, train):
        pooled = nnx.relu(self.norm(self.conv(pictures), use_running_average=not train))
        return self.head(self.drop(pooled.mean((1, 2)), deterministic=not train))


class Trains(Parts):
    def __call__(self, pictures, train=True):
        return self.scores(pictures, train)


class Draws(Parts):
    def __call__(self, pictures, *, deterministic=False):
        return self.scores(pictures, not deterministic)


class Asks(Parts):
    def __call__(self, pictures, is_training):
        return self.scores(pictures, is_training)


class Weighs(Parts):
    def __call__(self, pictures, training, weight, bias=0.0):
        return self.scores(pictures, training) * weight + bias


class Counts(Parts):
    def __init__(self):
        super().__init__()
        self.count = nnx.Variable(jnp.zeros(()))

    def __call__(self, pictures):
        self.count[...] += 1
        return self.scores(pictures, train=False)


class Linen(linen.Module):
    @linen.compact
    def __call__(self, pictures, is_training):
        made = linen.BatchNorm(use_running_average=not is_training)(linen.Conv(8, (3, 3))(pictures))
        return linen.Dense(CLASSES)(linen.relu(made).mean((1, 2)))


@pytest.fixture
def given():
    return torch.rand(3, 3, SIZE, SIZE)


def last(given):
    return jnp.asarray(np.moveaxis(given.numpy(), 1, -1))


def answers(model, given, **others):
    return model.outputs(model.prepare(given, **others))


def agrees(model, function, given):
    """Whether the scores and the gradients are those of a function of JAX."""
    expected = torch.tensor(np.asarray(function(last(given))))
    torch.testing.assert_close(answers(model, given), expected, atol=1e-5, rtol=1e-4)
    slope = np.asarray(jax.grad(lambda x: function(x)[:, 1].sum())(last(given)))
    found = torch.stack([each.relevance for each in sw.explain(model, given, 1, "gradient")])
    np.testing.assert_allclose(
        found, np.moveaxis(slope, -1, 1), atol=1e-3 * float(abs(slope).max())
    )


@pytest.mark.parametrize(
    ("module", "flags"),
    [
        (Trains, {"train": False}),
        (Draws, {"deterministic": True}),
        (Asks, {"is_training": False}),
        (Counts, {}),
    ],
)
def test_a_module_runs_as_in_evaluation_and_stays_as_it_is(module, flags, given):
    net = module()
    before = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(net, nnx.Not(nnx.RngKey))))
    model = sw.load(net)
    agrees(model, lambda pictures: module()(pictures, **flags), given)
    assert sw.explain(model, given, 1, "grad-cam:layer=conv")[0].relevance.any()
    after = nnx.to_pure_dict(nnx.state(net, nnx.Not(nnx.RngKey)))
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_a_linen_module_that_asks_whether_it_trains(given):
    net = Linen()
    variables = net.init(jax.random.key(0), last(given), is_training=False)
    model = sw.load(net.bind(variables))
    agrees(model, lambda pictures: net.apply(variables, pictures, is_training=False), given)


def test_further_inputs_come_by_name_behind_the_flag(given):
    net, weight, bias = Weighs(), torch.rand(3, 1), torch.rand(3, 1)
    model, plain = sw.load(net), torch.tensor(np.asarray(net.scores(last(given), train=False)))
    found = answers(model, given, weight=weight)
    torch.testing.assert_close(found, plain * weight, atol=1e-5, rtol=1e-4)
    found = answers(model, given, weight=weight, bias=bias)
    torch.testing.assert_close(found, plain * weight + bias, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("others", [{}, {"bias": torch.rand(3, 1)}])
def test_what_a_call_lacks_is_named(given, others):
    with pytest.raises(ModelError, match=r"takes, beside the picture, weight, bias; .*jax\.jit"):
        answers(sw.load(Weighs()), given, **others)


def test_a_linen_call_that_lacks_something_is_the_same_error(given):
    class Masked(linen.Module):
        @linen.compact
        def __call__(self, pictures, mask):
            return linen.Dense(CLASSES)((pictures * mask).mean((1, 2)))

    net, mask = Masked(), np.ones((3, SIZE, SIZE, 1), "float32")
    model = sw.load(net.bind(net.init(jax.random.key(0), last(given), mask)))
    with pytest.raises(ModelError, match=r"of Masked takes, beside the picture, mask; .*jax\.jit"):
        answers(model, given)


def test_a_module_without_a_call_says_so():
    with pytest.raises(ModelError, match="Parts cannot be called: wrap"):
        sw.load(Parts())


def test_a_function_of_jax_that_is_not_jitted_says_so(given):
    def network(pictures):
        return jnp.mean(pictures, (1, 2)) @ jnp.ones((3, CLASSES))

    with pytest.raises(ModelError, match=r"network cannot work .*sw\.load\(jax\.jit\(f\)\)"):
        answers(sw.Model(network), given)
    assert answers(sw.load(jax.jit(network)), given).shape == (3, CLASSES)
