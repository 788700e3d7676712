"""What a run is called, and what is said with it, follows from its configuration alone."""

import json
import sys

import pytest

from ltcl_helpers import recipes, runs
from ltcl_helpers.cautions import joint_caution
from ltcl_helpers.config import RunConfig, parse_setting
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.paths import DATA
from ltcl_helpers.recipes import AIMS, RECIPES, SUPERVISED, load_method

CALLED = [  # parameters, name, label, the control it must be shown with
    (dict(method="simclr"), "simclr", "SimCLR", None),
    (dict(method="sdclr"), "sdclr", "SDCLR", None),
    (dict(method="bcl-i"), "bcl-i", "BCL-I", "simclr-shuffled"),
    (dict(method="bcl-d"), "bcl-d", "BCL-D", "sdclr-shuffled"),
    (dict(method="simclr", boost="memory"), "bcl-i", "BCL-I", "simclr-shuffled"),
    (
        dict(method="simclr", boost="memory", boost_k=2),
        "simclr-memory-k2", "SimCLR, boost memory k2", "simclr-shuffled-k2",
    ),
    (
        dict(method="simclr", boost="shuffled"),
        "simclr-shuffled", "SimCLR, boost shuffled (control)", None,
    ),
    (
        dict(method="sdclr", boost="constant"),
        "sdclr-constant", "SDCLR, boost constant (control)", None,
    ),
    (
        dict(method="sdclr", weight_decay=5e-4),
        "sdclr-5e-4", "SDCLR, weight decay of SimCLR (control)", None,
    ),
    (
        dict(method="simclr", weight_decay=0.0125),
        "simclr-1.25e-2", "SimCLR, weight decay 1.25e-2 (control)", None,
    ),
    (
        dict(method="bcl-d", weight_decay=5e-4),
        "bcl-d-5e-4", "BCL-D, weight decay of SimCLR (control)", "sdclr-shuffled-5e-4",
    ),
    (dict(method="simclr", epochs=0), "untrained", "untrained encoder", None),
]  # fmt: skip


@pytest.mark.parametrize(("given", "name", "label", "control"), CALLED)
def test_name_label_and_control_follow_from_the_parameters(given, name, label, control):
    run = RunConfig(**given)
    assert (run.name, run.label, run.control) == (name, label, control)


def test_a_shorthand_may_repeat_what_it_means_and_nothing_else():
    assert RunConfig(method="bcl-d", boost="memory", boost_k=2) == RunConfig(method="bcl-d")
    assert RunConfig(method="bcl-d", boost_k=None).boost_k == 2
    assert RunConfig(method="sdclr", boost="shuffled", boost_k=None).boost_k == 2
    for wrong in (dict(boost="shuffled"), dict(boost_k=1)):
        with pytest.raises(ConfigError, match="start from method sdclr"):
            RunConfig(method="bcl-d", **wrong)


def test_parameters_that_contradict_each_other_are_refused():
    for wrong, says in (
        (dict(epochs=0, method="sdclr"), "untrained"),
        (dict(epochs=0, boost="memory"), "untrained"),
        (dict(boost_k=1), "need a boost"),
        (dict(boost_rule="paper"), "need a boost"),
        (dict(method="sdclr", prune_fraction=0.3, prune_random=0.4), "prune_random is 0.4"),
        (dict(epochs=2, warmup_epochs=3), "warmup_epochs is 3"),
        (dict(blocks=(2, 0)), "every stage"),
        (dict(drop_last=True), "equal_batches=false"),  # quick: nothing would be left out
    ):
        with pytest.raises(ConfigError, match=says):
            RunConfig(**wrong)
    assert RunConfig(epochs=0, warmup_epochs=3).epochs == 0
    assert RunConfig(epochs=3, warmup_epochs=3).warmup == 3


