"""Settings with which a method takes little time, and still does all that it does."""

from seewhy.methods import as_method

CHEAP = {
    "deeplift-shap": "deeplift-shap:samples=2",
    "smooth-grad-cam-plus-plus": "smooth-grad-cam-plus-plus:samples=3",
    "ss-cam": "ss-cam:samples=2",
    "is-cam": "is-cam:steps=2",
    "lime": "lime:segments=slic:4,samples=8",
    "kernel-shap": "kernel-shap:segments=slic:4,samples=8",
    "shapley-sampling": "shapley-sampling:segments=slic:4,samples=10",
    "blur-ig": "blur-ig:steps=3",
    "expected-gradients": "expected-gradients:samples=3",
    "guided-ig": "guided-ig:steps=4",
    "smoothgrad-squared": "smoothgrad-squared:samples=3",
    "vargrad": "vargrad:samples=3",
    "conductance": "conductance:steps=3",
    "internal-influence": "internal-influence:steps=3",
    "layer-integrated-gradients": "layer-integrated-gradients:steps=3",
    "occlusion": "occlusion:patch=6,stride=4",
    "rise": "rise:samples=10",
    "extremal-perturbation": "extremal-perturbation:steps=2,areas=0.2,fill=constant",
    "sobol": "sobol:grid=2,designs=3",
    "hsic": "hsic:grid=3,samples=10",
    "xrai": "xrai:steps=2,baseline=0",
    "integrated-gradients": "integrated-gradients:steps=4",
    "smoothgrad": "smoothgrad:samples=4",
}
"""By method, for the small networks of the kinds, where its defaults would take long."""

CHEAPER = {
    "smoothgrad": "smoothgrad:samples=2",
    "smoothgrad-squared": "smoothgrad-squared:samples=2",
    "vargrad": "vargrad:samples=2",
    "augmentation": "augmentation:brightness=0",
    "multi-scale": "multi-scale:scales=1.25",
    "smooth-grad-cam-plus-plus": "smooth-grad-cam-plus-plus:samples=2",
    "score-cam": "score-cam:channels=4",
    "ss-cam": "ss-cam:samples=2,channels=2",
    "is-cam": "is-cam:steps=2,channels=2",
    "deeplift-shap": "deeplift-shap:samples=1",
    "integrated-gradients": "integrated-gradients:steps=2",
    "expected-gradients": "expected-gradients:samples=2",
    "blur-ig": "blur-ig:steps=2",
    "guided-ig": "guided-ig:steps=2",
    "conductance": "conductance:steps=2",
    "internal-influence": "internal-influence:steps=2",
    "layer-integrated-gradients": "layer-integrated-gradients:steps=2",
    "xrai": "xrai:steps=1,baseline=0",
    "occlusion": "occlusion:patch={half}",
    "feature-ablation": "feature-ablation:segments=patch:{half}",
    "rise": "rise:samples=4",
    "sobol": "sobol:grid=2,designs=2",
    "hsic": "hsic:grid=2,samples=4",
    "lime": "lime:segments=patch:{half},samples=6",
    "kernel-shap": "kernel-shap:segments=patch:{half},samples=6",
    "shapley-sampling": "shapley-sampling:segments=patch:{half},samples=6",
}
"""By method, for whole architectures; half: of the longest side, in pixels."""


def for_architectures(name, shape):
    """The method as it is run on an architecture with inputs of this shape."""
    written = CHEAPER.get(name, CHEAP.get(name, name))
    return as_method(written.format(half=max(shape[1:]) // 2))
