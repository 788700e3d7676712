"""What a method may be told, which batches ranks can share, and which calls losses refuse."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltcl_helpers import pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods import pruning
from ltcl_helpers.methods.losses import balanced_contrastive, compensate_logits, info_nce, nt_xent
from ltcl_helpers.methods.moco import MemoryBank, MoCo, make_head
from ltcl_helpers.networks.batchnorm import SplitBatchNorm2d

TINY = dict(preset="tiny", device="cpu", precision="float32")
BOUNDS = {  # method, option: what is still allowed, what is just not
    ("moco-v2", "key_momentum"): ([0.0, 0.999], [-0.001, 1.0]),
    ("moco-v2", "queue_batches"): ([2, 4096], [1, 4097]),
    ("moco-v2", "group_size"): ([2, 10_000], [1]),
    ("cross-entropy", "compensation"): ([0.0, 10.0], [-0.001, 10.001]),
    ("balanced-cl", "classify_weight"): ([0.0, 100.0], [-0.001, 100.001]),
    ("balanced-cl", "contrast_weight"): ([0.0, 100.0], [-0.001, 100.001]),
    ("balanced-cl", "hidden"): ([1, 16_384], [0, 16_385]),
    ("balanced-cl", "outputs"): ([1, 16_384], [0, 16_385]),
    ("ltcl_helpers.methods.moco:MemoryBank", "bank_momentum"): ([0.0, 0.999], [-0.001, 1.0]),
}


@pytest.mark.parametrize(("method", "option"), BOUNDS)
def test_every_option_has_the_bounds_it_says(method, option):
    allowed, refused = BOUNDS[method, option]
    for value in allowed:
        assert RunConfig(method=method, **{option: value}).options[option] == value
    for value in refused:
        with pytest.raises(ConfigError, match=option):
            RunConfig(method=method, **{option: value})


@pytest.mark.parametrize(
    ("method", "defaults"),
    [
        ("moco:MoCo", dict(key_momentum=0.99, queue_batches=8, mlp=True, group_size=64,
                           symmetric=False)),
        ("moco:EndToEnd", dict(mlp=True)),
        ("moco:MemoryBank", dict(mlp=True, bank_momentum=0.5)),
        ("cross_entropy:CrossEntropy", dict(compensation=1.0)),
        ("balanced:BalancedCL", dict(
            compensation=1.0, classify_weight=2.0, contrast_weight=0.6, class_averaging=True,
            class_complement=True, average="L1", hidden=512, outputs=128,
        )),
    ],
)  # fmt: skip
def test_options_are_the_published_ones_unless_given(method, defaults):
    assert RunConfig(method=f"ltcl_helpers.methods.{method}").options == defaults


# --- MoCo ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "group", "ranks", "can"),
    [
        (16, 4, 2, True),
        (16, 4, 4, True),
        (16, 4, 3, False),  # four groups
        (16, 16, 1, True),
        (16, 64, 2, False),  # one group
        (18, 4, 2, False),  # four groups, not of one size
    ],
)
def test_ranks_share_whole_groups_of_equal_size(batch, group, ranks, can):
    config = RunConfig(method="moco-v2", batch_size=batch, group_size=group)
    assert config.drop_last
    if can:
        MoCo.check_ranks(config, ranks)
        with pytest.raises(ConfigError, match="and drop_last=true"):
            MoCo.check_ranks(config.model_copy(update={"drop_last": False}), ranks)
        return
    says = f"moco-v2 has {max(1, batch // group)} groups of batch norms in a batch of {batch}, "
    with pytest.raises(ConfigError, match=f"{says}which {ranks} ranks cannot share"):
        MoCo.check_ranks(config, ranks)


def test_the_queue_is_of_random_keys_of_length_1_and_the_order_is_no_part_of_a_checkpoint():
    config = RunConfig(method="moco-v2", batch_size=8, queue_batches=3, group_size=4, **TINY)
    method = pretrain.make_method(config)
    assert method.queue.shape == (128, 24) and method.place == 0
    torch.testing.assert_close(method.queue.norm(dim=0), torch.ones(24))
    assert method.encoder.bn1.groups == method.key_encoder.bn1.groups == 2
    assert "shuffle" not in method.state_dict() and not method.shuffle.any()
    assert not any(
        p.requires_grad for p in (*method.key_encoder.parameters(), *method.key_head.parameters())
    )
    orders = []
    for seed in (1, 1, 2):
        method.start_epoch(1, 2, torch.Generator().manual_seed(seed))
        orders.append(method.shuffle.clone())
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    small = RunConfig(method="moco-v2", batch_size=8, **TINY)  # less than a group of 64
    assert pretrain.make_method(small).encoder.bn1.groups == 1


def test_heads_have_one_layer_or_two():
    shapes = [[tuple(w.shape) for w in make_head(6, mlp).parameters()] for mlp in (True, False)]
    assert shapes == [[(6, 6), (6,), (128, 6), (128,)], [(128, 6), (128,)]]
    made = pretrain.make_method(
        RunConfig(method="ltcl_helpers.methods.moco:EndToEnd", mlp=False, **TINY)
    )
    assert len(made.head) == 1


def test_a_bank_has_an_entry_of_length_1_for_every_image():
    config = RunConfig(method="ltcl_helpers.methods.moco:MemoryBank", **TINY)
    method = pretrain.make_method(config, torch.tensor([5, 2]))
    assert isinstance(method, MemoryBank) and method.bank.shape == (7, 128)
    torch.testing.assert_close(method.bank.norm(dim=1), torch.ones(7))


# --- losses -------------------------------------------------------------------------------------

ONES = torch.ones


@pytest.mark.parametrize(
    ("loss", "given", "says"),
    [
        (nt_xent, (ONES(3, 4), ONES(2, 4), 0.2), r"views have shapes \(3, 4\) and \(2, 4\); allow"),
        (nt_xent, (ONES(3, 4, 1), ONES(3, 4, 1), 0.2), "allowed are two equal shapes"),
        (info_nce, (ONES(3, 4), ONES(1, 4), ONES(4, 5), 0.2), r"\[3, 4\], \[1, 4\] and \[4, 5\]"),
        (info_nce, (ONES(3, 4, 1), ONES(3, 4, 1), ONES(4, 5), 0.2), "query, key and queue have"),
        (info_nce, (ONES(3, 4), ONES(3, 4), ONES(5, 4), 0.2), "query, key and queue have shapes"),
        (balanced_contrastive, (ONES(3, 4), ONES(3), ONES(2, 4), 0.2), r"features \[3, 4\] and"),
        (balanced_contrastive, (ONES(3, 3, 4), ONES(3), ONES(2, 4), 0.2), r"features \[3, 3, 4\]"),
        (balanced_contrastive, (ONES(3, 2, 4), ONES(2), ONES(2, 4), 0.2), r"labels \[2\]: \[B, 2"),
    ],
)
def test_tensors_of_other_shapes_are_refused(loss, given, says):
    with pytest.raises(ValueError, match=says):
        loss(*given)


def test_compensation_is_of_full_strength_unless_given_and_none_at_0():
    logits, counts = torch.zeros(1, 2), torch.tensor([3, 1])
    assert compensate_logits(logits, counts).exp().tolist() == [[0.75, 0.25]]
    torch.testing.assert_close(
        compensate_logits(logits, counts, 2.0).exp(), torch.tensor([[0.5625, 0.0625]])
    )
    assert compensate_logits(logits, torch.tensor([1, 0]), 0) is logits


# --- parts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fraction", "by_chance", "says"),
    [(0.5, 0.6, "random_fraction is 0.6; allowed is 0 to 0.5"),
     (0.5, -0.1, "random_fraction is -0.1; allowed is 0 to 0.5"),
     (1.1, 0.0, "fraction is 1.1; allowed is 0 <= fraction <= 1"),
     (0.5, 0.5, "random_fraction needs a generator")],
)  # fmt: skip
def test_shares_of_pruning_that_cannot_be_are_refused(fraction, by_chance, says):
    with pytest.raises(ValueError, match=says):
        pruning.magnitude_masks({"a": ONES(3)}, fraction, by_chance)


def test_the_largest_weights_of_all_layers_together_stay():
    weights = {"a": torch.tensor([[1.0, -6.0]]), "b": torch.tensor([5.0, -2.0, 4.0, 3.0])}
    masks = pruning.magnitude_masks(weights, 0.4)  # 2.4 of 6, so 3 of them
    assert {name: mask.int().tolist() for name, mask in masks.items()} == {
        "a": [[0, 1]], "b": [1, 0, 1, 0],
    }  # fmt: skip
    assert sum(int(m.sum()) for m in pruning.magnitude_masks(weights, 1.0).values()) == 1
    assert all(bool(m.all()) for m in pruning.magnitude_masks(weights, 0.0).values())


def test_a_pair_of_batch_norms_is_dense_unless_the_pruned_branch_runs():
    pair = pruning.make_dual(nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))).eval()
    pair[1].pruned.bias.data.fill_(7)
    x, masks = ONES(1, 1, 1, 1), {"0.weight": torch.zeros(2, 1, 1, 1, dtype=torch.bool)}
    dense = pair(x)
    assert (
        pruning.pruned_forward(pair, masks, x) - 7 - pair[0].bias[:, None, None]
    ).abs().max() < 1e-4
    assert not pair[1].use_pruned and torch.equal(pair(x), dense)
    with pytest.raises(RuntimeError):
        pruning.pruned_forward(pair, masks, ONES(1, 5, 1, 1))
    assert not pair[1].use_pruned  # whatever happened
    assert torch.equal(pruning.make_single(pair)[1].bias, pair[1].dense.bias)
    assert torch.equal(pruning.make_single(pair, pruned=True)[1].bias, pair[1].pruned.bias)
    assert isinstance(pair[1], pruning.DualBatchNorm)  # a copy was changed


def test_groups_are_eight_as_the_published_gpus_were():
    norm, x = SplitBatchNorm2d(2), torch.randn(16, 2, 1, 1)
    expected = [F.batch_norm(part, None, None, training=True) for part in x.split(2)]
    torch.testing.assert_close(norm(x), torch.cat(expected))
