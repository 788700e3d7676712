"""Memorization by leaving out, beside the score: of the run's own samples, or of none."""

import json
import shutil

import numpy as np
import pytest
from explorer.browsing import FIRST, complaints, expect_text, history, marks, settle

from ltcl_helpers import files
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import export_html, from_arrays, memorization_of, open_run, payload
from ltcl_helpers.explorer import truth as truth_module
from ltcl_helpers.probe import leave_out


@pytest.fixture(scope="session")
def parts(tmp_path_factory):
    """Twenty parts of the first run's split, as the experiment writes them, and the truth.

    The losses are made up: the later samples are memorized more.
    """
    folder, run = tmp_path_factory.mktemp("leave-out"), open_run(FIRST, images=False)
    count = len(run.labels)
    truth = np.linspace(0, 1, count)
    config = run.config.model_copy(update={"seed": 7}).model_dump(mode="json")
    for number in range(20):
        inside = leave_out.part(count, number, run.config.drawn_with)
        loss = (5 - truth * inside).astype(np.float16)
        about = np.array(json.dumps({"config": config, "part": number}))
        path = folder / f"long-tail-{number:02d}.npz"
        files.write_npz(path, loss=loss, inside=inside, labels=run.labels, about=about)
    return folder, truth


def test_the_truth_is_that_of_the_runs_samples(parts):
    folder, truth = parts
    found = memorization_of(open_run(FIRST, images=False), folder)
    np.testing.assert_allclose(found, truth, rtol=0, atol=0.02)  # float16, and 20 parts


def test_the_truth_of_other_samples_is_refused_in_one_line(parts, tmp_path):
    folder, _ = parts
    other = open_run(FIRST.with_name("long-tail-1"), images=False)
    for run, where in ((other, folder), (history(), folder), (other, tmp_path)):
        with pytest.raises(ConfigError, match="next: experiments/leave_out.py") as error:
            memorization_of(run, where)
        assert "\n" not in str(error.value) and str(where) in str(error.value)
    assert "shapes, long-tail, split seed 0, mirrored" in str(error.value)
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):  # which left out only some samples
        shutil.copy(folder / f"long-tail-{number:02d}.npz", few)
    with pytest.raises(ConfigError, match="make more runs"):
        memorization_of(open_run(FIRST, images=False), few)


def test_a_recorded_truth_is_shown_by_itself(parts, monkeypatch):
    folder, truth = parts
    monkeypatch.setattr("ltcl_helpers.explorer.truth.RECORDED", folder)
    for run, there in ((FIRST, True), (FIRST.with_name("long-tail-1"), False)):
        meta, data, _ = payload(open_run(run, images=False))
        assert ("memorization" in meta["arrays"]) == there
        if there:
            start, length = meta["arrays"]["memorization"]
            shown = np.frombuffer(data[start : start + length], np.float32)
            np.testing.assert_allclose(shown, truth, rtol=0, atol=0.02)


def test_a_recorded_truth_that_is_noise_is_not_shown_by_itself(parts, monkeypatch, tmp_path):
    folder, truth = parts
    run = open_run(FIRST, images=False)
    draw = np.random.default_rng(0)
    for path in folder.glob("*.npz"):
        arrays = files.read_npz(path)
        noise = draw.normal(size=len(truth)).astype(np.float16)  # each run's own luck
        files.write_npz(tmp_path / path.name, **arrays | {"loss": arrays["loss"] + 9 * noise})
    monkeypatch.setattr("ltcl_helpers.explorer.truth.RECORDED", tmp_path)
    assert "memorization" not in payload(run)[0]["arrays"]
    run.memorization = memorization_of(run, tmp_path)  # whoever asks for it gets it
    assert "memorization" in payload(run)[0]["arrays"]
    assert truth_module.RELIABLE == 0.3


def test_too_few_runs_to_tell_are_not_shown_by_themselves(parts, monkeypatch, tmp_path):
    folder, _ = parts
    for number in range(10):  # enough for a truth, not for two halves
        shutil.copy(folder / f"long-tail-{number:02d}.npz", tmp_path)
    monkeypatch.setattr("ltcl_helpers.explorer.truth.RECORDED", tmp_path)
    run = open_run(FIRST, images=False)
    assert "memorization" not in payload(run)[0]["arrays"]
    assert len(memorization_of(run, tmp_path)) == len(run.labels)


@pytest.mark.parametrize("given", [np.zeros(59), [[0.0]] * 60, [np.nan] * 60, ["a"] * 60])
def test_what_cannot_be_memorization_is_refused(given):
    with pytest.raises(ConfigError, match="one finite number per sample"):
        history(memorization=given)
    run = history()
    run.memorization = given
    with pytest.raises(ConfigError, match="one finite number per sample"):
        open_run(run)


def test_the_truth_is_a_colour_a_map_and_a_number(show, tmp_path):
    truth = np.linspace(-1, 1, 60)
    run = history(labels=np.arange(60) % 3, memorization=truth)
    page = show(export_html(run, tmp_path / "truth.html"), "#sample=40")
    expect_text(page, ".ltcl-facts", f"memorization {truth[40]:.3g} (leave-out)")
    before = marks(page)
    assert not page.locator(".ltcl-scale").is_visible()
    page.get_by_role("button", name="By memorization").click()
    expect_text(page, ".ltcl-a .ltcl-reading", "The colour is memorization")
    settle(page)
    after = marks(page)
    shapes = (before != before[0, 0]).any(-1)
    assert np.array_equal(shapes, (after != after[0, 0]).any(-1))  # the same marks, where they were
    assert not np.array_equal(before, after)
    assert page.locator(".ltcl-scale").is_visible()
    page.get_by_role("button", name="Truth").click()
    expect_text(page, ".ltcl-a .ltcl-reading", "marks rise from left to right")
    expect_text(page, "footer", "measured by leaving out")
    assert complaints(page) == []


def test_without_a_truth_nothing_is_said_of_it(show, tmp_path):
    page = show(export_html(from_arrays(np.ones((2, 9))), tmp_path / "none.html"))
    assert page.get_by_role("button", name="Truth").count() == 0
    assert "emorization by" not in page.locator("main").text_content()
    assert page.get_by_role("button", name="By group").count() == 0
