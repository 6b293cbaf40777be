# demo: the page on 127.0.0.1:7860 · test: all tests · check: lint and format · train: the default checkpoint
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check train clean

demo: .venv/demo-installed
	$(BIN)/python app.py

test: .venv/dev-installed
	$(BIN)/python -m pytest

check: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

train: .venv/dev-installed
	$(BIN)/python -m training.train --config training/configs/question_prior.yaml
	$(BIN)/python -m training.train --config training/configs/everyday.yaml

clean:
	rm -rf .venv

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "VALM needs Python 3.10 or newer; run e.g.: make demo PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# The marker files make a second run start at once; they are renewed when the requirements change.
.venv/demo-installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install -r requirements.txt
	touch $@

.venv/dev-installed: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[dev]'
	touch $@ .venv/demo-installed
