"""What joins the pieces: the published recipes, the command's options, exit codes, fsync."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ltcl_helpers import bench, cli, files, networks, pretrain, probe, runs
from ltcl_helpers.batch import cluster
from ltcl_helpers.config import RunConfig
from ltcl_helpers.data import downloads, splits
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.methods import memory, pruning
from ltcl_helpers.pretrain import keeper
from ltcl_helpers.recipes import READ_BY
from ltcl_helpers.runs.run import Run
from ltcl_helpers.views import boosting

# The published recipes, as read from the code of MediaBrain-SJTU/BCL (a2342f8) for CIFAR-100-LT:
# 2,000 epochs of 20 updates, batch 512 with a last one of 26, SGD at 0.5 with 10 epochs of warm-up,
# temperature 0.2, momentum beta 0.97, ResNet-18, two layers of head for all; SDCLR prunes 0.9.
PAPER = dict(
    epochs=2000, batch_size=512, equal_batches=False, lr=0.5, warmup_epochs=10, temperature=0.2,
    momentum_beta=0.97, keep_every=10, width=64, stem_stride=1, blocks=(2, 2, 2, 2), head_layers=2,
    prune_fraction=0.9, prune_random=0.0, boost_rule="code", boost_scale=1.0, boost_noise=0.0,
    optimizer="sgd", lr_drops=(), drop_last=False, network="resnet", crop_from=0.1, jitter=0.8,
    hue=0.1, blur=0.0, classified_view="autoaugment", groups="thirds",
)  # fmt: skip
# Weight decay differs between the names (BCL's README commands), so it is pinned by name.
NAMES = {
    "simclr": dict(method="simclr", boost="none", boost_k=None, weight_decay=5e-4),
    "sdclr": dict(method="sdclr", boost="none", boost_k=None, weight_decay=1e-4),
    "bcl-i": dict(method="simclr", boost="memory", boost_k=1, weight_decay=5e-4),
    "bcl-d": dict(method="sdclr", boost="memory", boost_k=2, weight_decay=1e-4),
}
# What is no recipe: where and on which images a run is made.
ELSEWHERE = dict(
    data="shapes", root=None, split="long-tail", split_seed=None, mirrored=False, imbalance=100.0,
    largest_class=None, seed=0, precision="auto", device="auto", weights=None,
)  # fmt: skip
OTHERS = {
    "quick": PAPER | dict(
        epochs=30, batch_size=128, lr=0.25, warmup_epochs=None, momentum_beta=0.9, width=16,
        stem_stride=2, blocks=(1, 1, 1, 1), equal_batches=True, keep_every=1,
    ),
    "tiny": PAPER | dict(
        epochs=2, batch_size=64, lr=0.0625, warmup_epochs=None, momentum_beta=0.9, width=4,
        blocks=(1, 1), equal_batches=True, keep_every=1, largest_class=40, imbalance=10.0,
    ),
}  # fmt: skip
FREE = {"preset", "checkpoint_seconds", "options"}  # how often to save; what a method adds


@pytest.mark.parametrize("preset", ["paper", *OTHERS])
@pytest.mark.parametrize("name", NAMES)
def test_every_field_of_a_published_name_is_pinned(name, preset):
    found = RunConfig(preset=preset, method=name).model_dump()
    expected = ELSEWHERE | OTHERS.get(preset, PAPER) | NAMES[name]
    assert {field: value for field, value in found.items() if field not in FREE} == expected
    assert not found.get("options") and found["preset"] == preset


# ImageNet: SDCLR's scripts for the first four, MoCo's and Balanced CL's own code for the others.
IMAGENET = dict(
    network="bottleneck", blocks=(3, 4, 6, 3), width=64, stem_stride=2, epochs=500, batch_size=256,
    lr=0.5, lr_drops=(), warmup_epochs=10, weight_decay=1e-4, temperature=0.2, momentum_beta=0.97,
    crop_from=0.08, jitter=0.8, hue=0.1, blur=0.5, groups="counts", prune_fraction=0.9,
    equal_batches=False, drop_last=False, head_layers=2, boost_rule="code", optimizer="sgd",
)  # fmt: skip
MOCO = dict(
    epochs=200, lr=0.03, warmup_epochs=0.0, crop_from=0.2, drop_last=True, key_momentum=0.999,
    queue_batches=256, group_size=32,
)  # fmt: skip
LABELS = dict(
    epochs=90, lr=0.1, warmup_epochs=0.0, blur=0.0, weight_decay=5e-4,
    classified_view="randaugment",
)  # fmt: skip
ON_IMAGENET = {
    "simclr": {},
    "sdclr": dict(temperature=0.3, prune_fraction=0.3),
    "bcl-i": dict(boost="memory", boost_k=1),
    "bcl-d": dict(boost="memory", boost_k=2, temperature=0.3, prune_fraction=0.3),
    "moco-v1": MOCO
    | dict(temperature=0.07, lr_drops=(0.6, 0.8), blur=0.0, jitter=1.0, hue=0.4, mlp=False),
    "moco-v2": MOCO | dict(mlp=True),
    "balanced-cl": LABELS
    | dict(temperature=0.07, classify_weight=1.0, contrast_weight=0.35, hidden=2048, outputs=1024),
    "cross-entropy": LABELS,
}


@pytest.mark.parametrize("name", ON_IMAGENET)
def test_every_value_of_the_imagenet_preset_is_pinned(name):
    config = RunConfig(preset="paper-imagenet", method=name)
    found = config.model_dump() | config.options
    for field, value in (IMAGENET | ON_IMAGENET[name]).items():
        assert found[field] == value, field
    assert config.caution == ""
    assert not config.label.endswith("(control)") and "," not in config.label
    assert config.name == name


@pytest.mark.parametrize("boost", ["constant", "shuffled", "inverted"])
def test_a_control_has_its_methods_operations_and_weight_decay(boost):
    for method, k, decay in (("simclr", 1, 5e-4), ("sdclr", 2, 1e-4)):
        config = RunConfig(method=method, boost=boost)
        assert (config.boost_k, config.weight_decay, config.boost) == (k, decay, boost)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_an_oracle_run_is_steered_by_class_size_from_its_second_epoch_on(scale, monkeypatch):
    seen, real = [], boosting.boost_strength

    def watch(scores, *more):
        seen.append(scores)
        return real(scores, *more)

    monkeypatch.setattr(boosting, "boost_strength", watch)
    given = dict(boost="oracle", boost_scale=scale, epochs=2, device="cpu")
    run = pretrain.pretrain(RunConfig(preset="tiny", **given))
    half = len(seen) // 2
    assert not torch.cat(seen[:half]).any()
    steered = torch.cat(seen[half:]).sort().values
    rarity = splits.rarity(run.labels.numpy(), run.class_counts.numpy())
    expected = torch.from_numpy(scale * rarity).float().sort().values
    torch.testing.assert_close(steered, expected)


def test_warm_up_is_a_twentieth_of_the_run_unless_given():
    assert RunConfig(epochs=40).warmup == 2
    assert RunConfig(epochs=40, warmup_epochs=0).warmup == 0
    assert RunConfig(epochs=40, warmup_epochs=3).warmup == 3


BOUNDS = {  # field: what is still allowed, what is just not
    "boost_k": ([1, 100], [0, 101]),
    "momentum_beta": ([0.0, 0.999], [-0.001, 1.0]),
    "keep_every": ([1], [0]),
    "prune_fraction": ([0.0, 1.0], [-0.001, 1.001]),
    "prune_random": ([0.0, 0.9], [-0.001, 0.901, 1.001]),
    "data": (["x"], [""]),
    "split": (["x"], [""]),
    "split_seed": ([0, 2**31 - 1, None], [-1, 2**31]),
    "imbalance": ([1.0, 1e6], [0.99, 1.1e6]),
    "largest_class": ([1, None], [0]),
    "width": ([1, 1024], [0, 1025]),
    "stem_stride": ([1, 2], [0, 3]),
    "crop_from": ([0.01, 1.0], [0.0, 1.01]),
    "jitter": ([0.0, 1.0], [-0.001, 1.001]),
    "hue": ([0.0, 0.5], [-0.001, 0.501]),
    "blur": ([0.0, 1.0], [-0.001, 1.001]),
    "groups": (["thirds", "counts"], ["halves"]),
    "classified_view": (["autoaugment", "randaugment"], ["cutmix"]),
    "blocks": ([(1,), (1, 1, 1, 1)], [(), (1, 1, 1, 1, 1), (0,), (1, 0)]),
    "head_layers": ([2, 3], [1, 4]),
    "seed": ([0, 2**31 - 1], [-1, 2**31]),
    "epochs": ([1, 0, 100_000], [-1, 100_001]),
    "batch_size": ([2, 65_536], [1, 65_537]),
    "lr": ([1e-9, 1000.0], [0.0, 1000.5]),
    "warmup_epochs": ([0.0, 30.0, None], [-0.001, 30.001]),
    "weight_decay": ([0.0, 1.0], [-0.001, 1.001]),
    "temperature": ([0.01, 10.0], [0.0099, 10.001]),
    "precision": (["auto", "float32", "bf16"], ["float16"]),
    "device": (["auto", "cpu", "cuda", "cuda:1"], ["gpu", "cuda:", "xcpu", "cpux"]),
    "checkpoint_seconds": ([0.0, 1e9], [-0.001]),
}


@pytest.mark.parametrize("field", BOUNDS)
def test_every_field_has_the_bounds_it_says(field):
    beside = {"method": READ_BY.get(field, ["simclr"])[0]}
    if field == "boost_k":
        beside["boost"] = "memory"
    allowed, refused = BOUNDS[field]
    for value in allowed:
        assert getattr(RunConfig(**{field: value}, **beside), field) == value
    for value in refused:
        with pytest.raises(ConfigError, match=field):
            RunConfig(**{field: value}, **beside)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Toy images in the working folder: a_train.npz, a_test.npz, and another test set."""
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for name, count in (("a_train", 30), ("a_test", 12), ("b_test", 15)):
        images = draw.integers(0, 256, (count, 8, 8, 3), np.uint8)
        np.savez(f"{name}.npz", images=images, labels=np.arange(count) % 3)
    return ["run", "--preset", "tiny", "--data", "npz:a_train.npz", "--set", "device=cpu",
            "--set", "batch_size=10"]  # fmt: skip


