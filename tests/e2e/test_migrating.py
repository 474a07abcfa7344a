"""The page for those who come from other packages: every entry stands, and some are compared."""

import importlib
import inspect
import re
from functools import cache, partial
from pathlib import Path
from types import FunctionType, SimpleNamespace

import captum.attr
import captum.concept
import captum.metrics
import pytest
import pytorch_grad_cam
import torch
import torchcam
import torchcam.methods
from PIL import Image
from pytorch_grad_cam.utils.model_targets import (
    ClassifierOutputSoftmaxTarget,
    ClassifierOutputTarget,
)
from torch import nn

import seewhy as sw
from seewhy.integrations import EpochExplanations
from seewhy.integrations.needed import CALLBACK
from seewhy.methods import as_method
from seewhy.targets import as_target
from seewhy.trust import as_metric

PAGE = Path(__file__).parents[2] / "docs" / "migrating.md"
HEADER = "| theirs | ours | what differs and why |"
NO_COUNTERPART = "none"
KERAS = {
    "tf-explain": "ExtractActivations VanillaGradients GradientsInputs IntegratedGradients "
    "SmoothGrad GradCAM OcclusionSensitivity",
    "tf-keras-vis": "Saliency Gradcam GradcamPlusPlus Scorecam Layercam ActivationMaximization",
}
"""Explainers of packages that are not installed."""
HOMES = {
    "pytorch-grad-cam": "pytorch_grad_cam pytorch_grad_cam.utils.model_targets "
    "pytorch_grad_cam.utils.reshape_transforms pytorch_grad_cam.utils.image "
    "pytorch_grad_cam.metrics.road pytorch_grad_cam.metrics.arcc "
    "pytorch_grad_cam.metrics.cam_mult_image",
    "captum": "captum.attr captum.metrics captum.concept",
    "torchcam": "torchcam.methods torchcam.metrics torchcam.utils torchcam.explain",
}
attr = captum.attr
CALLED = {
    "pytorch-grad-cam": (pytorch_grad_cam.base_cam.BaseCAM,),
    "captum": (attr.IntegratedGradients, attr.FeatureAblation, attr.LayerGradCam),
    "torchcam": (torchcam.methods.core._CAM,),
}
"""Classes of whose calls and parameters rows speak."""
ABSTRACT = {"ActivationsAndGradients", "Attribution"} | {
    f"{kind}Attribution" for kind in ("Gradient", "Perturbation", "Layer", "Neuron")
}
"""What explainers are made of."""


# ---------------------------------------------------------------------- the page, taken apart


@cache
def sections():
    """Rows by package: (theirs, ours, why), as they are written."""
    found = {}
    for part in PAGE.read_text().split("\n## ")[1:]:
        lines = part.splitlines()
        start = lines.index(HEADER)
        cells = [line.strip("| ").split(" | ") for line in lines[start + 2 :] if line[:1] == "|"]
        found[lines[0]] = [tuple(row) for row in cells]
    return found


def spans(cell):
    return re.findall(r"`([^`]+)`", cell)


def ours_of(package, name):
    """What stands beside the row whose first entry is this."""
    (row,) = [row for row in sections()[package] if spans(row[0])[0] == name]
    return spans(row[1])


EVERY = [
    pytest.param(package, span, id=f"{package}: {span}")
    for package, rows in sections().items()
    for span in dict.fromkeys(span for row in rows for span in spans(row[1]))
]


def test_every_section_has_its_sentence_its_table_and_its_note():
    assert list(sections()) == [*KERAS, *HOMES]
    for part in PAGE.read_text().split("\n## ")[1:]:
        before, _, after = part.partition(HEADER)
        assert len(before.strip().splitlines()) == 2  # the title, and a sentence
        assert after.count("\n\n**The same numbers.** ") == 1


def test_every_row_has_an_entry_or_says_that_there_is_none():
    for rows in sections().values():
        for row in rows:
            assert len(row) == 3, row
            theirs, ours, why = row
            assert spans(theirs), row
            assert (ours == NO_COUNTERPART) != bool(spans(ours)), row
            assert why, row


# ---------------------------------------------------------------------- what is theirs


