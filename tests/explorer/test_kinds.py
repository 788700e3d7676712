"""Every kind of run and of arrays opens, with the numbers of Python; what cannot is refused."""

import re
import shutil

import numpy as np
import pytest
from explorer.browsing import (
    FIRST,
    cell,
    chosen,
    complaints,
    epoch,
    expect_text,
    history,
    pixels,
    settle,
)

from ltcl_helpers import cli, files, paths
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer.history import from_arrays, open_run
from ltcl_helpers.explorer.page import export_html
from ltcl_helpers.explorer.payload import payload
from ltcl_helpers.recipes import AIMS

# --- every kind of run ----------------------------------------------------------------------


def a_run_of_every_study():
    """The first run of each study that has a history; a sooner one where samples were not seen."""
    found = {}
    rows = {}  # runs that differ by their seed alone are of one kind
    for file in sorted(paths.RESULTS.glob("*/*/memory.npz")):
        rows.setdefault((file.parts[-3], re.sub(r"-\d+$", "", file.parts[-2])), file)
    for (study, _), file in rows.items():
        loss = files.read_npz(file)["momentum_loss"]
        if len(loss):
            late = bool(np.isnan(loss[0]).any())
            found.setdefault((study, late), file.parent)
    with_late = {study for study, late in found if late}
    return [run for (study, late), run in found.items() if late or study not in with_late]


def test_a_run_of_every_study_opens_with_the_numbers_of_python(show, tmp_path):
    folders = a_run_of_every_study()
    studies = {path.parts[-3] for path in paths.RESULTS.glob("*/*/DONE.json")}
    assert {folder.parent.name for folder in folders} == studies
    never_seen = 0
    for number, folder in enumerate(folders):
        run = open_run(folder, images=False)
        loss, scores = run.momentum_loss, run.scores()
        last, hardest = len(loss) - 1, int(np.nanargmax(loss[-1]))
        late = int(np.isnan(loss[0]).argmax())  # the first that was not seen in epoch 1, or 0
        never_seen += np.isnan(loss[0]).any()
        page = show(export_html(run, tmp_path / f"{number}.html"), f"#sample={hardest}")
        for sample, row, key in ((hardest, last, "End"), (hardest, 0, "Home"), (late, 0, "Home")):
            page.evaluate(f"location.hash = 'sample={sample}'")
            page.keyboard.press(key)
            expect_text(page, ".ltcl-epoch", f"Epoch {run.kept[row]} of")
            expect_text(page, ".ltcl-facts", f"sample {sample} ")
            settle(page)
            shown = float(cell(page, "Score").split()[0])
            assert shown == pytest.approx(scores[row, sample], abs=6e-4), folder
            seen = loss[row][~np.isnan(loss[row])]
            if np.isnan(loss[row, sample]):
                assert cell(page, "Place") == cell(page, "Momentum loss") == "not seen yet"
            else:
                assert np.float16(cell(page, "Momentum loss")) == loss[row, sample]
                place = 1 + int((seen > loss[row, sample]).sum())
                assert cell(page, "Place") == f"{place:,} of {len(seen):,}"
        assert np.isfinite(pixels(page.locator(".ltcl-curves").first)).any()
        assert complaints(page) == [], folder
        page.context.close()
    assert never_seen >= 3  # MoCo's: a queue drops the last batch


def test_a_run_without_its_images_says_how_to_show_them(show, tmp_path):
    folder = paths.RESULTS / "cifar10-length" / "30-simclr-0"
    found = open_run(folder)
    if found.images is not None:
        pytest.skip("CIFAR is at hand here")
    page = show(export_html(found, tmp_path / "bare.html"))
    expect_text(page, "footer", "ltcl data get cifar10")
    expect_text(page, "footer", "no map of its features")
    assert page.locator(".ltcl-map").is_visible()
    found.images = np.zeros((len(found.labels), 8, 8, 3), np.uint8)  # now they are at hand
    page = show(export_html(found, tmp_path / "handed.html"))
    expect_text(page, "footer", "8 x 8 px")
    assert "No images" not in page.locator("footer").text_content()


# --- other histories ------------------------------------------------------------------------


def a_history_of_an_aim():
    """A recorded run, as if one of the aims without labels had boosted it."""
    run = open_run(FIRST, images=False)
    run.config = run.config.model_copy(update={"boost": AIMS[0]})
    return run


OTHERS = {
    "an aim": a_history_of_an_aim,
    "labels and features": lambda: history(
        labels=np.arange(60) % 3, features=np.random.default_rng(0).normal(size=(60, 4))
    ),
    "a class a sample": lambda: history(labels=np.arange(60)),
    "no labels": history,
    "one sample": lambda: from_arrays([[1.0], [2.0]]),
    "one epoch of equal losses": lambda: from_arrays(np.ones((1, 5))),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_nobody_is_shut_out_of_other_histories(show, tmp_path, kind):
    page = show(export_html(OTHERS[kind](), tmp_path / "other.html"))
    assert complaints(page) == []


def test_long_histories_without_labels_and_images_are_thinned(show, tmp_path):
    page = show(export_html(history(epochs=250), tmp_path / "long.html"))
    expect_text(page, "footer", "100 of 250 kept epochs are shown")
    expect_text(page, "footer", "No labels were given")
    page.keyboard.press("End")
    settle(page)
    assert epoch(page) == "Epoch 250 of 250"
    expect_text(page, ".ltcl-b figcaption", "No views")


def test_one_epoch_and_equal_losses_are_shown(show, tmp_path):
    flat = from_arrays(np.ones((1, 5)), images=np.zeros((5, 40, 40, 3), np.uint8))
    page = show(export_html(flat, tmp_path / "flat.html"))
    assert cell(page, "Score") == "0.500" and epoch(page) == "Epoch 1 of 1"
    expect_text(page, "footer", "40 x 40 px")


def test_an_outlier_does_not_squash_the_bands(show, tmp_path):
    loss = np.random.default_rng(0).gamma(3, size=(4, 60))
    loss[:, 5] = 500
    page = show(export_html(from_arrays(loss), tmp_path / "outlier.html"))
    assert chosen(page) == 5
    expect_text(page, ".ltcl-c .ltcl-reading", "A curve that leaves the picture")


# --- wrong input ----------------------------------------------------------------------------


def test_a_folder_that_is_no_run_is_a_wrong_call(tmp_path, capsys):
    assert cli.main(["explore", str(tmp_path), "--out", str(tmp_path / "no.html")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_damaged_and_foreign_folders_give_one_line(tmp_path):
    damaged = shutil.copytree(FIRST, tmp_path / "damaged")
    (damaged / "memory.npz").write_bytes(b"x" + (damaged / "memory.npz").read_bytes()[1:])
    (tmp_path / "foreign").mkdir()
    for folder, named in ((damaged, "memory.npz"), (tmp_path / "foreign", "foreign")):
        with pytest.raises(ConfigError, match=named) as error:
            export_html(folder, tmp_path / "page.html")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "page.html").exists()


def test_a_run_without_a_history_is_refused():
    with pytest.raises(ConfigError, match="no loss history"):
        open_run(paths.RESULTS / "shapes-simclr" / "untrained-0")


def test_runs_of_different_images_are_not_compared():
    said = (
        r"'SimCLR' \(shapes, long-tail, split seed 0\) and "
        r"'SimCLR' \(shapes, long-tail, split seed 0, mirrored\) learned from different images"
    )
    with pytest.raises(ConfigError, match=said):
        payload(FIRST, paths.RESULTS / "shapes-simclr" / "long-tail-1")
