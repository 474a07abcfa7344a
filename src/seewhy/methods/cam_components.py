"""Class activation maps that ask what stands out among the activations: components, outliers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.errors import MethodError, NoSpaceError
from seewhy.methods.base import Attribution, Display, Method, positive
from seewhy.methods.cam import CANCELLED, ActivationCAM, GradCAM, GradientCAM, LayerMaps
from seewhy.methods.registry import method
from seewhy.methods.smoothing import check_wrapped
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

DENSE = 768  # places a side: from here on one eigenvector is found faster than all
MOST = 4096  # places of which all pairs are compared: 128 MiB
SAME = 1e-6  # of a channel's largest value: what rounding makes of a constant


@method("eigen-cam", paper="Muhammad & Yeasin 2020", cost="1 forward", needs=("layers",))
@dataclass(frozen=True)
class EigenCAM(ActivationCAM):
    """Activations projected on their first principal component: what stands out, for no class.

    centred: subtract the mean of each channel first, as the package grad-cam does and the paper
    does not. The component's sign, which the decomposition leaves open, is the one with which the
    map agrees with the energy of the activations (the sum of their squares over the channels).
    The map is (N, 1, *space) and signed; the target has no part in it.
    """

    centred: bool = False

    def combine(self, activations: Tensor) -> Tensor:
        """Project A, places x channels, on its first right singular vector."""
        return principal(activations, centred=self.centred)


@method(
    "eigen-grad-cam",
    paper="Muhammad & Yeasin 2020, on gradient x activation (the package grad-cam)",
    cost="1 forward, 1 backward to the layer",
    needs=("gradient", "layers"),
)
@dataclass(frozen=True)
class EigenGradCAM(GradientCAM):
    """Activations times gradients, projected on their first principal component.

    centred: subtract the mean of each channel first. The sign is that of Eigen-CAM's rule: positive
    where activations times gradients have the most energy, for or against the target.
    The map is (N, 1, *space) and signed.
    """

    centred: bool = False

    def combine(self, activations: Tensor, gradients: Tensor) -> Tensor:
        """Eigen-CAM of g A."""
        return principal(gradients * activations, centred=self.centred)


@method("kpca-cam", paper="Karmani et al. 2024", cost="1 forward", needs=("layers",))
@dataclass(frozen=True)
class KPCACAM(ActivationCAM):
    """The first component of the activations by kernel PCA: Eigen-CAM that can bend.

    kernel: "sigmoid" tanh(gamma a.b + 1), "rbf" exp(-gamma |a - b|^2), or "linear" a.b, which is
    Eigen-CAM with centred channels; a and b are the activations of two places less their mean.
    gamma: None is 1 / channels. The sign is that of Eigen-CAM's rule.
    The map is (N, 1, *space) and signed; the target has no part in it. Raises MethodError at layers
    of more than 4,096 places, all pairs of which are compared.
    """

    kernel: Literal["sigmoid", "rbf", "linear"] = "sigmoid"
    gamma: float | None = None

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if self.gamma is not None:
            positive(self.gamma, "kpca-cam: gamma")

    def combine(self, activations: Tensor) -> Tensor:
        """Kernel PCA of the places, one picture at a time."""
        places = activations[0, 0].numel()
        if places > MOST:
            raise MethodError(
                f"kpca-cam compares all pairs of places, and this layer has {places:,}: choose one "
                f"of at most {MOST:,}, or use eigen-cam, which takes any number"
            )
        return torch.cat([self._of_one(each[None]) for each in activations])

    def _of_one(self, activations: Tensor) -> Tensor:
        places = _places(activations, centred=True)[0]
        products = places @ places.T
        gamma = self.gamma or 1 / places.shape[1]
        match self.kernel:
            case "sigmoid":
                products = torch.tanh(gamma * products + 1)
            case "rbf":
                square = products.diagonal()
                distances = (square[:, None] + square - 2 * products).clamp(min=0)
                products = torch.exp(-gamma * distances)
        mean = products.mean(0)
        products = products - mean - mean[:, None] + mean.mean()
        energy = places.square().sum(1)
        value, vector = _first(products[None], energy[None])
        found = value.clamp(min=0).sqrt()[:, None] * vector
        found = found * _sign(found, energy[None])
        return found.reshape(1, 1, *activations.shape[2:]).to(activations)


@method("fem", paper="Fuad et al. 2020", cost="1 forward", needs=("layers",))
@dataclass(frozen=True)
class FEM(ActivationCAM):
    """Where channels are exceptionally active, each counted with its mean activation.

    k: standard deviations above the channel's mean from which on a place counts. (The package
    grad-cam weights the activations themselves, by the share of places that count.)
    The map is (N, 1, *space); the target has no part in it.
    """

    k: float = 2.0

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if not 0 <= self.k < float("inf"):
            raise MethodError(f"fem: k is {self.k!r}: give standard deviations, 0 or more")

    def combine(self, activations: Tensor) -> Tensor:
        """The k-sigma rule: mu 1[A >= mu + k sigma]."""
        space = tuple(range(2, activations.ndim))
        values = activations.double()
        mean = values.mean(space, keepdim=True)
        deviation = values.std(space, correction=0, keepdim=True)
        # all of a constant channel counts, whatever rounding makes of its mean
        slack = SAME * values.abs().amax(space, keepdim=True)
        return (mean * (values >= mean + self.k * deviation - slack)).to(activations)


@method(
    "principal-component",
    paper="Gildenblat 2021 (pytorch-grad-cam, eigen_smooth)",
    cost="the method",
)
@dataclass(frozen=True)
class PrincipalComponent(Method):
    """A method's channels projected on their first principal component instead of summed.

    method: any method with several channels, Grad-CAM by default: of a class activation map the
    weighted activations, of other methods their map. centred: subtract the mean of each channel
    first, as the package grad-cam does. The sign is the one with which the map agrees with the sum
    that it replaces; where the channels cancel in the sum, that of Eigen-CAM's rule.
    The map is (N, 1, *space) and signed. checks: the method's own, of its sum.
    Raises MethodError for a method of one channel, NoSpaceError for a map without space.
    """

    method: Method = field(default_factory=GradCAM)
    centred: bool = False

    family: ClassVar[str] = "cam"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        check_wrapped(self, self.method)

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method whose channels it takes."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Project what would be summed."""
        if isinstance(self.method, LayerMaps):
            return self.method.fused(model, prepared, score, run, self._projected)
        found = self.method.attribute(model, prepared, score, run)
        return replace(found, relevance=self._projected(found))

    def _projected(self, found: Attribution) -> Tensor:
        channels = found.relevance
        if channels.ndim < 3:
            raise NoSpaceError(
                f"principal-component compares the places of a map, and that of {self.method.name} "
                f"has none (it is {tuple(channels.shape[1:])} for a picture): use the method itself"
            )
        if channels.shape[1] == 1:
            raise MethodError(
                f"principal-component takes several channels, and {self.method.name} gives one "
                "here: choose a method of more, such as grad-cam or gradient-x-activation, or put "
                "principal-component inside, as in smoothgrad:method=principal-component"
            )
        parts = principal(channels, centred=self.centred, like_sum=True)
        return parts.sum(1, keepdim=True)