@cache
def names_of(package):
    """All that a package's modules offer, and the methods and parameters of what is called."""
    homes = [importlib.import_module(home) for home in HOMES[package].split()]
    found = {name for home in homes for name in vars(home)}
    for each in CALLED[package]:
        found.update(dir(each))
        for _, function in inspect.getmembers(each, inspect.isfunction):
            found.update(inspect.signature(function).parameters)
    return found


@pytest.mark.parametrize("package", HOMES)
def test_what_is_theirs_exists(package):
    for theirs, _, _ in sections()[package]:
        for span in spans(theirs):
            assert re.match(r"\w+", span)[0] in names_of(package), span


def explainers(package):
    """The public classes and functions of a package that explain or judge."""
    if package in KERAS:
        return set(KERAS[package].split())
    if package == "captum":
        known = {name: getattr(attr, name) for name in attr.__all__}
        explaining = {name for name, each in known.items() if hasattr(each, "attribute")}
        return (explaining - ABSTRACT) | {"TCAV", "CAV", "infidelity", "sensitivity_max"}
    module = {"torchcam": torchcam.methods, "pytorch-grad-cam": pytorch_grad_cam}[package]
    return {name for name, each in vars(module).items() if inspect.isclass(each)} - ABSTRACT


@pytest.mark.parametrize("package", [*KERAS, *HOMES])
def test_every_explainer_of_theirs_has_a_row(package):
    written = {re.match(r"\w+", s)[0] for row in sections()[package] for s in spans(row[0])}
    assert len(explainers(package)) > 5
    assert explainers(package) - written == set()


# ---------------------------------------------------------------------- what is ours


class Verbs:
    """seewhy, whose verbs do no more than take their arguments, and read what is meant."""

    def __getattr__(self, name):
        found = getattr(sw, name)
        return partial(taken, found) if isinstance(found, FunctionType) else found


def taken(verb, *args, **options):
    """Bind the arguments of a verb, and read its method, target and metrics."""
    given = inspect.signature(verb).bind(*args, **options).arguments
    if "method" in given:
        as_method(given["method"])
    if verb.__name__ == "explain":
        as_target(given.get("target"))
    for each in given.get("metrics", ()):
        as_metric(each)
    return SimpleNamespace(verb=verb.__name__, **given)


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """What the entries speak of."""
    folder = tmp_path_factory.mktemp("migrating")
    picture = Image.effect_noise((64, 64), 60)
    why = sw.explain("demo", picture, "disk", "integrated-gradients:steps=3")
    callbacks = SimpleNamespace(
        keras=SimpleNamespace(**{CALLBACK: partial(EpochExplanations, folder=None)})
    )
    return {
        "sw": Verbs(),
        "seewhy": SimpleNamespace(integrations=callbacks),
        "why": why,
        "model": "demo",
        "net": nn.Identity(),
        "picture": picture,
        "pictures": [picture],
        "examples": [picture],
        "anything": [picture],
        "mask": torch.ones(64, 64, dtype=torch.bool),
        "own_segments": lambda picture: picture[0] > 0,
        "folder": folder,
    }


@pytest.mark.parametrize(("package", "span"), EVERY)
def test_what_is_ours_stands(package, span, names, monkeypatch):
    monkeypatch.chdir(names["folder"])
    if re.match(r"(sw|seewhy|why)\.", span):  # Python
        eval(span, names)  # noqa: S307 - the page is ours
    elif re.match(r"\w+=", span):  # a setting of explain
        eval(f"sw.explain(model, picture, {span})", names)  # noqa: S307
    elif "backbone" in span:  # a detector's layer
        as_method(span)
    elif package in KERAS:  # whose entries name layers of demo
        assert sw.explain("demo", names["picture"], "disk", span).relevance.isfinite().all()
    else:
        net = network(1 if span.startswith("cam:") else 4)
        found = sw.explain(sw.Model(net, sw.Preprocess(12)), inputs(), TARGETS, span)
        assert all(each.relevance.isfinite().all() for each in found)


