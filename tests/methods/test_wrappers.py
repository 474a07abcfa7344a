"""Wrappers over any method: noise, augmentation, scales."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import MethodError, NoSpaceError
from seewhy.methods import as_method
from seewhy.run import generator


def network(head=None):
    torch.manual_seed(0)
    head, size = (head, 8 * 5 * 7) if head is not None else (nn.AdaptiveAvgPool2d(1), 8)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.Tanh(), head, nn.Flatten(), nn.Linear(size, 5)
    ).eval()


def segmenting():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 4, 1)).eval()


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


PICTURES = noise(2, 3, 10, 14)


def relevance(module, pictures, target, method, **options):
    found = sw.explain(sw.Model(module), pictures, target, method, **options)
    return torch.stack([each.relevance for each in found])


def about(expected, relative=1e-4, absolute=1e-6):
    return pytest.approx(expected.detach().numpy(), rel=relative, abs=absolute)


# ---------------------------------------------------------------------- noise


@pytest.mark.parametrize("inner", ["gradient", "grad-cam:layer=1"])
def test_the_moments_are_those_of_the_maps_of_noisy_copies(inner):
    module, model = network(), sw.Model(network())
    draws = [generator(4, key) for key in model.prepare(PICTURES).keys]
    spread = 0.15 * (PICTURES.amax((1, 2, 3)) - PICTURES.amin((1, 2, 3)))[:, None, None, None]
    maps = []
    for _ in range(6):
        noisy = torch.stack([torch.randn(PICTURES[0].shape, generator=draw) for draw in draws])
        maps.append(relevance(module, PICTURES + spread * noisy, 1, inner))
    maps = torch.stack(maps)
    expected = {
        "smoothgrad": maps.mean(0),
        "smoothgrad-squared": maps.square().mean(0),
        "vargrad": maps.var(0, correction=0),
    }
    for name, wanted in expected.items():
        found = relevance(module, PICTURES, 1, f"{name}:samples=6,method=({inner})", seed=4)
        assert found.numpy() == about(wanted), name


def test_a_linear_model_has_a_sure_gradient():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    pictures = noise(1, 3, 2, 2)
    weight = module[1].weight[1].reshape(1, 3, 2, 2)
    squared = relevance(module, pictures, 1, "smoothgrad-squared:samples=3")
    assert squared.numpy() == about(weight.square())
    with pytest.warns(sw.errors.SeewhyWarning, match="the same everywhere"):
        assert not bool(relevance(module, pictures, 1, "vargrad:samples=3").any())


def test_one_sample_has_no_variance_and_its_square_is_the_square():
    one = relevance(network(), PICTURES, 1, "smoothgrad:samples=1")
    assert relevance(network(), PICTURES, 1, "smoothgrad-squared:samples=1").numpy() == about(
        one.square()
    )


@pytest.mark.parametrize("name", ["smoothgrad", "smoothgrad-squared", "vargrad"])
def test_the_mean_of_checks_is_that_of_the_mean_of_maps_alone(name):
    method = f"{name}:samples=2,method=(integrated-gradients:steps=3)"
    found = sw.explain(sw.Model(network()), PICTURES, 1, method)
    assert all(("completeness gap" in each.checks) == (name == "smoothgrad") for each in found)


def test_a_wrapper_shows_what_its_method_shows():
    assert sw.SmoothGrad(sw.GradCAM()).display == "positive"
    assert sw.SmoothGrad(sw.IntegratedGradients()).display == "signed"
    assert sw.Augmentation(sw.GradCAM()).display == sw.MultiScale(sw.GradCAM()).display
    assert sw.VarGrad(sw.IntegratedGradients()).display == "positive"


@pytest.mark.parametrize(
    "wrapper", [sw.SmoothGradSquared, sw.VarGrad, sw.Augmentation, sw.MultiScale]
)
def test_what_is_wrapped_is_a_method_and_survives_being_written(wrapper):
    how = wrapper(sw.SmoothGrad(sw.LayerCAM("layer3"), samples=4))
    assert as_method(str(how)) == how
    with pytest.raises(MethodError, match="which is none"):
        wrapper("grad-cam")


# ---------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("inner", ["gradient", "grad-cam:layer=1", "integrated-gradients:steps=4"])
def test_augmentation_is_the_mean_of_maps_that_are_turned_back(inner):
    module, total = network(), 0
    spread = (PICTURES.amax((1, 2, 3)) - PICTURES.amin((1, 2, 3)))[:, None, None, None]
    for axes in ((), (3,), (2,), (2, 3)):
        for light in (0, 0.3, -0.3):
            copy = (PICTURES + light * spread).flip(axes)
            total = total + relevance(module, copy, 1, inner).flip(axes)
    method = f"augmentation:method=({inner}),flips=both,brightness=0.3"
    assert relevance(module, PICTURES, 1, method).numpy() == about(total / 12)


def test_augmentation_of_a_picture_and_of_its_mirror_image_are_mirror_images():
    module = network(nn.Flatten())
    method = "augmentation:brightness=0"
    one, other = (relevance(module, each, 1, method) for each in (PICTURES, PICTURES.flip(3)))
    assert other.numpy() == about(one.flip(3))
    plain = relevance(module, PICTURES, 1, "gradient")
    assert relevance(module, PICTURES, 1, "augmentation:flips=none,brightness=0").numpy() == about(
        plain
    )
    assert not torch.allclose(one, plain, rtol=0.1)


def region():
    mask = torch.zeros(10, 14, dtype=torch.bool)
    mask[1:4, 2:5] = True
    return sw.targets.Region(1, mask)


@pytest.mark.parametrize(
    "target", [region(), sw.targets.Neuron("1", 2, (2, 3))], ids=["region", "neuron"]
)
def test_what_is_explained_at_a_place_is_turned_with_the_picture(target):
    # The gradient of a convolution's output at a place lies around that place: a target that
    # stayed where it was would leave relevance in the mirrored places too.
    found = relevance(segmenting(), PICTURES, target, "augmentation:flips=both")
    plain = relevance(segmenting(), PICTURES, target, "gradient")
    assert bool((found[plain == 0] == 0).all())
    assert bool((found != 0).any())


class Boxes(nn.Module):
    """A detector: a list with one dict a picture."""

    def forward(self, pictures):
        means = pictures[:, :, 2:5].mean((1, 2, 3))
        box = torch.tensor([[1.0, 1, 4, 4]])
        return [
            {"boxes": box, "labels": torch.tensor([1]), "scores": value[None].sigmoid()}
            for value in means
        ]


def test_the_boxes_of_a_detector_cannot_be_laid_back():
    model, target = sw.Model(Boxes().eval(), input_shape=(3, 10, 14)), sw.targets.Box()
    for method in ("augmentation", "multi-scale"):
        with pytest.raises(MethodError, match="use smoothgrad"):
            sw.explain(model, PICTURES[:1], target, method)
    assert sw.explain(model, PICTURES[:1], target, "smoothgrad:samples=2")


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 12), (1, 2, 4, 4, 4)])
def test_only_pictures_are_flipped(shape):
    module = nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    module(noise(*shape))
    with pytest.raises(NoSpaceError, match="use smoothgrad"):
        sw.explain(sw.Model(module.eval()), noise(*shape), 1, "augmentation")


@pytest.mark.parametrize("brightness", [-0.1, float("nan"), float("inf")])
def test_brightness_is_a_share(brightness):
    with pytest.raises(MethodError, match="brightness"):
        sw.Augmentation(brightness=brightness)


# ---------------------------------------------------------------------- scales


def test_the_picture_at_its_own_scale_is_the_method_itself():
    plain = relevance(network(), PICTURES, 1, "grad-cam:layer=1")
    found = relevance(network(), PICTURES, 1, "multi-scale:method=(grad-cam:layer=1),scales=1")
    assert torch.equal(found, plain)


def test_scales_keep_the_sum_of_the_map():
    # With average pooling and a linear layer, HiRes-CAM sums to the score without the bias at any
    # size: so does the mean over sizes, to the mean of those scores.
    module = network()
    found = relevance(module, PICTURES, 1, "multi-scale:method=(hires-cam:layer=1),scales=1+2")
    twice = nn.functional.interpolate(PICTURES, (20, 28), mode="bilinear")
    with torch.no_grad():
        scores = (module(PICTURES) + module(twice))[:, 1] / 2 - module[4].bias[1]
    assert found.shape == (2, 1, 5, 7)
    assert found.sum((1, 2, 3)).numpy() == about(scores)


def test_maps_of_other_scales_are_brought_to_the_same_places():
    # One bright spot: its relevance is there at every scale.
    pictures = torch.zeros(1, 3, 16, 16)
    pictures[:, :, 3:5, 11:13] = 1
    method = "multi-scale:method=gradient-x-input,scales=0.5+1+2"
    found = relevance(network(), pictures, 1, method).abs().sum((0, 1))
    assert float(found[1:7, 9:15].sum() / found.sum()) > 0.95


@pytest.mark.parametrize(
    "target", [region(), sw.targets.Neuron("1", 2, (2, 3))], ids=["region", "neuron"]
)
def test_what_is_explained_at_a_place_is_scaled_with_the_picture(target):
    found = relevance(segmenting(), PICTURES, target, "multi-scale:scales=2").abs()
    rows, columns = slice(0, 6), slice(0, 8)
    assert float(found[:, :, rows, columns].sum() / found.sum()) > 0.99


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.5])
def test_a_gradient_at_another_scale_follows_the_chain_rule(scale):
    # What is explained is the network of the resized picture; its gradient to the picture itself is
    # the map. torch's antialiased resize is the same.
    module, pictures = network(), PICTURES.clone().requires_grad_()
    size = [round(10 * scale), round(14 * scale)]
    scaled = nn.functional.interpolate(pictures, size, mode="bilinear", antialias=True)
    (expected,) = torch.autograd.grad(module(scaled)[:, 1].sum(), pictures)
    found = relevance(module, PICTURES, 1, f"multi-scale:scales={scale}")
    assert found.numpy() == about(expected, 1e-3, 1e-5 * float(expected.abs().max()))


def test_a_network_of_one_size_says_so():
    module = network(nn.Flatten())
    with pytest.raises(MethodError, match=r"does not take its picture at the size 8x10 .*augmenta"):
        relevance(module, PICTURES, 1, "multi-scale:scales=0.75")


@pytest.mark.parametrize("scales", ["0", "-1", "1+two", "", "inf", "1++2", 2])
def test_scales_are_numbers_above_zero(scales):
    with pytest.raises(MethodError, match="scales"):
        sw.MultiScale(scales=scales)
