"""Memorization by leaving samples out: known answers, parts, and what a run leaves."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ltcl_helpers import files, paths, pretrain, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.stored import Stored
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.probe import leave_out

SMALL = dict(preset="tiny", largest_class=24, split_seed=0)
TINY = RunConfig(**SMALL, device="cpu", precision="float32")
INPUTS = splits.select(TINY)
N = len(INPUTS.labels)


def made_losses(runs=40, samples=500):
    """Losses of samples that are memorized by known amounts: with it in, so much lower.

    The runs differ in the level of their losses by as much.
    """
    draw = np.random.default_rng(0)
    truth, base = draw.uniform(0, 1, samples), draw.uniform(2, 5, samples)
    inside = np.stack([leave_out.part(samples, number, 0) for number in range(runs)])
    return base - truth * inside + draw.uniform(0, 1, (runs, 1)), inside, truth


def test_seven_tenths_and_eight_pairs_of_views_are_what_the_recorded_runs_had():
    assert (leave_out.LEFT_OUT, leave_out.DRAWS) == (3, 8)


def test_memorization_is_the_rise_of_a_samples_loss_when_it_is_left_out():
    loss, inside, truth = made_losses()
    # What is not exact is how the mean of all depends on who is in.
    np.testing.assert_allclose(leave_out.memorization(loss, inside), truth, rtol=0, atol=0.02)
    for half in leave_out.halves(loss, inside):
        np.testing.assert_allclose(half, truth, rtol=0, atol=0.04)
    # By hand, of three runs with means 3, 4 and 3.5: left out once, twice.
    few = leave_out.memorization(
        np.array([[1.0, 5.0], [2.0, 6.0], [6.0, 1.0]]), np.array([[1, 0], [1, 0], [0, 1]], bool)
    )
    assert few.tolist() == [2.5 + 2, 2 + 2.5]


def test_the_rise_of_a_group_is_its_mean_memorization_and_each_run_tells_it():
    loss, inside, truth = made_losses()
    for which in (None, truth > 0.8, truth < 0.2):
        asked = np.ones(len(truth), bool) if which is None else which
        rises = leave_out.rise(loss, inside, which)
        assert rises.shape == (40,)
        np.testing.assert_allclose(rises.mean(), truth[asked].mean(), rtol=0, atol=0.02)
        if which is not None:  # alike in their truth, so every run says the same
            np.testing.assert_allclose(rises, truth[asked].mean(), rtol=0, atol=0.06)
    # Which samples a run left out does not matter: a sample's own level is taken off.
    shifted = loss + 9 * np.random.default_rng(1).uniform(size=len(truth))
    np.testing.assert_allclose(
        leave_out.rise(shifted, inside), leave_out.rise(loss, inside), atol=1e-2
    )


def test_a_sample_that_no_run_left_out_is_refused():
    loss, inside, _ = made_losses()
    inside[:, 3] = True
    with pytest.raises(ValueError, match="1 of 500 samples are in all runs"):
        leave_out.memorization(loss, inside)


def test_a_part_is_seven_tenths_by_chance_and_the_same_again():
    first, second = leave_out.part(N, 0, 0), leave_out.part(N, 1, 0)
    assert abs(first.mean() - 0.7) < 2 / N and abs(second.mean() - 0.7) < 2 / N
    for ten in (range(10), range(10, 20)):  # every sample as often
        assert set(sum(~leave_out.part(N, number, 0) for number in ten)) == {3}
    assert (leave_out.part(N, 0, 0) != leave_out.part(N, 10, 0)).any() and (first != second).any()
    assert (first == leave_out.part(N, 0, 0)).all() and (first != leave_out.part(N, 0, 1)).any()
    assert leave_out.part(N, -1, 0).all()
    own = leave_out.restrict(INPUTS, first)
    assert (own.index == INPUTS.index[first]).all() and (own.images == INPUTS.images[first]).all()
    assert own.class_counts.sum() == first.sum()
    assert (own.group_counts == INPUTS.group_counts).all()
    assert (np.bincount(own.labels, minlength=12) == own.class_counts).all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One run on a part, and one on the whole split, of two epochs each."""
    out = tmp_path_factory.mktemp("leave-out")
    leave_out.measure(TINY, 3, out / "long-tail-03.npz")
    leave_out.measure(TINY, -1, out / "long-tail-whole-0.npz")
    return out


