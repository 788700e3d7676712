"""The knobs: published values, one error line for all mistakes, equal digests for equal runs."""

import json

import pytest

from ltcl_helpers.config import RunConfig, parse_setting
from ltcl_helpers.errors import ConfigError
from ltcl_helpers.recipes import PRESETS


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
