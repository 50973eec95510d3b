# Two commands that need nothing but Python 3.11 or newer: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := solver models benchmarks experiments

.PHONY: demo test lint docs clean

demo: $(VENV)/demo.stamp
	$(BIN)/stsflora bench --suite demo

test: lint
	$(BIN)/python -m pytest -n auto

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/typing/stsflora
	for package in $(PACKAGES); do ln -sfn "$(CURDIR)/$$package" $(VENV)/typing/stsflora/$$package; done
	MYPYPATH="$(CURDIR)/$(VENV)/typing" $(BIN)/mypy $(PACKAGES:%=-p stsflora.%)

$(VENV)/demo.stamp: setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("stsflora needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e ".[fast,plot]"
	touch $@

$(VENV)/dev.stamp: $(VENV)/demo.stamp
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
