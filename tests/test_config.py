"""The knobs: published values, one error line for all mistakes, equal digests for equal runs."""

import json

import pytest

from ltcl_helpers import config
from ltcl_helpers.cautions import joint_caution
from ltcl_helpers.config import (
    RunConfig,
    parameter_names,
    parse_setting,
    parse_settings,
    typed,
)
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.recipes import PRESETS, READ_BY, RECIPES, load_method


def test_paper_preset_holds_the_published_values():
    paper = RunConfig(preset="paper")
    assert (paper.epochs, paper.batch_size, paper.lr, paper.warmup) == (2000, 512, 0.5, 10)
    assert (paper.temperature, paper.weight_decay, paper.momentum_beta) == (0.2, 5e-4, 0.97)
    assert (paper.width, paper.blocks, paper.equal_batches) == (64, (2, 2, 2, 2), False)


def test_quick_preset_is_the_documented_one():
    quick = RunConfig()
    assert (quick.epochs, quick.batch_size, quick.lr, quick.warmup) == (30, 128, 0.25, 1.5)
    assert (quick.momentum_beta, quick.width, quick.blocks) == (0.9, 16, (1, 1, 1, 1))
    assert quick.equal_batches and quick.keep_every == 1


def test_named_parameters_win_over_the_preset_and_reach_the_digest():
    assert RunConfig(preset="paper", epochs=500).epochs == 500
    assert RunConfig().digest() == RunConfig(preset="quick", epochs=30).digest()
    assert RunConfig().digest() != RunConfig(seed=1).digest()
    config = RunConfig(preset="tiny", split_seed=4)
    assert config.drawn_with == 4 and RunConfig(seed=3).drawn_with == 3
    assert RunConfig(seed=1, split_seed=0).drawn_with == 0
    again = RunConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config and again.digest() == config.digest()
    assert set(PRESETS) == {"tiny", "quick", "paper", "paper-imagenet"}


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        RunConfig(epoch=3, lr="fast", batch_size=True, temperature=float("nan"), device="tpu")
    text = str(caught.value)
    for part in ("epoch is not a parameter", "lr is 'fast'", "batch_size is True", "nan", "'tpu'"):
        assert part in text
    assert "\n" not in text
    with pytest.raises(ValueError, match="frozen"):
        RunConfig().epochs = 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs=10", 10),
        ("lr=0.5", 0.5),
        ("blocks=[1,2]", [1, 2]),
        ("mirrored=True", True),
        ("split_seed=none", None),
        ("boost=none", "none"),
        ("data=npz:a=b.npz", "npz:a=b.npz"),
        ("root=None", None),
        ("root=7", "7"),
        ("lr=fast", "fast"),
        ("unknown=1", 1),
    ],
)
def test_settings_of_the_command_line_are_typed_by_their_field(text, expected):
    name, value = parse_setting(text)
    assert name == text.split("=")[0] and value == expected


def test_a_setting_without_a_value_says_how_to_write_one():
    for text in ("epochs", "=3", ""):
        with pytest.raises(ConfigError, match="name=value"):
            parse_setting(text)


# --- what is refused, and in which words -------------------------------------------------------


def refusal(**given):
    with pytest.raises(ConfigError) as caught:
        RunConfig(**given)
    return str(caught.value)