@pytest.mark.parametrize("precision", ["bf16", "float32"])
@pytest.mark.parametrize("method", ["simclr", "sdclr"])
def test_precision_reaches_the_networks_and_never_the_loss(method, precision, photos, monkeypatch):
    seen = {"encoder": set(), "loss": set()}

    def watch(module, _, output):
        if isinstance(module, networks.ResNet) and module.training:
            seen["encoder"].add(output.dtype)

    update = memory.MomentumLoss.update
    monkeypatch.setattr(
        memory.MomentumLoss,
        "update",
        lambda self, index, loss: (seen["loss"].add(loss.dtype), update(self, index, loss))[1],
    )
    hook = register_module_forward_hook(watch)
    try:
        config = dict(method=method, precision=precision, epochs=1, batch_size=10, split="all")
        pretrain.pretrain(
            RunConfig(preset="tiny", device="cpu", data="npz:a_train.npz", **config), "run"
        )
    finally:
        hook.remove()
    computed = {"bf16": torch.bfloat16, "float32": torch.float32}[precision]
    assert seen == {"encoder": {computed}, "loss": {torch.float32}}
    assert runs.verify(Run.load("run").folder)["machines"][0]["precision"] == precision


def test_automatic_precision_is_bf16_where_the_processor_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for has, expected in ((True, torch.bfloat16), (False, None)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda has=has: {"avx512_bf16": has})
        assert pretrain.pick_precision("auto", cpu) is expected
        assert pretrain.pick_precision("bf16", cpu) is torch.bfloat16
        assert pretrain.pick_precision("float32", cpu) is None


