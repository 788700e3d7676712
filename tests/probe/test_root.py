"""CIFAR lies in the folder that a run names: whoever opens the run again looks there."""

import numpy as np
import pytest

from ltcl_helpers import explorer, pretrain, probe
from ltcl_helpers.config import RunConfig


@pytest.fixture
def there(small_cifar, tmp_path):
    """Train on a CIFAR of four images, which only the run's `root` leads to."""

    def call(method):
        config = RunConfig(
            preset="tiny", method=method, data="cifar10", root=str(tmp_path), split="all",
            batch_size=2, epochs=1, device="cpu",
        )  # fmt: skip
        return pretrain.pretrain(config, tmp_path / method)

    return call


def test_a_probe_and_the_explorer_find_the_images_of_a_run(there, small_cifar):
    images, labels = small_cifar
    run = there("simclr")
    assert run.labels.tolist() == labels[:4]
    rows = probe.probe_run(run.folder, shots=("full",), protocol="knn")
    assert set(rows["test"]) == {"cifar10"} and set(rows["images"]) == {4}
    shown = explorer.open_run(run).images
    np.testing.assert_array_equal(np.asarray(shown), images[:4])


def test_a_runs_own_classifier_is_tested_there(there):
    rows = probe.classifier_rows(there("cross-entropy").folder)
    assert set(rows["test"]) == {"cifar10"} and set(rows["images"]) == {4}
    (accuracy,) = rows.loc[rows["group"] == "all", "accuracy"]
    assert accuracy in (0, 0.5, 1)  # of two test images
