# Every target sets up what it needs: `make rates` and `make test` work in a fresh clone with Python, git and make.
# The environment lives in .venv and is made once, from the pinned versions in constraints.txt.

SIZE ?= laptop
ARGS ?=
DEVICE ?= cpu
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
EXPERIMENTS = $(patsubst configs/experiment/%.yaml,%,$(shell find configs/experiment -name '*.yaml' | sort))

.DEFAULT_GOAL := help
.PHONY: help rates figures smoke claims maps test faults lint format bench clean distclean

help: ## list the targets
	@echo "make <target> [SIZE=smoke|laptop|paper] [ARGS='field=value ...']"
	@grep -hE '^[a-z%/.]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

rates: .venv/.installed ## the curse-of-dimensionality rates (paper 1, Figure 2): runs, figure, slopes, claims
	@$(BIN)/dynamics experiment=stable_minima/rates size=$(SIZE) $(ARGS)

figures: .venv/.installed ## every experiment at SIZE: figures/<paper>/<name>.{pdf,png}
	@for e in $(EXPERIMENTS); do \
		$(BIN)/dynamics experiment=$$e size=$(SIZE) $(ARGS) || test $$? -eq 3 || exit 2; done # 3: some runs diverged, which is told

figures/%.pdf: configs/experiment/%.yaml experiments/%.py .venv/.installed ## one figure, such as figures/stable_minima/rates.pdf
	@$(BIN)/dynamics experiment=$* size=$(SIZE) $(ARGS)

smoke: .venv/.installed ## every experiment at size=smoke, from nothing, in build/smoke; ARGS='field=value ...' or '--only convolution/'
	@$(BIN)/python tests/smoke.py $(ARGS)

claims: figures ## every claim of every experiment in one table, in figures/claims.json and docs/claims.md
	@$(BIN)/dynamics claims figures docs/claims.md --size $(SIZE)

maps: .venv/.installed ## where the claims that fail hold and where not: figures/maps, docs/claim_maps.md
	@$(BIN)/dynamics map --page docs/claim_maps.md

test: .venv/.dev ## the tests
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

faults: .venv/.dev ## fifty kills and every other fault; each must end in the store of a sweep that nothing happened to (10 minutes)
	@$(BIN)/python tests/faults.py $(ARGS)

lint: .venv/.dev ## ruff, pyright and the order of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

format: .venv/.dev ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: .venv/.bench ## ours, PyTorch and plain JAX side by side; DEVICE=gpu; ARGS=--quick, '--problem medium', --measures, --growth or --sweeps
	@$(BIN)/python benchmarks/run.py --device $(DEVICE) $(ARGS)

clean: ## remove results, figures and caches (asks nothing; results are recomputed)
	@rm -rf results figures multirun build dist outputs .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

distclean: clean ## clean, and the environment too
	@rm -rf .venv

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed (set PYTHON=...)" >&2; exit 2; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv

.venv/.installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "installing the pinned packages (a minute or two, once)"
	@$(PIP) -e .
	@$(BIN)/python -m dynamics.kernels.build
	@touch $@

.venv/.dev: .venv/.installed
	@$(PIP) -e '.[dev]'
	@touch $@

.venv/.bench: .venv/.installed
	@$(PIP) -e '.[torch]'
	@touch $@
