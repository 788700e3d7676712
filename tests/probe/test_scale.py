"""Probes of runs whose images stay in files; fine-tuning; weights for a detector of torchvision."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d

from ltcl_helpers import networks, pretrain, probe
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import read_arrays
from ltcl_helpers.data.pack import pack
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import open_run
from ltcl_helpers.explorer.payload import payload
from ltcl_helpers.probe import finetune, linear, streaming
from ltcl_helpers.probe.lists import validation_list
from ltcl_helpers.probe.streaming import embed_images
from ltcl_helpers.runs.run import Run


@pytest.fixture(scope="module")
def packed_run(tmp_path_factory):
    """A tiny run on a pack, whose classes can be told by their colour."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)
    lines = {"LT_train": [], "sub_balance_train_0.01": [], "val": [], "test": []}
    for label, colour in enumerate([(200, 40, 40), (40, 200, 40), (40, 40, 200)]):
        for part, count in (("train", 24), ("val", 6)):
            folder = root / part / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(count):
                noise = draw.normal(0, 25, (40, 48, 3))
                pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.jpg")
                line = f"{part}/class{label}/{number}.jpg {label}"
                if part == "val":
                    lines["test"].append(line)
                elif number < 14 - 4 * label:
                    lines["LT_train"].append(line)
                    if number < 3:
                        lines["sub_balance_train_0.01"].append(line)
                elif number > 20:
                    lines["val"].append(line)
    # The train part holds more than is trained on, as ImageNet's does.
    for label in range(3):
        for number in range(14 - 4 * label, 20):
            lines.setdefault("rest", []).append(f"train/class{label}/{number}.jpg {label}")
    for name, text in lines.items():
        (root / f"toy_{name}.txt").write_text("\n".join(text))
    pack(root, root / "toy.pack", sorted(root.glob("toy_*.txt")))
    config = RunConfig(
        preset="tiny", method="simclr", data=f"pack:{root}/toy.pack@32",
        split=f"{root}/toy_LT_train.txt", batch_size=16, device="cpu", precision="float32",
    )  # fmt: skip
    return pretrain.pretrain(config, tmp_path_factory.mktemp("runs") / "packed")


def test_features_do_not_depend_on_how_many_images_are_in_memory(packed_run, monkeypatch):
    images = read_arrays(packed_run.config.data, "train").images
    index = np.arange(0, len(images), 3)

    def embed(part):
        return probe.features(packed_run.encoder, part)

    expected = embed(torch.from_numpy(images[index]))
    monkeypatch.setattr(streaming, "PART", 5 * 3 * 32**2)
    seen = []
    found = embed_images(lambda part: seen.append(len(part)) or embed(part), images, index)
    assert max(seen) == 5
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_an_encoder_gets_few_large_images_at_once(monkeypatch):
    seen = []

    class Network(torch.nn.Module):
        def forward(self, images):
            seen.append(len(images))
            return images.mean((2, 3))

    images = torch.zeros(130, 3, 224, 224, dtype=torch.uint8)
    probe.features(Network(), images)
    assert seen == [55, 55, 20]
    assert linear.BYTES // (3 * 32 * 32) > 1000  # CIFAR's go a thousand at a time, as ever


@pytest.mark.parametrize("protocol", ["knn", "logistic", "finetune"])
def test_a_run_on_a_pack_is_probed_with_its_text_lists(packed_run, protocol, monkeypatch):
    monkeypatch.setitem(finetune.EPOCHS, "1%", 3)
    rows = probe.probe_run(packed_run.folder, ("1%",), protocol=protocol)
    assert set(rows["list"]) == {"toy_sub_balance_train_0.01.txt"}
    assert set(rows["images"]) == {9} and set(rows["groups"]) == {"thirds"}
    assert set(rows["group"]) == {"many", "medium", "few", "std", "all", "top5"}
    again = probe.probe_run(packed_run.folder, ("1%",), protocol=protocol)
    assert rows["accuracy"].tolist() == again["accuracy"].tolist()


def test_a_probe_on_text_lists_chooses_its_epoch_on_their_validation_list(packed_run):
    data = read_arrays(packed_run.config.data, "train")
    chosen = validation_list(packed_run, data.labels)
    assert chosen.name == "toy_val.txt" and len(chosen.index) == 9
    assert np.bincount(data.labels[chosen.index]).tolist() == [3, 3, 3]
    assert not set(chosen.index) & set(packed_run.index.tolist())


