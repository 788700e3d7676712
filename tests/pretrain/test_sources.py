"""Crops that are made ahead: which rows, which boxes, in which order, and no more than needed."""

import numpy as np
import pytest
import torch

from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.data.stored import Origin, Stored
from ltcl_helpers.pretrain import Training, seed_for, sources
from ltcl_helpers.views import draw_crops
from ltcl_helpers.views.share import whole

CPU = torch.device("cpu")


class Watched(Stored):
    """Stored images that keep what they are asked for; a crop shows the image's number."""

    def __init__(self):
        sizes = np.array([20, 30, 40, 50, 60, 70, 80, 90])
        super().__init__(Origin(None, sizes, sizes + 5, [], ""), 4)
        self.asked = []

    def crops(self, index, boxes, flips):
        self.asked.append((index, boxes, flips))
        shown = np.broadcast_to(index[:, None, None, None, None], (*flips.shape, 3, 4, 4))
        return shown.astype(np.uint8)

    def __getitem__(self, index):
        return np.broadcast_to(
            np.asarray(index)[:, None, None, None], (len(index), 3, 4, 4)
        ).astype(np.uint8)


def steps(*batches):
    return [(torch.tensor(batch), 0.1 * (k + 1)) for k, batch in enumerate(batches)]


def draw():
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize("cut", [whole, lambda total: slice(1, total)])
def test_each_step_has_the_crops_of_its_rows_and_all_ranks_draw_alike(cut):
    stored, config = Watched(), RunConfig(preset="tiny", crop_from=0.4)
    images = sources.on_device(stored, config, 2, cut, CPU)
    assert isinstance(images, sources.Decoded) and len(images) == 8
    given, again = steps([5, 0, 3], [7, 2]), draw()
    for (index, lr), (wanted, rate) in zip(
        sources.ahead(images, iter(given), draw()), given, strict=True
    ):
        assert torch.equal(index, wanted) and lr == rate
        rows = cut(len(index))
        assert images[index[rows]].shape == (len(index[rows]), 2, 3, 4, 4)
        assert images[index[rows]][:, :, 0, 0, 0].tolist() == [[k, k] for k in index[rows].tolist()]
        number, boxes, flips = stored.asked.pop(0)
        assert torch.equal(torch.from_numpy(number), index[rows])
        sizes = torch.from_numpy(stored.origin.heights)[index].repeat_interleave(2)
        expected = draw_crops(sizes, sizes + 5, 0.4, again)
        assert torch.equal(torch.from_numpy(boxes), expected[0].view(-1, 2, 4)[rows])
        assert torch.equal(torch.from_numpy(flips), expected[1].view(-1, 2)[rows])
    assert not stored.asked


def test_three_batches_are_made_before_they_are_asked_for():
    stored = Watched()
    images = sources.Decoded(stored, RunConfig(preset="tiny"), 1, whole, CPU)
    taken = []

    def given():
        for step in steps(*[[k] for k in range(8)]):
            taken.append(len(taken))
            yield step

    going = images.ahead(given(), draw())
    for number in range(8):
        index, _ = next(going)
        assert index.tolist() == [number] and len(taken) == min(number + 4, 8)
        assert images[index].flatten()[0] == number
    assert next(going, None) is None


def test_images_in_memory_are_a_tensor_and_their_steps_pass_by():
    held = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    images = sources.on_device(held, RunConfig(preset="tiny"), 2, whole, CPU)
    assert torch.equal(images, torch.from_numpy(held))
    given = iter(steps([0], [1]))
    assert sources.ahead(images, given, draw()) is given
    assert torch.equal(sources.whole(images, torch.tensor([1])), images[1:])


def test_whole_images_of_files_are_their_middles():
    images = sources.Decoded(Watched(), RunConfig(preset="tiny"), 2, whole, CPU)
    found = sources.whole(images, torch.tensor([4, 1]))
    assert found.dtype == torch.uint8 and found[:, 0, 0, 0].tolist() == [4, 1]


def test_what_a_run_draws_hangs_on_its_own_seed_not_on_its_splits(monkeypatch):
    """Crops, masks, the order of keys and an aim's views: a mirrored pair has its own of each."""
    config = RunConfig(preset="tiny", device="cpu", seed=4, split_seed=8)
    training = Training(config, splits.select(config))
    seen = []
    monkeypatch.setattr(sources, "ahead", lambda images, steps, draw: seen.append(draw) or steps)
    next(training.steps(3))
    assert seen[0].initial_seed() == seed_for(4, "crops", 3)
    assert training.generator("pruning", 3).initial_seed() == seed_for(4, "pruning", 3)
    drawn = [draw.initial_seed() for draw in training.draws_of(3)]
    assert drawn == [seed_for(4, "views", 3), seed_for(4, "boost", 3)]


@pytest.mark.parametrize(("split", "is_rare"), [("balanced", False), ("long-tail", True)])
def test_a_training_reads_the_class_sizes_of_its_own_images(split, is_rare):
    """Groups are another matter: a balanced set borrows those of its long-tail partner."""
    config = RunConfig(preset="tiny", device="cpu", method="cross-entropy", split=split)
    inputs = splits.select(config)
    training = Training(config, inputs)
    assert training.method.counts.tolist() == inputs.class_counts.tolist()
    assert bool(training.rarity.any()) == is_rare
    assert (inputs.class_counts != inputs.group_counts).any() != is_rare
