"""What steers the boost of each view: the published code's rule, and the paper's."""

import pkgutil
import re

import numpy as np
import pytest
import torch

from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.paths import ROOT
from ltcl_helpers.views import boosting
from ltcl_helpers.views.boosting import make_views


def generators():
    return [torch.Generator().manual_seed(seed) for seed in (1, 2)]


def strengths(monkeypatch, **parameters):
    """The strengths that each view of a batch of 2,000 got, with scores of 0.5."""
    seen = []
    monkeypatch.setattr(boosting, "rand_augment", lambda x, s, *_: seen.append(s) or x)
    monkeypatch.setattr(boosting, "KINDS", {"simclr": lambda images, draw, **_: images})
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


# --- the oracle: where scores would go if they knew the class sizes -----------------------------


SIZES = np.array([8, 2, 4])
LABELS = np.repeat(np.arange(3), SIZES)
RARITY = torch.from_numpy(splits.rarity(LABELS, SIZES)).float()


def steering(boost, scores, seed=0, **parameters):
    config = RunConfig(preset="tiny", boost=boost, **parameters)
    draws = [torch.Generator().manual_seed(seed + k) for k in (1, 2)]
    return make_views(config, scores, draws, rarity=RARITY)[1]


def test_rarity_goes_from_the_largest_class_to_the_smallest_in_equal_steps():
    assert splits.rarity(LABELS, SIZES).tolist() == [0.0] * 8 + [1.0] * 2 + [0.5] * 4
    assert not splits.rarity(LABELS, np.array([3, 3, 3])).any()  # nobody is rare
    tied = splits.rarity(np.array([0, 1, 2]), np.array([5, 5, 1]))
    assert tied.tolist() == [0, 0.5, 1]


def test_an_oracle_gives_the_rarity_and_its_control_the_same_values_to_others():
    scores = torch.linspace(0.1, 0.9, 14)
    assert torch.equal(steering("oracle", scores), RARITY)
    shuffled = steering("oracle-shuffled", scores)
    assert torch.equal(shuffled.sort().values, RARITY.sort().values)
    assert not torch.equal(shuffled, RARITY)
    assert not torch.equal(shuffled, steering("oracle-shuffled", scores, seed=5))


def test_the_memorys_own_values_go_to_the_rarest_by_size_of_class():
    scores = torch.linspace(0.9, 0.1, 14)
    given = steering("oracle-values", scores)
    assert torch.equal(given.sort().values, scores.sort().values)
    large, small, middle = given.split([8, 2, 4])
    assert large.max() < middle.min() and middle.max() < small.min()
    again = steering("oracle-values", scores, seed=5)  # within a class chance decides
    assert not torch.equal(given, again)
    assert torch.equal(given[8:10].sort().values, again[8:10].sort().values)


@pytest.mark.parametrize(
    "given",
    [
        {"boost": "shuffled"},
        {"boost": "oracle-shuffled"},
        {"boost": "oracle-values"},
        {"boost": "memory", "boost_noise": 0.3},
    ],
)
def test_what_chance_decides_the_runs_own_generator_decides(given):
    scores = torch.linspace(0.1, 0.9, 14)
    first, again, other = (steering(scores=scores, seed=seed, **given) for seed in (0, 0, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("boost", ["oracle", "oracle-shuffled", "oracle-values"])
def test_an_oracle_is_silent_in_the_first_epoch_and_needs_to_know(boost):
    assert not steering(boost, torch.zeros(14)).any()
    with pytest.raises(ValueError, match="needs the rarity"):
        boosting.boost_scores(torch.ones(14), boost, torch.Generator())


def test_a_scale_multiplies_every_score_up_to_1():
    scores = torch.linspace(0, 1, 14)
    for boost in ("memory", "constant", "inverted"):
        plain = steering(boost, scores)
        torch.testing.assert_close(steering(boost, scores, boost_scale=0.34), 0.34 * plain)
        doubled = steering(boost, scores, boost_scale=2.0)
        torch.testing.assert_close(doubled, (2 * plain).clamp(max=1))
    assert torch.equal(steering("oracle", scores, boost_scale=0.5), RARITY / 2)


def test_noise_shuffles_the_scores_of_a_share_of_the_samples():
    scores = torch.linspace(0.01, 1, 100)
    untouched = steering("memory", scores, boost_noise=0.0)
    assert torch.equal(untouched, scores)
    mixed = steering("memory", scores, boost_noise=0.3)
    assert 20 < (mixed != scores).sum() <= 30  # a few of the 30 get their own score back
    assert torch.equal(mixed.sort().values, scores)
    assert not torch.equal(mixed, steering("memory", scores, seed=5, boost_noise=0.3))
    everywhere = steering("memory", scores, boost_noise=1.0)
    assert (everywhere != scores).sum() > 90 and torch.equal(everywhere.sort().values, scores)


def test_noise_shuffles_what_the_aim_and_its_dose_made_of_the_scores():
    scores = torch.linspace(0.1, 0.9, len(RARITY))
    for scale in (1.0, 0.5):
        mixed = steering("oracle", scores, boost_noise=0.9, boost_scale=scale)
        assert torch.equal(mixed.sort().values, (RARITY * scale).sort().values)
        assert not torch.equal(mixed, RARITY * scale)


def test_every_name_in_the_page_of_differences_is_there():
    text = (ROOT / "docs" / "differences.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("|")]
    names = {name for row in rows for name in re.findall(r"`([a-z_]+\.[A-Za-z_.]+)`", row)}
    assert len(names) > 12
    for name in names - {"memory.npz"}:
        assert pkgutil.resolve_name(f"ltcl_helpers.{name}") is not None