def test_random_numbers_are_a_function_of_seed_purpose_and_epoch():
    first = pretrain.seed_for(0, "order", 1)
    assert first == pretrain.seed_for(0, "order", 1) and 0 <= first < 2**56
    others = [
        pretrain.seed_for(*key) for key in ((1, "order", 1), (0, "views", 1), (0, "order", 2))
    ]
    assert len({first, *others}) == 4


def test_every_option_of_run_reaches_the_run(photos, capsys):
    np.save("mine.npy", np.arange(24))
    call = [*photos, "--method", "bcl-d", "--split", "mine.npy", "--set", "epochs=1"]
    assert cli.main([*call, "--set", "temperature=0.4", "--out", "deep/run"]) == 0
    config, said = Run.load("deep/run").config, capsys.readouterr().out
    assert (config.preset, config.method, config.boost) == ("tiny", "sdclr", "memory")
    assert (config.data, config.split, config.temperature) == ("npz:a_train.npz", "mine.npy", 0.4)
    assert (config.epochs, config.batch_size) == (1, 10)
    assert "tiny" in said and "ltcl probe deep/run" in said


def test_minutes_stop_a_run_and_a_resumed_one(photos, capsys):
    call = [*photos, "--split", "all", "--set", "epochs=3", "--out", "run"]
    assert cli.main([*call, "--minutes", "1e-7"]) == 0
    assert "stopped after epoch 1 of 3" in capsys.readouterr().out
    assert cli.main(["run", "--resume", "run", "--minutes", "1e-7"]) == 0
    assert "stopped after epoch 2 of 3" in capsys.readouterr().out
    assert not os.path.exists("run/DONE.json")
    assert cli.main(["run", "--resume", "run"]) == 0
    assert "done: run" in capsys.readouterr().out and Run.load("run").history["epoch"].max() == 3
    assert cli.main(call) == 2  # it exists
    assert "run exists" in capsys.readouterr().err


