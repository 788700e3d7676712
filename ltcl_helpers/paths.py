"""Where the kit's own files lie: in a clone, or in an installed package.

A clone holds everything. An installed package carries the few files that its commands need (in
`ltcl_helpers/kit`), and takes the present folder for all else, `data/` included.
"""

from __future__ import annotations

import contextlib
import unicodedata
from pathlib import Path

from .errors import ConfigError

PACKAGE = Path(__file__).resolve().parent
IN_CLONE = (PACKAGE.parent / "pyproject.toml").is_file()
ROOT = PACKAGE.parent if IN_CLONE else Path()
CARRIED = ROOT if IN_CLONE else PACKAGE / "kit"  # of a clone, what a wheel has, too

DATA = ROOT / "data"  # CIFAR lies here, or is put here
RESULTS = DATA / "results"  # recorded runs, a folder for each study
WEIGHTS = DATA / "weights"  # released encoders, each a run's folder
LESSONS = ROOT / "notebooks"
FIGURES = ROOT / "figures"

PUBLISHED_NUMBERS = CARRIED / "data" / "published.csv"
PUBLISHED_LISTS = CARRIED / "data" / "splits" / "published.json"  # names and checksums, no lists
RUN_ONE = CARRIED / "notebooks" / "run_one.ipynb"  # the notebook that a batch executes


def own_path(text: str | Path) -> Path:
    """A path that a person wrote: `~` is the home folder.

    A name is found in whatever Unicode form it lies there (macOS takes letters with accents apart).
    """
    path = Path(text)
    with contextlib.suppress(RuntimeError):  # nobody's home: the path stays as it is written
        path = path.expanduser()
    try:
        if path.exists():
            return path
        forms = [Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD")]
        return next((form for form in forms if form.exists()), path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be opened ({error.strerror})") from None