def test_a_run_leaves_every_samples_loss_as_all_others_measure_it(folder, monkeypatch):
    loss, inside = leave_out.read(folder, "long-tail")
    assert loss.shape == inside.shape == (1, N)
    assert (inside[0] == leave_out.part(N, 3, 0)).all()
    # The run again: its own seed is the part's number, its views are those of all parts.
    config = TINY.model_copy(update={"seed": 3})
    again = pretrain.pretrain(config, inputs=leave_out.restrict(INPUTS, inside[0]))
    expected = leave_out.losses(again, INPUTS, seed=0)
    np.testing.assert_allclose(loss[0], expected, rtol=0, atol=5e-3)  # float16 of values near 5
    arrays = files.read_npz(folder / "long-tail-03.npz")
    about = json.loads(str(arrays["about"]))
    assert (arrays["labels"] == INPUTS.labels).all() and arrays["loss"].dtype == np.float16
    assert RunConfig(**about.pop("config")) == config
    torch_is, commit = runs.version("torch"), runs.git_commit()
    assert about == {"part": 3, "commit": commit, "torch": torch_is, "views": 0}
    # What is there is not made again.
    monkeypatch.setattr(leave_out, "pretrain", None)
    leave_out.measure(TINY, 3, folder / "long-tail-03.npz")


def test_the_whole_split_leaves_what_may_stand_for_memorization(folder):
    arrays = files.read_npz(folder / "long-tail-whole-0.npz")
    assert arrays["inside"].all() and arrays["momentum_loss"].shape == (2, N)
    run = pretrain.pretrain(TINY, inputs=INPUTS)
    found = leave_out.other_scores(run, INPUTS, seed=0)
    assert set(found) == {"momentum_loss", "untrained", *pretrain.AIMS}
    for name, values in found.items():
        np.testing.assert_allclose(arrays[name], values, rtol=0, atol=5e-3, err_msg=name)
    assert not torch.equal(found["untrained"], found["clean-loss"])


def test_parts_and_views_are_those_of_the_recorded_runs():
    """What was drawn when they were made is drawn again, on every machine."""
    left_out = [np.flatnonzero(~leave_out.part(20, number, 4)).tolist() for number in (0, 13)]
    assert left_out == [[3, 4, 5, 12, 16, 17], [0, 1, 4, 8, 9, 19]]
    assert leave_out._draw(4).initial_seed() == pretrain.seed_for(4, "leave out", 0)


def test_the_seed_of_the_views_is_the_configurations_and_of_the_run_the_parts(
    tmp_path, monkeypatch
):
    seen = []
    images = torch.zeros(N)

    def train(config, inputs):
        seen.append((config.seed, len(inputs.labels)))
        return SimpleNamespace(momentum_loss=images, config=config)

    monkeypatch.setattr(leave_out, "pretrain", train)
    monkeypatch.setattr(leave_out, "losses", lambda run, inputs, seed: images + seed)
    monkeypatch.setattr(leave_out, "other_scores", lambda run, inputs, seed: {"o": images - seed})
    config = TINY.model_copy(update={"seed": 5})
    counts = [leave_out.part(N, number, 0).sum() for number in (0, 2)]
    for number, own, count in ((-1, 5, N), (0, 0, counts[0]), (2, 2, counts[1])):
        leave_out.measure(config, number, tmp_path / f"{number}.npz")
        arrays = files.read_npz(tmp_path / f"{number}.npz")
        assert seen.pop() == (own, count) and set(arrays["loss"]) == {5}
        assert json.loads(str(arrays["about"]))["views"] == 5
        whole = np.ones(N, bool)
        expected = whole if number < 0 else leave_out.part(N, number, 0)
        assert (arrays["inside"].astype(bool) == expected).all()
        assert ("o" in arrays) == (number < 0) and set(arrays.get("o", [-5])) == {-5}


