# Every step needs only Python 3.11+ with venv, make and a package index.
PYTHON ?= python3
BIN := .venv/bin
LESSONS := $(filter-out notebooks/run_one.ipynb,$(sort $(wildcard notebooks/*.ipynb)))
# Waiting threads do not fight other programs for the cores; the kernel is the one of .venv.
export OMP_WAIT_POLICY := passive
export GOMP_SPINCOUNT := 1000
export JUPYTER_PREFER_ENV_PATH := 1
# Where this is set, every process would compile torch's sources again, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# Two lessons, or tests, side by side on half of the threads each, end sooner than one after the other.
JOBS ?= 2
export OMP_NUM_THREADS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) / $(JOBS) "|" 1)

.PHONY: setup course test lint figures site clean

setup: .venv/done

.venv/done: requirements.lock pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { echo "Python's venv module is missing: apt install python3-venv"; rm -rf .venv; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

course: setup
	@mkdir -p course
	@$(MAKE) --no-print-directory --jobs=$(JOBS) $(LESSONS:notebooks/%=lesson/%)
	@echo "Done. Executed lessons: course/  figures: figures/  tables: README.md and docs/  (quick results, see each lesson)"

lesson/%:
	@$(BIN)/papermill --no-progress-bar notebooks/$* course/$* >course/$*.log 2>&1 || { cat course/$*.log; exit 1; }
	@rm course/$*.log && echo "$*"

test: setup lint
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/nbstripout --verify $(wildcard notebooks/*.ipynb)

figures: setup
	$(BIN)/python experiments/figures.py

site: course
	$(BIN)/jupyter nbconvert --to html --output-dir site course/*.ipynb

clean:
	rm -rf .venv course site build *.egg-info .pytest_cache .ruff_cache
