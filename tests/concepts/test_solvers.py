"""Factorizations: what is known exactly, and what scikit-learn finds."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF

from seewhy.concepts.solvers import k_means, nmf, pca, weights_of


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def parts(places=400, channels=30, count=4, noise=0.0):
    """Values that are made of so many parts, each in its own places, and the parts."""
    random = draw(7)
    vectors = torch.rand(count, channels, generator=random) * (
        torch.rand(count, channels, generator=random) < 0.4
    )
    weights = torch.rand(places, count, generator=random)
    weights *= torch.rand(places, count, generator=random) < 0.3
    values = weights @ vectors + noise * torch.rand(places, channels, generator=random)
    return values[None], vectors / vectors.norm(dim=1, keepdim=True)


def test_parts_are_found_again():
    values, vectors = parts()
    found = nmf(values, 4, draw())
    assert float(found.error) < 1e-3
    assert float(found.weights.min()) >= 0
    cosines = (found.vectors[0] @ vectors.T).amax(0)
    assert float(cosines.min()) > 0.999
    torch.testing.assert_close(found.vectors.norm(dim=2), torch.ones(1, 4))


def test_the_error_is_what_is_left():
    values, _ = parts(noise=0.3)
    for solve in (nmf, pca, k_means):
        found = solve(values, 3, draw())
        left = (values - found.weights @ found.vectors).norm() / values.norm()
        assert float(found.error) == pytest.approx(float(left), rel=1e-3)


@pytest.mark.parametrize("count", [1, 3, 6, 12])
def test_no_worse_than_scikit_learn(count):
    values, _ = parts(noise=0.5, count=9)
    found = nmf(values, count, draw())
    other = NMF(count, init="random", random_state=0, max_iter=400)
    other.fit(values[0].numpy())
    theirs = other.reconstruction_err_ / float(values.norm())
    assert float(found.error) <= 1.001 * theirs


def test_values_of_either_sign_have_signed_vectors_and_weights_that_are_not():
    """Semi-NMF: shifting a channel below zero must not lose it, as clipping would."""
    values, _ = parts()
    turned = values * torch.tensor([1.0, -1.0]).repeat(15)
    found = nmf(turned, 4, draw())
    assert float(found.error) < 0.02
    assert float(found.weights.min()) >= 0
    assert float(found.vectors.min()) < -0.1


def test_principal_components_are_numpys():
    values, _ = parts(noise=0.2)
    found = pca(values, 5, draw())
    _, size, right = np.linalg.svd(values[0].double().numpy(), full_matrices=False)
    cosines = np.abs(np.sum(found.vectors[0].numpy() * right[:5], 1))
    assert cosines.min() > 0.999
    np.testing.assert_allclose(found.weights[0].norm(dim=0).numpy(), size[:5], rtol=1e-3)


def test_clusters_that_lie_apart_are_found():
    random = draw(3)
    centres = 10 * torch.eye(4, 6)
    own = torch.randint(4, (200,), generator=random)
    values = (centres[own] + 0.1 * torch.randn(200, 6, generator=random))[None]
    found = k_means(values, 4, draw())
    assert float(found.error) < 0.05
    assert ((found.weights[0] > 0).sum(1) == 1).all()
    groups = found.weights[0].argmax(1)
    for number in range(4):
        assert len(groups[own == number].unique()) == 1


def test_weights_of_known_vectors_are_the_best_that_are_not_negative():
    from scipy.optimize import nnls

    values, vectors = parts(places=20, noise=0.5)
    weights, _ = weights_of(values, vectors[None], sweeps=300)
    for place in range(20):
        best, _ = nnls(vectors.T.double().numpy(), values[0, place].double().numpy())
        np.testing.assert_allclose(weights[0, place].numpy(), best, atol=1e-3)


def test_rounding_below_zero_is_zero():
    values, _ = parts(noise=0.5)
    below = values.clone()
    below[0, 3, 4] = -1e-8
    values[0, 3, 4] = 0
    assert torch.equal(nmf(below, 4, draw()).vectors, nmf(values, 4, draw()).vectors)
    below[0, 3, 4] = -0.5
    assert float(nmf(below, 4, draw()).vectors.min()) < 0


def test_one_seed_gives_one_answer():
    values, _ = parts(noise=0.5)
    for solve in (nmf, pca, k_means):
        one, two = (solve(values, 5, draw(1)) for _ in range(2))
        assert torch.equal(one.vectors, two.vectors)