def test_a_part_says_the_split_that_it_is_of_and_packs_are_refused(tmp_path, monkeypatch):
    run = SimpleNamespace(momentum_loss=torch.zeros(N), config=None)
    monkeypatch.setattr(leave_out, "pretrain", lambda config, inputs: run)
    monkeypatch.setattr(leave_out, "losses", lambda run, inputs, seed: torch.zeros(N))
    config = TINY.model_copy(update={"seed": 0, "split_seed": None})
    leave_out.measure(config, 3, tmp_path / "3.npz")
    about = json.loads(str(files.read_npz(tmp_path / "3.npz")["about"]))["config"]
    assert (about["seed"], about["split_seed"]) == (3, 0)

    stored = splits.select(TINY)._replace(images=Stored.__new__(Stored))
    monkeypatch.setattr(leave_out.splits, "select", lambda config: stored)
    with pytest.raises(ConfigError, match="needs images in memory; shapes is in files"):
        leave_out.measure(TINY, 0, tmp_path / "0.npz")


def test_parts_are_read_in_their_order_and_the_whole_split_is_none_of_them(tmp_path):
    for name in ("a-01", "a-00", "a-whole-0", "ab-00"):
        loss = np.full(2, float(name[-1]), np.float16)
        files.write_npz(tmp_path / f"{name}.npz", loss=loss, inside=loss > 0)
    loss, inside = leave_out.read(tmp_path, "a")
    assert loss.tolist() == [[0, 0], [1, 1]] and loss.dtype == np.float32
    assert inside.tolist() == [[False] * 2, [True] * 2]
    says = f"{tmp_path} holds no b-00.npz; next: experiments/leave_out.py"
    with pytest.raises(ConfigError, match=f"^{says}$"):
        leave_out.read(tmp_path, "b")


def test_samples_in_all_runs_or_in_none_are_counted():
    inside = np.array([[1, 0, 1, 0], [1, 0, 0, 1]], bool)
    says = "^2 of 4 samples are in all runs or in none; make more runs$"
    with pytest.raises(ValueError, match=says):
        leave_out.memorization(np.ones((2, 4)), inside)
    loss = np.array([[1.0, 3], [5, 2], [2, 8], [4, 1], [7, 7]])
    inside = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]], bool)
    first, second = leave_out.halves(loss, inside)  # two runs, and three
    assert first.tolist() == leave_out.memorization(loss[:2], inside[:2]).tolist()
    assert second.tolist() == leave_out.memorization(loss[2:], inside[2:]).tolist()


def test_nothing_there_says_what_makes_it(tmp_path):
    with pytest.raises(ConfigError, match="next: experiments/leave_out.py"):
        leave_out.read(tmp_path, "long-tail")


def planned():
    """Name, configuration and part of each run that experiments/leave_out.py makes."""
    script = paths.ROOT / "experiments" / "leave_out.py"
    spec = importlib.util.spec_from_file_location("leave_out_runs", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(module.jobs("quick"))


def test_the_recorded_runs_are_all_that_were_planned_and_no_other():
    jobs = planned()
    folder = paths.RESULTS / "leave-out"
    assert {path.stem for path in folder.glob("*.npz")} == {name for name, *_ in jobs}
    for name, config, number in jobs:
        found = files.read_npz(folder / f"{name}.npz")
        about = json.loads(str(found["about"]))
        seed = config.seed if number < 0 else number
        asked = config.model_copy(update={"seed": seed}).model_dump(mode="json")
        assert (about["config"], about["part"], about["views"]) == (asked, number, config.seed)
        part = leave_out.part(len(found["labels"]), number, config.drawn_with)
        assert np.array_equal(found["inside"], part) and np.isfinite(found["loss"]).all()


@pytest.mark.parametrize("kind", ["long-tail", "balanced"])
def test_of_the_recorded_runs_twelve_left_out_each_sample(kind):
    loss, inside = leave_out.read(paths.RESULTS / "leave-out", kind)
    assert len(loss) == 40 and ((~inside).sum(axis=0) == 12).all()
    config = RunConfig(preset="quick", split=kind, split_seed=0)
    whole = files.read_npz(paths.RESULTS / "leave-out" / f"{kind}-whole-0.npz")
    assert np.array_equal(whole["labels"], splits.select(config).labels)
    assert len(whole["momentum_loss"]) == config.epochs == 30
