"""A warning stands at the reader's own line, not at one of the package."""

import pytest
import torch
from torch import nn

import seewhy as sw
from seewhy.errors import SeewhyWarning


def test_a_warning_names_the_line_that_led_to_it():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.warns(SeewhyWarning, match="training mode") as told:
        sw.explain(module, torch.randn(1, 3, 2, 2), 0, "gradient")
    assert [each.filename for each in told] == [__file__]
