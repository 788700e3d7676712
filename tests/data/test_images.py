"""Every way in: shapes, CIFAR, npz, and fetching lists."""

import shutil

import numpy as np
import pytest
import torch
from torchvision import datasets

from ltcl_helpers.data import downloads
from ltcl_helpers.data.images import load_images
from ltcl_helpers.errors import ConfigError


def test_shapes_by_name_and_seed():
    train, test = load_images("shapes"), load_images("shapes", "test")
    assert train.images.shape == (12_000, 3, 32, 32) and test.images.shape == (3000, 3, 32, 32)
    assert train.images.dtype == torch.uint8 and train.labels.dtype == torch.int64
    assert len(train.class_names) == 12
    assert not torch.equal(load_images("shapes:1", "test").images, test.images)
    with pytest.raises(ConfigError, match="part"):
        load_images("shapes", "validation")


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_npz_in_both_layouts_and_its_test_set(tmp_path, layout):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 9, 3), np.uint8)
    stored = images if layout == "NHWC" else images.transpose(0, 3, 1, 2)
    for part, count in (("train", 20), ("test", 5)):
        labels = np.arange(count, dtype=np.uint8) % 2
        names = np.array(["cat", "dog"])
        np.savez(
            tmp_path / f"pets_{part}.npz", images=stored[:count], labels=labels, class_names=names
        )
    name = f"npz:{tmp_path}/pets_train.npz"
    train, test = load_images(name), load_images(name, "test")
    assert train.images.shape == (20, 3, 8, 9) and len(test.images) == 5
    assert train.class_names == ("cat", "dog")
    assert (train.images.numpy() == images.transpose(0, 3, 1, 2)).all()
    (tmp_path / "pets_test.npz").unlink()
    with pytest.raises(ConfigError, match=r"pets_test\.npz does not exist"):
        load_images(name, "test")
    shutil.copy(tmp_path / "pets_train.npz", tmp_path / "pets.npz")
    with pytest.raises(ConfigError, match="--test"):
        load_images(f"npz:{tmp_path}/pets.npz", "test")


def test_cifar10_through_torchvision(cifar):
    train, test = (load_images("cifar10", part, cifar) for part in ("train", "test"))
    assert train.images.shape == (50_000, 3, 32, 32) and test.labels.shape == (10_000,)
    assert train.class_names[6] == "frog" and train.labels[0] == 6  # the first image is a frog
    assert downloads.verify("cifar10", cifar).startswith("cifar10: 50000 training and 10000 test")


def test_both_parts_of_cifar_are_fetched(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(datasets, "CIFAR100", lambda root, **how: asked.append((root, how)))
    monkeypatch.setattr(downloads, "verify", lambda name, root: "whole")
    downloads.get("cifar100", tmp_path)
    assert asked == [(tmp_path, {"train": train, "download": True}) for train in (True, False)]


def test_damaged_cifar_is_refused_before_it_is_unpickled(cifar, tmp_path):
    shutil.copytree(cifar / "cifar-10-batches-py", tmp_path / "cifar-10-batches-py")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_3"
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="damaged"):
        load_images("cifar10", "train", tmp_path)


def test_real_cifar100_agrees_with_the_published_class_blocks(cifar, golden):
    known = golden("split_counts_and_partial_labels")
    labels = load_images(f"npz:{cifar}/cifar100_train.npz").labels.numpy()
    assert (labels[known["cifar100_known_index"]] == known["cifar100_known_block"]).all()


def test_get_splits_takes_copies_and_checks_them(published_splits, tmp_path):
    downloads.get("splits", tmp_path / "lists", str(published_splits))
    assert downloads.verify("splits", tmp_path / "lists").startswith("49 published lists")
    target = tmp_path / "lists" / "cifar10" / "valIdxList.npy"
    target.write_bytes(target.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="valIdxList"):
        downloads.verify("splits", tmp_path / "lists")
    downloads.get("splits", tmp_path / "lists", f"file://{published_splits}")  # repairs that one
    shutil.copytree(tmp_path / "lists", tmp_path / "wrong")
    (tmp_path / "wrong" / "cifar10" / "valIdxList.npy").write_bytes(b"other")
    with pytest.raises(ConfigError, match="sha256 differs"):
        downloads.get("splits", tmp_path / "new", str(tmp_path / "wrong"))


def test_a_failed_download_says_what_else_to_do(tmp_path, monkeypatch):
    import torchvision

    def fail(*args, **kwargs):
        raise OSError("connection timed out")

    monkeypatch.setattr(torchvision.datasets, "CIFAR100", fail)
    with pytest.raises(ConfigError, match=r"timed out.*cifar-100-python.*npz:PATH"):
        downloads.get("cifar100", tmp_path)
