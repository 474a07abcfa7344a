# Everything here sets itself up: Python 3.11 or newer and make are all that is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export PIP_ROOT_USER_ACTION := ignore
# What runs here shares its cores: more threads than cores make everything slower.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo check test test-all bench format clean

demo: $(VENV)/core ## run the main job on the pictures and the model that come along
	$(BIN)/seewhy demo --out seewhy-out

check: $(VENV)/dev ## lint, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/dev ## every test but the wide sweep
	$(BIN)/pytest -n 2 -m "not slow"

test-all: $(VENV)/dev ## every test
	$(BIN)/pytest -n 2

bench: $(VENV)/dev ## measure against the published packages, into docs/benchmarks.md
	$(PIP) pandas cachetools
	$(PIP) --no-deps quantus torchray
	$(BIN)/python -m benchmarks

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) seewhy-out

$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "seewhy needs Python 3.11 or newer: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e .
	touch $@

# The packages of the last line ask for torchvision, or for OpenCV with windows: neither is wanted
# as they ask for it, so they come without their dependencies.
$(VENV)/dev: $(VENV)/core
	$(PIP) -e '.[dev,hf,keras,flax,onnx,tensorboard,lightning]' tensorflow-cpu onnxscript
	$(PIP) opencv-python-headless scikit-learn ttach tqdm
	$(PIP) --no-deps torchvision timm grad-cam captum torchcam zennit onnx2torch
	touch $@