def test_every_option_of_probe_reaches_the_rows(photos, capsys):
    assert cli.main([*photos, "--split", "all", "--set", "epochs=1", "--out", "run"]) == 0
    os.mkdir("lists")
    np.save("lists/toy_split1_test_2shot.npy", np.arange(6))
    call = ["probe", "run", "--shots", "2", "--lists", "lists"]
    assert cli.main(call) == 0
    more = ["--test", "npz:b_test.npz", "--protocol", "logistic", "--features", "pixels"]
    assert cli.main([*call, *more]) == 0
    rows = files.read_parquet(Run.load("run").folder / "probe.parquet")
    assert set(rows["list"]) == {"toy_split1_test_2shot.npy"} and set(rows["shots"]) == {"2"}
    columns = ["method", "test", "protocol"]
    assert set(map(tuple, rows[columns].to_numpy())) == {
        ("simclr", "npz:a_train.npz", "bcl"),
        ("pixels", "npz:b_test.npz", "logistic"),
    }
    assert "shots" in capsys.readouterr().out
    assert cli.main([*call, "--features", "pruned"]) == 2
    assert "pruned" in capsys.readouterr().err
    assert cli.main(["record", "run", "kept"]) == 0
    assert runs.verify(Run.load("run").folder.parent / "kept")["left_out"]