def test_a_fine_tuned_epoch_is_every_image_once_at_a_rate_on_a_cosine():
    assert finetune.EPOCHS == {"1%": 60, "10%": 30} and finetune.OTHER_EPOCHS == 60
    assert (finetune.RATE, finetune.BATCH, finetune.MOMENTUM) == (0.05, 256, 0.9)
    device, rates = torch.device("cpu"), []
    for epoch in (1, 2):
        parts = list(finetune._steps(10, 4, epoch, 2, 0.2, 0, device))
        assert sorted(torch.cat([index for index, _ in parts]).tolist()) == list(range(10))
        assert [len(index) for index, _ in parts] == [4, 3, 3]
        rates += [rate for _, rate in parts]
    assert rates == pytest.approx([0.1 * (1 + np.cos(np.pi * k / 6)) for k in range(6)])


def test_fine_tuning_leaves_the_run_as_it_is(packed_run):
    before = {k: v.clone() for k, v in packed_run.encoder.state_dict().items()}
    probe.probe_run(packed_run.folder, ("1",), protocol="finetune")
    run = Run.load(packed_run.folder)
    assert all(torch.equal(before[k], v) for k, v in run.encoder.state_dict().items())


def test_fine_tuning_learns_what_the_labels_say(packed_run):
    arrays = read_arrays(packed_run.config.data, "train")
    index = np.concatenate([np.flatnonzero(arrays.labels == c)[:8] for c in range(3)])
    labels = torch.from_numpy(arrays.labels[index])
    made = probe.fine_tune(
        packed_run.encoder, arrays.images.take(index), labels, 3, packed_run.config,
        torch.device("cpu"), epochs=2,
    )  # fmt: skip
    assert made.classifier.weight.abs().max() > 0
    changed = made.encoder.state_dict()["conv1.weight"]
    assert not torch.equal(changed, packed_run.encoder.state_dict()["conv1.weight"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (dict(kind="pixels"), "3,072 numbers an image"),
        (dict(protocol="sdclr", shots=("1%",)), "in memory"),
        (dict(protocol="finetune", kind="pixels"), "trains an encoder"),
        (dict(protocol="sdclr", shots=("10%",)), "full and 1% only"),
    ],
)
def test_what_a_pack_cannot_give_is_said_in_one_line(packed_run, call, says):
    with pytest.raises(ConfigError, match=says):
        probe.probe_run(packed_run.folder, call.pop("shots", ("1",)), **call)


def test_a_run_on_a_pack_is_explored(packed_run):
    history = open_run(packed_run.folder)
    assert history.images.shape == (30, 3, 32, 32)
    meta, _, histories = payload(packed_run.folder)
    assert meta["samples"] == 30 and meta["side"] == 32
    assert histories[0].features.shape == (30, packed_run.encoder.dim)


def test_groups_are_stored_with_the_run_and_asked_everywhere(packed_run, tmp_path):
    config = packed_run.config.model_copy(update={"groups": "counts"})
    assert RunConfig(**config.model_dump()).groups == "counts"
    assert config.digest() != packed_run.config.digest()
    rows = probe.probe_run(packed_run.folder, ("1",), protocol="knn", groups="counts")
    assert set(rows["group"]) == {"all", "top5"}  # nobody has more than 100 images here


def test_an_encoder_goes_into_torchvisions_detector_with_no_key_missing(tmp_path):
    """What docs/transfer.md says."""
    encoder = networks.build(RunConfig(preset="paper-imagenet"))
    from safetensors.torch import save_file

    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    weights = load_file(tmp_path / "encoder.safetensors")
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=FrozenBatchNorm2d
    )
    found = backbone.body.load_state_dict(weights, strict=False)
    assert found.missing_keys == [] and found.unexpected_keys == []
    assert torch.equal(backbone.body.conv1.weight, encoder.conv1.weight)
    detector = FasterRCNN(backbone, num_classes=21).eval()
    mean, std = detector.transform.image_mean, detector.transform.image_std
    assert torch.allclose(torch.tensor(mean), encoder.mean.flatten())
    assert torch.allclose(torch.tensor(std), encoder.std.flatten())
