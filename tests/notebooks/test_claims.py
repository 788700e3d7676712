"""What a lesson's text says of a live picture, asserted at `quick` on the lesson's own cells.

The margins are a fraction of what was measured on several seeds, so no processor's rounding reaches
them: staleness differs by a factor of a hundred, the simplex by a factor of ten.
"""

import json

import matplotlib.pyplot as plt
import pytest

from ltcl_helpers import paths
from ltcl_helpers.report import lesson

# Measured at `quick` over seeds 0 to 3 (section 1 of lesson 10): balanced SupCon's sd over pairs
# 0.005 to 0.009; tail pairs SupCon +0.13 to +0.20, averaging +0.15 to +0.21, complement +0.06 to
# +0.11, both +0.04 to +0.06. Lesson 09, section 4, seeds 0 and 1, oldest keys that find themselves:
# m = 0 1 %, m = 0.99 100 %; their cosine at m = 0 is 0.98.


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    monkeypatch.setattr(lesson, "display", lambda *shown: None)


def run_cells(name, last, **parameters):
    """Names after a lesson's code up to the line `last`, and what is left of that line's cell."""
    path = next(paths.LESSONS.glob(f"{name}*.ipynb"))
    names = {"__name__": "__main__"}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        tags = cell["metadata"].get("tags", [])
        if cell["cell_type"] != "code" or "solution" in tags:
            continue
        source, found, rest = source.partition(last)
        exec(compile(source, path.name, "exec"), names)
        if "parameters" in tags:
            names |= parameters
        if found:
            return names, found + rest
    raise AssertionError(f"{path.name} has no cell with {last!r}")


def test_a_small_momentum_makes_keys_stale_and_the_cosine_does_not_see_it():
    """Lesson 09, section 4."""
    names, _ = run_cells("09", "stale = {", seed=0, device="cpu")
    fast, alike = names["find_themselves"](*names["two_epochs"](0.0))
    slow, _ = names["find_themselves"](*names["two_epochs"](0.99))
    assert fast[0] > 0.5 and fast[-1] < 0.1  # fresh, then lost
    assert slow[-1] > 0.5
    assert alike[-1] > 0.8  # collapsed keys are alike at every age


def test_free_points_bend_on_a_long_tail_and_the_repairs_straighten_them():
    """Lesson 10, section 1."""
    names, rest = run_cells("10", "free = {", seed=1)
    exec(rest.split("rows = []")[0], names)
    found = {name: names["of_pairs"](cosines) for name, cosines in names["free"].items()}
    tail = {name.split(",")[0]: of[1] for name, of in found.items() if "long tail" in name}
    balanced = found["SupCon, balanced"]
    assert balanced[2] < 0.04  # a simplex: one cosine for all pairs ...
    assert all(abs(cosine + 1 / 7) < 0.04 for cosine in balanced[:2])  # ... and the right one
    assert tail["SupCon"] > 0.03  # rare classes are drawn together
    assert tail["averaging only"] > tail["complement only"]  # which repair opens the corner
    assert tail["both (Balanced CL)"] < tail["SupCon"] - 0.03
    assert tail["complement only"] < tail["SupCon"] - 0.02
