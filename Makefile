# `make demo` and `make test` each do all set-up on a fresh machine: Python 3.10 or newer, make and a
# package index are enough. Both may be repeated at any time.

PYTHON ?= python3
VENV ?= .venv
# Another index for torch, such as TORCH_INDEX=https://download.pytorch.org/whl/cpu (or .../cu128).
# Empty: the ordinary index.
TORCH_INDEX ?=
# More settings for the demo run, such as DEMO_SETTINGS="RNG_SEED 1 OUTPUT_DIR runs/seed1".
DEMO_SETTINGS ?=
DEMO_VIDEOS ?=
# How many tests run side by side; `auto`: one for each core, 8 at most.
TEST_PROCESSES ?= auto

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A process that has done its tests takes half of those that wait for another: neighbours mostly stay together,
# as what they share is made once a process.
SIDE_BY_SIDE := -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal

.PHONY: help install demo test test-slow test-all lint clean

help:
	@echo "make demo      install, make the demo videos, train, test, write the report page"
	@echo "make test      install, run the tests"
	@echo "make test-all  the tests marked slow too"
	@echo "make lint      ruff's checks and format"
	@echo "make clean     remove $(VENV), runs/ and the demo videos"

install: $(STAMP)

$(STAMP): setup.py pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and \
	    "Python 3.10 or newer is needed, this is %d.%d; call make with PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

demo: install
	$(BIN)/python tools/make_demo_data.py $(DEMO_VIDEOS)
	$(BIN)/python tools/run_net.py --cfg configs/demo/uniformer_demo.yaml $(DEMO_SETTINGS)

test: install
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

# one of four groups of the tests that take minutes, by the number GROUP
test-slow: install
	$(BIN)/python -m pytest -m slow --slow-group $(GROUP)/4

test-all: test
	$(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs datasets/demo/[!R]*
