"""Aims that need no labels: what each says of a sample, and that a run is steered by it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ltcl_helpers import networks, pretrain
from ltcl_helpers.config import RunConfig
from ltcl_helpers.methods.losses import nt_xent
from ltcl_helpers.pretrain import aims, loop
from ltcl_helpers.recipes import AIM_OF, AIMS, CONTROLS
from ltcl_helpers.views import boosting

TINY = dict(preset="tiny", device="cpu", largest_class=16)  # 70 images


def images(count, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), generator=draw, dtype=torch.uint8)


def draw():
    return torch.Generator().manual_seed(5)


def test_a_clean_loss_is_the_published_loss_in_batches_of_near_equal_size(monkeypatch):
    seen = []
    monkeypatch.setattr(aims, "BATCH", 6)
    monkeypatch.setattr(aims, "simclr_view", lambda part, draw: seen.append(part) or part / 255)
    given, flat, head = images(10), nn.Flatten(), nn.Identity()
    found = aims.clean_loss(flat, head, given, draw(), draws=2)
    assert [len(part) for part in seen] == [5] * 8  # two draws, two batches, two views
    expected = torch.zeros(10)
    for batch in seen[::2]:
        index = [int((given == image).all((1, 2, 3)).nonzero()) for image in batch]
        expected[index] += nt_xent(flat(batch / 255), flat(batch / 255), 0.2) / 2
    torch.testing.assert_close(found, expected)


def test_the_projection_head_is_a_part_of_every_loss_of_an_aim():
    """Published losses are of projections; a mean over nothing but features would pass unseen."""
    given, flat = images(6), nn.Flatten()
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(192, 5), nn.Tanh())
    with torch.no_grad():
        found = aims.clean_loss(flat, head, given, draw(), draws=1)
        dice = draw()
        order = torch.randperm(6, generator=dice)
        first, second = (aims.simclr_view(given[order], dice) for _ in range(2))
        expected = nt_xent(head(flat(first)), head(flat(second)), 0.2)
    torch.testing.assert_close(found[order], expected)


def test_unless_told_otherwise_two_draws_of_256_images_and_ten_neighbours_count(monkeypatch):
    seen = []
    monkeypatch.setattr(
        aims, "simclr_view", lambda part, draw: seen.append(len(part)) or part / 255
    )
    aims.clean_loss(nn.Flatten(), nn.Identity(), images(257), draw())
    assert seen == [129, 129, 128, 128] * 2
    seen.clear()
    aims.clean_loss(nn.Flatten(), nn.Identity(), images(256), draw())
    assert seen == [256] * 4
    angles = torch.linspace(0, 1.4, 15)
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    numbered = torch.arange(15, dtype=torch.uint8).reshape(15, 1, 1, 1).expand(15, 3, 2, 2)
    found = aims.neighbour_distance(
        lambda part: 2 * features[(part[:, 0, 0, 0] * 255).round().long()],
        nn.Identity(), numbered, draw(),
    )  # fmt: skip
    assert found[0].item() == pytest.approx(1 - angles[1:11].cos().mean().item(), abs=1e-6)
    lone = aims.neighbour_distance(nn.Flatten(), nn.Identity(), images(5) + 1, draw())
    assert lone.shape == (5,) and lone.isfinite().all()  # fewer than ten


def test_two_networks_are_asked_with_the_same_views_and_negatives():
    given, head = images(12), nn.Identity()
    first = aims.clean_loss(nn.Flatten(), head, given, draw())
    assert torch.equal(first, aims.clean_loss(nn.Flatten(), head, given, draw()))
    other = aims.clean_loss(nn.Flatten(), head, given, torch.Generator().manual_seed(6))
    assert not torch.equal(first, other)


def test_a_pruned_copy_has_its_largest_weights_and_statistics_of_its_own(monkeypatch):
    monkeypatch.setattr(aims, "BATCH", 6)
    encoder = networks.build(RunConfig(preset="tiny")).eval()
    before = copy.deepcopy(encoder.state_dict())
    small = aims.pruned_copy(encoder, images(12))
    torch.testing.assert_close(encoder.state_dict(), before, rtol=0, atol=0)
    weights = {n: m.weight for n, m in small.named_modules() if isinstance(m, nn.Conv2d)}
    left = sum(int((w != 0).sum()) for w in weights.values())
    assert left == pytest.approx(0.1 * sum(w.numel() for w in weights.values()), abs=1)
    stem = small.conv1((images(12) / 255 - small.mean) / small.std)
    found, expected = small.bn1.running_mean, stem.mean((0, 2, 3))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not small.training


def test_each_part_that_sets_a_pruned_copys_statistics_holds_all_classes(monkeypatch):
    monkeypatch.setattr(aims, "BATCH", 6)
    encoder = networks.build(RunConfig(preset="tiny"))
    given, seen = images(12), []
    real = type(encoder).forward
    monkeypatch.setattr(type(encoder), "forward", lambda self, x: seen.append(x) or real(self, x))
    aims.pruned_copy(encoder, given)
    first, second = seen  # images lie class by class
    assert torch.equal(first, given[0::2] / 255) and torch.equal(second, given[1::2] / 255)


def test_a_network_that_pruning_leaves_alone_drops_by_nothing(monkeypatch):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    given, head = images(12), nn.Identity()
    drop = aims.pruning_drop(encoder, head, given, draw())
    assert drop.abs().max() > 1e-3
    monkeypatch.setattr(aims, "PRUNED", 0.0)
    assert not aims.pruning_drop(encoder, head, given, draw()).any()


def test_a_lone_sample_is_far_from_its_neighbours(monkeypatch):
    monkeypatch.setattr(aims, "NEIGHBOURS", 2)
    monkeypatch.setattr(aims, "BATCH", 3)
    features = torch.tensor([[1.0, 0], [2, 0], [3, 0], [1, 1], [0, 5]])

    def encoder(part):
        return features[(part[:, 0, 0, 0] * 255).round().long()]

    numbered = torch.arange(5, dtype=torch.uint8).reshape(5, 1, 1, 1).expand(5, 3, 2, 2)
    found = aims.neighbour_distance(encoder, nn.Identity(), numbered, draw())
    half = 1 - 0.5**0.5  # to the sample between
    expected = torch.tensor([0, 0, 0, half, (half + 1) / 2])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def plain():
    return pretrain.pretrain(RunConfig(**TINY))


@pytest.mark.parametrize("aim", AIMS)
def test_a_run_is_steered_by_its_aim_from_its_second_epoch_on(aim, plain, monkeypatch):
    asked, steered = [], []

    def watch(name, method, *rest):
        scores = aims.aimed_scores(name, method, *rest)
        assert name == aim and not method.training and not scores.requires_grad
        assert rest[-1].initial_seed() == pretrain.seed_for(0, "aim", 0)  # in every epoch
        asked.append(scores)
        return scores

    def see(scores, *rest):
        steered.append(scores)
        return real(scores, *rest)

    real = boosting.boost_strength
    monkeypatch.setattr(loop, "aimed_scores", watch)
    monkeypatch.setattr(boosting, "boost_strength", see)
    run = pretrain.pretrain(RunConfig(**TINY, boost=aim))
    assert len(asked) == 2  # once an epoch
    half = len(steered) // 2
    assert not torch.cat(steered[:half]).any()
    assert torch.equal(torch.cat(steered[half:]).sort().values, asked[0].sort().values)
    assert asked[0].min() >= 0 and asked[0].max() <= 1 and asked[0].std() > 0.01
    # Before there are scores it is the plain run, whose random numbers no aim has moved.
    assert torch.equal(run.momentum_loss[0], plain.momentum_loss[0])
    assert not torch.equal(run.momentum_loss[1], plain.momentum_loss[1])


def test_the_control_gives_the_same_scores_to_others():
    scores = torch.linspace(0, 1, 40)
    for aim in AIMS:
        assert AIM_OF[aim] == AIM_OF[CONTROLS[aim]] == aim
        assert torch.equal(boosting.boost_scores(scores, aim, draw()), scores)
        control = boosting.boost_scores(scores, CONTROLS[aim], draw())
        assert torch.equal(control.sort().values, scores) and not torch.equal(control, scores)


def test_an_aimed_run_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, stop_and_resume):
    config = RunConfig(**TINY, boost="clean-loss")
    resumed, _ = stop_and_resume(config, tmp_path / "run", 1)
    whole = pretrain.pretrain(config)
    assert torch.equal(resumed.momentum_loss, whole.momentum_loss)


def test_every_method_can_be_asked():
    """Also those with two batch norms, a queue, a batch norm in groups, or a classifier."""
    for method in ("sdclr", "moco-v2", "balanced-cl", "cross-entropy"):
        made = pretrain.make_method(RunConfig(preset="tiny", method=method), torch.tensor([20, 20]))
        for aim in AIMS:
            values = pretrain.aim_values(aim, made, images(20), draw())
            assert values.shape == (20,) and values.isfinite().all() and F.relu(values).any()
