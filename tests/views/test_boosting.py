"""What steers the boost of each view: the published code's rule, and the paper's."""

import pkgutil
import re

import pytest
import torch

from ltcl_helpers.config import RunConfig
from ltcl_helpers.paths import ROOT
from ltcl_helpers.views import boosting
from ltcl_helpers.views.boosting import make_views


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def strengths(monkeypatch, **parameters):
    """The strengths that each view of a batch of 2,000 got, with scores of 0.5."""
    seen = []
    monkeypatch.setattr(boosting, "rand_augment", lambda x, s, *_: seen.append(s) or x)
    monkeypatch.setattr(boosting, "KINDS", {"simclr": lambda images, draw: images})
    config = RunConfig(preset="tiny", boost="memory", **parameters)
    scores = torch.full((2000,), 0.5)
    make, steering = make_views(config, scores, generators())
    assert torch.equal(steering, scores)
    make(torch.zeros(2000, 3, 2, 2), scores)
    return seen


def test_the_published_code_draws_once_for_an_image_and_all_its_views(monkeypatch):
    first, second = strengths(monkeypatch, method="sdclr", boost_k=2)
    assert first.shape == (2000,) and torch.equal(first, second)
    assert 5 <= first.min() < 5.1 and 17.4 < first.max() <= 17.5
    for each in strengths(monkeypatch, boost_k=1):
        assert each.unique().tolist() == [20]


@pytest.mark.parametrize("k", [1, 3])
def test_the_paper_draws_for_each_operation_of_each_view(monkeypatch, k):
    first, second = strengths(monkeypatch, boost_rule="paper", boost_k=k)
    both = torch.cat([first, second], 1)
    assert both.shape == (2000, 2 * k)
    assert both.min() < 0.1 and 14.9 < both.max() <= 15  # 30 * score at most
    apart = torch.corrcoef(both.T) - torch.eye(2 * k)
    assert apart.abs().max() < 0.1


def test_every_name_in_the_page_of_differences_is_there():
    text = (ROOT / "docs" / "differences.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    names = {name for row in rows for name in re.findall(r"`([a-z_]+\.[A-Za-z_.]+)`", row)}
    assert len(names) > 12
    for name in names - {"memory.npz"}:
        assert pkgutil.resolve_name(f"ltcl_helpers.{name}") is not None
