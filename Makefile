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
# Into how many groups the slow tests are divided, and which of them `make test-slow` runs.
SLOW_GROUPS := 6
GROUP ?= $(shell echo $$(($$(git rev-list --count HEAD) % $(SLOW_GROUPS))))
# How many tests run side by side; `auto`: one for each core, 8 at most.
TEST_PROCESSES ?= auto

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RESOLVED := $(VENV)/.resolved
PYTHONS := 3.10 3.11 3.12 3.13
# A process that has done its tests takes half of those that wait for another: neighbours mostly stay together,
# as what they share is made once a process.
SIDE_BY_SIDE := -n $(TEST_PROCESSES) --maxprocesses 8 --dist worksteal

.PHONY: help install demo demo-inflate demo-dense pictures test test-slow test-wheel test-browser test-all lint clean
.PRECIOUS: $(INSTALLED)-%
.NOTPARALLEL:

help:
	@echo "make demo      install, make the demo videos, train, test, write the report page"
	@echo "make demo-inflate  install, make stills and videos, train a 2D model, and a video model from scratch and"
	@echo "                   from both inflations; DEMO_SETTINGS=\"RNG_SEED 1\" takes another seed"
	@echo "make demo-dense  install, make pictures with masks, train a segmentation model, test, write the page;"
	@echo "                   DEMO_SETTINGS=\"RNG_SEED 1 OUTPUT_DIR runs/dense1\" takes another seed"
	@echo "make test      install, run the tests"
	@echo "make pictures  make the README's pictures of the demo anew, with a Chromium that is installed"
	@echo "make test-all  the tests marked slow too"
	@echo "make test-browser  the report page in an installed Chromium (UNIFORMER_CHROMIUM names another)"
	@echo "make lint      ruff's checks and format; mypy; whether the pins fit together on Python 3.10 to 3.13"
	@echo "make install   everything that the others need"
	@echo "make clean     remove $(VENV), runs/ and what the demos made"

# Everything; `demo`, `test` and `lint` install what they need of it.
install: $(INSTALLED)-all

# One stamp for each extra.
$(INSTALLED)-%: $(INSTALLED)-torch setup.py pyproject.toml
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[$*]'
	@touch $@

$(INSTALLED)-torch: constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and \
	    "Python 3.10 or newer is needed, this is %d.%d; call make with PYTHON=python3.12" % v[:2])'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@touch $@

demo: $(INSTALLED)-report $(INSTALLED)-fast
	$(BIN)/python tools/make_demo_data.py $(DEMO_VIDEOS)
	$(BIN)/python tools/run_net.py --cfg configs/demo/uniformer_demo.yaml $(DEMO_SETTINGS)

# what inflation is worth; the table holds every seed that was run
demo-inflate: $(INSTALLED)-report $(INSTALLED)-fast
	$(BIN)/python tools/make_demo_data.py --inflation
	$(BIN)/python -m uniformer_video bench inflation --cfg configs/demo/inflate.yaml $(DEMO_SETTINGS)

# segmentation: a class for each pixel
demo-dense: $(INSTALLED)-report $(INSTALLED)-fast
	$(BIN)/python tools/make_demo_data.py --dense
	$(BIN)/python tools/run_net.py --cfg configs/demo/dense.yaml $(DEMO_SETTINGS)

# those of the README, of the demo's videos and page
pictures: demo $(INSTALLED)-browser
	$(BIN)/python docs/pictures/make_pictures.py

test: $(INSTALLED)-test
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not slow and not browser"

# one group of the tests that take minutes: the number of commits chooses it, or GROUP=0
test-slow: $(INSTALLED)-test
	$(BIN)/python -m pytest -m slow --slow-group $(GROUP)/$(SLOW_GROUPS)

# the wheel in a clean environment
test-wheel: $(INSTALLED)-test
	$(BIN)/python -m pytest -m slow tests/test_wheel.py

# the pages in a Chromium that is installed; skipped, with the reason, where there is none
test-browser: $(INSTALLED)-test $(INSTALLED)-browser
	$(BIN)/python -m pytest -m browser -rs

test-all: test test-browser
	$(BIN)/python -m pytest -m slow

lint: $(INSTALLED)-lint $(RESOLVED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pins fit together on every Python that is supported. This asks the package index, and so only where
# something changed.
$(RESOLVED): setup.py constraints.txt | $(INSTALLED)-lint
	for version in $(PYTHONS); do \
	    $(BIN)/uv pip compile --quiet setup.py --all-extras -c constraints.txt --python-version $$version \
	        > /dev/null || exit 1; \
	done
	@touch $@

clean:
	rm -rf $(VENV) runs datasets/demo/[!R]* datasets/inflation datasets/dense
