"""Batches, learning rates, random streams and numbers that are none, by hand."""

import math

import pytest
import torch

from ltcl_helpers.config import RunConfig
from ltcl_helpers.pretrain import finite
from ltcl_helpers.pretrain.finite import Done, Fault
from ltcl_helpers.pretrain.randomness import generator, seed_for
from ltcl_helpers.pretrain.schedule import batches, lr_factor, updates


@pytest.mark.parametrize(
    ("update", "factor"),
    [
        (1, 0.25), (3, 0.75), (4, 1.0),  # the rise ends with the peak
        (8, 0.55), (12, 0.1),  # half of the way down to the floor, and there
        (6, 0.1 + 0.45 * (1 + math.cos(math.pi / 4))),
    ],
)  # fmt: skip
def test_the_rate_rises_in_a_line_and_falls_along_a_cosine(update, factor):
    assert lr_factor(update, 12, 4, 0.1) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(
    ("update", "factor"), [(1, 0.5), (2, 1), (6, 1), (7, 0.1), (8, 0.1), (9, 0.01), (10, 0.01)]
)
def test_the_rate_falls_to_a_tenth_after_each_share_of_the_run(update, factor):
    assert lr_factor(update, 10, 2, 0.0, (0.6, 0.8)) == pytest.approx(factor, abs=1e-12)


def test_a_rate_below_the_last_one_is_not_raised_to_it():
    given = dict(batch_size=4, epochs=3, warmup_epochs=1, lr=1e-8)
    rates = [rate for epoch in (1, 2, 3) for _, rate in updates(RunConfig(**given), 8, epoch)]
    assert max(rates) == pytest.approx(1e-8) and rates[-1] == pytest.approx(1e-8)


def test_a_run_that_is_all_warm_up_ends_at_the_peak():
    assert [lr_factor(update, 4, 4, 0.0) for update in (1, 4)] == [0.25, 1]
    assert lr_factor(5, 4, 4, 0.0) == 0.0


def sizes(samples, epoch=1, **given):
    return [len(part) for part in batches(samples, RunConfig(batch_size=4, **given), epoch)]


def test_how_an_epoch_is_cut_into_batches():
    assert sizes(10, equal_batches=True) == [4, 3, 3]
    assert sizes(8, equal_batches=True) == [4, 4]
    assert sizes(10, equal_batches=False) == [4, 4, 2]
    assert sizes(10, equal_batches=False, drop_last=True) == [4, 4]
    given = dict(batch_size=4, equal_batches=False)
    whole, dropped = (
        torch.cat(batches(10, RunConfig(**given, drop_last=drop), 2)) for drop in (False, True)
    )
    assert torch.equal(dropped, whole[:8])


def test_the_order_of_an_epoch_is_as_ever():
    """A function of the run's seed: every recorded run rests on it."""
    config = RunConfig(batch_size=4, seed=7)
    found = torch.cat(batches(8, config, 2)).tolist()
    assert found == [4, 3, 5, 6, 7, 1, 0, 2]
    draw = generator(7, "order", 2)
    assert found == torch.randperm(8, generator=draw).tolist()


def test_seeds_are_as_ever():
    assert seed_for(0, "order", 1) == 29462819686816636
    assert generator(0, "order", 1).initial_seed() == 29462819686816636


def test_updates_count_over_the_whole_run():
    config = RunConfig(
        batch_size=4, equal_batches=False, epochs=3, warmup_epochs=1.5, lr=0.2, seed=7
    )
    found = [list(updates(config, 10, epoch)) for epoch in (1, 2, 3)]
    assert [[len(index) for index, _ in epoch] for epoch in found] == [[4, 4, 2]] * 3
    assert torch.cat([index for index, _ in found[1]]).sort().values.tolist() == list(range(10))
    # Nine updates; half an epoch of 3 is 1.5 more, 4.5 are rounded to 4.
    rates = [lr for epoch in found for _, lr in epoch]
    assert rates[:4] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert rates == pytest.approx([0.2 * lr_factor(n, 9, 4, 5e-6) for n in range(1, 10)])
    assert rates[-1] == pytest.approx(1e-6)
    dropped = list(updates(config.model_copy(update={"lr_drops": (0.5,)}), 10, 3))
    assert [lr for _, lr in dropped] == pytest.approx([0.02] * 3)


def test_updates_that_an_epoch_drops_are_none_of_the_runs():
    """The rate has reached its end at the last update that is made."""
    config = RunConfig(
        batch_size=4, equal_batches=False, drop_last=True, epochs=3, warmup_epochs=1.0, lr=0.2
    )
    found = [list(updates(config, 10, epoch)) for epoch in (1, 2, 3)]
    assert [[len(index) for index, _ in epoch] for epoch in found] == [[4, 4]] * 3
    rates = [lr for epoch in found for _, lr in epoch]
    assert rates == pytest.approx([0.2 * lr_factor(n, 6, 2, 5e-6) for n in range(1, 7)])
    assert rates[-1] == pytest.approx(1e-6)


# --- numbers that are none ------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


def trail(*totals):
    """Steps of two samples each, numbered on."""
    return [
        Done(torch.tensor(total), torch.tensor([2 * k, 2 * k + 1]), 0.1 * (k + 1))
        for k, total in enumerate(totals)
    ]


def test_the_first_step_whose_sum_is_no_number_is_named_with_its_samples():
    whole, weights = torch.zeros(6), {}
    assert finite.find_fault(trail(1.0, 2.0, 3.0), whole, weights) is None
    memory = torch.tensor([0, 0, 0, NAN, NAN, INF])
    fault = finite.find_fault(trail(1.0, NAN, NAN), memory, weights)
    assert fault == Fault("a loss is", 2, 0.2, [3])
    fault = finite.find_fault(trail(INF, NAN), whole, weights)  # nobody is named: all of them
    assert fault == Fault("a loss is", 1, 0.1, [0, 1])


@pytest.mark.parametrize(
    "weights",
    [
        {"a": torch.tensor([1.0, NAN])},
        [{"b": (torch.tensor(1), torch.tensor([INF]))}],
        ({"c": {"d": torch.tensor([-INF])}}, 3, None),
    ],
)
def test_weights_that_are_no_numbers_are_found_wherever_they_are(weights):
    fault = finite.find_fault(trail(1.0, 2.0, 3.0, 4.0), torch.zeros(8), weights)
    assert fault == Fault("weights are", 4, 0.4, [6, 7])
    assert finite.find_fault([], torch.zeros(4), weights) == Fault("weights are", 0, 0.0, [])


def test_whole_weights_and_none_are_no_fault():
    for weights in ({}, [torch.tensor(3)], {"a": torch.ones(2), "b": (torch.zeros(1), "text")}):
        assert finite.find_fault(trail(1.0), torch.zeros(2), weights) is None
        assert finite.find_fault([], torch.zeros(2), weights) is None
