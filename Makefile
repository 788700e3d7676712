# Every step needs only Python 3.11+ with venv, make and a package index. What a line does is said in
# ltcl_helpers/chores.py; without make: python -m ltcl_helpers setup (or course, test, ...).
# make site has no solutions; make site EDITION=teacher writes site-teacher/, which has.
PYTHON ?= python3
export JOBS ?= 2

.PHONY: setup course test faults lint figures site editions clean

setup course test faults lint figures:
	@$(PYTHON) -m ltcl_helpers $@

site editions:
	@$(PYTHON) -m ltcl_helpers make-$@

clean:
	rm -rf .venv course site site-teacher editions build *.egg-info .pytest_cache .ruff_cache