def test_the_callback_is_where_the_page_says():
    room = importlib.import_module("seewhy.integrations.keras")
    with pytest.raises(AttributeError, match=CALLBACK):
        _ = room.SomethingElse
    said = {span for _, span in [each.values for each in EVERY] if CALLBACK in span}
    assert said
    assert all(span.startswith(f"{room.__name__}.{CALLBACK}(") for span in said)


def test_a_neuron_written_as_a_string_is_the_target(names):
    found = eval(f"sw.explain(model, picture, {ours_of('captum', 'NeuronGradient')[1]})", names)  # noqa: S307
    assert as_target(found.target) == sw.targets.Neuron("layer4", 3, (1, 2))


# ---------------------------------------------------------------------- the same numbers

CLASSES, TARGETS = 5, [3, 1]


def network(places=4):
    """Untrained, with the layers that the page names; its scores are positive."""
    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("layer3", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()))
    net.add_module("layer4", nn.Sequential(nn.Conv2d(6, 8, 3, 2, padding=1), nn.ReLU()))
    net.add_module("pool", nn.AdaptiveAvgPool2d(places))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc", nn.Linear(8 * places**2, CLASSES))
    nn.init.constant_(net.fc.bias, 2)
    return net.eval()


def inputs():
    return torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def ours(method, target=None):
    found = sw.explain(sw.Model(network()), inputs(), target or TARGETS, method)
    return torch.stack([each.relevance for each in found])


def assert_same(found, expected, tolerance=1e-5):
    expected = torch.as_tensor(expected).detach().float()
    assert found.shape == expected.shape
    largest = expected.abs().max()
    assert largest > 0
    assert float((found - expected).abs().max() / largest) <= tolerance


def of_grad_cam(name, question, *, smooth=False):
    """The package's own sum over the channels, before all scaling."""
    net, targets = network(), [question(each) for each in TARGETS]
    with getattr(pytorch_grad_cam, name)(net, [net.layer4]) as cam:
        cam(inputs(), targets)
        records = cam.activations_and_grads
        gradients = records.gradients[0].numpy() if records.gradients else None
        activations = records.activations[0].numpy()
        return cam.get_cam_image(inputs(), net.layer4, targets, activations, gradients, smooth)


@pytest.mark.parametrize(
    "name", ["GradCAM", "HiResCAM", "GradCAMElementWise", "XGradCAM", "LayerCAM", "AblationCAM"]
)
def test_maps_are_those_of_grad_cam_before_it_scales_them(name):
    (method,) = ours_of("pytorch-grad-cam", name)
    assert_same(ours(method)[:, 0], of_grad_cam(name, ClassifierOutputTarget), 1e-4)


def test_the_softmax_target_is_that_of_grad_cam():
    (written,) = ours_of("pytorch-grad-cam", "ClassifierOutputSoftmaxTarget(3)")
    assert written == 'target="probability:3"'
    targets = [f"probability:{each}" for each in TARGETS]
    expected = of_grad_cam("GradCAM", ClassifierOutputSoftmaxTarget)
    assert_same(ours("grad-cam:layer=layer4", targets)[:, 0], expected, 1e-4)


@pytest.mark.parametrize("name", ["EigenCAM", "EigenGradCAM", "KPCA_CAM", "eigen_smooth=True"])
def test_components_are_those_of_grad_cam_but_for_their_sign(name):
    (method,) = ours_of("pytorch-grad-cam", name)
    smooth = name == "eigen_smooth=True"
    expected = torch.as_tensor(
        of_grad_cam("GradCAM" if smooth else name, ClassifierOutputTarget, smooth=smooth)
    )
    found = ours(method)[:, 0]
    sign = torch.sign((found * expected).sum((1, 2), keepdim=True))
    assert_same(found, sign * expected, 1e-3)


MEAN_GRADIENT = "IntegratedGradients(multiply_by_inputs=False)"
AT_LAYER = ["LayerActivation", "LayerGradientXActivation", "LayerGradCam"]
AT_LAYER += ["InternalInfluence", "LayerIntegratedGradients"]
CAPTUM = ["Saliency", "InputXGradient", "IntegratedGradients", MEAN_GRADIENT, *AT_LAYER]


