"""Controls: maps that know nothing of the model. A method that does not beat them says nothing.

They are methods to whoever runs them, and not registered: they explain nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from seewhy.errors import MethodError
from seewhy.fill import blurred
from seewhy.methods import as_method, settings
from seewhy.methods.base import Attribution, Display, Method, positive
from seewhy.model.layers import INPUT
from seewhy.model.tape.trees import full
from seewhy.run import Run, generator

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score

NOISE_STREAM = 31  # tells this use of a picture's random numbers from others


@dataclass(frozen=True)
class Sobel(Method):
    """The edges of the picture: the magnitude of the Sobel filter on the mean of the channels.

    The map is (N, 1, H, W), 0 or more.
    """

    name = "sobel"
    cost = "nothing"
    family = "controls"
    display: ClassVar[Display] = "positive"

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:  # noqa: ARG002
        """Return the edges."""
        grey = _pictures(prepared, self).mean(1, keepdim=True)
        across = grey.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        found = conv2d(
            pad(grey, (1, 1, 1, 1), "replicate"), torch.stack([across, across.T])[:, None]
        )
        return Attribution(found.square().sum(1, keepdim=True).sqrt(), layers=(INPUT,))


@dataclass(frozen=True)
class Centre(Method):
    """A Gaussian blob in the centre of the picture, where photographers put things.

    sigma: its standard deviation as a share of each side. The map is (N, 1, H, W), 0..1.
    """

    sigma: float = 0.25

    name = "centre"
    cost = "nothing"
    family = "controls"
    display: ClassVar[Display] = "positive"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        positive(self.sigma, "centre: sigma")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:  # noqa: ARG002
        """Return the blob."""
        pictures = _pictures(prepared, self)
        rows, columns = (
            (((torch.arange(side) + 0.5) / side - 0.5) / self.sigma).square()
            for side in pictures.shape[2:]
        )
        blob = ((rows[:, None] + columns) / -2).exp().to(pictures)
        return Attribution(blob.repeat(len(pictures), 1, 1, 1), layers=(INPUT,))


@dataclass(frozen=True)
class Random(Method):
    """Random numbers, the same for a picture whatever its batch.

    blur: standard deviation, as a share of the picture's shorter side, of the Gaussian that makes
    blobs of them; 0 leaves pixels. The map is (N, 1, H, W), 0..1.
    """

    blur: float = 0.0

    name = "random"
    cost = "nothing"
    family = "controls"
    display: ClassVar[Display] = "positive"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if self.blur:
            positive(self.blur, "random: blur")

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:  # noqa: ARG002
        """Return the numbers."""
        pictures = _pictures(prepared, self)
        draws = [generator(run.seed, key, NOISE_STREAM) for key in prepared.keys]
        shape = (1, *pictures.shape[2:])
        found = torch.stack([torch.rand(shape, generator=draw) for draw in draws]).to(pictures)
        return Attribution(blurred(found, self.blur) if self.blur else found, layers=(INPUT,))


CONTROLS: tuple[Method, ...] = (Sobel(), Centre(), Random())
"""What stands beside every evaluation."""


def as_control(spec: Method | type[Method] | str) -> Method:
    """Return the control that is meant: a method, its class, or the name of one of `CONTROLS`.

    Any method may serve as one. Raises MethodError that lists what there is.
    """
    if isinstance(spec, str):
        known = {each.name: type(each) for each in CONTROLS}
        name, _, options = spec.strip().partition(":")
        if name not in known:
            raise MethodError(f"there is no control {spec!r}: there are {', '.join(known)}")
        return settings.build(known[name], spec, options)
    return as_method(spec)


def _pictures(prepared: Prepared, how: Method) -> Tensor:
    """The pictures in full precision."""
    if prepared.tensor.ndim != 4:
        raise MethodError(
            f"{how.name} is a map of pictures (N, C, H, W), and an input of the shape "
            f"{tuple(prepared.tensor.shape)} came"
        )
    return full(prepared.tensor)
