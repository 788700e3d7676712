"""The front end's numbers are Python's: node runs its first module against values written here."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ltcl_helpers.config import RunConfig
from ltcl_helpers.explorer import from_arrays, orders
from ltcl_helpers.explorer.payload import payload

SAMPLES, EPOCHS = 64, 6
NAMES = ("=1+1", "b", "c", "d", "e", "f")


def histories():
    """Two runs with samples not seen yet, a boost and neighbours; one of large and equal losses."""
    draw = np.random.default_rng(4)
    labels = np.repeat(np.arange(6), [30, 15, 8, 5, 4, 2])
    features = draw.normal(size=(SAMPLES, 5))
    pair = []
    for boost in ("none", "memory"):
        loss = draw.gamma(3, size=(EPOCHS, SAMPLES))
        loss[:2, 7] = loss[:, 11] = loss[3, 20] = np.nan
        truth = draw.normal(size=SAMPLES)
        run = from_arrays(loss, labels, None, NAMES, features=features, memorization=truth)
        run.config = RunConfig(preset="tiny", boost=boost, epochs=EPOCHS)
        pair.append(run)
    large = 1000 + draw.random((3, SAMPLES)) / 100
    large[1] = 1000.1
    # Names of all classes of a set, of which the samples have two: whole groups are empty.
    part = from_arrays(draw.gamma(3, size=(3, SAMPLES)), np.arange(SAMPLES) % 2, None, [*"abcdefg"])
    return {"two runs": pair, "large losses": [from_arrays(large)], "two of seven": [part]}


def without_nan(values):
    return [None if np.isnan(value) else float(value) for value in values]


def facts(history):
    """What Python says of a history, for the page to say the same."""
    loss, scores = history.momentum_loss, history.scores()
    mean, sd = orders.data_map(np.where(np.isnan(loss), np.nan, scores))
    return {
        "losses": [without_nan(row) for row in loss],
        "scores": scores.tolist(),
        "learnt": without_nan(orders.learnt(loss, history.groups(), history.kept)),
        "mean": without_nan(mean),
        "sd": without_nan(sd),
    }


def ordered(pair):
    """Each order's key in the first run at a row, and its first samples."""
    first, row, focus = pair[0], 2, 5
    loss = first.momentum_loss
    keys = {
        "hardest": orders.hardest(loss, row),
        "easiest": orders.easiest(loss, row),
        "falling": orders.falling(loss, row),
        "wandering": orders.wandering(loss),
        "learnt": orders.learnt(loss, first.groups(), first.kept),
    }
    if len(pair) == 2:
        seen = [np.where(np.isnan(h.momentum_loss[row]), np.nan, h.scores()[row]) for h in pair]
        keys["difference"] = np.abs(seen[1] - seen[0])
        keys["near"] = np.full(SAMPLES, np.nan)
        nearest = orders.neighbours(first.features)[focus]
        keys["near"][nearest] = -np.arange(1, len(nearest) + 1)
        keys["near"][focus] = 0
    about = {}
    for name, key in keys.items():
        shown = orders.largest(key, 8).tolist()
        about[name] = {"row": row, "focus": focus, "key": without_nan(key), "first": shown}
    return about


def test_the_page_computes_what_python_does(tmp_path):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here: apt install nodejs")
    cases, in_order = [], {}
    for number, (name, pair) in enumerate(histories().items()):
        meta, data, _ = payload(*pair)
        (tmp_path / f"{number}.bin").write_bytes(data)
        truth = without_nan(pair[0].memorization) if number == 0 else None
        about = {"name": name, "meta": meta, "memorization": truth}
        cases.append(about | {"runs": [facts(history) for history in pair]})
        in_order[name] = ordered(pair)
    expected = json.dumps({"cases": cases, "orders": in_order}, allow_nan=False)
    (tmp_path / "expected.json").write_text(expected)
    done = subprocess.run(
        [node, "--test", str(Path(__file__).with_name("front.test.mjs"))],
        env=os.environ | {"LTCL_FRONT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_neighbours_are_those_of_the_slow_way():
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for i, found in enumerate(orders.neighbours(features)):
        alike = unit @ unit[i]
        alike[i] = -np.inf
        assert found.tolist() == np.argsort(-alike)[:10].tolist()
    few = orders.neighbours(features[:3])
    assert (few[:, 2:] == -1).all() and (few[:, :2] >= 0).all()
