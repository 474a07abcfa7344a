"""Every registered method on every kind of model: all promises of the house."""

import pytest

import seewhy as sw
from seewhy.errors import LayerError, MethodError
from seewhy.methods import Method, as_method, methods
from seewhy.testing import CHECKS, KINDS, check_method

VARIANTS = [
    "cam:channels=3",
    "gradient:power=squared",
    "grad-cam:layer=input",
    "integrated-gradients:steps=5",
    "smoothgrad:samples=3",
    "smoothgrad:method=grad-cam,samples=3",
    "smoothgrad:method=(integrated-gradients:steps=3),samples=2",
]
CHEAP = {
    "integrated-gradients": "integrated-gradients:steps=4",
    "smoothgrad": "smoothgrad:samples=4",
}
"""How a method is run here, where its defaults would take long."""

ALL = [CHEAP.get(name, name) for name in methods()] + VARIANTS

NO_SPACE = {"flat": "no layer has space", "scripted": "no layer can be read"}

REFUSES = {
    "grad-cam": NO_SPACE,
    "hires-cam": NO_SPACE,
    "layer-cam": NO_SPACE,
    "cam": {
        **NO_SPACE,
        "functional": "max pooling stands before the head",
        "tokens": "the head reads a token, not the mean",
        "two-inputs": "the features are multiplied by the second input",
        "one-logit": "two linear layers follow the mean",
        "regression": "two linear layers follow the mean",
        "tupled": "a tanh stands between the layer and the mean",
        "softmax": "the network goes on after its head",
        "segmentation": "there is no mean",
        "embedding": "there is no head",
    },
}
"""By method, the kinds of models to which it does not apply, and why."""


def refuses(method, kind):
    """Whether this method has a reason not to apply to this kind of model."""
    how = as_method(method)
    while isinstance(getattr(how, "method", None), Method):
        how = how.method
    return kind in REFUSES.get(how.name, {})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ALL)
def test_keeps_every_promise(method, kind):
    found = check_method(method, [kind])[kind]
    if refuses(method, kind):
        assert found != "applies"
    else:
        assert found == "applies", found


def test_every_registered_method_is_here():
    assert set(methods()) == {each.partition(":")[0] for each in ALL}


def test_a_broken_promise_is_found():
    """The suite can fail: a method that mixes the pictures of a batch, one that uses up luck."""
    from dataclasses import dataclass

    import torch

    from seewhy.methods import Attribution, Method

    @dataclass(frozen=True)
    class Mixing(Method):
        name = "mixing"

        def attribute(self, model, prepared, score, run):
            score.bind(model, prepared)
            return Attribution(prepared.tensor - prepared.tensor.mean(0))

    @dataclass(frozen=True)
    class Lucky(Method):
        name = "lucky"

        def attribute(self, model, prepared, score, run):
            score.bind(model, prepared)
            return Attribution(torch.randn_like(prepared.tensor))

    with pytest.raises(AssertionError, match="batch_does_not_matter"):
        check_method(Mixing(), ["plain"], ["batch_does_not_matter"])
    with pytest.raises(AssertionError, match="one_seed_repeats"):
        check_method(Lucky(), ["plain"], ["one_seed_repeats"])


def test_refusals_are_errors_that_say_what_to_do():
    with pytest.raises(LayerError, match="integrated-gradients"):
        sw.explain(KINDS["flat"].model(), KINDS["flat"].pictures(), method="grad-cam")
    with pytest.raises(MethodError, match="grad-cam"):
        sw.explain(KINDS["tokens"].model(), KINDS["tokens"].pictures(), method="cam")
    assert len(CHECKS) >= 10
