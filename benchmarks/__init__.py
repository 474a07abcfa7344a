"""Side by side with the published packages: `python -m benchmarks` measures all, a name one."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import torchvision_operators  # noqa: F401 - before anything imports torchvision