def test_a_caution_says_what_differs_from_the_published_recipe_and_nothing_else():
    assert RunConfig(preset="paper").caution == ""
    assert RunConfig(preset="paper", method="bcl-d", seed=3, data="cifar10").caution == ""
    changed = RunConfig(preset="paper", method="bcl-d", epochs=1, width=2, warmup_epochs=0)
    said = "paper result: width 2, 1 epochs, warm-up of 0 epochs; not the published recipe"
    assert changed.caution == said
    quick = RunConfig(width=4).caution
    assert quick.startswith("quick result: ResNet-10, width 4, stride 2") and "30 epochs" in quick
    assert "batch 128, batches of near-equal size, learning rate 0.25" in quick
    tiny = RunConfig(preset="tiny", method="sdclr", prune_fraction=0.5, prune_random=0.1).caution
    assert "pruned share 0.5, of it by chance 0.1" in tiny and "a test of the program" in tiny
    one, other = RunConfig(), RunConfig(epochs=60, boost="memory", boost_rule="paper")
    both = joint_caution(one, other, RunConfig(epochs=0))
    assert "30 epochs (SimCLR) or 60 epochs (BCL-I)" in both
    assert "the paper's rule of strength (BCL-I)" in both
    assert "0 epochs," not in both.replace("30 epochs", "").replace("60 epochs", "")
    for name, value, words in (
        ("weight_decay", 0.1, "weight decay 0.1"), ("temperature", 0.5, "temperature 0.5"),
        ("momentum_beta", 0.5, "momentum beta 0.5"), ("head_layers", 3, "a head of 3 layers"),
        ("stem_stride", 2, "stride 2"), ("blocks", (1, 1), "ResNet-6"), ("lr", 0.1, "rate 0.1"),
    ):  # fmt: skip
        assert words in RunConfig(preset="paper", **{name: value}).caution


def test_an_oracle_says_that_it_reads_labels_and_names_its_control():
    oracle = RunConfig(method="simclr", boost="oracle")
    assert (oracle.name, oracle.label) == ("simclr-oracle", "SimCLR, boost oracle, reads labels")
    assert oracle.control == "simclr-oracle-shuffled"
    control = RunConfig(method="simclr", boost="oracle-shuffled")
    assert (
        control.label == "SimCLR, boost oracle-shuffled, reads labels (control)"
        and control.control is None
    )
    values = RunConfig(method="sdclr", boost="oracle-values")
    assert values.control == "sdclr-shuffled" and values.label.endswith("reads labels")


@pytest.mark.parametrize("aim", AIMS)
def test_an_aim_without_labels_names_its_own_control(aim):
    run = RunConfig(method="sdclr", boost=aim)
    assert (run.name, run.label, run.boost_k) == (f"sdclr-{aim}", f"SDCLR, boost {aim}", 2)
    assert run.control == f"sdclr-{aim}-shuffled"
    control = RunConfig(method="sdclr", boost=f"{aim}-shuffled")
    assert control.name == run.control and control.control is None
    assert control.label == f"SDCLR, boost {aim}-shuffled (control)"
    assert "not the published recipe" in run.caution and "labels" not in run.label


def test_a_scale_is_part_of_name_control_and_digest_and_1_of_none():
    scaled = RunConfig(method="bcl-i", boost_scale=0.34)
    assert scaled.name == "bcl-i-x0.34" and scaled.label == "BCL-I, boost x0.34"
    assert scaled.control == "simclr-shuffled-x0.34"
    assert "scores times 0.34" in scaled.caution
    plain = RunConfig(method="bcl-i")
    assert scaled.digest() != plain.digest() == RunConfig(method="bcl-i", boost_scale=1.0).digest()
    for name in ("boost_scale", "boost_noise"):
        with pytest.raises(ConfigError, match=f"{name}.* need a boost"):
            RunConfig(**{name: 0.5})


def test_noise_is_part_of_name_and_digest_and_its_control_has_none():
    noisy = RunConfig(boost="oracle", boost_noise=0.25)
    assert noisy.name == "simclr-oracle-noise-0.25"
    assert noisy.label == "SimCLR, boost oracle noise 0.25, reads labels"
    assert noisy.control == "simclr-oracle-shuffled"
    assert "scores of 0.25 of the samples shuffled" in noisy.caution
    plain = RunConfig(boost="oracle")
    assert noisy.digest() != plain.digest() == RunConfig(boost="oracle", boost_noise=0.0).digest()


