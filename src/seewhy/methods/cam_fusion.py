"""A wrapper that makes one map of a method's maps at several layers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from seewhy.errors import MethodError, NoSpaceError
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.cam import (
    Fusion,
    GradCAMPlusPlus,
    LayerMaps,
    Layers,
    fuse,
    spatial_layers,
    summed,
)
from seewhy.methods.registry import method
from seewhy.model.layers import LayerSpec
from seewhy.run import Run

if TYPE_CHECKING:
    from seewhy.model.model import Model
    from seewhy.model.prepare import Prepared
    from seewhy.targets import Score


@method(
    "layer-fusion",
    paper="Domeniconi et al. 2026 (RefineCAM: the product)",
    cost="the method, for some once a layer",
    needs=("layers",),
)
@dataclass(frozen=True)
class LayerFusion(Method):
    """One map of a method's maps at several layers, as fine as the finest of them.

    method: any method with a layer of its own or of a method within it, Grad-CAM++ by default.
    layer: the layers; None is the method's default alone. fusion: the "product" of the maps'
    positive parts (what all layers agree on), their "mean", or their "max"; each map is first
    divided by its largest value in the picture.
    The map is (N, 1, *space). Raises MethodError for a method without a layer, NoSpaceError at a
    layer whose map has no space.
    """

    method: Method = field(default_factory=GradCAMPlusPlus)
    layer: Layers = None
    fusion: Fusion = "product"

    family: ClassVar[str] = "cam"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if not isinstance(self.method, Method):
            raise MethodError(f"layer-fusion takes a method, and {self.method!r} is none")
        holder = _with_layer(self.method)
        if holder is None:
            raise MethodError(
                f"layer-fusion runs a method at several layers, and {self.method.name} uses none: "
                "choose one that does, such as grad-cam"
            )
        if holder.layer is not None:  # type: ignore[attr-defined]
            raise MethodError(
                f"layer-fusion runs {holder.name} at its own layers: give them to layer-fusion"
            )

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it fuses."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Map each layer, in one pass where the method can, and fuse."""
        if isinstance(self.method, LayerMaps):
            layers = spatial_layers(model, prepared, self.layer)
            found = self.method.at_layers(model, prepared, score, run, layers)
            maps = [summed(self.method, each) for each in found]
        else:
            found = [how.attribute(model, prepared, score, run) for how in self._each()]
            maps = [each.relevance.sum(1, keepdim=True) for each in found]
        if any(each.ndim < 3 for each in maps):
            raise NoSpaceError(
                f"layer-fusion lays maps over each other, and {self.method.name} gives one without "
                "space: leave out layers after pooling"
            )
        layers = [layer for each in found for layer in each.layers]
        return Attribution(fuse(maps, self.fusion), layers=tuple(dict.fromkeys(layers)))

    def _each(self) -> list[Method]:
        """The method at each of the layers."""
        if self.layer == ():
            raise MethodError("layer is an empty list: name at least one layer, or leave it out")
        several = isinstance(self.layer, tuple | list)
        specs: Any = self.layer if several else (self.layer,)
        return [_at(self.method, each) for each in specs]


def _with_layer(how: Any) -> Method | None:
    """The method that has a layer: the one that is meant, or the one within it."""
    if not isinstance(how, Method):
        return None
    own = any(each.name == "layer" for each in fields(how))
    return how if own else _with_layer(getattr(how, "method", None))


def _at(how: Method, layer: LayerSpec) -> Method:
    """The method at a layer, which may be that of the method within it."""
    if any(each.name == "layer" for each in fields(how)):
        return replace(how, layer=layer)  # type: ignore[call-arg]
    return replace(how, method=_at(how.method, layer))  # type: ignore[attr-defined, call-arg]
