"""The conformance suite: what every method promises on every kind of model, for anyone to run.

>>> from seewhy.methods import Gradient
>>> check_method(Gradient(), kinds=["plain"])
{'plain': 'applies'}
"""

from seewhy.testing.conformance import CHECKS, check_method
from seewhy.testing.kinds import KINDS, Kind

__all__ = ["check_method", "CHECKS", "KINDS", "Kind"]
