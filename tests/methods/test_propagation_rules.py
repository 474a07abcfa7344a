"""Propagation: clipped rectifiers, what is handed on by maximum, what is written in place."""

import pytest
import torch
from ruled import explained
from test_known_answers import about, linear, noise, relevance
from torch import nn
from torch.nn import functional

import seewhy as sw
from seewhy.errors import MethodError, SeewhyWarning

# ---------------------------------------------------------------------- clipped rectifiers

CLIPPED = {
    "relu6": nn.ReLU6(),
    "relu6 in place": nn.ReLU6(inplace=True),
    "hardtanh": nn.Hardtanh(0, 6),
    "hardtanh in place": nn.Hardtanh(0, 6, inplace=True),
    "functional.relu6": functional.relu6,
    "clamp": lambda x: x.clamp(0, 6),
    "clamp by name": lambda x: torch.clamp(x, min=0.0, max=6.0),
    "clamp_": lambda x: x.clamp_(0, 6),
}


class Around(nn.Module):
    """A function between four units, of which one is below zero, one is at 8, and two outputs."""

    def __init__(self, function):
        super().__init__()
        self.first = linear([[1.0], [-1.0], [8.0], [2.0]], [0.0] * 4)
        self.function = function
        self.head = linear([[1.0, 10, 100, -1000], [0.0, 0, 0, 0]], [0.0] * 2)

    def forward(self, x):
        return self.head(self.function(self.first(x)))


@pytest.mark.parametrize("name", CLIPPED)
def test_a_clipped_rectifier_hands_back_what_is_positive(name):
    module, picture = Around(CLIPPED[name]).eval(), torch.ones(1, 1)
    # Guided, of 1, 10, 100 and -1000 the unit below zero, the one above six and what is negative
    # are stopped; a deconvolution stops what is negative alone.
    assert relevance(module, picture, 0, "guided-backprop").item() == 1
    assert relevance(module, picture, 0, "deconvolution").item() == 1 - 10 + 800


@pytest.mark.parametrize("function", [nn.Threshold(0, 0), lambda x: x.clamp_min(0), torch.relu])
def test_whatever_is_a_relu_is_taken_for_one(function):
    module, picture = Around(function).eval(), torch.ones(1, 1)
    assert relevance(module, picture, 0, "guided-backprop").item() == 1 + 800


def test_mobilenet_v2_is_taken():
    from torchvision.models import mobilenet_v2

    module, pictures = mobilenet_v2(num_classes=4).eval(), noise(1, 3, 32, 32)
    for method in ("guided-backprop", "deconvolution"):
        assert float(relevance(module, pictures, 1, method).abs().max()) > 0


@pytest.mark.parametrize(
    "function",
    [
        nn.Hardswish(), nn.SiLU(), nn.GELU(), nn.Hardtanh(), nn.Threshold(1, 0),
        lambda x: functional.hardtanh(x, -1, 6),
    ],
)  # fmt: skip
def test_what_is_no_rectifier_is_refused(function):
    for method in ("guided-backprop", "deconvolution"):
        with pytest.raises(MethodError, match="rectifiers alone"):
            explained(Around(function), torch.ones(1, 1), 0, method)


# ---------------------------------------------------------------------- differences of maxima


class Through(nn.Module):
    """Tanh before an operation and after it: nothing is dead, and nothing linear."""

    def __init__(self, operation, axes=2):
        super().__init__()
        self.stem = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1](2, 8, 3, padding=1)
        self.operation, self.head = operation, nn.LazyLinear(4)
        if isinstance(operation, nn.Module):
            for part in operation.parameters():
                nn.init.normal_(part)

    def forward(self, x):
        return self.head(self.operation(self.stem(x).tanh()).flatten(1).tanh())


WINNERS = {
    "adaptive 1d": (nn.AdaptiveMaxPool1d(3), 1),
    "adaptive 1d of torch": (lambda x: torch.adaptive_max_pool1d(x, 3)[0], 1),
    "adaptive 2d": (nn.AdaptiveMaxPool2d((3, 2)), 2),
    "adaptive 2d to one": (nn.AdaptiveMaxPool2d(1), 2),
    "adaptive 2d, indices": (lambda x: nn.AdaptiveMaxPool2d(2, return_indices=True)(x)[0], 2),
    "adaptive 3d": (nn.AdaptiveMaxPool3d(2), 3),
    "pool 1d": (nn.MaxPool1d(3, 2, 1), 1),
    "pool 2d, indices": (lambda x: nn.MaxPool2d(3, 2, 1, return_indices=True)(x)[0], 2),
    "pool 2d, dilated": (nn.MaxPool2d(2, 1, 0, 2), 2),
    "pool 3d": (nn.MaxPool3d(2), 3),
    "amax": (lambda x: x.amax((2, 3)), 2),
    "amax, kept": (lambda x: torch.amax(x, dim=(1, -1), keepdim=True), 2),
    "amax, one": (lambda x: x.amax(-2), 2),
    "max": (lambda x: x.max(2)[0], 2),
    "max, kept": (lambda x: torch.max(x, dim=-1, keepdim=True).values, 2),
    "max of tokens": (lambda x: x.flatten(2).transpose(1, 2).max(1).values, 2),
    "maximum": (lambda x: torch.maximum(x[:, :4], x[:, 4:]), 2),
    "max of two": (lambda x: torch.max(x[:, :1], other=x), 2),
    "above a constant": (lambda x: torch.maximum(x, torch.tensor(0.1)), 2),
    "min": (lambda x: x.min(2)[0], 2),
    "amin": (lambda x: x.amin((2, 3)), 2),
    "minimum": (lambda x: torch.minimum(x[:, :4], x[:, 4:]), 2),
}
NORMS = {
    "group": (nn.GroupNorm(2, 8), 2),
    "group of tokens": (nn.GroupNorm(4, 8, affine=False), 1),
    "instance": (nn.InstanceNorm2d(8, affine=True), 2),
    "instance, plain": (nn.InstanceNorm3d(8), 3),
    "instance, running": (nn.InstanceNorm1d(8, affine=True, track_running_stats=True), 1),
    "RMS": (nn.RMSNorm((6, 6)), 2),
    "RMS, plain": (nn.RMSNorm(6, elementwise_affine=False), 2),
    "layer": (nn.LayerNorm((6, 6)), 2),
}


