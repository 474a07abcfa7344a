"""A wrapper that makes one map of a method's maps at several layers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, ClassVar

from seewhy.errors import MethodError
from seewhy.methods.base import Attribution, Display, Method
from seewhy.methods.cam import Fusion, GradCAMPlusPlus, LayerMaps, Layers, fuse, spatial_layers
from seewhy.methods.registry import method
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

    method: any method with a layer, Grad-CAM++ by default. layer: the layers; None is the default
    one alone. fusion: the "product" of the maps' positive parts (what all layers agree on), their
    "mean", or their "max"; each map is first divided by its largest value in the picture.
    The map is (N, 1, *space). Raises MethodError for a method without a layer.
    """

    method: Method = field(default_factory=GradCAMPlusPlus)
    layer: Layers = None
    fusion: Fusion = "product"

    family: ClassVar[str] = "cam"

    def check(self) -> None:
        """Raise MethodError where a setting has no sense."""
        if not isinstance(self.method, Method):
            raise MethodError(f"layer-fusion takes a method, and {self.method!r} is none")
        if all(each.name != "layer" for each in fields(self.method)):
            raise MethodError(
                f"layer-fusion runs a method at several layers, and {self.method.name} uses none: "
                "choose one that does, such as grad-cam"
            )
        if self.method.layer is not None:  # type: ignore[attr-defined]
            raise MethodError(
                f"layer-fusion runs {self.method.name} at its own layers: give them to layer-fusion"
            )

    @property
    def display(self) -> Display:  # type: ignore[override]
        """As the method that it fuses."""
        return self.method.display

    def attribute(self, model: Model, prepared: Prepared, score: Score, run: Run) -> Attribution:
        """Map each layer, in one pass where the method can, and fuse."""
        layers = spatial_layers(model, prepared, self.layer)
        if isinstance(self.method, LayerMaps):
            found = self.method.at_layers(model, prepared, score, run, layers)
        else:
            each = [replace(self.method, layer=layer) for layer in layers]  # type: ignore[call-arg]
            found = [how.attribute(model, prepared, score, run) for how in each]
        maps = [each.relevance.sum(1, keepdim=True) for each in found]
        return Attribution(fuse(maps, self.fusion), layers=tuple(layers))