STEERING = "boost_k, boost_rule, boost_scale, boost_noise need a boost; give boost=memory, for "
UNTRAINED = "epochs=0 is an untrained encoder; give method=simclr and no boost"
NETWORKS = "allowed are resnet, bottleneck, torchvision:NAME and timm:NAME"
REFUSED = [
    (dict(lr="fast"), "lr is 'fast': input should be a valid number"),
    (dict(epochs=1.0), "epochs is 1.0: input should be a valid integer"),
    (dict(width=0, epochs=-1), "width is 0: input should be greater than or equal to 1; epochs is "
     "-1: input should be greater than or equal to 0"),
    (dict(boost="memory", boost_scale=2.001), "boost_scale is 2.001: input should be less than or "
     "equal to 2"),
    (dict(boost="memory", boost_scale=-0.001), "boost_scale is -0.001: input should be greater "
     "than or equal to 0"),
    (dict(boost="memory", boost_noise=1.001), "boost_noise is 1.001: input should be less than or "
     "equal to 1"),
    (dict(boost="memory", boost_noise=-0.001), "boost_noise is -0.001: input should be greater "
     "than or equal to 0"),
    (dict(lr=float("inf")), "lr is inf: input should be a finite number"),
    (dict(optimizer="adam"), "optimizer is 'adam': input should be 'sgd'"),
    (dict(method="sdclr", prune_fraction=0.3, prune_random=0.4), "prune_random is 0.4, a part of "
     "prune_fraction, which is 0.3; give at most that"),
    (dict(options={"a": 1}), "options are {'a': 1}, but method simclr has none"),
    (dict(method="moco-v2", options=3), "options are 3; allowed are the method's own, by name"),
    (dict(boost_k=1), STEERING + "example"),
    (dict(boost_noise=0.5), STEERING + "example"),
    (dict(epochs=0, method="sdclr"), UNTRAINED),
    (dict(epochs=0, boost="memory"), UNTRAINED),
    (dict(blocks=(1, 65)), "blocks is (1, 65); every stage needs 1 to 64"),
    (dict(epochs=2, warmup_epochs=2.5), "warmup_epochs is 2.5, longer than the 2 epochs; give "
     "fewer, or none for 5 % of the run"),
    *((dict(network=name), f"network is {name!r}; {NETWORKS}") for name in (
        "vgg", "torchvision", "timm:", "torchvision:", "resnet:18", "other:net",
    )),
    (dict(method="bcl-d", boost_k=1), "method bcl-d means boost_k 2, not 1; to change it, start "
     "from method sdclr"),
    (dict(method="simsiam"), "method is 'simsiam'; allowed are simclr, sdclr, bcl-i, bcl-d, "
     "moco-v1, moco-v2, balanced-cl, cross-entropy and your own module:Class"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "says"), REFUSED)
def test_a_wrong_parameter_is_refused_in_these_words(given, says):
    assert refusal(**given) == says


def test_what_is_no_parameter_is_told_all_that_are():
    fields = [name for name in RunConfig.model_fields if name != "options"]
    assert refusal(sead=1) == f"sead is not a parameter; the parameters are {', '.join(fields)}"
    options = list(load_method("cross-entropy").Options.model_fields)
    assert refusal(method="cross-entropy", sead=1).endswith(", ".join([*fields, *options]))
    wrong = refusal(method="cross-entropy", options={"compensation": 0.5, "blunt": 1})
    assert wrong == "blunt is not a parameter; the parameters are compensation"
    assert refusal(method="cross-entropy", compensation="1") == (
        "compensation is '1': input should be a valid number"
    )
    assert "finite" in refusal(method="cross-entropy", compensation=float("inf"))
    assert "finite" in refusal(method="cross-entropy", options={"compensation": float("nan")})
    with pytest.raises(ValueError, match="frozen"):
        load_method("cross-entropy").Options().compensation = 1.0
    assert parameter_names({"method": "nowhere:Mine"}) == fields == parameter_names({})


def test_a_network_of_a_library_needs_the_library(monkeypatch):
    assert RunConfig(network="torchvision:resnet18").network == "torchvision:resnet18"
    monkeypatch.setattr(config.importlib.util, "find_spec", lambda name: None)
    needs = "network 'timm:vit' needs timm: pip install timm"
    assert refusal(network="timm:vit") == needs
    assert RunConfig(network="bottleneck").network == "bottleneck"


