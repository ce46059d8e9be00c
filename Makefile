# Needs Python 3.10 or newer and make; everything else goes into .venv.

PYTHON ?= python3
TORCH ?= torch==2.13.0
COMFYUI_PATH ?= $(HOME)/comfy/ComfyUI
COMFYUI_PYTHON ?= $(COMFYUI_PATH)/.venv/bin/python
# All but pipeline, networks, blend and grain need the project's face data, in ../shared/faces if
# ARGS says nothing else.
BENCHMARKS ?= pipeline networks detection restoration motion blend grain degradation auto noise printed identity guard
# A newer page than the ComfyUI checkout's own, for the browser tests.
PAGE ?= comfyui-frontend-package==1.58.1
# More arguments for pytest, the benchmarks or ComfyUI.
ARGS ?=

BIN := .venv/bin

.PHONY: demo test lint bench browser comfyui

demo: .venv/ready
	$(BIN)/kintsugi demo -o demo

test: .venv/ready
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/ready
	$(BIN)/ruff check .

bench: .venv/ready
	$(BIN)/python -m pip install -q -e '.[bench]'
	for table in $(BENCHMARKS); do $(BIN)/python -m kintsugi.benchmarks.$$table $(ARGS) || exit 1; done

# What the tests in the real page need beside Chromium and ComfyUI.
browser: .venv/ready
	$(BIN)/python -m pip install -q playwright
	$(BIN)/python -m pip install -q --no-deps --upgrade --target .venv/frontend $(PAGE)

comfyui:
	@test -x "$(COMFYUI_PYTHON)" || { echo "no Python at $(COMFYUI_PYTHON): set COMFYUI_PATH to a ComfyUI checkout with a .venv, or COMFYUI_PYTHON to its Python"; exit 1; }
	ln -sfn "$(CURDIR)" "$(COMFYUI_PATH)/custom_nodes/kintsugi-faces"
	$(COMFYUI_PYTHON) tests/host/launch.py "$(COMFYUI_PATH)" $(ARGS)

# Any torch that is there is kept; without one, a known version comes first so that pip does not
# choose another while it resolves the rest.
.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python -m pip install -q -e '.[demo,test]'
	touch $@
