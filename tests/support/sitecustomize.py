"""For processes that tests start with this folder on PYTHONPATH."""

import torchvision_operators  # noqa: F401
