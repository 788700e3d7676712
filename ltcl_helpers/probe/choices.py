"""What a probe can be asked for, by name: this table is all that a wrong call needs to fail."""

from __future__ import annotations

from collections.abc import Iterable

from ..data import splits
from ..errors import ConfigError

ON_FEATURES = ("bcl", "logistic", "knn")  # protocols that need features and labels only
PROBES = (*ON_FEATURES, "sdclr")  # and the one that needs images, too
CLASSIFIER = "classifier"  # the run's own, trained with labels: nothing is probed
PROTOCOLS = (*PROBES, CLASSIFIER)
FEATURES = ("encoder", "pruned", "pixels")
NAMED_SHOTS = ("full", "1%")  # beside numbers of labelled images per class
RULES = splits.RULES  # who is many, medium and few
OWN_LABELS = "own labels"  # the shots of a classifier's rows


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raise a ConfigError unless the value is allowed."""
    allowed = tuple(allowed)
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def check_shots(shots: str) -> None:
    """Raise a ConfigError unless `shots` is "full", "1%", or a number per class."""
    number = shots.isdecimal() and int(shots) > 0
    if shots not in NAMED_SHOTS and not number:
        named = ", ".join(NAMED_SHOTS)
        raise ConfigError(f"shots is {shots!r}; allowed are {named} and a number per class")