def test_a_digest_covers_what_makes_a_result_and_not_where():
    base = RunConfig()
    for elsewhere in (dict(device="cpu"), dict(root="there"), dict(checkpoint_seconds=1.0)):
        assert RunConfig(**elsewhere).digest() == base.digest()
    fields = dict(seed=1, lr=0.1, temperature=0.3, weight_decay=0.0, split="balanced", data="x")
    fields |= dict(precision="bf16", keep_every=2, mirrored=True, split_seed=0, equal_batches=False)
    digests = {RunConfig(**{name: value}).digest() for name, value in fields.items()}
    assert len(digests | {base.digest()}) == len(fields) + 1


def test_recorded_runs_keep_their_digests():
    found = list((DATA / "results").rglob("config.json"))
    assert found
    for path in found:
        config = RunConfig(**json.loads(path.read_text()))
        done = json.loads(path.with_name("DONE.json").read_text())
        assert config.digest() == done["config_sha256"], path.parent.name


MINE = """
import torch
from ltcl_helpers.methods import SimCLR
from ltcl_helpers.recipes import MethodOptions

class Mine(SimCLR):
    class Options(MethodOptions):
        sharp: float = 0.5
        steps: int = 3
        sizes: tuple[int, ...] = (1, 2)
        names: list[str] = ["a"]

    def forward(self, batch):
        assert self.options.steps == 7
        return super().forward(batch) * self.options.sharp

class Bare:
    pass
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's module in the present folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own.py").write_text(MINE)
    monkeypatch.delitem(sys.modules, "my_own", raising=False)
    yield "my_own:Mine"
    sys.modules.pop("my_own", None)


def test_a_users_class_has_options_like_fields(mine):
    run = RunConfig(preset="tiny", method=mine, steps=7)
    assert run.options == {"sharp": 0.5, "steps": 7, "sizes": (1, 2), "names": ["a"]}
    assert (run.name, run.label, run.weight_decay) == (f"{mine}-steps-7", "Mine, steps 7", 5e-4)
    assert RunConfig(**run.model_dump()) == run
    several = RunConfig(preset="tiny", method=mine, steps=7, sizes=[3, 4], names=["b", "c"])
    assert several.options["sizes"] == (3, 4) and several.options["names"] == ["b", "c"]
    assert RunConfig.stored(json.loads(several.model_dump_json())) == several  # its folder's
    assert "steps 7" in run.caution and "sharp" not in run.caution  # the default needs no word
    assert run.digest() != RunConfig(preset="tiny", method=mine).digest()
    assert parse_setting("steps=7") == ("steps", 7)
    for wrong in (dict(steps="many"), dict(sharp=float("nan")), dict(blunt=1)):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RunConfig(method=mine, **wrong)
    with pytest.raises(ConfigError, match="seed.*sharp, steps, sizes, names"):
        RunConfig(method=mine, sead=1)
    with pytest.raises(ConfigError, match="has none"):
        RunConfig(method="simclr", options={"sharp": 1.0})
    with pytest.raises(ConfigError, match="sharp is not a parameter"):
        RunConfig(method="simclr", sharp=1.0)


def test_a_class_that_is_not_there_or_no_method_is_refused(mine):
    for method, says in (
        ("my_own:Bare", "is no method"),
        ("my_own:Absent", "cannot be loaded"),
        ("nowhere:Mine", "nowhere.py must lie in this folder"),
        ("no.where:Mine", "no.where must be installed"),
        ("__main__:Mine", "is in no file.*my_own.py, and give my_own:Mine"),
        ("simsiam", "allowed are simclr, sdclr"),
        ("a b:C", "allowed are"),
        (":C", "allowed are"),
        ("a:", "allowed are"),
        ("", "allowed are"),
    ):
        with pytest.raises(ConfigError, match=says):
            RunConfig(method=method)
    assert load_method("bcl-i").__name__ == "SimCLR"
    assert load_method("sdclr").__name__ == "SDCLR"


def test_a_folder_of_leftovers_is_taken_over_and_a_used_one_is_not(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".config.json.1.part").write_text("{")
    config = RunConfig(preset="tiny")
    folder = tmp_path / "new"
    runs.begin(folder, config)
    assert not (folder / ".config.json.1.part").exists()
    assert RunConfig(**json.loads((folder / "config.json").read_text())) == config
    (tmp_path / "file").write_text("")
    for used in ("new", "file"):
        with pytest.raises(ConfigError, match="exists"):
            runs.begin(tmp_path / used, config)


@pytest.mark.parametrize("method", RECIPES)
def test_what_is_stored_of_a_run_comes_back_as_it_was(method):
    plain = RunConfig(preset="tiny", method=method)
    for name, value in plain.options.items():
        other = not value if isinstance(value, bool) else value
        other = value / 2 + 0.25 if isinstance(value, float) else other
        other = value + 1 if type(value) is int else other
        run = RunConfig(preset="tiny", method=method, **{name: other})
        again = RunConfig(**json.loads(json.dumps(run.model_dump(mode="json"))))
        assert again == run and again.options[name] == other
    assert RunConfig(**plain.model_dump(mode="json")) == plain


def test_the_methods_that_learn_from_labels_say_so_in_both_places():
    told = {name for name in RECIPES if load_method(name).READS_LABELS}
    assert told == set(SUPERVISED)


# --- classes of somebody's own ------------------------------------------------------------------


def test_names_and_tables_of_the_recipes():
    assert [(name, recipe.label) for name, recipe in RECIPES.items()] == [
        ("simclr", "SimCLR"), ("sdclr", "SDCLR"), ("bcl-i", "BCL-I"), ("bcl-d", "BCL-D"),
        ("moco-v1", "MoCo v1"), ("moco-v2", "MoCo v2"),
        ("balanced-cl", "Balanced CL (with labels)"),
        ("cross-entropy", "cross-entropy (with labels)"),
    ]  # fmt: skip
    for name, recipe in RECIPES.items():
        shorthand = {"bcl-i": "simclr", "bcl-d": "sdclr"}
        assert recipe.method == shorthand.get(name, name)
        assert recipe.boost == ("memory" if name in shorthand else "none")
        assert recipe.has_options == (name not in ("simclr", "sdclr", *shorthand))
    assert recipes.AIM_OF == {
        "clean-loss": "clean-loss", "clean-loss-shuffled": "clean-loss",
        "pruning-drop": "pruning-drop", "pruning-drop-shuffled": "pruning-drop",
        "neighbour-distance": "neighbour-distance",
        "neighbour-distance-shuffled": "neighbour-distance",
    }  # fmt: skip
    assert recipes.ORACLES == ("oracle", "oracle-shuffled", "oracle-values")
    control = {"memory": "shuffled", "oracle": "oracle-shuffled", "oracle-values": "shuffled"}
    assert {aim: f"{aim}-shuffled" for aim in AIMS} | control == recipes.CONTROLS
    assert recipes.weight_decay_of(RECIPES["simclr"], "paper-imagenet") == 1e-4
    assert recipes.weight_decay_of(RECIPES["simclr"], "quick") == 5e-4


def says(call, *given):
    with pytest.raises(ConfigError) as caught:
        call(*given)
    return str(caught.value)


def test_a_strangers_class_is_not_imported_unasked(mine, monkeypatch):
    monkeypatch.setattr(recipes, "_allowed", set())
    wrong = (
        f"the run's method is {mine}, a class of somebody's own, which is not imported unasked; "
        "if you trust it, give --allow-own-method (in Python: recipes.allow)"
    )
    assert says(load_method, mine) == wrong and not recipes.may_import(mine)
    stored = RunConfig.stored({"preset": "tiny", "method": mine, "options": {"sharp": 0.25}})
    assert stored.name == f"{mine}-sharp-0.25" and "my_own" not in sys.modules  # all that is known
    assert says(load_method, mine) == wrong
    assert recipes.may_import("bcl-i") and load_method("bcl-i").__name__ == "SimCLR"
    recipes.allow("*")
    assert recipes.may_import(mine) and load_method(mine).__name__ == "Mine"
    monkeypatch.setattr(recipes, "_allowed", set())
    assert RunConfig(method=mine).options["steps"] == 3  # whoever writes it down
    assert recipes.may_import(mine) and not recipes.may_import("my_own:Bare")


def test_why_a_class_cannot_be_loaded(mine):
    recipes.allow("*")
    lies = "my_own.py must lie in this folder or be installed, and hold that class"
    said = says(load_method, "my_own:Absent")
    assert said.startswith("method 'my_own:Absent' cannot be loaded (") and said.endswith(lies)
    assert says(load_method, "my_own:Bare") == (
        "method 'my_own:Bare' is no method; subclass SimCLR, as docs/ shows"
    )
    recipe = recipes.recipe_of(mine)
    assert (recipe.label, recipe.method, recipe.loads) == ("Mine", mine, mine)
    assert recipe.has_options and recipe.weight_decay == 5e-4
    assert recipes.recipe_of("ltcl_helpers.dictionaries:MoCo").has_options
    assert load_method("ltcl_helpers.dictionaries:MoCo") is load_method("moco-v2")
    assert load_method("ltcl_helpers.dictionaries:MoCo").__module__.endswith("methods.moco")


# The CIFAR demonstration of MoCo, and what the paper on Balanced CL and an article on it give.
OTHER_METHODS = {
    ("moco-v1", "paper"): dict(temperature=0.1, mlp=False),
    ("moco-v2", "paper"): dict(temperature=0.2, mlp=True),
    ("moco-v1", "quick"): dict(temperature=0.1, mlp=False, warmup_epochs=3.0, lr=0.25),
    ("moco-v2", "quick"): dict(temperature=0.2, mlp=True, warmup_epochs=3.0, lr=0.25),
    ("balanced-cl", "paper"): dict(
        temperature=0.1,
        classify_weight=2.0,
        contrast_weight=0.6,
        hidden=512,
        compensation=1.0,
        class_averaging=True,
        class_complement=True,
        average="L1",
    ),
    ("cross-entropy", "paper"): dict(compensation=0.0),
    ("balanced-cl", "quick"): dict(temperature=0.1, lr=0.075, warmup_epochs=4.0),
    ("cross-entropy", "quick"): dict(compensation=0.0, lr=0.15, warmup_epochs=4.0),
}
QUEUED = dict(
    equal_batches=False, drop_last=True, lr=0.06, warmup_epochs=0.0, batch_size=512, epochs=2000,
    weight_decay=5e-4, lr_drops=(), key_momentum=0.99, queue_batches=8, group_size=64,
    symmetric=False, width=64, blocks=(2, 2, 2, 2),
)  # fmt: skip
LABELLED = dict(
    epochs=200, batch_size=256, lr=0.15, lr_drops=(0.8, 0.9), warmup_epochs=5.0, width=16,
    blocks=(5, 5, 5), weight_decay=5e-4, equal_batches=False, drop_last=False,
)  # fmt: skip


@pytest.mark.parametrize(("method", "preset"), OTHER_METHODS)
def test_recipes_of_the_other_methods_are_pinned(method, preset):
    config = RunConfig(method=method, preset=preset)
    common = {"moco": QUEUED, "bala": LABELLED, "cros": LABELLED}[method[:4]]
    common = common if preset == "paper" else {}
    for name, value in (common | OTHER_METHODS[method, preset]).items():
        found = config.options[name] if name in config.options else getattr(config, name)
        assert found == value, name
    assert config.name == method  # nothing in it differs from its recipe
