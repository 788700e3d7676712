"""Balanced CL and its baselines: the published parts, one forward pass, training with labels."""

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ltcl_helpers import pretrain, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data.images import load_images
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods import losses
from ltcl_helpers.methods.balanced import BalancedCL
from ltcl_helpers.methods.cross_entropy import CosineClassifier, CrossEntropy
from ltcl_helpers.methods.simclr import Batch

TINY = dict(preset="tiny", device="cpu", precision="float32")
COUNTS = torch.tensor([40, 20, 10, 4])
SHARES = COUNTS.double() / COUNTS.sum()


def toy(method="balanced-cl", **options):
    """A method around a small network, and a batch for it, class 3 absent."""
    config = RunConfig(method=method, hidden=16, **(TINY | options)) if (
        method == "balanced-cl"
    ) else RunConfig(method=method, **(TINY | options))  # fmt: skip
    built = pretrain.make_method(config, COUNTS).double().train()
    draw = torch.Generator().manual_seed(3)
    views = torch.rand(3, 6, 3, 8, 8, generator=draw, dtype=torch.float64)
    batch = Batch(torch.arange(6), torch.tensor([0, 0, 0, 1, 2, 1]), tuple(views))
    return built, batch._replace(views=batch.views[: len(built.VIEWS)])


def test_cosine_classifier_golden_values(golden):
    values = golden("d_balscl")
    weight = torch.from_numpy(values["nl_w"]).T.contiguous()  # published as [dim, C]
    classifier = CosineClassifier(weight.shape[1], len(weight))
    torch.testing.assert_close(classifier.weight.norm(dim=1), torch.ones(len(weight)))
    classifier.weight.data.copy_(weight)
    logits = classifier.double()(torch.from_numpy(values["nl_x"]).double()).detach()
    np.testing.assert_allclose(logits, values["nl_y"], rtol=1e-6, atol=1e-5)  # the values' float32


@pytest.mark.parametrize("averaging", [True, False])
def test_total_loss_is_the_weighted_sum_by_hand(averaging):
    options = dict(class_averaging=averaging, class_complement=averaging, temperature=0.1)
    method, batch = toy(**options, compensation=0.5)
    twin = copy.deepcopy(method)
    loss = method(batch)
    features = twin.encoder(torch.cat(batch.views))  # one pass: batch norm sees all three views
    logits = twin.head(features[:6]) + 0.5 * SHARES.log()
    classified = F.cross_entropy(logits, batch.labels, reduction="none")
    points = F.normalize(twin.project_features(features[6:]), dim=1).view(2, 6, -1)
    if averaging:
        prototypes = F.normalize(twin.project_classes(twin.head.weight), dim=1)
        given = points.transpose(0, 1), batch.labels, prototypes, 0.1
        contrast = losses.balanced_contrastive(*given)
    else:
        contrast = losses.supervised_contrastive(points.transpose(0, 1), batch.labels, 0.1)
    torch.testing.assert_close(loss, 2.0 * classified + 0.6 * contrast, rtol=0, atol=1e-10)
    statistics = ("encoder.bn1.running_mean", "encoder.bn1.running_var")
    for name in statistics:
        assert torch.equal(method.state_dict()[name], twin.state_dict()[name])


def test_features_and_class_weights_have_projections_of_their_own():
    """As published: two layers with a batch norm and a ReLU between them, twice."""
    method, _ = toy()
    for projection in (method.project_features, method.project_classes):
        first, norm, relu, last = projection
        assert isinstance(norm, torch.nn.BatchNorm1d) and isinstance(relu, torch.nn.ReLU)
        sizes = [(layer.in_features, layer.out_features) for layer in (first, last)]
        assert sizes == [(method.encoder.dim, 16), (16, 128)]
        assert norm.num_features == 16 and first.bias is not None and last.bias is not None
    of_features, of_classes = (
        {id(weight) for weight in projection.parameters()}
        for projection in (method.project_features, method.project_classes)
    )
    assert len(of_features) == 6 and not of_features & of_classes


def test_gradient_of_the_contrast_reaches_the_classifiers_weights():
    method, batch = toy(classify_weight=0.0)
    method(batch).mean().backward()
    assert method.head.weight.grad.abs().sum() > 0
    method, batch = toy(classify_weight=0.0, class_complement=False)
    method(batch).mean().backward()
    assert method.head.weight.grad is None or not method.head.weight.grad.any()


