"""Where the kit's own files lie: in a clone, or in an installed package.

A clone holds everything. An installed package carries the few files that its commands need (in
`ltcl_helpers/kit`), and takes the present folder for all else, `data/` included.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
IN_CLONE = (PACKAGE.parent / "pyproject.toml").is_file()
ROOT = PACKAGE.parent if IN_CLONE else Path()
CARRIED = ROOT if IN_CLONE else PACKAGE / "kit"  # of a clone, what a wheel has, too

DATA = ROOT / "data"  # CIFAR lies here, or is put here
RESULTS = DATA / "results"  # recorded runs, a folder for each study
LESSONS = ROOT / "notebooks"
FIGURES = ROOT / "figures"

PUBLISHED_NUMBERS = CARRIED / "data" / "published.csv"
PUBLISHED_LISTS = CARRIED / "data" / "splits" / "published.json"  # names and checksums, no lists
RUN_ONE = CARRIED / "notebooks" / "run_one.ipynb"  # the notebook that a batch executes
