"""Names that the examples in docstrings use."""

import numpy as np
import pytest
import torch
from PIL import Image

import seewhy


@pytest.fixture(autouse=True)
def _names(doctest_namespace):
    doctest_namespace |= {"sw": seewhy, "np": np, "torch": torch, "nn": torch.nn, "Image": Image}
    doctest_namespace["Preprocess"] = seewhy.Preprocess
