"""Inside: what a network's layers make of pictures, their filters, and what excites a unit."""

from seewhy.inside.activations import Channels, activations
from seewhy.inside.examples import Example, Exciting
from seewhy.inside.exciting import By, exciting
from seewhy.inside.filters import Filters, filters
from seewhy.inside.recorded import Activations

__all__ = [
    "activations",
    "exciting",
    "filters",
    "Activations",
    "By",
    "Channels",
    "Example",
    "Exciting",
    "Filters",
]
