"""What a run keeps while it trains, with a clock of the test's own."""

import logging
import math

import numpy as np
import pytest
import torch

from ltcl_helpers import files, runs
from ltcl_helpers.errors import ConfigError, TimeUp
from ltcl_helpers.networks.exchange import Ranks
from ltcl_helpers.pretrain import keeper
from ltcl_helpers.pretrain.finite import Fault
from ltcl_helpers.pretrain.keeper import Keeper, deadline_of

IDENTITY = {"data": "d", "config": "c"}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds to it."""
    now = [100.0]
    monkeypatch.setattr(keeper.time, "monotonic", lambda: now[0])
    return now


def train(kept, clock, epochs=3, seconds=10, loaded=None):
    """All epochs, of so many seconds each; those that were done."""
    done = []
    for epoch in kept.remaining_epochs(epochs, lambda state: loaded.append(state)):
        clock[0] += seconds
        done.append(epoch)
        kept.end_epoch(epoch, torch.tensor(0.5 * epoch), 0.1 * epoch, lambda n=epoch: {"own": n})
    return done


def test_minutes_are_counted_from_now(clock):
    assert deadline_of(2) == 220 and deadline_of(0.5) == 130
    assert deadline_of(None) == math.inf
    for minutes in (0, -1, float("nan")):
        with pytest.raises(ConfigError, match="minutes is .*; allowed is a number above 0"):
            deadline_of(minutes)


def test_every_epoch_is_written_down_with_its_seconds(clock, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    kept = Keeper(IDENTITY, {"device": "here"})
    assert train(kept, clock) == [1, 2, 3]
    assert kept.rows == [[1, 0.5, 0.1, 10], [2, 1.0, 0.2, 10], [3, 1.5, pytest.approx(0.3), 10]]
    assert kept.machines == [{"device": "here"}]
    assert caplog.messages[0] == "epoch 1 of 3: loss 0.5000, 10.00 s"
    caplog.clear()
    train(Keeper(IDENTITY, {}, ranks=Ranks(1, 1)), clock)
    assert caplog.messages == []  # the first rank speaks


@pytest.mark.parametrize(
    ("every", "saved"),
    [(0, [1, 2, 3]), (10, [1, 2, 3]), (15, [2]), (20, [2]), (21, [3]), (math.inf, [])],
)
def test_a_checkpoint_is_written_when_its_time_has_come(clock, tmp_path, monkeypatch, every, saved):
    found = []
    monkeypatch.setattr(runs, "save_checkpoint", lambda folder, epoch, state: found.append(epoch))
    train(Keeper(IDENTITY, {}, tmp_path, every=every), clock)
    assert found == saved
    train(Keeper(IDENTITY, {}, tmp_path / "other", every=every, ranks=Ranks(1, 1)), clock)
    train(Keeper(IDENTITY, {}, every=every), clock)
    assert found == saved  # only the first rank writes, and only where there is a folder


@pytest.mark.parametrize(
    ("deadline", "last"), [(119, 1), (120, 2), (129, 2), (130, None), (121, 2)]
)
def test_a_run_stops_where_its_next_epoch_would_not_end_in_time(clock, tmp_path, deadline, last):
    kept = Keeper(IDENTITY, {"device": "here"}, tmp_path, deadline)
    if last is None:
        assert train(kept, clock) == [1, 2, 3] and not runs.checkpoints(tmp_path)
        return
    with pytest.raises(TimeUp) as told:
        train(kept, clock)
    assert str(told.value) == (
        f"stopped after epoch {last} of 3; `ltcl run --resume {tmp_path}` goes on with it"
    )
    state = runs.load_checkpoint(tmp_path)
    assert state["own"] == last and len(state["rows"]) == last
    assert {name: state[name] for name in IDENTITY} == IDENTITY


def test_a_stopped_run_goes_on_behind_its_last_checkpoint(clock, tmp_path):
    with pytest.raises(TimeUp):
        train(Keeper(IDENTITY, {"device": "here"}, tmp_path, 120), clock)
    loaded = []
    again = Keeper(IDENTITY, {"device": "there"}, tmp_path)
    assert train(again, clock, loaded=loaded) == [3]
    assert [row[0] for row in again.rows] == [1, 2, 3] and loaded[0]["own"] == 2
    assert again.machines == [{"device": "here"}, {"device": "there"}]
    same = Keeper(IDENTITY, {"device": "here"}, tmp_path)
    assert train(same, clock, loaded=[]) == [3] and same.machines == [{"device": "here"}]


@pytest.mark.parametrize(
    ("what", "says"), [("config", "config.json of"), ("data", "the data or split of")]
)
def test_a_checkpoint_of_another_run_is_refused(clock, tmp_path, what, says):
    with pytest.raises(TimeUp):
        train(Keeper(IDENTITY, {}, tmp_path, 120), clock)
    with pytest.raises(ConfigError, match=rf"^{says} .* changed since its checkpoint; put the old"):
        train(Keeper(IDENTITY | {what: "other"}, {}, tmp_path), clock, loaded=[])


def test_who_watches_has_a_bar_and_a_log_has_none(clock, monkeypatch, capsys):
    monkeypatch.setattr(keeper.sys, "modules", {})
    train(Keeper(IDENTITY, {}), clock)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(keeper.sys, "modules", {"ipykernel": None})  # a notebook
    train(Keeper(IDENTITY, {}), clock)
    seen = capsys.readouterr()
    assert "epochs: 100%" in seen.out and "3/3" in seen.out and seen.err == ""
    train(Keeper(IDENTITY, {}), clock, epochs=0)
    assert capsys.readouterr().out == ""  # nothing to wait for
    monkeypatch.setattr(keeper.sys, "modules", {})
    monkeypatch.setattr(keeper.sys.stdout, "isatty", lambda: True)
    train(Keeper(IDENTITY, {}), clock)
    assert "epochs: 100%" in capsys.readouterr().out


def test_a_fault_is_said_and_its_samples_are_kept(tmp_path):
    index = np.array([40, 30, 20, 10])
    fault = Fault("a loss is", 3, 0.25, [2, 0])
    words = "a loss is not finite at step 3 of epoch 5 (lr 0.25); "
    end = "start a new run with a lower lr, or look at these images first"
    kept = Keeper(IDENTITY, {}, tmp_path)
    kept.refuse(5, None, index)
    with pytest.raises(FloatingPointError) as told:
        kept.refuse(5, fault, index)
    place = tmp_path / "not-finite.json"
    assert str(told.value) == f"{words}{place} names its samples; {end}"
    assert files.read_json(place) == {
        "epoch": 5, "what": "a loss is", "step": 3, "lr": 0.25, "samples": [20, 40],
    }  # fmt: skip
    place.unlink()
    for other in (Keeper(IDENTITY, {}), Keeper(IDENTITY, {}, tmp_path, ranks=Ranks(1, 1))):
        with pytest.raises(FloatingPointError) as told:
            other.refuse(5, fault, index)
        assert str(told.value) == words + end and not place.exists()
