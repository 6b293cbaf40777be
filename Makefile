# demo: the page on 127.0.0.1:7860 · test: all tests · check: lint, format · types: mypy · train: the recipe for two cores
# coverage: tests with coverage · docs: the site in build/site · spaces: what is uploaded as a Hugging Face Space, tried out
# bench: speed beside other models and of the page, on a quiet machine
# supply: renews requirements.lock, writes its bill of materials (build/sbom.json, CycloneDX) and its licences, asks for known faults
# soak: the long tests of load, faults and hostile input; rewrites docs/reports/running/reliability.*
PYTHON ?= python3
BIN := .venv/bin
# How many processes test beside each other: each takes about 2 GB, and the one that has the browser tests mostly waits
# for the browser, so there may be more than cores: three for two (four took longer). WORKERS=0 tests in one, for a debugger.
WORKERS ?= 3
# What installs packages. CI takes uv, which unpacks torch three times as fast; pip keeps to everybody's own settings.
INSTALL ?= $(BIN)/python -m pip install
TEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

.PHONY: demo test check types coverage docs spaces train bench soak supply clean

demo: .venv/demo-installed
	$(BIN)/python app.py

test: .venv/dev-installed
	$(TEST)

check: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev-installed
	$(BIN)/mypy

coverage: .venv/dev-installed
	$(TEST) --cov --cov-report=
	$(BIN)/coverage report
	$(BIN)/coverage report --include='valm_core/*' --fail-under=90

docs: .venv/dev-installed
	$(BIN)/mkdocs build --quiet

spaces: $(BIN)/python
	$(BIN)/python -m hosting.space build/space --try

train: .venv/dev-installed
	$(BIN)/python -m training.train --config training/configs/question_head.yaml
	$(BIN)/python -m training.train --config training/configs/everyday.yaml
	$(BIN)/python -m training.familiarity --checkpoint runs/everyday/checkpoint --cache runs/cache \
		--data ../shared/data/everyday-vqa/train.jsonl --validation ../shared/data/everyday-vqa/validation.jsonl

bench: .venv/dev-installed
	$(BIN)/python -m training.benchmark --checkpoint assets/checkpoints/everyday --report docs/reports/running/benchmark.json
	$(BIN)/python -m demo.page_speed --report docs/reports/running/page_speed.json

soak: .venv/dev-installed
	$(BIN)/python -m tests.load.soak

supply: .venv/dev-installed
	$(INSTALL) uv cyclonedx-bom pip-licenses pip-audit
	$(BIN)/uv pip compile requirements.txt --upgrade --generate-hashes --no-header --no-annotate --python-version 3.12 --quiet -o requirements.lock
	mkdir -p build && $(BIN)/cyclonedx-py requirements requirements.lock --of JSON -o build/sbom.json
	@printf '%s\n\n' '# Licences of what the app installs' \
		'Every package of `requirements.lock`, as installed here; written by `make supply`.' > docs/reports/running/licences.md
	$(BIN)/pip-licenses --from=mixed --format=markdown \
		--packages $$(sed -n 's/^\([a-z0-9_.-]*\)==.*/\1/p' requirements.lock) | sed 's/  *|/ |/g; s/-\{4,\}/---/g' >> docs/reports/running/licences.md
	$(BIN)/pip-audit -r requirements.lock --require-hashes --disable-pip --strict

clean:
	rm -rf .venv

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "VALM needs Python 3.10 or newer; run e.g.: make demo PYTHON=python3.12")'
	$(PYTHON) -m venv .venv

# The marker files make a second run start at once; they are renewed when the requirements change.
.venv/demo-installed: requirements.txt | $(BIN)/python
	$(INSTALL) -r requirements.txt
	touch $@

.venv/dev-installed: requirements.txt pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[dev]'
	touch $@ .venv/demo-installed