def principal(values: Tensor, *, centred: bool, like_sum: bool = False) -> Tensor:
    """Return channels (N, C, *space) whose sum is their projection on the first component.

    By the eigenvectors of the smaller Gram matrix, of places or of channels, in double precision;
    oriented so that the projection agrees with the energy, or like_sum: with the channels' sum.
    """
    places = _places(values, centred=centred)
    energy = places.square().sum(2)
    if places.shape[1] < places.shape[2]:
        _, left = _first(places @ places.mT, energy)
        right = (places.mT @ left[..., None])[..., 0]  # the singular value times the vector
        length = right.norm(dim=1, keepdim=True)
        right = right / torch.where(length > 0, length, 1)
    else:
        _, right = _first(places.mT @ places, places.abs().mean(1))
    projection = (places @ right[..., None])[..., 0]
    sign = _sign(projection, energy)
    if like_sum:
        whole, size = places.sum(2), places.abs().sum(2)
        agreement = (projection * whole).sum(1, keepdim=True).abs()
        least = CANCELLED * (projection.abs() * size).sum(1, keepdim=True)
        sign = torch.where(agreement > least, _sign(projection, whole), sign)
    parts = places * (sign * right)[:, None]
    return parts.mT.reshape(values.shape).to(values)


def _places(values: Tensor, *, centred: bool) -> Tensor:
    """(N, places, C) in double precision."""
    places = values.flatten(2).mT.double()
    return places - places.mean(1, keepdim=True) if centred else places


def _first(symmetric: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The largest eigenvalue (N,) and its unit vector (N, n) of symmetric matrices (N, n, n).

    start: (N, n), not orthogonal to it, from which a search for the vector of a large matrix goes.
    """
    if symmetric.shape[1] <= DENSE:
        values, vectors = torch.linalg.eigh(symmetric)
        return values[:, -1], vectors[..., -1]
    uneven = torch.linspace(1, 2, start.shape[1]).to(start)  # alike everywhere may be orthogonal
    begin = (start + uneven * start.abs().mean(1, keepdim=True) + 1e-12)[..., None]
    values, vectors = torch.lobpcg(symmetric, X=begin, niter=200, largest=True)
    return values[:, 0], vectors[..., 0]


def _sign(projection: Tensor, wanted: Tensor) -> Tensor:
    """(N, 1): -1 where a projection (N, places) has to be turned to agree with what is wanted."""
    agreement = (projection * wanted).sum(1, keepdim=True)
    return torch.where(agreement < 0, -1.0, 1.0)
