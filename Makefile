# One command each for what people do with this repository; every one sets up what it needs.
#
# The virtual environment and the front end are made once: stamps and file times say what is stale.

PYTHON ?= python3
VENV ?= .venv
# A pip constraints file; continuous integration pins what it downloads with it.
CONSTRAINTS ?=
# Processes that run the Python tests at a time.
WORKERS ?= 2
PYTEST_ARGS ?=
LAB_ARGS ?=
# Folder with train.tsv and dev.tsv of SST-2 (text, tab, label), for bench-distill.
SST2 ?= data/sst2
# For bench-distill FULL=1: a folder with train and dev in columns, and a file with a text a line.
NER ?=
CORPUS ?=
# Benchmarks to run, for instance ONLY=load,capture; all by default.
ONLY ?=

BIN := $(VENV)/bin
PLUGINS := $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))
EDITABLE := $(foreach plugin,$(PLUGINS),-e ./$(plugin))
PIP_INSTALL := $(BIN)/python -m pip install --disable-pip-version-check $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
DECLARATIONS := pyproject.toml $(PLUGINS:%=%/pyproject.toml)
FRONT_END := $(shell find js -name node_modules -prune -o \( -path '*/src/*' -o -path 'js/scripts/*' \
	-o -name package.json -o -name package-lock.json \) -type f -print)
STARTERS := $(shell find lmkit/models/starters -path '*/__pycache__' -prune -o -type f -print)
# What the front end's build leaves in the Python package.
BUILT := lmkit/static/core.js lmkit/static/widget.js lmkit/labextension/package.json
# The extension of VS Code. Its tests run in a VS Code of their own, and in the widget manager of
# VS Code's Jupyter extension: both are made from npm, below.
VSIX := dist/lmkit.vsix
VSCODE := $(FRONT_END) $(wildcard js/vscode/*.json js/vscode/l10n/*) js/vscode/README.md LICENSE \
	$(wildcard js/vscode/scripts/* js/vscode/media/* js/vscode/test/host/*)
LABEXTENSION := $(VENV)/share/jupyter/labextensions/lmkit

.PHONY: help lab demo test check build starters bench bench-distill vsix dist pictures architectures clean
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: $(VENV)/.lab $(VENV)/.starters ## JupyterLab on notebooks/quickstart.ipynb
	$(BIN)/jupyter lab $(LAB_ARGS) notebooks/quickstart.ipynb

demo: $(VENV)/.lab $(VENV)/.starters ## run the quickstart without a browser; writes demo/
	$(BIN)/python notebooks/run.py notebooks/quickstart.ipynb --out demo

test: check $(VSIX) $(VENV)/.code-server $(VENV)/.widget-manager ## all tests: linters, types, TypeScript, Python, browser
	cd js && npm test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_ARGS)

check: $(VENV)/.test $(VENV)/.starters ## linters and type checkers of both languages
	@$(BIN)/python tests/e2e/chromium.py
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd js && npm run check

build: $(BUILT) ## the front end, into lmkit/static and lmkit/labextension

starters: $(VENV)/.starters ## the starter models

bench: $(VENV)/.bench $(VENV)/.starters ## benchmarks; ONLY=load,capture for some of them
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-distill: $(VENV)/.bench $(VENV)/.starters ## distillation on SST-2, resumable; SST2=FOLDER, FULL=1 for all
	OMP_NUM_THREADS=2 $(BIN)/python -m benchmarks.bench_distill $(SST2) $(if $(FULL),--full) \
	  $(if $(NER),--ner $(NER)) $(if $(CORPUS),--corpus $(CORPUS))

vsix: $(VSIX) ## VS Code's extension, dist/lmkit.vsix; needs Node alone

dist: $(BUILT) $(VENV)/.test ## every wheel and lmkit.vsix, into dist/
	rm -rf dist
	cd js && npm run --silent build:vscode
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . $(PLUGINS:%=./%)
	@ls dist

pictures: $(VENV)/.test $(VENV)/.starters $(VSIX) $(VENV)/.code-server ## the pictures of README and docs, from the real thing
	$(BIN)/python docs/make_pictures.py
	$(BIN)/python docs/make_saved_pictures.py
	$(BIN)/python docs/make_vscode_pictures.py

architectures: $(VENV)/.test ## docs/architectures.md's table, from a run of its tests
	@# where a row is new or its words have changed, its test fails until the table is written
	-OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -q tests/integration/test_architectures.py
	$(BIN)/python docs/make_architectures.py

clean: ## remove what was built; the virtual environment too
	rm -rf $(VENV) js/node_modules lmkit/static lmkit/labextension js/*/lib dist demo build
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis test-artifacts

# -- what the above need ---------------------------------------------------------------------------

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)

js/node_modules/.package-lock.json: js/package-lock.json
	cd js && npm ci --no-fund --no-audit
	@touch $@

# One run of the build writes them all; the first stands for the others.
lmkit/static/core.js: js/node_modules/.package-lock.json $(FRONT_END)
	cd js && npm run --silent build
	@touch $(BUILT)
lmkit/static/widget.js lmkit/labextension/package.json: lmkit/static/core.js

# pip installs the packages where they stand, but copies the labextension: a later build has to
# bring its own copy, or JupyterLab would go on showing the old one.
$(VENV)/.package: $(VENV)/bin/python $(DECLARATIONS) | $(BUILT)
	$(PIP_INSTALL) -e '.[lab]' $(EDITABLE)
	@touch $@

$(LABEXTENSION)/package.json: $(BUILT) $(VENV)/.package
	@rm -rf $(LABEXTENSION)
	@mkdir -p $(dir $(LABEXTENSION))
	@cp -R lmkit/labextension $(LABEXTENSION)
	@touch $@

$(VENV)/.lab: $(VENV)/.package $(LABEXTENSION)/package.json
	@touch $@

$(VENV)/.test: $(VENV)/.lab
	$(PIP_INSTALL) -e '.[lab,test]' $(EDITABLE)
	@# pip has just put its own copy of the labextension there
	@touch $(LABEXTENSION)/package.json $(VENV)/.lab $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP_INSTALL) -e '.[lab,test,bench]' $(EDITABLE)
	@# as above
	@touch $(LABEXTENSION)/package.json $(VENV)/.lab $(VENV)/.test $@

$(VSIX): js/node_modules/.package-lock.json $(VSCODE)
	cd js && npm run --silent build:vscode

$(VENV)/.code-server: $(VENV)/bin/python $(wildcard tests/e2e/code-server/*)
	bash tests/e2e/code-server/setup.sh $(VENV)/code-server
	@touch $@

$(VENV)/.widget-manager: js/node_modules/.package-lock.json $(wildcard tests/e2e/widget-manager/*) \
		| $(VENV)/bin/python
	bash tests/e2e/widget-manager/setup.sh $(VENV)/widget-manager
	@touch $@

$(VENV)/.starters: $(VENV)/.package $(STARTERS)
	$(BIN)/lmkit starter install
	@touch $@
