"""Fills: what stands where something was removed."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

from seewhy.errors import MethodError
from seewhy.fill import Blur, Constant, NoisyLinear, as_fill, blurred, linear

FILLS = [Constant(0.25), Blur(), NoisyLinear()]


def exact(picture, keep):
    """The linear system of ROAD, solved by scipy: picture (C, H, W), keep (H, W)."""
    channels, height, width = picture.shape
    rows, columns, weights = [], [], []
    known = np.zeros((height * width, channels))
    for y in range(height):
        for x in range(width):
            own = y * width + x
            if keep[y, x]:
                known[own] = picture[:, y, x]
                continue
            around = {
                (y + v) * width + x + u: 1 / 12 if u and v else 1 / 6
                for v in (-1, 0, 1)
                for u in (-1, 0, 1)
                if (u or v) and 0 <= y + v < height and 0 <= x + u < width
            }
            total = sum(around.values())
            rows += [own] * len(around)
            columns += list(around)
            weights += [-each / total for each in around.values()]
    size = height * width
    rows, columns = rows + list(range(size)), columns + list(range(size))
    matrix = coo_matrix((weights + [1.0] * size, (rows, columns)), (size, size)).tocsc()
    return torch.from_numpy(spsolve(matrix, known).reshape(height, width, channels)).permute(
        2, 0, 1
    )


def masks(size):
    scattered = torch.rand(size, size) < 0.1
    blobs = blurred(torch.randn(1, 1, size, size), 0.06)[0, 0]
    patches = (torch.rand(-(-size // 8), -(-size // 8)) < 0.1).repeat_interleave(8, 0)
    corner = torch.zeros(size, size, dtype=torch.bool)
    corner[: size // 8, : size // 8] = True
    return {
        "scattered": scattered,
        "blobs": blobs > blobs.flatten().quantile(0.9),
        "patches": patches.repeat_interleave(8, 1)[:size, :size],
        "corner": corner,
        "hole": ~corner.roll((size // 2, size // 3), (0, 1)),
    }


@pytest.mark.parametrize("size", [64, 51])
@pytest.mark.parametrize("kind", ["scattered", "blobs", "patches", "corner", "hole"])
def test_linear_agrees_with_the_sparse_solve(size, kind):
    """ROAD's system solved exactly; 90 % is removed of most masks."""
    picture = blurred(torch.randn(1, 3, size, size), 0.03) * 5 + 0.3 * torch.randn(1, 3, size, size)
    keep = masks(size)[kind]
    found = linear(picture, keep[None, None])[0]
    gap = (found - exact(picture[0].double().numpy(), keep.numpy()))[:, ~keep]
    assert gap.square().mean().sqrt() <= 0.02 * picture.std()


def test_linear_agrees_with_the_published_imputer():
    """grad-cam's copy of ROAD's own imputer."""
    road = pytest.importorskip("pytorch_grad_cam.metrics.road")
    picture, keep = torch.randn(1, 3, 40, 48), torch.rand(40, 48) < 0.3
    theirs = road.NoisyLinearImputer(noise=0)(picture[0], keep.float())
    ours = NoisyLinear(noise=0)(picture, keep[None])[0]
    torch.testing.assert_close(ours, theirs, atol=0.005, rtol=0)


def test_a_linear_ramp_is_restored():
    """Every pixel of a ramp is the mean of its neighbours, away from the picture's edge."""
    ramp = torch.linspace(0, 1, 33).expand(1, 1, 33, 33)
    keep = torch.ones(1, 33, 33, dtype=torch.bool)
    keep[:, 8:25, 5:20] = False
    torch.testing.assert_close(NoisyLinear(noise=0)(ramp, keep), ramp, atol=2e-3, rtol=0)


@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_what_is_kept_stays_exactly(fill):
    pictures, keep = torch.randn(2, 3, 17, 20), torch.rand(2, 17, 20) < 0.5
    found = fill(pictures, keep)
    assert found.shape == pictures.shape
    chosen = keep[:, None].expand_as(pictures)
    assert torch.equal(found[chosen], pictures[chosen])
    assert not torch.equal(found[~chosen], pictures[~chosen])
    assert torch.equal(found, fill(pictures, keep[:, None]))


@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_a_picture_is_filled_alike_in_any_batch(fill):
    pictures, keep = torch.randn(3, 3, 24, 24), torch.rand(3, 24, 24) < 0.3
    together = fill(pictures, keep, seed=3)
    for row in (2, 0):
        alone = fill(pictures[row : row + 1], keep[row : row + 1], seed=3)
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_a_bound_fill_takes_rows_in_any_order(fill):
    pictures, keep = torch.randn(2, 3, 16, 16), torch.rand(2, 16, 16) < 0.5
    rows = torch.tensor([1, 0, 1])
    found = fill.bind(pictures)(rows, keep[rows])
    torch.testing.assert_close(found, fill(pictures, keep)[rows])


