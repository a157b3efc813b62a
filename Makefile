# Each target does all the set-up it needs, in .venv, the first time; after that it starts at once.
#
#   make demo             simulate a tomogram, segment it from one point, score it
#   make test             run the tests
#   make test-arithmetic  run the end-to-end tests with other processor instructions and two threads
#   make fuzz             read 10,000 damaged files of each format, which takes about half an hour; for every night
#   make page             build the page of cryosam serve, which needs npm
#   make lint             format, lint, types and layers, without changing a file
#   make page-check       format, lint, types and unit tests of the page, which needs npm
#   make clean            remove .venv, the demo's output and every cache
#
# Another interpreter: make PYTHON=python3.12 test

PYTHON := python3
VENV := .venv
OUT := cryosam-demo

BIN := $(VENV)/bin
# What `cryosam serve` shows; without npm the command line works all the same.
PAGE := src/cryosam/ui/server/static/index.html
PAGE_TOOLS := page/node_modules/.package-lock.json
PAGE_IF_NPM := $(if $(shell command -v npm),$(PAGE))
# The interpreter's name is part of the first stamp, so that asking for another one makes the environment anew.
CREATED := $(VENV)/.created-by-$(subst /,_,$(PYTHON))
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: demo test test-arithmetic fuzz page page-check lint clean

demo: $(VENV)/.installed $(PAGE_IF_NPM)
	$(BIN)/cryosam demo --out "$(OUT)" --overwrite

# Two processes: the tests hold numpy and torch to one thread each (tests/conftest.py).
test: $(VENV)/.installed-dev $(PAGE_IF_NPM)
	$(BIN)/python -m pytest -n 2

# An answer must not depend on the processor: products are rounded otherwise without its newest instructions.
test-arithmetic: $(VENV)/.installed-dev
	ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=2 $(BIN)/python -m pytest tests/test_segmentation.py -k "averages or kinds or microtubule or probabilities"

fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=fuzz tests/test_damaged_files.py tests/test_damaged_volumes.py

page: $(PAGE)

$(PAGE): $(PAGE_TOOLS) $(shell find page -name node_modules -prune -o -type f -print)
	cd page && npm run --silent build
	@touch "$@"

page-check: $(PAGE_TOOLS)
	@echo "--- page: tsc, biome"
	@cd page && npm run --silent check
	@echo "--- page: vitest"
	@cd page && npm run --silent test

$(PAGE_TOOLS): page/package.json page/package-lock.json
	@command -v npm >/dev/null || { echo "npm not found: install Node.js 20 or newer, with npm, to build and check the page"; exit 1; }
	cd page && npm ci --no-fund --no-audit --loglevel=error
	@touch "$@"

lint: $(VENV)/.installed-dev
	@echo "--- ruff format"
	@$(BIN)/ruff format --check .
	@echo "--- ruff check"
	@$(BIN)/ruff check .
	@echo "--- mypy"
	@$(BIN)/mypy
	@echo "--- lint-imports"
	@$(BIN)/lint-imports

clean:
	rm -rf "$(VENV)" "$(OUT)" dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian and Ubuntu ship python3 without ensurepip; the pip that is there can fill the environment instead.
$(CREATED):
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) not found: install Python 3.11 or newer, or give one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Python 3.11 or newer is needed, $(PYTHON) is {v[0]}.{v[1]}; give another one: make PYTHON=python3.12")'
	@echo "making $(VENV) with $(PYTHON)"
	@if "$(PYTHON)" -c 'import ensurepip' 2>/dev/null; then \
	    "$(PYTHON)" -m venv --clear "$(VENV)"; \
	else \
	    "$(PYTHON)" -m venv --clear --without-pip "$(VENV)" && \
	    "$(PYTHON)" -m pip --python "$(BIN)/python" install --disable-pip-version-check --quiet pip; \
	fi || { echo "$(PYTHON) cannot make a virtual environment: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	@touch "$@"

$(VENV)/.installed: $(CREATED) pyproject.toml constraints.txt
	@echo "installing the package into $(VENV), which takes some minutes"
	@$(INSTALL) --editable '.[serve]'
	@touch "$@"

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "installing the tools for development into $(VENV)"
	@$(INSTALL) --editable '.[dev]'
	@touch "$@"