def test_what_is_still_allowed():
    assert RunConfig(blocks=(64, 1)).blocks == (64, 1)
    for scale, noise in ((0.0, 1.0), (2.0, 0.0)):
        run = RunConfig(boost="memory", boost_scale=scale, boost_noise=noise)
        assert (run.boost_scale, run.boost_noise) == (scale, noise)
    given = dict(method="sdclr", prune_fraction=0.5, prune_random=0.5)
    assert RunConfig(**given).prune_random == 0.5
    assert RunConfig(epochs=0, boost_k=None).epochs == 0
    assert RunConfig(method="moco-v2", options={"mlp": False}).options["mlp"] is False
    assert RunConfig(lr_drops=[0.5, 0.75]).lr_drops == (0.5, 0.75)


@pytest.mark.parametrize("drops", [[120, 160], [-1.0], [0.0], [1.0], [0.8, 0.6], [0.6, 0.6]])
def test_learning_rates_drop_at_rising_shares_of_the_run(drops):
    with pytest.raises(ConfigError, match=r"lr_drops is .*shares.* epoch 120 of 200 is 0\.6"):
        RunConfig(lr_drops=drops)


UNREAD = [
    ("simclr", "prune_fraction", 0.5), ("moco-v2", "prune_random", 0.1),
    ("moco-v2", "head_layers", 3), ("cross-entropy", "temperature", 0.5),
    ("bcl-i", "classified_view", "randaugment"), ("cross-entropy", "hue", 0.2),
    ("balanced-cl", "head_layers", 3), ("cross-entropy", "blur", 0.5),
]  # fmt: skip


def test_the_crop_of_a_view_that_has_its_own_is_refused():
    with pytest.raises(ConfigError, match="crop_from is 0.5, which the view autoaugment of method"):
        RunConfig(method="cross-entropy", crop_from=0.5)
    for reads in (
        dict(classified_view="randaugment"), dict(data="folder:a"), dict(data="pack:a.pack"),
    ):  # fmt: skip
        assert RunConfig(method="cross-entropy", crop_from=0.5, **reads).crop_from == 0.5
    assert RunConfig(method="balanced-cl", crop_from=0.5).crop_from == 0.5  # two views read it


def test_whose_weight_decay_it_is_depends_on_the_preset():
    large = dict(preset="paper-imagenet", method="sdclr")
    assert "of SimCLR" not in RunConfig(**large, weight_decay=5e-4).label
    assert "weight decay of SimCLR (control)" in RunConfig(preset="paper", method="sdclr",
                                                           weight_decay=5e-4).label  # fmt: skip


@pytest.mark.parametrize(("method", "name", "value"), UNREAD)
def test_what_a_method_does_not_read_is_refused(method, name, value):
    with pytest.raises(ConfigError, match=f"{name} is .* does not read; "):
        RunConfig(method=method, **{name: value})
    usual = RunConfig(method=method)
    assert RunConfig(method=method, **{name: getattr(usual, name)}) == usual
    stored = usual.model_dump() | {name: value}
    assert getattr(RunConfig.stored(stored), name) == value  # a run of long ago still opens
    own = RunConfig(method="ltcl_helpers.methods:SimCLR", **{name: value})
    assert getattr(own, name) == value  # a class of somebody's own may read it


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("method", RECIPES)
def test_every_recipe_at_every_preset_may_be_written_down_again(method, preset):
    run = RunConfig(method=method, preset=preset)
    assert RunConfig(**run.model_dump()) == run


# --- what is said of a run ---------------------------------------------------------------------