def test_cross_entropy_with_and_without_compensation():
    for strength in (0.0, 1.0):
        method, batch = toy("cross-entropy", compensation=strength)
        twin = copy.deepcopy(method)
        logits = twin.head(twin.encoder(batch.views[0]))
        logits = logits + strength * SHARES.log()
        expected = F.cross_entropy(logits, batch.labels, reduction="none")
        torch.testing.assert_close(method(batch), expected, rtol=0, atol=1e-10)


def test_recipes_and_options():
    paper = RunConfig(preset="paper", method="balanced-cl")
    assert (paper.lr, paper.batch_size, paper.epochs, paper.warmup) == (0.15, 256, 200, 5)
    assert (paper.blocks, paper.width, paper.temperature) == ((5, 5, 5), 16, 0.1)
    assert [pretrain.lr_factor(u, 200, 5, 0, paper.lr_drops) for u in (160, 161, 180, 181)] == (
        pytest.approx([1, 0.1, 0.1, 0.01])
    )
    network = pretrain.make_method(paper, COUNTS).encoder
    assert network.dim == 64 and sum(m.weight.ndim == 4 and m.kernel_size == (3, 3)
        for m in network.modules() if isinstance(m, torch.nn.Conv2d)) == 31  # fmt: skip
    assert BalancedCL.VIEWS[1:] == ("simclr", "simclr") and CrossEntropy.VIEWS == ("autoaugment",)
    for wrong in (dict(average="L4"), dict(compensation=-1.0), dict(hidden=0)):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RunConfig(method="balanced-cl", **wrong)
    with pytest.raises(ConfigError, match="contrast_weight"):
        RunConfig(method="cross-entropy", contrast_weight=1.0)


@pytest.mark.parametrize("method", ["balanced-cl", "cross-entropy"])
def test_stopped_and_resumed_equals_never_stopped(method, tmp_path, stop_and_resume):
    config = RunConfig(method=method, epochs=3, **TINY)
    whole = pretrain.pretrain(config, tmp_path / "whole")
    stop_and_resume(config, tmp_path / "stopped", 1)
    for name in ("memory.npz", "encoder.safetensors", "classifier.safetensors"):
        first, second = (tmp_path / folder / name for folder in ("whole", "stopped"))
        assert first.read_bytes() == second.read_bytes()
    loaded = runs.Run.load(tmp_path / "whole")
    for name in ("encoder", "classifier"):
        kept, made = (run.network(name).state_dict() for run in (loaded, whole))
        torch.testing.assert_close(dict(kept), dict(made), rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_the_runs_own_classifier_is_tested(tmp_path):
    config = RunConfig(method="cross-entropy", epochs=2, **TINY)
    run = pretrain.pretrain(config, tmp_path / "run")
    rows = probe.classifier_rows(tmp_path / "run").set_index("group")["accuracy"]
    test = load_images("shapes", "test")
    logits = run.network("classifier")(probe.features(run.encoder, test.images))
    right = (logits.argmax(1) == test.labels).double()
    assert 0 < right.mean() < 1  # so that it makes a difference which images are right
    assert rows["all"] == pytest.approx(float(right.mean()), abs=1e-12)  # 250 images of each class
    few = run.class_counts.argsort()[:4]
    assert rows["few"] == pytest.approx(
        float(right[torch.isin(test.labels, few)].mean()), abs=1e-12
    )
    small = np.zeros((24, 16, 16, 3), np.uint8)
    names = np.array(test.class_names)
    np.savez(tmp_path / "b_test.npz", images=small, labels=np.arange(24) % 12, class_names=names)
    with pytest.raises(ConfigError, match="16 x 16 pixels, those of training are 32 x 32"):
        probe.classifier_rows(tmp_path / "run", test=f"npz:{tmp_path}/b_test.npz")
    draw = np.random.default_rng(0)
    for part, side in (("train", 8), ("test", 16)):  # the run's own test part is of another size
        images = draw.integers(0, 256, (40, side, side, 3), np.uint8)
        np.savez(tmp_path / f"c_{part}.npz", images=images, labels=np.arange(40) % 4)
    own = dict(data=f"npz:{tmp_path}/c_train.npz", split="all", batch_size=10, epochs=1)
    pretrain.pretrain(RunConfig(**TINY | own, method="cross-entropy"), tmp_path / "own")
    with pytest.raises(ConfigError, match="16 x 16 pixels, those of training are 8 x 8"):
        probe.classifier_rows(tmp_path / "own")
    pretrain.pretrain(RunConfig(**TINY), tmp_path / "simclr")
    with pytest.raises(ConfigError, match="keeps no classifier"):
        probe.classifier_rows(tmp_path / "simclr")