def of_captum(name, net):
    """What explains the network under this name."""
    kind = getattr(attr, name.partition("(")[0])
    if name == MEAN_GRADIENT:
        return kind(net, multiply_by_inputs=False)
    return kind(net, net.layer4) if name in AT_LAYER else kind(net)


@pytest.mark.parametrize("name", CAPTUM)
def test_maps_are_those_of_captum(name):
    (method, *_) = ours_of("captum", name)
    options = {} if name == "LayerActivation" else {"target": TARGETS}
    expected = of_captum(name, network()).attribute(inputs().requires_grad_(), **options)
    assert_same(ours(method), expected)


def test_guided_grad_cam_is_captums_where_it_enlarges_smoothly():
    net, (method,) = network(), ours_of("captum", "GuidedGradCam")
    theirs = attr.GuidedGradCam(net, net.layer4)
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = theirs.attribute(
            inputs().requires_grad_(), target=TARGETS, interpolate_mode="bilinear"
        )
    assert_same(ours(method), expected)


@pytest.mark.parametrize("name", ["Occlusion", "FeatureAblation"])
def test_removal_is_captums(name):
    (method, *_) = ours_of("captum", name)
    places = torch.arange(12) // 4
    options = {
        "Occlusion": {"sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4)},
        "FeatureAblation": {"feature_mask": (places[:, None] * 3 + places)[None, None]},
    }[name]
    expected = getattr(attr, name)(network()).attribute(inputs(), target=TARGETS, **options)
    assert_same(ours(method), expected[:, :1], 1e-4)


@pytest.mark.parametrize("name", ["NeuronGradient", "NeuronIntegratedGradients"])
def test_neurons_are_captums(name):
    net = network()
    method, target = ours_of("captum", name)
    theirs = getattr(attr, name)(net, net.layer4)
    expected = theirs.attribute(inputs().requires_grad_(), (3, 1, 2))
    assert_same(ours(method, eval(target.partition("=")[2])), expected)  # noqa: S307


def of_torchcam(name, layer, **options):
    net = network()
    with getattr(torchcam.methods, name)(net, layer, **options) as cam:
        (found,) = cam(TARGETS, net(inputs()), normalized=False)
        return found


@pytest.mark.parametrize("name", ["GradCAM", "LayerCAM", "XGradCAM"])
def test_maps_are_those_of_torchcam(name):
    (method,) = ours_of("torchcam", name)
    assert_same(ours(method)[:, 0].relu(), of_torchcam(name, "layer4"))


def test_finer_cam_against_one_class_is_that_of_torchcam():
    (method,) = ours_of("torchcam", "FinerCAM")
    assert "similar=3" in method
    one = method.replace("similar=3", "similar=1")
    expected = of_torchcam("FinerCAM", "layer4", num_references=1, gamma=0.6)
    assert_same(ours(one)[:, 0].relu(), expected)


def test_fused_maps_are_those_of_torchcams_refinement():
    (method,) = ours_of("torchcam", "RefineCAM")
    found = ours(method)[:, 0]
    kind, net = torchcam.methods.LayerCAM, network()
    with torchcam.methods.RefineCAM(net, ["layer3", "layer4"], base_method=kind) as cam:
        (expected,) = cam(TARGETS, net(inputs()))
    assert_same(found / found.amax((1, 2), keepdim=True), expected, 1e-3)


def test_what_the_page_says_of_torchcams_grad_cam_plus_plus_is_so():
    # Its weights are sum g^2 relu(g): the division by the denominator is done on a copy.
    net = network()
    activations = net.layer4(net.layer3(inputs())).detach().requires_grad_()
    scores = net.fc(net.flat(net.pool(activations)))[range(2), TARGETS]
    (gradient,) = torch.autograd.grad(scores.sum(), activations)
    weights = (gradient.square() * gradient.relu()).sum((2, 3), keepdim=True)
    expected = (weights * activations).sum(1).relu().detach()
    assert_same(of_torchcam("GradCAMpp", "layer4"), expected)
    (method,) = ours_of("torchcam", "GradCAMpp")
    found = ours(method)[:, 0]
    assert float((found / found.amax() - expected / expected.amax()).abs().max()) > 1e-3