SAID = {  # a change of preset paper, and its words
    "blocks": ((3, 4, 6), "ResNet-28"), "width": (32, "width 32"),
    "stem_stride": (2, "stride 2 in the first convolution"),
    "head_layers": (3, "a head of 3 layers"), "epochs": (500, "500 epochs"),
    "batch_size": (64, "batch 64"), "equal_batches": (True, "batches of near-equal size"),
    "drop_last": (True, "what fills no batch left out of an epoch"),
    "lr_drops": ((0.6, 0.75), "a rate that falls at 0.6 and 0.75 of the run"),
    "lr": (0.125, "learning rate 0.125"), "warmup_epochs": (7.5, "warm-up of 7.5 epochs"),
    "weight_decay": (0.01, "weight decay 0.01"), "temperature": (0.5, "temperature 0.5"),
    "momentum_beta": (0.5, "momentum beta 0.5"),
    "prune_fraction": (0.5, "pruned share 0.5"), "prune_random": (0.25, "of it by chance 0.25"),
    "crop_from": (0.5, "crops from 0.5 of an image"),
    "jitter": (0.5, "colours of 0.5 of the views changed"), "hue": (0.25, "hues turned by up to "
    "0.25"), "blur": (0.5, "0.5 of the views blurred"),
    "classified_view": ("randaugment", "classified views of randaugment"),
    "network": ("torchvision:resnet18", "torchvision:resnet18"),
}  # fmt: skip
OF_A_BOOST = {
    "boost_k": (2, "2 operations a boosted view"),
    "boost_rule": ("paper", "the paper's rule of strength"),
    "boost_scale": (0.5, "scores times 0.5"),
    "boost_noise": (0.25, "scores of 0.25 of the samples shuffled"),
}


@pytest.mark.parametrize("name", [*SAID, *OF_A_BOOST])
def test_a_caution_has_words_for_every_part_of_a_recipe(name):
    boost = {"boost": "memory"} if name in OF_A_BOOST else {}
    method = READ_BY.get(name, ["simclr"])[0]
    value, words = (SAID | OF_A_BOOST)[name]
    run = RunConfig(preset="paper", method=method, **boost, **{name: value})
    assert run.caution == f"paper result: {words}; not the published recipe"


def test_every_value_of_a_preset_or_a_recipe_has_words_in_a_caution():
    """Or stands here: no part of how a network learns, or said where it is shown."""
    elsewhere = {"keep_every", "checkpoint_seconds", "largest_class", "imbalance", "groups"}
    values = [*PRESETS.values()]
    for recipe in RECIPES.values():
        values += [recipe.more, *recipe.sizes.values()]
    known = {"weight_decay", *SAID, *OF_A_BOOST}
    for name in {name for each in values for name in each} & RunConfig.model_fields.keys():
        assert name in known | elsewhere, name
    balanced = RunConfig(method="balanced-cl")  # published: in steps
    assert "a rate that falls by a cosine" in balanced.caution
    kept = RunConfig(preset="paper", method="moco-v2", drop_last=False)
    assert "no image left out of an epoch" in kept.caution


def test_cautions_of_several_runs_are_one():
    small = RunConfig(preset="tiny", epochs=3)
    assert small.caution.startswith("tiny result: ResNet-6, width 4, 3 epochs, batch 64, ")
    ends = "; not the published recipe; a test of the program, whose accuracies mean nothing"
    assert small.caution.endswith(ends)
    paper = RunConfig(preset="paper", epochs=3, warmup_epochs=0)
    both = joint_caution(small, paper)
    assert both.startswith("paper and tiny result: ") and both.count("3 epochs") == 1
    assert both.endswith("; not the published recipe")  # not all of them mean nothing
    slow = RunConfig(preset="paper", method="sdclr", weight_decay=5e-4)
    others = [RunConfig(preset="paper", method=name) for name in ("simclr", "sdclr", "bcl-d")]
    whose = f"weight decay 0.0005 ({slow.label})"
    assert joint_caution(slow, *others) == f"paper result: {whose}; not the published recipe"
    four = [run.model_copy(update={"lr": 0.1}) for run in (slow, *others)]
    assert joint_caution(*four).startswith(f"paper result: learning rate 0.1, {whose};")
    more = [*four, *(RunConfig(preset="paper", method=name) for name in ("bcl-i", "moco-v2"))]
    assert joint_caution(*more).startswith(f"paper result: learning rate 0.1 (4 of 6), {whose};")
    untrained = RunConfig(preset="paper", epochs=0)
    assert joint_caution(untrained).startswith("paper result: 0 epochs")
    assert joint_caution(untrained, RunConfig(preset="paper")) == ""
    imagenet = dict(preset="paper-imagenet", method="moco-v2")
    assert RunConfig(**imagenet).caution == ""
    changed = RunConfig(**imagenet, blocks=(1, 1), key_momentum=0.5, equal_batches=False, epochs=2)
    words = "ResNet-8, 2 epochs, key_momentum 0.5"
    assert changed.caution == f"paper-imagenet result: {words}; not the published recipe"
    odd = RunConfig(preset="paper-imagenet", equal_batches=True)
    assert odd.caution.startswith("paper-imagenet result: batches of near-equal size; ")
    assert "the code's" not in odd.caution


