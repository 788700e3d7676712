"""The memory of losses by hand: scores of a few samples, what is kept, what a checkpoint brings."""

import pytest
import torch

from ltcl_helpers.methods.memory import MomentumLoss, memorization_score

NAN = float("nan")
PLACE = 2.0**-52  # from 1 to the next number in double precision


def scores(*losses):
    return memorization_score(torch.tensor(losses, dtype=torch.float64)).tolist()


def test_the_farthest_from_the_mean_gets_0_or_1_and_the_mean_a_half():
    assert scores(1, 3, 8) == [0.125, 0.375, 1]
    assert scores(-8, -3, -1) == [0, 0.625, 0.875]
    assert scores(1, NAN, 3) == [0, 0.5, 1]  # one that was never seen
    assert scores(NAN, NAN) == [0.5, 0.5]


def test_losses_that_only_rounding_tells_apart_are_equal():
    """The mean of equal losses may miss them by four units in the last place."""
    with pytest.warns(UserWarning, match="all momentum losses are equal; every score is 0.5"):
        assert scores(1, 1 + 8 * PLACE) == [0.5, 0.5]
    assert scores(1, 1 + 10 * PLACE) == [0, 1]
    with pytest.warns(UserWarning, match="all momentum losses are equal"):
        assert scores(0, 0) == [0.5, 0.5]


def test_a_sample_begins_with_its_first_loss_and_then_keeps_beta_of_its_past():
    memory = MomentumLoss(3, 0.75)
    memory.update(torch.tensor([2, 0]), torch.tensor([4.0, 2.0]))
    memory.update(torch.tensor([0]), torch.tensor([6.0]))
    torch.testing.assert_close(memory.value, torch.tensor([3.0, NAN, 4.0]), equal_nan=True)
    assert MomentumLoss(1).beta == 0.97
    assert MomentumLoss(1).value.dtype == torch.float32
    assert MomentumLoss(1, dtype=torch.float64).scores.dtype == torch.float64


@pytest.mark.parametrize("beta", [-0.001, 1.0])
def test_beta_is_a_share_below_1(beta):
    with pytest.raises(ValueError, match=f"beta is {beta}; allowed is 0 <= beta < 1"):
        MomentumLoss(1, beta)


def test_only_epochs_that_are_kept_are_rows_of_the_history():
    memory = MomentumLoss(2, 0.5)
    assert memory.history.shape == (0, 2) and memory.history.dtype == torch.float16
    assert memory.scores.tolist() == [0, 0]
    for loss, keep in ((1.0, {}), (3.0, {"keep": False}), (3.0, {"keep": True})):
        memory.update(torch.arange(2), torch.tensor([loss, 0.0]))
        returned = memory.end_epoch(**keep)
    assert returned is memory.scores and returned.tolist() == [1, 0]
    assert memory.epochs == [1, 3] and memory.epoch == 3
    assert memory.history.tolist() == [[1, 0], [2.5, 0]] and memory.history.dtype == torch.float16


def test_a_checkpoint_brings_all_of_it_back():
    memory = MomentumLoss(2, 0.5)
    for keep in (True, False):
        memory.update(torch.arange(2), torch.tensor([1.0, 2.0]))
        memory.end_epoch(keep)
    other = MomentumLoss(2, 0.5)
    other.load_state_dict(memory.state_dict())
    assert (other.epochs, other.epoch) == ([1], 2)
    for name in ("value", "scores", "history"):
        assert torch.equal(getattr(other, name), getattr(memory, name)), name
    other.end_epoch()
    assert other.epochs == [1, 3] and memory.epochs == [1]