def test_the_other_commands_pass_on_what_they_are_given(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(downloads, "get", lambda *given: calls.append(given))
    monkeypatch.setattr(downloads, "verify", lambda *given: calls.append(given) or "holds")
    monkeypatch.setattr(bench, "run", lambda *given: calls.append(given))
    for call in (
        "data get splits --root there --source here",
        "data verify cifar10 --root there",
        "bench cpu --data cifar10 --out a.json",
        "bench gpu",
    ):
        assert cli.main(call.split()) == 0
    assert [tuple(map(str, call)) for call in calls] == [
        ("splits", "there", "here"),
        ("cifar10", "there"),
        ("cpu", "cifar10", "a.json"),
        ("gpu", "shapes", "None"),
    ]
    assert capsys.readouterr().out == "holds\n"


# What the commands of pages, batches and the course mean when nothing more is said.
DEFAULTS = {
    "report GRID": dict(where=["GRID"], out=Path("report.html"), runs=None, lists=None,
                        allow_own_method=False),
    "explore RUN --out PAGE": dict(
        run=Path("RUN"), out=Path("PAGE"), compare=None, allow_own_method=False
    ),
    "batch GRID": dict(
        grid=Path("GRID"), workers=2, gpus=None, scheduler=None, out=None, only=None,
        settings=[], dry_run=False, silence=None, gpus_per_cell=1,
    ),
    "editions": dict(out=Path("editions")),
    "grade A B --out C": dict(
        submissions=[Path("A"), Path("B")], out=Path("C"), lesson=None, seconds=20, memory=2,
        jobs=2, points=[], feedback=None,
    ),
    "site PAGES": dict(executed=Path("PAGES"), out=Path("site"), edition="student"),
    "bench cpu": dict(device="cpu", data="shapes", out=None),
}  # fmt: skip
FULL = {
    "report A B --out C --runs D --lists E --allow-own-method": dict(
        where=["A", "B"], out=Path("C"), runs=Path("D"), lists="E", allow_own_method=True
    ),
    "explore RUN --out PAGE --compare B --allow-own-method": dict(
        run=Path("RUN"), out=Path("PAGE"), compare=Path("B"), allow_own_method=True
    ),
    "batch G --workers 3 --out O --only a* --set x=1 --set y=2 --scheduler tcp://a:1 "
    "--dry-run --silence 5": dict(
        grid=Path("G"), workers=3, gpus=None, scheduler="tcp://a:1", out=Path("O"), only="a*",
        settings=["x=1", "y=2"], dry_run=True, silence=5, gpus_per_cell=1,
    ),
    "batch G --gpus 0,1": dict(DEFAULTS["batch GRID"], grid=Path("G"), gpus="0,1"),
    "editions --out D": dict(out=Path("D")),
    "grade A --out C --lesson 01 --seconds 3 --memory 0.5 --jobs 1 --points a=2 --feedback F": dict(
        submissions=[Path("A")], out=Path("C"), lesson="01", seconds=3, memory=0.5,
        jobs=1, points=["a=2"], feedback=Path("F"),
    ),
    "site PAGES --out D --edition teacher": dict(
        executed=Path("PAGES"), out=Path("D"), edition="teacher"
    ),
}  # fmt: skip


@pytest.mark.parametrize("call", [*DEFAULTS, *FULL])
def test_what_a_command_line_means(call):
    found = vars(cli._parser().parse_args(call.split()))
    assert callable(found.pop("command"))
    assert found == (DEFAULTS | FULL)[call]


def test_a_batch_gets_what_its_command_says(tmp_path, monkeypatch, capsys):
    calls = []
    (tmp_path / "g.yaml").write_text("base: {preset: tiny}\ncross: {seed: [0, 1]}\nrows: {a: {}}\n")

    def run(todo, *given):
        calls.append(([cell.name for cell in todo.cells], *given))
        return [("a-1", "it broke", "a.log")] if len(calls) > 1 else []

    monkeypatch.setattr(cluster, "run", run)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    call = ["batch", str(tmp_path / "g.yaml"), "--out", str(tmp_path / "runs"), "--only", "a-1"]
    assert cli.main([*call, "--workers", "3"]) == 0
    with pytest.raises(SystemExit) as stopped:
        cli.main([*call, "--gpus", "0,1"])
    assert stopped.value.code == 1 and "failed: a-1: it broke" in capsys.readouterr().err
    assert calls == [(["a-1"], 3, [], None, None), (["a-1"], 2, ["0", "1"], None, None)]


def test_a_used_folder_is_refused_before_data_are_looked_for(tmp_path, monkeypatch, capsys):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.json").write_text("{}")
    call = ["run", "--data", f"npz:{tmp_path}/absent.npz", "--out", str(tmp_path / "used")]
    assert cli.main(call) != 0
    assert "absent.npz" not in (said := capsys.readouterr().err) and "used" in said


def test_help_names_the_command(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    assert capsys.readouterr().out.startswith("usage: ltcl ")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FloatingPointError("the loss is nan"), "ltcl: the loss is nan"),
        (OSError("disk full"), "ltcl: disk full"),
        (KeyboardInterrupt(), "ltcl: stopped; `ltcl run --resume FOLDER` goes on"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(error, says, photos, monkeypatch, capsys):
    def fail(*given, **named):
        raise error

    monkeypatch.setattr(pretrain, "pretrain", fail)
    assert cli.main([*photos, "--split", "all", "--out", "run"]) == 1
    assert capsys.readouterr().err.strip() == says


def test_what_was_stopped_is_not_told_to_be_a_run(monkeypatch, capsys):
    def stop(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "verify", stop)
    assert cli.main(["probe", "run"]) == 1
    assert capsys.readouterr().err == "ltcl: stopped\n"


def test_the_exit_code_is_the_processes(ltcl, tmp_path):
    (tmp_path / "file").write_text("no folder")
    wrong = ltcl("run", "--preset", "tiny", "--set", "epochs=0", "--out", "file/run")
    assert wrong.returncode == 1, wrong.stderr  # not a directory
    assert wrong.stderr.startswith("ltcl: ") and len(wrong.stderr.splitlines()) == 1


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_going_on(tmp_path, monkeypatch):
    events, fsync, replace = [], os.fsync, os.replace

    def watch_sync(number):
        events.append("folder" if os.path.isdir(f"/proc/self/fd/{number}") else "file")
        fsync(number)

    monkeypatch.setattr(os, "fsync", watch_sync)
    monkeypatch.setattr(os, "replace", lambda *a: (events.append("rename"), replace(*a)))
    files.write_json(tmp_path / "a.json", {"a": 1})
    assert events == ["file", "rename", "folder"]
    runs.save_checkpoint(tmp_path, 1, {})
    assert events == ["file", "rename", "folder"] * 2


def test_the_published_probe_is_adam_with_a_little_weight_decay():
    seen, (x, y) = [], (torch.randn(20, 3), torch.arange(20) % 2)
    hook = register_optimizer_step_pre_hook(
        lambda adam, *_: seen.append(dict(adam.param_groups[0]))
    )
    try:
        probe.linear_probe(x, y, x, y)
    finally:
        hook.remove()
    assert len(seen) == 500 and seen[0]["lr"] == pytest.approx(1e-2)
    for group in seen:
        assert (group["weight_decay"], group["betas"], group["eps"]) == (5e-6, (0.9, 0.999), 1e-8)


def test_the_machine_is_described_by_what_the_last_digits_depend_on():
    about = pretrain.describe_machine(torch.device("cpu"), torch.bfloat16)
    assert list(about) == ["device", "threads", "precision", "torch"]
    assert about["device"].startswith("cpu ") and about["threads"] == torch.get_num_threads()
    assert (about["precision"], about["torch"]) == ("bf16", str(torch.__version__))


def test_shares_and_betas_at_their_limits():
    assert memory.MomentumLoss(1, beta=0.0).beta == 0  # no memory at all is allowed
    with pytest.raises(ValueError, match="allowed is 0 to 0.5"):
        pruning.magnitude_masks({"a": torch.ones(3)}, 0.5, 0.6)


def test_a_run_is_saved_once_a_minute_unless_told_otherwise(photos, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(keeper.time, "monotonic", lambda: now.__setitem__(0, now[0] + 40) or now[0])
    monkeypatch.setattr(runs, "save_checkpoint", lambda folder, epoch, state: saved.append(epoch))
    config = dict(data="npz:a_train.npz", batch_size=10, split="all", epochs=3, device="cpu")
    for seconds, expected in ((None, [1, 2, 3]), (1e9, []), (0.0, [1, 2, 3])):
        saved.clear()
        pretrain.pretrain(
            RunConfig(preset="tiny", checkpoint_seconds=seconds, **config), f"run{seconds}"
        )
        assert saved == expected


def test_the_order_of_a_probes_batches_is_drawn_from_its_seed():
    x, y = torch.randn(1500, 3), torch.arange(1500) % 2  # more than one batch of 1000
    first, again, other = (probe.fit_bcl(x, y, 2, seed, epochs=3)[0] for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_smallest_class_of_one_image_and_a_tail_of_two_classes_are_allowed():
    assert splits.class_sizes(100, 3, 100) == [100, 10, 1]
    assert splits.class_sizes(4, 2, 2) == [4, 2]