@pytest.mark.parametrize("name", WINNERS | NORMS)
def test_deeplift_is_complete_through_maxima_and_norms(name):
    operation, axes = (WINNERS | NORMS)[name]
    module, pictures = Through(operation, axes).double(), noise(3, 2, *[6] * axes).double()
    module.eval()(pictures)
    for baseline in ("0.3", "noise"):
        for each in explained(module, pictures, 1, f"deeplift:baseline={baseline}"):
            assert each.checks["completeness gap"] < 1e-9
    (gap,) = (each.checks["conservation gap"] for each in explained(module, pictures[:1], 1, "lrp"))
    assert gap < 1e-9


class Highest(nn.Module):
    def __init__(self, baseline):
        super().__init__()
        self.baseline = torch.tensor(baseline)

    def forward(self, x):  # x counts from the baseline
        return functional.adaptive_max_pool1d(x + self.baseline, 1).flatten(1)


@pytest.mark.parametrize(
    ("picture", "baseline", "wanted"),
    [((3.0, 1.0), (0.0, 2.0), [1, 0]), ((1.0, 0.0), (0.0, 4.0), [0, -3])],
)
def test_the_higher_maximum_gets_the_whole_difference(picture, baseline, wanted):
    # max(3, 1) - max(0, 2) = 1 is the first place's, max(1, 0) - max(0, 4) = -3 the second's.
    given = (torch.tensor(picture) - torch.tensor(baseline)).reshape(1, 1, 2)
    found = relevance(Highest(baseline).eval(), given, 1, "deeplift")
    assert found[0, 0].numpy() == about(wanted)


def test_the_picture_is_run_once_for_all_baselines():
    module, pictures = Through(nn.Identity()), noise(2, 2, 6, 6)
    module.eval()(pictures)
    for method in ("deeplift:baseline=0+1+2", "deeplift-shap:samples=3"):
        passes = explained(module, pictures, 1, method)[0].passes
        assert (passes.forwards, passes.backwards) == (1 + 3, 3), method


def test_what_has_no_rule_after_all_is_named():
    class Powers(nn.Module):
        def forward(self, x):
            return x[:, :2].abs() ** x[:, 2:]

    for method in ("lrp:first=epsilon", "attn-lrp", "deeplift:baseline=1"):
        with pytest.warns(SeewhyWarning, match="1 Pow"):
            explained(nn.Sequential(nn.Linear(4, 4), Powers()), noise(2, 4), 1, method)


class Operators(nn.Module):
    """What Python's own signs come to."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.one(x)
        x = (x**2 + 1) / (2 - x.tanh()) - (x**3) * 0.1
        return self.two(1 / (x.abs() + 1) + 3 * x)


def test_the_books_close_over_signs_of_python():
    for each in explained(Operators().double(), noise(2, 4).double(), 1, "deeplift:baseline=1"):
        assert each.checks["completeness gap"] < 1e-9
    for each in explained(Operators().double(), noise(2, 4).double(), 1, "lrp:first=epsilon"):
        assert each.checks["conservation gap"] < 1e-9


# ---------------------------------------------------------------------- written in place


class Writing(nn.Module):
    """What a convolution gave is read by another branch, added to and rectified where it lies."""

    def __init__(self, *, in_place, early):
        super().__init__()
        self.in_place, self.early = in_place, early
        self.one, self.two = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)
        nn.init.normal_(self.norm.running_mean)
        nn.init.normal_(self.norm.weight)

    def forward(self, x):
        own = self.norm(self.one(x))
        read = own.mean((2, 3)) if self.early else 0  # what is below zero counts here
        own = functional.relu(own, inplace=self.in_place)
        other = self.two(own)
        if self.in_place:
            other += own
            other.mul_(2).relu_()
        else:
            other = ((other + own) * 2).relu()
        return self.head(other.mean((2, 3)) + read)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("composite", ["epsilon-plus-flat", "epsilon-gamma-box", "epsilon"])
def test_writing_in_place_changes_nothing(composite, early):
    pictures, method = noise(2, 2, 8, 8).double(), f"lrp:composite={composite}"
    plain, writing = (Writing(in_place=each, early=early).double() for each in (False, True))
    writing.load_state_dict(plain.state_dict())
    wanted, found = (explained(each, pictures, 1, method) for each in (plain, writing))
    for one, two in zip(wanted, found, strict=True):
        assert two.relevance.numpy() == about(one.relevance, 1e-12)
        assert two.checks["conservation gap"] < 1e-12


def test_the_convolutions_are_not_computed_again_after_a_relu_in_place():
    from torch.utils.flop_counter import FlopCounterMode

    flops = []
    for in_place in (False, True):
        model = sw.Model(Writing(in_place=in_place, early=False).eval())
        sw.explain(model, noise(2, 2, 8, 8), 1, "lrp")
        with FlopCounterMode(display=False) as counter:
            sw.explain(model, noise(2, 2, 8, 8), 1, "lrp")
        flops.append(counter.get_total_flops())
    assert flops[0] == flops[1]
