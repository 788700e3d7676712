"""What a probe can be asked for, by name: this table is all that a wrong call needs to fail."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config import IN_FILES, RunConfig
from ..data import images, splits
from ..errors import ConfigError
from ..recipes import RECIPES

ON_FEATURES = ("bcl", "logistic", "knn")  # protocols that need features and labels only
PROBES = (*ON_FEATURES, "sdclr", "finetune")  # the last two need the images, too
CLASSIFIER = "classifier"  # the run's own, trained with labels: nothing is probed
PROTOCOLS = (*PROBES, CLASSIFIER)
FEATURES = ("encoder", "pruned", "pixels")  # pixels are a baseline that has learned nothing
NAMED_SHOTS = ("full", "10%", "1%")  # beside numbers per class
SDCLR_SHOTS = ("full", "1%")  # all that protocol sdclr knows
RULES = splits.RULES  # who is many, medium and few
OWN_LABELS = "own labels"  # the shots of a classifier's rows
# Networks that only some methods keep, by the name of what asks for them.
KEPT_BY = {"pruned": ("sdclr",), CLASSIFIER: ("balanced-cl", "cross-entropy")}


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise a ConfigError unless the value is allowed."""
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def check_shots(shots: str) -> None:
    """Raise a ConfigError unless `shots` is "full", "1%", "10%", or a number per class."""
    number = shots.isdecimal() and int(shots) > 0
    if shots not in NAMED_SHOTS and not number:
        named = ", ".join(NAMED_SHOTS)
        raise ConfigError(f"shots is {shots!r}; allowed are {named} and a number per class")


def check_enough(shots: str, class_counts: Sequence[int]) -> None:
    """Raise a ConfigError where drawn lists of so many shots need more images than a class has."""
    smallest = min(class_counts)
    if shots not in NAMED_SHOTS and int(shots) > smallest:
        raise ConfigError(
            f"shots is {shots}, but the smallest class has {smallest} images in the training part; "
            f"allowed are 1 to {smallest} and {', '.join(NAMED_SHOTS)}: --shots full takes them all"
        )


def check_parts(config: RunConfig, data: str, test: str, shots: Sequence[str]) -> None:
    """Refuse a probe that has no test part, or nothing to tell apart; no image is read.

    Args:
        config: of the run.
        data: where its data are now.
        test: the name of the test data.
        shots: those that a run on a drawn split would draw lists for.

    Raises:
        ConfigError: naming what is missing.
    """
    train = images.read_classes(data)
    images.check_test(test, train, config.root)
    for wanted in shots if config.split in splits.DRAWN else ():
        check_enough(wanted, train.counts.tolist())


def check_probes(
    protocols: Sequence[str],
    features: Sequence[str],
    shots: Sequence[str],
    groups: str | None = None,
) -> None:
    """Raise a ConfigError unless every combination of these can be probed."""
    for protocol in protocols:
        check_choice("protocol", protocol, PROTOCOLS)
    for kind in features:
        check_choice("features", kind, FEATURES)
    for number in shots:
        check_shots(number)
        if "sdclr" in protocols and number not in SDCLR_SHOTS:
            raise ConfigError(
                f"shots is {number!r}, but protocol sdclr has rates for "
                f"{' and '.join(SDCLR_SHOTS)} only; for others use --protocol bcl"
            )
    if "finetune" in protocols and set(features) - {"encoder"}:
        raise ConfigError(
            "protocol finetune trains an encoder, and a pruned one would not stay pruned; give "
            "--features encoder"
        )
    if CLASSIFIER in protocols and set(features) - {"encoder"}:
        raise ConfigError(
            "protocol classifier is the run's own, on its own encoder; give --features encoder"
        )
    if groups is not None:  # else it is the run's own
        check_choice("groups", groups, RULES)


def check_run(method: str, protocols: Sequence[str], features: Sequence[str]) -> None:
    """Raise a ConfigError where a run of this method keeps nothing that could be probed so.

    A class of somebody's own may keep anything; its run is asked when it is there.
    """
    if method not in RECIPES:
        return
    for asked in (*features, *protocols):
        if method not in KEPT_BY.get(asked, (method,)):
            known = " and ".join(KEPT_BY[asked])
            raise ConfigError(f"a {method} run keeps no {asked}; one of {known} does")


def next_call(config: RunConfig, folder: Path | None) -> str:
    """The command that shows what a finished run has learnt: a probe that its data allow."""
    probing = f"ltcl probe {folder}"
    looking = f"ltcl explore {folder} --out page.html"
    if not config.data.startswith(IN_FILES):  # other data have a test part, and many images
        return probing
    for shots, more in (("100", ""), ("full", " --shots full")):
        try:
            check_parts(config, config.data, config.data, (shots,))
        except ConfigError:
            continue
        return probing + more
    return looking
