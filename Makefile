# One verb a target. `make demo` and `make test` work on a fresh machine with Python >= 3.11.

TORCH ?= torch==2.13.0
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := src/mmr5/types.py,src/mmr5/settings.py,src/mmr5/prompt.py,src/mmr5/answer.py,src/mmr5/rewards.py,src/mmr5/metrics.py,src/mmr5/windows.py,src/mmr5/excerpts.py,src/mmr5/fusion.py,src/mmr5/relevance.py,src/mmr5/selection.py,src/mmr5/grounding.py
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)

.PHONY: help install demo test slow bench tools smoke lint format types contracts coverage clean

help:            ## list the targets
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

install: $(STAMP)  ## make .venv with every extra that runs on a CPU (GPU users: make install TORCH=torch)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	rm -f $(VENV)/.installed-*
	touch $@

demo: install    ## rerank the example PDF with the embedded default
	sh scripts/demo.sh

test: install    ## the whole gate: format, lint, types, import contracts, tests with coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --cov --cov-report= --durations=15
	$(BIN)/coverage report --include="$(CORE)" --fail-under=98

coverage:        ## all of src, after `make test` and `make slow`
	$(BIN)/coverage report --fail-under=92

PACKS := poppler-utils tesseract-ocr tesseract-ocr-osd tesseract-ocr-rus tesseract-ocr-ell tesseract-ocr-ara tesseract-ocr-heb
OFFICE := libreoffice-writer libreoffice-calc libreoffice-impress

tools:           ## Chromium, nginx, Caddy, poppler, tesseract and LibreOffice for the slow tests, from Debian's packages where they are missing
	command -v chromium tesseract soffice nginx caddy >/dev/null && dpkg -s $(PACKS) $(OFFICE) >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium nginx-light caddy $(PACKS) $(OFFICE); }

slow: install tools  ## what does not fit the gate: the browser, killed processes, long proofs
	$(BIN)/pytest -m slow --timeout=1800 --durations=0 --cov --cov-append --cov-report=

bench: install   ## measurements that do not fit CI, by hand on a quiet machine; their tables stand in results/
	$(BIN)/python benchmarks/serve_attacks.py
	$(BIN)/python benchmarks/page_cost.py
	$(BIN)/python benchmarks/ablation.py mini --method pointwise
	sh benchmarks/clients.sh
	$(BIN)/python benchmarks/index_kills.py
	$(BIN)/python benchmarks/index_size.py

smoke: install   ## the vision proof: a small model from random weights learns to rank pages that must be seen
	sh scripts/smoke.sh

lint: install
	$(BIN)/ruff check .

format: install  ## put the code into its format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:           ## remove what was built
	rm -rf $(VENV) build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