def test_a_picture_of_which_nothing_is_left_becomes_its_mean():
    pictures = torch.randn(2, 3, 20, 20)
    keep = torch.zeros(2, 20, 20, dtype=torch.bool)
    keep[1] = torch.rand(20, 20) < 0.2
    found = NoisyLinear(noise=0)(pictures, keep)
    torch.testing.assert_close(
        found[0], pictures[0].mean((1, 2), keepdim=True).expand(3, 20, 20), atol=1e-4, rtol=0
    )


def test_one_kept_pixel_fills_the_picture():
    pictures, keep = torch.randn(1, 3, 20, 31), torch.zeros(1, 20, 31, dtype=torch.bool)
    keep[0, 4, 7] = True
    found = NoisyLinear(noise=0)(pictures, keep)
    wanted = pictures[:, :, 4:5, 7:8].expand_as(pictures)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


def test_noise_is_of_the_size_asked_for_and_follows_the_seed():
    pictures, keep = 4 * torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64, dtype=torch.bool)
    plain, noisy = NoisyLinear(0.0)(pictures, keep), NoisyLinear(0.1)(pictures, keep)
    assert (noisy - plain).std() == pytest.approx(0.4, rel=0.05)
    state = torch.random.get_rng_state()
    assert torch.equal(noisy, NoisyLinear(0.1)(pictures, keep))
    assert not torch.equal(noisy, NoisyLinear(0.1)(pictures, keep, seed=1))
    assert torch.equal(state, torch.random.get_rng_state())


def test_blur_keeps_what_is_even_and_the_mean_of_noise():
    even = torch.full((1, 1, 12, 30), 0.7)
    torch.testing.assert_close(blurred(even, 0.2), even)
    spike = torch.zeros(1, 1, 41, 41)
    spike[..., 20, 20] = 1
    found = blurred(spike, 2 / 41)[0, 0, 20]
    assert float(found[22] / found[20]) == pytest.approx(np.exp(-0.5), rel=1e-3)


def test_constants_by_channel():
    pictures, keep = torch.randn(1, 3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool)
    found = Constant((0.1, 0.2, 0.3))(pictures, keep)
    torch.testing.assert_close(found[0, :, 1, 2], torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("text", "fill"),
    [
        ("blur", Blur()),
        ("blur:0.2", Blur(0.2)),
        ("noisy-linear", NoisyLinear()),
        ("noisy-linear:noise=0", NoisyLinear(0.0)),
        ("constant:0", Constant(0.0)),
        ("constant:value=0.1+0.2+0.3", Constant((0.1, 0.2, 0.3))),
    ],
)
def test_fills_are_written_and_read(text, fill):
    assert as_fill(text) == fill
    assert as_fill(str(fill)) == fill


@pytest.mark.parametrize(
    "text", ["paint", "blur:strength=2", "blur:much", "blur:-1", "blur:1+2", "noisy-linear:-0.1"]
)
def test_what_is_no_fill_is_refused(text):
    with pytest.raises(MethodError):
        as_fill(text)


@pytest.mark.parametrize("fill", FILLS, ids=str)
def test_masks_and_pictures_that_do_not_fit_are_refused(fill):
    pictures = torch.randn(2, 3, 8, 8)
    with pytest.raises(MethodError, match="mask"):
        fill(pictures, torch.ones(2, 8, 9, dtype=torch.bool))
    with pytest.raises(MethodError, match="mask"):
        fill(pictures, torch.ones(2, 8, 8))
    with pytest.raises(MethodError, match="N, C, H, W"):
        fill(pictures[0], torch.ones(2, 8, 8, dtype=torch.bool))


def test_a_constant_for_other_channels_is_refused():
    with pytest.raises(MethodError, match="channels"):
        Constant((0.1, 0.2))(torch.randn(1, 3, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool))


@pytest.mark.parametrize("fill", FILLS, ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 3, 1, 9), (2, 1, 2, 3)])
def test_the_smallest_pictures_are_filled(fill, shape):
    found = fill(torch.randn(shape), torch.zeros(shape[0], *shape[2:], dtype=torch.bool))
    assert bool(torch.isfinite(found).all())


def test_half_precision_stays_half():
    pictures, keep = torch.randn(1, 3, 16, 16).half(), torch.rand(1, 16, 16) < 0.5
    for fill in FILLS:
        assert fill(pictures, keep).dtype == torch.float16