def test_runs_differ_by_what_makes_a_result():
    one = RunConfig(data="npz:there/a.npz", split="there/list.npy", device="cpu", root="x")
    same = RunConfig(data="npz:there/a.npz", split="there/list.npy", checkpoint_seconds=1.0)
    assert one.differences(same) == [] and one.digest() == same.digest()
    other = RunConfig(data="npz:here/a.npz", split="here/list.npy", epochs=7)
    apart = ["epochs 30, not 7"]
    places = ["data 'npz:there/a.npz', not 'npz:here/a.npz'"]
    places += ["split 'there/list.npy', not 'here/list.npy'"]
    assert one.differences(other) == places + apart
    assert one.differences(other, elsewhere=True) == apart
    for data in ("pack:a", "folder:a", "shapes"):  # recorded from one, made again from another
        assert one.differences(RunConfig(data=data, split="list.npy"), elsewhere=True) == []
    named = RunConfig(data="cifar10"), RunConfig(data="shapes")
    assert named[0].differences(named[1], elsewhere=True) == ["data 'cifar10', not 'shapes'"]


def test_names_and_labels_of_what_is_not_trained_here_and_of_options():
    run = RunConfig(weights="bcl:0123456789abcdef")
    assert run.name == "simclr-bcl-0123456789abcdef" and run.label == "SimCLR, weights of bcl"
    run = RunConfig(method="moco-v2", mlp=False, symmetric=True, weight_decay=1e-4)
    assert run.name == "moco-v2-1e-4-mlp-False-symmetric-True"
    assert run.label == "MoCo v2, weight decay 1e-4, mlp False, symmetric True (control)"
    run = RunConfig(boost="inverted", boost_k=2, boost_scale=0.5, boost_noise=0.25, seed=3)
    assert run.name == "simclr-inverted-k2-x0.5-noise-0.25"
    assert run.label == "SimCLR, boost inverted k2 x0.5 noise 0.25 (control)"
    run = RunConfig(method="sdclr", boost="oracle", boost_k=1, boost_noise=0.5)
    assert run.control == "sdclr-oracle-shuffled-k1"
    run = RunConfig(preset="paper-imagenet", weight_decay=5e-4)  # SimCLR's is 1e-4 there
    assert run.label == "SimCLR, weight decay 5e-4 (control)"
    assert RunConfig(preset="paper-imagenet").name == "simclr"


# --- texts of a command line or a notebook -----------------------------------------------------


def test_settings_are_given_once():
    assert parse_settings(["epochs=2", "root=none"], ["data"]) == {"epochs": 2, "root": None}
    for texts, says in (
        (["data=x"], "data is given by --data and by --set; give it once"),
        (["lr=1", "lr=2.0"], "--set gives lr twice: 1 and 2.0"),
        (["lr"], "--set 'lr': write name=value, e.g. --set epochs=10"),
        (["lr= "], "--set 'lr= ': write name=value, e.g. --set epochs=10"),
    ):
        with pytest.raises(ConfigError) as caught:
            parse_settings(texts, ["data"])
        assert str(caught.value) == says


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("split", 20240131, "20240131"), ("root", 7.5, "7.5"), ("root", None, None),
        ("split", True, True), ("epochs", 3, 3), ("epochs", "3", 3), ("mirrored", "False", False),
        ("root", "None", None), ("unknown", 3, 3), ("unknown", "x", "x"), ("lr", [1], [1]),
    ],
)  # fmt: skip
def test_a_notebooks_parameters_are_read_as_settings_are(name, value, expected):
    found = typed(name, value)
    assert found == expected and type(found) is type(expected)
