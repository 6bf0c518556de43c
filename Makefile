# make setup | demo | test | napari | lint | clean
#
# Variables:  PYTHON       interpreter that makes .venv (3.11 or newer)
#             TORCH_INDEX  package index for torch alone; see below
#             WEIGHTS      published weights that setup fetches; none for none
#             ARGS         passed on to qmedsam demo, pytest or the viewer

VENV ?= .venv
EXTRAS ?= gui,onnx,qat,nncf,dicom,cluster
GROUP ?= dev
ARGS ?=
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done

# The first of these that is new enough; `make PYTHON=...` overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { echo $$p; break; }; done)

# torch comes first and by itself, from wherever pip is set up to look: a CPU
# wheel of the pinned version that is offered locally wins over the plain one
# ("2.13.0+cpu" sorts above "2.13.0"), and whatever is installed afterwards
# finds torch in place. On Linux the plain wheel of PyPI brings CUDA along
# (some GB). PyTorch's CPU index avoids that, but it is not the default:
# where it cannot be reached, pip would hang on it or fail. So it is asked for:
#   make setup TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=

# The official LiteMedSAM, 39 MB. What cannot be had does not fail the set-up: models
# that come with the package serve.
WEIGHTS ?= lite_medsam

.DEFAULT_GOAL := help
.PHONY: help setup demo test napari lint clean

help:  ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(STAMP)  ## Make .venv with all that demo, test and napari need

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found;" \
		"name one with: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV) || \
		{ echo "Could not make $(VENV); on Debian and Ubuntu first:" \
		"apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -c constraints.txt pip  # knows dependency groups
	$(BIN)/python -m pip install -c constraints.txt \
		$(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install -c constraints.txt -e ".[$(EXTRAS)]" --group $(GROUP)
ifneq ($(WEIGHTS),none)
	@echo "Fetching the weights of $(WEIGHTS)..."
	@reason=$$($(BIN)/qmedsam fetch $(WEIGHTS) 2>&1) \
		|| echo "Set up without $(WEIGHTS). $$reason"
endif
	@touch $@

demo: setup  ## Segment the sample CT and MR volumes, print scores, write pictures
	$(BIN)/qmedsam demo $(ARGS)

test: setup  ## Run the test suite, on a virtual display if there is none
	scripts/headless.sh $(BIN)/python -m pytest $(ARGS)

napari: setup  ## Open napari with the plugin docked and a sample volume
	$(BIN)/python -m napari_qmedsam.gui.launch $(ARGS)

lint: setup  ## Check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:  ## Remove caches and build output, not .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .coverage htmlcov
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print | xargs rm -rf
