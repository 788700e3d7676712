"""The examples of docs/explorer.md run as they stand, and their losses are what they should be."""

import re

import numpy as np
import pytest
import torch

from ltcl_helpers import paths
from ltcl_helpers.methods.losses import nt_xent

TEXT = (paths.ROOT / "docs" / "explorer.md").read_text("utf-8")
EXAMPLES = re.findall(r"<!-- executed by .*? -->\n\n```python\n(.*?)```", TEXT, re.S)


def run(example, folder, monkeypatch):
    """Execute an example in a folder; what it left behind."""
    monkeypatch.chdir(folder)
    left = {}
    exec(compile(example, "docs/explorer.md", "exec"), left)
    assert len(example.splitlines()) <= 22
    assert (folder / "page.html").stat().st_size > 1e5
    losses = left["losses"]
    assert losses.shape == (4, 96) and torch.isfinite(losses).all()
    assert (losses.std(dim=1) > 0).all()  # one value a sample, not their mean
    return left


def test_a_loop_in_plain_pytorch(tmp_path, monkeypatch):
    run(EXAMPLES[0], tmp_path, monkeypatch)


@pytest.mark.filterwarnings("default")
def test_a_loop_with_lightly(tmp_path, monkeypatch):
    pytest.importorskip("lightly", reason="lightly is not installed: pip install lightly")
    left = run(EXAMPLES[1], tmp_path, monkeypatch)
    first, second = torch.randn(2, 20, 8, dtype=torch.float64)
    found = left["criterion"](first, second).view(2, -1).mean(0)
    np.testing.assert_allclose(found, nt_xent(first, second, 0.5), rtol=1e-9)
