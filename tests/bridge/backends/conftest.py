"""These run on a backend of Keras that `test_backends.py` chose; without one they are left out."""

import os

if not os.environ.get("SEEWHY_BACKEND_TESTED"):
    collect_ignore_glob = ["test_*.py"]
