# Everything a fresh machine needs is set up by the first target that needs it: `make run` or `make test`.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Processes for the tests: both simulators are single-threaded.
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help run test test-long lint prove bench docs generated models zoo accuracy area clean

help:            ## Show the targets.
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

run: $(READY)    ## Compile digits-vit for the small machine, simulate its test set, check two images on the RTL.
	$(BIN)/heddle run digits-vit --config small

test: lint       ## Lint, then the default tests (under 20 minutes on two cores).
	$(BIN)/pytest -n $(JOBS) -m "not long"

test-long: $(READY) ## The long tests: random programs by the thousand, the AXI campaign, the mutation check, whole models.
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo]'
	$(BIN)/pytest -n $(JOBS) -m long -o faulthandler_timeout=7200

lint: $(READY)   ## ruff and pyright.
	$(BIN)/ruff check .
	$(BIN)/pyright --project pyproject.toml --pythonpath $(BIN)/python

prove: $(READY)  ## Prove the properties of the RTL for all inputs and all times, and print them (minutes).
	$(BIN)/python -m heddle.cosim.proofs

bench: $(READY)  ## Utilisation of full-size models and speed of the simulator; fails if a goal is missed.
	$(BIN)/heddle bench

docs: generated  ## Build docs/ into build/site; a broken link is an error.
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

generated: $(READY) ## Write the pages that are made from code: tests say when one is old.
	$(BIN)/python -m heddle.arch.document > docs/isa.md
	$(BIN)/heddle registers > docs/registers.md
	$(BIN)/python -m heddle.arch.fields > docs/fields.md
	$(BIN)/python -m heddle.compiler.document > docs/operators.md
	$(BIN)/python -m heddle.document > docs/api.md
	$(BIN)/python -m heddle.cosim.proofs.document > docs/proofs.md

models: $(READY) ## Compile and simulate the architectures of Hugging Face, and write docs/models.md (an hour).
	$(BIN)/python -m heddle.architectures > docs/models.new
	mv docs/models.new docs/models.md

accuracy: $(READY) ## Compare float32 and tf32 as formats of vectors, and write docs/accuracy.md (half an hour).
	$(BIN)/python -m heddle.accuracy > docs/accuracy.new
	mv docs/accuracy.new docs/accuracy.md

zoo: $(READY)    ## Compile and simulate every system, compare with the RTL, and write the table into docs/models.md.
	$(BIN)/heddle zoo --rtl -o docs/models.md

area: $(READY)   ## Synthesise nano and base, and write what their units take to explore/area.json (many minutes).
	$(BIN)/python -m heddle.explore.table > explore/area.new
	mv explore/area.new explore/area.json

clean:           ## Remove the environment and what was built.
	rm -rf $(VENV) build *.egg-info tools/path/*.egg-info

$(READY): pyproject.toml tools/system-packages.sh
	sh tools/system-packages.sh
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@
