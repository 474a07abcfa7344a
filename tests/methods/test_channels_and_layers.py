"""Wrappers over a method's channels and over its layers."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, NoSpaceError
from seewhy.methods import as_method
from seewhy.testing import KINDS


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, padding=1, stride=2),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()


def pictures(*shape):
    return torch.randn(shape or (2, 3, 10, 14), generator=torch.Generator().manual_seed(1))


def relevance(method, given=None, target=1, module=None, **options):
    given = pictures() if given is None else given
    found = sw.explain(sw.Model(module or network()), given, target, method, **options)
    return torch.stack([each.relevance for each in found])


def close(found, expected, tolerance=1e-4):
    gap = float((found - expected).abs().max())
    assert gap <= tolerance * float(expected.abs().max())


# ---------------------------------------------------------------------- the principal component


@pytest.mark.parametrize("centred", [False, True])
def test_it_is_the_first_singular_vector_s_projection_with_the_sign_of_the_sum(centred):
    channels = relevance("gradient-x-activation:layer=1").double()
    places = channels.flatten(2).mT
    if centred:
        places = places - places.mean(1, keepdim=True)
    expected = places @ torch.linalg.svd(places).Vh[:, :1].mT
    whole = channels.flatten(2).sum(1)[..., None]
    centre = whole.mean(1, keepdim=True) if centred else 0
    expected = expected * torch.sign((expected * (whole - centre)).sum(1, keepdim=True))
    method = f"principal-component:method=(gradient-x-activation:layer=1),centred={centred}"
    found = relevance(method)
    assert found.shape == (2, 1, 10, 14)
    close(found, expected[..., 0].reshape(found.shape).float())


def test_of_a_cam_the_weighted_activations_are_taken():
    # HiRes-CAM sums gradients times activations, and Eigen-Grad-CAM is their component by itself.
    found = relevance("principal-component:method=(hires-cam:layer=3)")
    plain = relevance("gradient-x-activation:layer=3")
    same = relevance("principal-component:method=(gradient-x-activation:layer=3)")
    close(found, same)
    other = relevance("eigen-grad-cam:layer=3")
    sign = torch.sign((found * other).sum((1, 2, 3), keepdim=True))
    close(found, sign * other)
    assert bool(((found * plain.sum(1, keepdim=True)).sum((1, 2, 3)) > 0).all())


@pytest.mark.parametrize(
    "method", ["cam", "score-cam", "ablation-cam", "layer-cam", "eigen-cam", "random-cam"]
)
def test_channels_that_are_one_pattern_keep_it(method):
    # With a single channel that is active the weighted activations are of rank one, and the
    # component is the sum, scaled by nothing.
    module = network()
    with torch.no_grad():
        module[2].weight[1:] = 0
        module[2].bias[1:] = 0
    plain = relevance(f"{method}:layer=3", module=module)
    found = relevance(f"principal-component:method=({method}:layer=3)", module=module)
    close(found, plain)


def test_several_layers_are_fused_as_the_method_fuses_them():
    found = relevance("principal-component:method=(grad-cam:layer=1+3)")
    each = [relevance(f"principal-component:method=(grad-cam:layer={n})") for n in (1, 3)]
    scaled = [one / one.abs().amax((1, 2, 3), keepdim=True) for one in each]
    large = nn.functional.interpolate(scaled[1], (10, 14), mode="bilinear")
    close(found, (scaled[0] + large) / 2)


def test_where_channels_cancel_the_sign_is_not_left_to_rounding():
    # Before a layer norm over the channels gradients are orthogonal to activations in every place.
    class Normed(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.LayerNorm(8), nn.Linear(8, 4)

        def forward(self, x):
            features = self.conv(x)
            return self.head(self.norm(features.movedim(1, -1)).tanh().mean((1, 2)))

    method = "principal-component:method=(hires-cam:layer=conv)"
    given = pictures(4, 3, 10, 10)
    module = Normed().eval()
    found = relevance(method, given, module=module)
    close(relevance(method, given, module=module, batch=1), found)
    close(relevance(method, given, module=module, precision="float64"), found, 1e-3)


def test_wrappers_go_around_it():
    found = relevance("smoothgrad:samples=2,method=(principal-component:method=gradient)")
    assert found.shape == (2, 1, 10, 14)
    how = sw.PrincipalComponent(sw.LayerCAM("1"), centred=True)
    assert as_method(str(how)) == how
    assert how.display == "positive"
    with pytest.raises(MethodError, match="which is none"):
        sw.PrincipalComponent("grad-cam")


@pytest.mark.parametrize(
    "inner", ["occlusion:patch=5,stride=5", "smoothgrad:samples=2,method=(grad-cam:layer=1)"]
)
def test_one_channel_has_no_component(inner):
    with pytest.raises(MethodError, match="gives one here: choose a method of more"):
        relevance(f"principal-component:method=({inner})")


def test_channels_without_places_have_no_component():
    with pytest.raises(NoSpaceError, match="compares the places of a map"):
        relevance("principal-component:method=(layer-activation:layer=5)")


# ---------------------------------------------------------------------- several layers


@pytest.mark.parametrize("inner", ["gradient-x-activation", "conductance:steps=3", "hires-cam"])
def test_layers_of_any_method_are_fused(inner):
    found = relevance(f"layer-fusion:method=({inner}),layer=1+3,fusion=mean")
    written = inner if ":" in inner else f"{inner}:"
    fine, coarse = (relevance(f"{written},layer={layer}").sum(1, keepdim=True) for layer in (1, 3))
    fine, coarse = (one / one.abs().amax((1, 2, 3), keepdim=True) for one in (fine, coarse))
    close(found, (fine + nn.functional.interpolate(coarse, (10, 14), mode="bilinear")) / 2)


def test_the_layer_may_be_that_of_a_method_within():
    found = relevance("layer-fusion:method=(smoothgrad:samples=2,method=grad-cam),layer=1")
    close(found, relevance("smoothgrad:samples=2,method=(grad-cam:layer=1)"))


def test_attention_is_fused_over_its_layers():
    kind = KINDS["tokens"]
    found = sw.explain(
        kind.model(), kind.pictures(), 0, sw.LayerFusion(sw.Attention(), layer=(0, -1))
    )
    each = [sw.explain(kind.model(), kind.pictures(), 0, sw.Attention(layer)) for layer in (0, -1)]
    for why, first, last in zip(found, *each, strict=True):
        scaled = [one.relevance / one.relevance.max() for one in (first, last)]
        close(why.relevance, scaled[0] * scaled[1])
        assert why.layers == (*first.layers, *last.layers)


def test_maps_without_space_cannot_be_fused():
    with pytest.raises(NoSpaceError, match="gives one without space"):
        relevance("layer-fusion:method=layer-activation,layer=1+5")


@pytest.mark.parametrize("inner", ["gradient", "smoothgrad:samples=2"])
def test_a_method_without_layers_is_refused(inner):
    with pytest.raises(MethodError, match="uses none"):
        sw.LayerFusion(as_method(inner))


def test_layers_are_given_to_the_fusion():
    with pytest.raises(MethodError, match="runs grad-cam at its own layers"):
        sw.LayerFusion(sw.SmoothGrad(sw.GradCAM("layer3")))
