import pytest
import torch
from torch import nn

import seewhy as sw


@pytest.fixture
def linear():
    """A linear model of six numbers and the classes a, b and c."""
    module = nn.Linear(6, 3)
    torch.nn.init.normal_(module.weight, generator=torch.Generator().manual_seed(0))
    return sw.Model(module.eval(), input_shape=(6,), labels=["a", "b", "c"])
