"""FullGrad: everything a network of ReLUs says is in its map."""

import numpy as np
import pytest
import torch
from small_cam import Small, about, noise
from torch import nn

import seewhy as sw
from seewhy.errors import NoSpaceError, SeewhyWarning
from seewhy.testing import KINDS


@pytest.fixture
def module():
    return Small().eval()


# ---------------------------------------------------------------------- FullGrad


def biased(*layers):
    """A network whose batch norms and biases are not trivial."""
    network = nn.Sequential(*layers).eval()
    draw = torch.Generator().manual_seed(5)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor in (part.running_mean, part.weight.data, part.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=draw))
            part.running_var.uniform_(0.5, 2, generator=draw)
    return network


class Residual(nn.Module):
    """One convolution called twice, a sum in place."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.ReLU(True)

    def forward(self, x):
        out = self.norm(self.conv(self.relu(self.conv(x))))
        out += x
        return self.relu(out)


COMPLETE = {
    "1-D": (
        lambda: biased(
            *(nn.Conv1d(2, 4, 5), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2)),
            *(nn.Conv1d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3)),
        ),
        (2, 20),
    ),
    "2-D": (
        lambda: biased(
            *(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4, eps=0.1), nn.ReLU(True), Residual()),
            *(nn.AvgPool2d(2), nn.Conv2d(4, 6, 1), nn.LeakyReLU(0.2)),
            *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)),
        ),
        (3, 17, 23),
    ),
    "3-D": (
        lambda: biased(
            *(nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.AdaptiveMaxPool3d(2)),
            *(nn.Flatten(), nn.Linear(24, 3)),
        ),
        (1, 6, 7, 8),
    ),
    "upsampling": (
        lambda: biased(
            *(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.ConvTranspose2d(4, 4, 5, 4), nn.ReLU()),
            *(nn.Conv2d(4, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 27 * 27, 3)),
        ),
        (3, 15, 15),
    ),
}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("memory", [None, 1])
def test_fullgrad_sums_to_the_score_of_a_network_of_relus(name, memory):
    build, shape = COMPLETE[name]
    module, pictures = build(), noise(3, *shape)
    answers = sw.explain(sw.Model(module), pictures, 1, "fullgrad", memory=memory)
    scores = module(pictures)[:, 1].tolist()
    for own, score in zip(answers, scores, strict=True):
        assert own.relevance.shape == (shape[0] + 2, *shape[1:])
        assert float(own.relevance.double().sum()) == pytest.approx(score, rel=1e-4, abs=1e-5)
        assert own.checks["completeness gap"] < 1e-3
    # and without the biases it does not: the test can fail
    plain = torch.stack([each.relevance[: shape[0]] for each in answers]).flatten(1).sum(1)
    assert float((plain - torch.tensor(scores)).abs().min()) > 1e-2


def test_what_is_drawn_of_fullgrad_is_the_sum_of_all_magnitudes():
    # Srinivas & Fleuret 2019: magnitudes of input x gradient and of every bias x gradient, here at
    # a network that keeps the picture's grid, so that nothing has to be enlarged.
    module = biased(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(4 * 36, 3, bias=False)),
    )
    picture = noise(1, 2, 6, 6).requires_grad_()
    convolved = module[0](picture)
    normed = module[1](convolved)
    score = module[2:](normed)[0, 1]
    at_input, at_conv, at_norm = torch.autograd.grad(score, (picture, convolved, normed))
    norm = module[1]
    shift = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    expected = (at_input * picture).abs().sum(1)
    expected = expected + (at_conv * module[0].bias[:, None, None]).abs().sum(1)
    expected = expected + (at_norm * shift[:, None, None]).abs().sum(1)
    (found,) = sw.explain(sw.Model(module), picture.detach(), 1, "fullgrad")
    assert found.relevance.abs().sum(0).numpy() == about(expected[0])
    heat = found.heatmap()
    scaled = (expected[0] / expected[0].max()).detach().numpy()
    assert np.corrcoef(np.asarray(heat).ravel(), scaled.ravel())[0, 1] > 0.99


def test_fullgrad_warns_of_what_it_misses():
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)).eval()
    with pytest.warns(SeewhyWarning, match=r"fullgrad misses .* integrated-gradients"):
        sw.explain(sw.Model(module), 3 * noise(1, 1, 4, 4), 1, "fullgrad")


def test_fullgrad_needs_a_grid():
    kind = KINDS["flat"]
    with pytest.raises(NoSpaceError, match="integrated-gradients"):
        sw.explain(kind.model(), kind.pictures(), 0, "fullgrad")


def test_what_is_computed_once_for_a_batch_is_no_part_of_a_picture():
    """Learned positions have one gradient for all pictures: a map would depend on its batch."""

    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.head = nn.Conv2d(3, 4, 4, 4), nn.Linear(4, 3)
            self.position, self.project = nn.Parameter(torch.randn(1, 2, 2, 2)), nn.Conv2d(2, 4, 1)

        def forward(self, pictures):
            tokens = self.patches(pictures) + self.project(self.position)
            return self.head(tokens.relu().mean((2, 3)))

    model, inputs = sw.Model(Placed().eval()), torch.randn(2, 3, 8, 8)
    with pytest.warns(SeewhyWarning, match="fullgrad misses"):
        together = sw.explain(model, inputs, 0, "fullgrad")
    with pytest.warns(SeewhyWarning, match="fullgrad misses"):
        (alone,) = sw.explain(model, inputs[:1], 0, "fullgrad")
    assert model.layer("project").still
    assert not model.layer("patches").still
    torch.testing.assert_close(together[0].relevance, alone.relevance)
