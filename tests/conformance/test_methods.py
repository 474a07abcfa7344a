"""Every registered method on every kind of model: all promises of the house."""

import pytest
from cheap import CHEAP

import seewhy as sw
from seewhy.errors import LayerError, MethodError
from seewhy.methods import Method, as_method, methods
from seewhy.testing import CHECKS, KINDS, check_method

VARIANTS = [
    "lrp:composite=epsilon-gamma-box",
    "lrp:composite=epsilon-alpha2-beta1,first=w-square",
    "attn-lrp:softmax=detached",
    "excitation-backprop:contrastive=true",
    "deeplift:baseline=0.5+blur:0.1",
    "guided-grad-cam:method=layer-cam",
    "kernel-shap:segments=slic:4,samples=16",
    "shapley-sampling:segments=slic:4,samples=16",
    "integrated-gradients:steps=2,baseline=mean+blur:0.1+noise",
    "expected-gradients:samples=2,baseline=0.5+mean",
    "conductance:steps=2,baseline=noise+1",
    "augmentation:method=grad-cam,flips=both,brightness=0",
    "multi-scale:method=hires-cam,scales=1.5",
    "vargrad:method=layer-activation,samples=2",
    "feature-ablation:segments=patch:4,fill=(blur:sigma=0.2)",
    "rise:samples=6,grid=3,p=0.3,fill=(constant:value=0.5)",
    "smoothgrad:method=(occlusion:patch=6),samples=2",
    "cam:channels=3",
    "attention:layer=blocks.0,head=1",
    "attention-rollout:heads=max,discard_ratio=0.5",
    "gradient:power=squared",
    "grad-cam:layer=input",
    "eigen-cam:centred=true",
    "kpca-cam:kernel=rbf,gamma=0.1",
    "score-cam:channels=3",
    "ss-cam:samples=2,channels=3,where=mask",
    "layer-fusion:method=cam,fusion=max",
    "layer-fusion:method=(smoothgrad:method=gradient-x-activation,samples=2)",
    "principal-component:method=gradient-x-input,centred=true",
    "integrated-gradients:steps=5",
    "smoothgrad:samples=3",
    "smoothgrad:method=grad-cam,samples=3",
    "smoothgrad:method=(integrated-gradients:steps=3),samples=2",
]
ALL = [CHEAP.get(name, name) for name in methods()] + VARIANTS

NO_SPACE = {"flat": "no layer has space", "scripted": "no layer can be read"}

NO_CLASS = {
    **NO_SPACE,
    "segmentation": "no class is the target",
    "embedding": "no class is the target",
}
NO_GRADIENT = {"function": "of a function only the scores are known"}
NO_MASKS = {"flat": "there is no space to lay masks over"}
ONLY_PICTURES = dict.fromkeys(("signal", "volume", "flat"), "pixels of pictures are read")

NO_ATTENTION = dict.fromkeys(KINDS.keys() - {"tokens", "tokens-first"}, "it has no attention")

ONE_SIZE = {
    "functional": "its head takes one size",
    "tokens": "its positions are of one size",
    "flat": "there is no space to scale",
}

SCRIPTED = {"scripted": "its operations cannot be seen"}
NO_RELU = {
    **SCRIPTED,
    "channels-last": "a GELU is its only activation",
    "two-inputs": "a tanh is its only activation",
}

REFUSES = {
    "lrp": SCRIPTED,
    "attn-lrp": SCRIPTED,
    "attn-lrp:softmax=detached": {"softmax": "the softmax that it ends in is taken for constant"},
    "deeplift": SCRIPTED,
    "deeplift-shap": SCRIPTED,
    "deeplift:baseline=0.5+blur:0.1": {"flat": "there is no space to blur"},
    "excitation-backprop": NO_SPACE,
    "guided-backprop": NO_RELU,
    "deconvolution": NO_RELU,
    "guided-grad-cam": NO_RELU,
    "attention": NO_ATTENTION,
    "attention-rollout": NO_ATTENTION,
    "gradient-attention-rollout": NO_ATTENTION,
    "augmentation": dict.fromkeys(("signal", "volume", "flat"), "only pictures are flipped"),
    "multi-scale": ONE_SIZE,
    "layer-activation": NO_SPACE,
    "gradient-x-activation": NO_SPACE,
    "conductance": NO_SPACE,
    "internal-influence": NO_SPACE,
    "layer-integrated-gradients": NO_SPACE,
    "blur-ig": {"flat": "there is no space to blur"},
    "integrated-gradients:steps=2,baseline=mean+blur:0.1+noise": {"flat": "as blur-ig"},
    "feature-ablation:segments=patch:4,fill=(blur:sigma=0.2)": ONLY_PICTURES,
    "rise": NO_MASKS,
    "extremal-perturbation": NO_MASKS,
    "sobol": NO_MASKS,
    "hsic": NO_MASKS,
    "xrai": ONLY_PICTURES,
    "shapley-sampling": {"flat": "64 numbers take more samples than are given here"},
    "grad-cam": NO_SPACE,
    "grad-cam-plus-plus": NO_SPACE,
    "xgrad-cam": NO_SPACE,
    "grad-cam-element-wise": NO_SPACE,
    "eigen-cam": NO_SPACE,
    "eigen-grad-cam": NO_SPACE,
    "kpca-cam": NO_SPACE,
    "fem": NO_SPACE,
    "random-cam": NO_SPACE,
    "smooth-grad-cam-plus-plus": NO_SPACE,
    "ablation-cam": NO_SPACE,
    "score-cam": NO_SPACE,
    "ss-cam": NO_SPACE,
    "is-cam": NO_SPACE,
    "layer-fusion": NO_SPACE,
    "principal-component": {"flat": "a component is one over places"},
    "fullgrad": NO_SPACE,
    "finer-cam": NO_CLASS,
    "shapley-cam": NO_CLASS,
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
    chain = [as_method(method)]
    while isinstance(getattr(chain[-1], "method", None), Method):
        chain.append(chain[-1].method)
    reasons = [REFUSES.get(name, {}) for name in (method, *(how.name for how in chain))]
    reasons += [NO_GRADIENT for how in chain if how.needs]
    return any(kind in each for each in reasons)


QUICK_KINDS = ("residual", "tokens", "two-inputs", "volume", "flat", "function")
"""The rest of the matrix is the sweep's: `make test-all`."""


def matrix():
    """Every method on every kind; quick are each method's own settings on a few kinds."""
    for method in ALL:
        for kind in KINDS:
            quick = kind in QUICK_KINDS and method not in VARIANTS
            marks = () if quick else pytest.mark.slow
            yield pytest.param(method, kind, marks=marks, id=f"{method}-{kind}")


@pytest.mark.parametrize(("method", "kind"), list(matrix()))
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
