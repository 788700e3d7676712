"""Weights of other code: layouts built from their documented keys, opened without running code."""

import pickle

import numpy as np
import pytest
import torch
from torchvision.models import resnet18, resnet50

from ltcl_helpers import networks, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import open_run
from ltcl_helpers.pretrain import pretrain
from ltcl_helpers.runs.foreign import import_weights, read_weights, shape_of
from ltcl_helpers.runs.run import Run

SMALL = RunConfig(preset="paper", width=4)


def small(seed=0):
    """The weights of a narrow ResNet-18 with CIFAR's stem, with statistics of their own."""
    torch.manual_seed(seed)
    encoder = networks.build(SMALL)
    for name, value in encoder.state_dict().items():
        if "running" in name:
            value.uniform_(0.5, 1.5)
    return encoder


def large():
    torch.manual_seed(1)
    return networks.build(RunConfig(preset="paper-imagenet", width=4, blocks=(1, 1, 1, 1)))


def dual(weights, prefix):
    """SDCLR's layout: two batch norms in a list, shortcuts as `downsample.conv` and `.bn`."""
    made = {}
    for name, value in weights.items():
        name = name.replace("downsample.0.", "downsample.conv.")
        name = name.replace("downsample.1.", "downsample.bn.")
        head, _, leaf = name.rpartition(".")
        if "bn" in head.split(".")[-1]:
            made[f"{prefix}{head}.bn_list.0.{leaf}"] = value
            made[f"{prefix}{head}.bn_list.1.{leaf}"] = value + 1
        else:
            made[f"{prefix}{name}"] = value
    return made


def under(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


NUMBERS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def as_sequence(weights):
    found = {}
    for name, value in weights.items():
        first, _, rest = name.partition(".")
        found[f"backbone.{NUMBERS[first]}.{rest}"] = value
    return found


HEAD = {"w": torch.zeros(2, 2)}
CONSTANTS = {"normalize.mean": torch.zeros(3), "normalize.std": torch.ones(3)}
LAYOUTS = {
    "bcl": lambda w: {
        "epoch": 2000,
        "state_dict": under("backbone.", w | CONSTANTS) | under("projector.fc1.", HEAD),
        "optim": {},
    },
    "bcl, dual": lambda w: {
        "epoch": 500,
        "state_dict": dual(w, "backbone.") | under("backbone.fc.fc1.", HEAD),
    },
    "sdclr": lambda w: {"epoch": 99, "state_dict": dual(w, "module.") | under("module.fc.", HEAD)},
    "moco": lambda w: {
        "epoch": 200,
        "arch": "resnet50",
        "state_dict": under("module.encoder_q.", w)
        | under("module.encoder_q.fc.0.", HEAD)
        | under("module.encoder_k.", w)
        | {"module.queue": torch.zeros(2, 2), "module.queue_ptr": torch.zeros(1)},
    },
    "torchvision": lambda w: w | under("fc.", HEAD),
    "lightly": lambda w: {
        "epoch": 10,
        "state_dict": as_sequence(w) | under("projection_head.layers.0.", HEAD),
    },
}


@pytest.mark.parametrize("make", [small, large])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_encoder_that_was_put_in(name, make, tmp_path):
    weights = make().state_dict()
    torch.save(LAYOUTS[name](weights), tmp_path / "model.pt")
    found = read_weights(tmp_path / "model.pt", name.partition(",")[0])
    assert found.weights.keys() == weights.keys()
    assert all(torch.equal(found.weights[key], value) for key, value in weights.items())
    assert found.is_dual == (name in ("sdclr", "bcl, dual"))
    assert found.epoch == LAYOUTS[name](weights).get("epoch")
    shape = shape_of(found.weights)
    assert shape["network"] == ("resnet" if make is small else "bottleneck")
    assert shape["width"] == 4


def test_torchvisions_own_resnet50_is_recognised(tmp_path):
    torch.save(resnet50(weights=None).state_dict(), tmp_path / "resnet50.pth")
    shape = shape_of(read_weights(tmp_path / "resnet50.pth", "torchvision").weights)
    assert shape == dict(network="bottleneck", blocks=[3, 4, 6, 3], width=64, stem_stride=2)
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(ConfigError, match="basic blocks"):
        shape_of(read_weights(tmp_path / "resnet18.pth", "torchvision").weights)


def test_an_imported_run_is_probed_and_says_where_it_came_from(tmp_path, monkeypatch):
    encoder = small()
    torch.save(LAYOUTS["bcl"](encoder.state_dict()), tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for part in ("train", "test"):
        images = draw.integers(0, 256, (30, 8, 8, 3), np.uint8)
        np.savez(f"a_{part}.npz", images=images, labels=np.arange(30) % 3)
    given = {"data": "npz:a_train.npz", "split": "all", "batch_size": 10, "device": "cpu"}
    folder = import_weights(tmp_path / "model.pt", "bcl", tmp_path / "run", given)
    done = runs.verify(folder)
    assert done["imported"]["file"] == "model.pt" and done["imported"]["epoch"] == 2000
    run = Run.load(folder)
    assert run.config.weights == f"bcl:{done['imported']['sha256'][:16]}"
    assert run.config.label == "SimCLR, weights of bcl"
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(run.encoder(images), encoder.eval()(images))
    rows = probe.probe_run(folder, ("2",), protocol="knn")
    probe.save_probe(folder, rows)
    assert len(rows) and runs.verify(folder)["files"].keys() >= {"probe.parquet"}
    with pytest.raises(ConfigError, match="import-weights"):
        pretrain(run.config)
    with pytest.raises(ConfigError, match="other code made: it has no loss history.*ltcl probe"):
        open_run(folder)
    with pytest.raises(ConfigError, match="exists"):
        import_weights(tmp_path / "model.pt", "bcl", folder, given)


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_what_is_no_safe_checkpoint_of_the_layout_is_one_line(tmp_path, capsys):
    weights = small().state_dict()
    torch.save({"state_dict": weights, "args": Harmful()}, tmp_path / "harmful.pt")
    (tmp_path / "text.pt").write_text("no checkpoint")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Harmful()))
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"embed.weight": torch.zeros(2)}, tmp_path / "vit.pt")
    for name, layout, says in (
        ("harmful.pt", "bcl", "without running code"),
        ("text.pt", "bcl", "without running code"),
        ("pickle.pt", "bcl", "without running code"),
        ("list.pt", "bcl", "holds a list"),
        ("plain.pt", "moco", "no encoder_q"),
        ("vit.pt", "torchvision", "embed.weight"),
        ("plain.pt", "keras", "allowed are bcl"),
        ("absent.pt", "bcl", "does not exist"),
    ):
        with pytest.raises(ConfigError, match=says) as error:
            read_weights(tmp_path / name, layout)
        assert "\n" not in str(error.value)
    assert "code ran" not in capsys.readouterr().out


def test_a_key_that_is_missing_or_of_another_shape_is_named(tmp_path):
    from ltcl_helpers.runs.foreign import _load

    encoder = small()
    weights = encoder.state_dict()
    missing = {name: value for name, value in weights.items() if name != "bn1.weight"}
    with pytest.raises(ConfigError, match="bn1.weight is missing"):
        _load(small(), missing, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="extra is none of its keys"):
        _load(small(), weights | {"extra": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="where .* fits"):
        _load(small(), weights | {"bn1.weight": torch.zeros(5)}, tmp_path / "x.pt")
