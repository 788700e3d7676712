"""Weights of other code: layouts built from their documented keys, opened without running code."""

import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet50

from ltcl_helpers import files, networks, probe, runs
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.explorer import open_run
from ltcl_helpers.pretrain import pretrain, ranks, resume
from ltcl_helpers.runs.foreign import WRAPPERS, import_weights, read_weights, shape_of
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
CONSTANTS = {
    "normalize.mean": torch.tensor(networks.MEAN), "normalize.std": torch.tensor(networks.STD)
}  # fmt: skip
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
    "lightly, with a slow twin": lambda w: {  # as MoCo, BYOL and SimSiam have
        "epoch": 10,
        "state_dict": as_sequence(w)
        | {key.replace("backbone", "backbone_momentum"): v for key, v in as_sequence(w).items()}
        | under("projection_head.layers.0.", HEAD)
        | under("projection_head_momentum.layers.0.", HEAD)
        | under("prediction_head.layers.0.", HEAD),
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
    known = {"sdclr": "sdclr", "bcl, dual": "sdclr", "moco": "moco-v2"}
    assert found.method == known.get(name, "simclr")
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
    assert run.config.label == "SimCLR, weights of bcl" and run.config.epochs == 2000
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(run.encoder(images), encoder.eval()(images))
    rows = probe.probe_run(folder, ("2",), protocol="knn")
    probe.save_probe(folder, rows)
    assert len(rows) and runs.verify(folder)["files"].keys() >= {"probe.parquet"}
    with pytest.raises(ConfigError, match="import-weights"):
        pretrain(run.config)
    (tmp_path / "half").mkdir()
    runs.begin(tmp_path / "half", run.config)  # and then the import was killed
    half = "half was to hold imported weights .bcl., .* delete it and run `ltcl import-weights`"
    with pytest.raises(ConfigError, match=half):
        resume(tmp_path / "half")
    with pytest.raises(ConfigError, match=half):
        ranks.make(run.config, tmp_path / "half", splits.select(run.config), False, 2)
    with pytest.raises(ConfigError, match="other code made: it has no loss history.*ltcl probe"):
        open_run(folder)
    with pytest.raises(ConfigError, match="exists"):
        import_weights(tmp_path / "model.pt", "bcl", folder, given)


@pytest.mark.parametrize(
    ("content", "layout", "given", "epochs", "method"),
    [
        ({"epoch": 200}, "bcl", {}, 200, "simclr"),
        ({"epoch": 5}, "bcl", {}, 5, "simclr"),  # fewer than the recipe warms up
        ({"epoch": 200}, "bcl", {"epochs": 300}, 300, "simclr"),
        ({}, "bcl", {"epochs": 300}, 300, "simclr"),
        ({}, "bcl", {}, 2000, "simclr"),
        ({"epoch": 200, "head": "fc."}, "moco", {}, 200, "moco-v1"),
        ({"epoch": 200, "head": "fc.0."}, "moco", {}, 200, "moco-v2"),
    ],
)
def test_an_imported_run_says_how_long_it_was_trained(
    content, layout, given, epochs, method, tmp_path, caplog
):
    prefix = {"bcl": "backbone.", "moco": "module.encoder_q."}[layout]
    head = content.pop("head", None)
    state = under(prefix, small().state_dict())
    if head:
        state |= {f"{prefix}{head}weight": torch.ones(2, 2)}
    torch.save({**content, "state_dict": state}, tmp_path / "a.pt")
    given = {"data": "shapes", "split": "long-tail", **given}
    config = Run.load(import_weights(tmp_path / "a.pt", layout, tmp_path / "run", given)).config
    assert (config.epochs, config.method) == (epochs, method)
    assert ("warm-up" in config.caution) == (epochs == 5)  # else it is the recipe's
    unknown = not content and "epochs" not in given
    assert ("does not say after which epoch" in caplog.text) == unknown


def test_weights_are_imported_whatever_a_batch_would_be(tmp_path, caplog):
    images = np.zeros((61, 8, 8, 3), np.uint8)
    for part in ("train", "test"):
        np.savez(tmp_path / f"a_{part}.npz", images=images, labels=np.arange(61) % 3)
    state = under("module.encoder_q.", small().state_dict())
    torch.save({"epoch": 2, "state_dict": state}, tmp_path / "a.pt")
    given = {"data": f"npz:{tmp_path}/a_train.npz", "split": "all", "batch_size": 60}
    import_weights(tmp_path / "a.pt", "moco", tmp_path / "one", given | {"drop_last": False})
    import_weights(tmp_path / "a.pt", "moco", tmp_path / "two", given | {"batch_size": 256})
    assert "update" not in caplog.text


@pytest.mark.parametrize(
    "content", [{"model": {1: torch.ones(1)}}, {"conv1.weight": torch.tensor(1.0),
                "layer1.0.conv1.weight": torch.ones(4, 4, 3, 3)}]
)  # fmt: skip
def test_a_state_of_odd_keys_or_shapes_is_one_line(content, tmp_path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match="holds no ResNet in the layout 'torchvision'"):
        read_weights(tmp_path / "a.pt", "torchvision")


class Harmful:
    def __reduce__(self):
        return (print, ("code ran",))


def test_what_is_no_safe_checkpoint_of_the_layout_is_one_line(tmp_path, capsys):
    weights = small().state_dict()
    torch.save({"state_dict": weights, "args": Harmful()}, tmp_path / "harmful.pt")
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("no checkpoint")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Harmful()))
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(weights, tmp_path / "plain.pt")
    torch.save({"embed.weight": torch.zeros(2)}, tmp_path / "vit.pt")
    for name, layout, says in (
        ("harmful.pt", "bcl", "without running code"),
        ("text.pt", "bcl", "without running code"),
        ("text.safetensors", "torchvision", "without running code"),
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


# --- what is made of them ----------------------------------------------------------------------


def says(call, *given):
    with pytest.raises(ConfigError) as caught:
        call(*given)
    return str(caught.value)


def saved(path, state):
    torch.save(state, path)
    return path


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Six images of two classes in the present folder."""
    monkeypatch.chdir(tmp_path)
    images = np.zeros((6, 8, 8, 3), np.uint8)
    np.savez("a_train.npz", images=images, labels=[0, 0, 0, 0, 1, 1])
    return {"data": "npz:a_train.npz", "split": "all", "device": "cpu", "batch_size": 6}


@pytest.mark.parametrize(
    ("name", "make", "method", "preset"),
    [
        ("bcl", small, "simclr", "paper"),
        ("bcl, dual", small, "sdclr", "paper"),
        ("sdclr", small, "sdclr", "paper"),
        ("moco", large, "moco-v2", "paper-imagenet"),
        ("torchvision", large, "simclr", "paper-imagenet"),
        ("lightly", small, "simclr", "paper"),
    ],
)
def test_a_run_is_made_of_a_file_and_says_what_is_known_of_it(
    name, make, method, preset, photos, tmp_path
):
    state = LAYOUTS[name](make().state_dict())
    path, layout = saved(tmp_path / "model.pt", state), name.partition(",")[0]
    folder = import_weights(path, layout, tmp_path / "deep" / "run", photos)
    assert folder == tmp_path / "deep" / "run"
    run, digest = Run.load(folder), files.sha256(path)
    blocks = (2, 2, 2, 2) if make is small else (1, 1, 1, 1)
    network = ("resnet", 4, 1, blocks) if make is small else ("bottleneck", 4, 2, blocks)
    found = run.config
    assert (found.network, found.width, found.stem_stride, found.blocks) == network
    assert (found.method, found.preset) == (method, preset)
    assert found.weights == f"{layout}:{digest[:16]}" and found.data == "npz:a_train.npz"
    unknown = {"device": "not known", "precision": "not known", "torch": "not known", "threads": 0}
    assert run.done["machines"] == [unknown]
    assert run.done["imported"] == {
        "file": "model.pt", "sha256": digest, "layout": layout, "epoch": state.get("epoch"),
    }  # fmt: skip
    assert run.done["data_sha256"] == splits.data_digest(splits.select(found))
    assert list(run.history) == ["epoch", "loss", "lr", "seconds"] and run.history.empty
    assert (tuple(run.momentum_loss.shape), run.epochs_kept) == ((0, 6), [])
    assert run.momentum_loss.dtype == torch.float16
    assert run.index.tolist() == list(range(6)) and run.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert run.class_counts.tolist() == run.group_counts.tolist() == [4, 2]
    own = make().state_dict()
    assert all(torch.equal(value, own[key]) for key, value in run.encoder.state_dict().items())
    given = photos | {"method": "bcl-i", "preset": "quick", "epochs": 7}
    config = Run.load(import_weights(path, layout, tmp_path / "other", given)).config
    assert (config.boost, config.preset, config.epochs) == ("memory", "quick", 7)


@pytest.mark.parametrize(
    ("constants", "refused"),
    [
        ({"normalize.mean": [0.485, 0.456, 0.406], "normalize.std": [0.229, 0.224, 0.225]}, False),
        ({"normalize.mean": [0.4914, 0.4822, 0.4465]}, True),
        ({"normalize.std": [1.0, 1.0, 1.0]}, True),
    ],
)
def test_an_encoder_of_other_constants_of_the_input_is_refused(constants, refused, tmp_path):
    extra = {
        f"module.{key}": torch.tensor(each).view(1, 3, 1, 1) for key, each in constants.items()
    }
    state = under("module.backbone.", small().state_dict()) | extra
    path = saved(tmp_path / "model.pt", {"state_dict": state})
    if not refused:
        assert read_weights(path, "bcl").method == "simclr"
        return
    (key,) = extra
    assert f"{path}: {key} is [" in (said := says(read_weights, path, "bcl"))
    assert "networks here have [0." in said


@pytest.mark.parametrize("key", ["state_dict", "model", "P_state"])
def test_a_state_is_found_under_the_names_that_others_give_it(key, tmp_path):
    weights = small().state_dict()
    for epoch, known in ((7, 7), ("last", None)):
        path = saved(tmp_path / "a.pth", {key: weights | {"note": "text"}, "epoch": epoch})
        found = read_weights(path, "bcl")
        assert found.epoch == known and found.weights.keys() == weights.keys()
    save_file(under("backbone.", weights), tmp_path / "a.safetensors")
    found = read_weights(str(tmp_path / "a.safetensors"), "bcl")
    assert found.epoch is None and found.method == "simclr"
    assert found.weights.keys() == weights.keys()


@pytest.mark.parametrize("layout", WRAPPERS)
def test_what_surrounds_an_encoder_is_taken_off_once_and_what_is_none_of_it_is_left(
    layout, tmp_path
):
    assert WRAPPERS == {
        "bcl": ("module.", "backbone."), "sdclr": ("module.", "backbone."),
        "moco": ("module.", "encoder_q."), "torchvision": ("module.",),
        "lightly": ("module.", "backbone.", "encoder."),
    }  # fmt: skip
    weights, prefix = small().state_dict(), "".join(WRAPPERS[layout])
    others = "fc projector projection_head head normalize queue queue_ptr encoder_k key_encoder"
    more = {f"{name}.w": torch.zeros(1) for name in [*others.split(), "classifier"]}
    kept = {f"{prefix}module.w": torch.zeros(1), f"{prefix}header.w": torch.zeros(1)}
    path = saved(tmp_path / "a.pt", under(prefix, weights | more) | kept)
    found = read_weights(path, layout).weights
    assert found.keys() == weights.keys() | {"module.w", "header.w"}


def test_a_file_that_does_not_fit_is_refused_in_these_words(tmp_path):
    weights, path = small().state_dict(), tmp_path / "a.pt"
    first = "its first keys are conv1.weight, bn1.weight, bn1.bias"
    allowed = "allowed are bcl, sdclr, moco, torchvision, lightly"
    assert says(read_weights, path, "keras") == f"--from is 'keras'; {allowed}"
    saved(path, weights)
    wrong = f"{path} has no encoder_q, so it is no checkpoint of MoCo; {first}"
    assert says(read_weights, path, "moco") == wrong
    wrong = f"{path} holds no ResNet in the layout 'torchvision'; its first keys are none"
    assert says(read_weights, saved(path, {"a": 1}), "torchvision") == wrong
    for name in ("conv1.weight", "layer1.0.conv1.weight"):
        rest = {key: value for key, value in weights.items() if key != name}
        assert "holds no ResNet" in says(read_weights, saved(path, rest), "bcl")
    assert says(read_weights, saved(path, [1]), "bcl") == f"{path} holds a list, not a state dict"
    path.write_text("text")
    wrong, advice = says(read_weights, path, "bcl").split("; ")
    opens = f"{path} is not a checkpoint that opens without running code"
    assert re.fullmatch(re.escape(opens) + r" \(\w+Error\)", wrong)
    assert advice == "save its state_dict again with torch.save"
    kit = "the kit has basic blocks behind 3x3 (CIFAR) and bottlenecks behind 7x7 (ImageNet)"
    stem = {"conv1.weight": torch.zeros(4, 3, 7, 7)}
    wrong = f"the network has a stem of 7 pixels and basic blocks; {kit}"
    assert says(shape_of, weights | stem) == wrong
    other = {"layer1.0.conv3.weight": torch.zeros(1)}
    wrong = f"the network has a stem of 3 pixels and bottleneck blocks; {kit}"
    assert says(shape_of, weights | other) == wrong


def test_weights_have_every_key_and_shape_of_the_network_they_say_they_are(photos, tmp_path):
    weights, path = small().state_dict(), tmp_path / "a.pt"
    last = "for the network that the others say it is"
    for changed, wrong in (
        ({"bn1.bias": None, "bn1.weight": None}, f"bn1.bias is missing, {last}"),
        ({"bn1.bias": None, "more": torch.zeros(1)}, f"bn1.bias is missing, {last}"),
        ({"b": torch.zeros(1), "a": torch.zeros(1)}, f"a is none of its keys, {last}"),
        ({"bn1.bias": torch.zeros(2, 3)}, "bn1.bias is [2, 3], where [4] fits"),
        (
            {"bn1.bias": torch.full([4], torch.nan)},
            "bn1.bias is not finite; take an earlier checkpoint",
        ),
    ):
        state = {key: value for key, value in (weights | changed).items() if value is not None}
        call = (saved(path, state), "torchvision", tmp_path / "run", photos)
        assert says(import_weights, *call) == f"{path}: {wrong}"
        assert not (tmp_path / "run").exists()
    state = {key: value for key, value in weights.items() if "num_batches" not in key}
    import_weights(saved(path, state), "torchvision", tmp_path / "run", photos)  # counts may lack
