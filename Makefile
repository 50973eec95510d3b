# Commands that need nothing but Python 3.11 or newer: `make demo`, `make test`, `make docs`, `make benchmark`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := stsflora solver models benchmarks experiments

.PHONY: demo test lint docs benchmark clean

demo: $(VENV)/demo.stamp
	$(BIN)/stsflora bench --suite demo

test: lint
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(patsubst %,-p stsflora.%,$(filter-out stsflora,$(PACKAGES))) -p stsflora

# The site, in site/; a broken link fails. The pages lie as in the repository, so that links are the same.
docs: $(VENV)/docs.stamp
	mkdir -p $(VENV)/pages
	for part in README.md CONTRIBUTING.md LICENSE docs tests $(PACKAGES); do ln -sfn "$(CURDIR)/$$part" $(VENV)/pages/$$part; done
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# docs/benchmark.md with its rows and pictures: half an hour of one core; goes on where it was stopped.
benchmark: $(VENV)/dev.stamp
	$(BIN)/stsflora bench --suite report --page docs/benchmark.md

# Names of all modules; touched only when files come or go, since the installation has a link to each.
FILES := $(VENV)/files.txt
$(shell mkdir -p $(VENV); find $(PACKAGES) -name '*.py' | LC_ALL=C sort > $(FILES).new; \
	cmp -s $(FILES).new $(FILES) && rm $(FILES).new || mv $(FILES).new $(FILES))

$(VENV)/demo.stamp: setup.cfg pyproject.toml $(FILES)
	$(PYTHON) -c 'import sys; sys.exit("stsflora needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e ".[plot]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

$(VENV)/docs.stamp: $(VENV)/demo.stamp
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
