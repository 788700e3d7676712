"""Every knob of a run, checked before data or a GPU is touched.

A run is `RunConfig(preset=..., **changes)`: the preset fills what is not named. `paper` holds the
published values, `quick` the same recipe at the size of a laptop, `tiny` a test's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PRESETS: dict[str, dict[str, Any]] = {
    "paper": dict(
        epochs=2000, batch_size=512, lr=0.5, warmup_epochs=10, momentum_beta=0.97,
        width=64, stem_stride=1, blocks=(2, 2, 2, 2), equal_batches=False, keep_every=10,
    ),
    "quick": dict(
        epochs=30, batch_size=128, lr=0.25, momentum_beta=0.9,
        width=16, stem_stride=2, blocks=(1, 1, 1, 1), equal_batches=True, keep_every=1,
    ),
    "tiny": dict(
        epochs=2, batch_size=64, lr=0.0625, momentum_beta=0.9,
        width=4, stem_stride=1, blocks=(1, 1), equal_batches=True, keep_every=1, largest_class=40,
        imbalance=10.0, checkpoint_seconds=0,
    ),
}  # fmt: skip
QUICK_DIFFERENCES = (
    "quick result: ResNet-10 of width 16 with stride 2 in its first convolution, batch 128, "
    "learning rate 0.25, at most 30 epochs, momentum beta 0.9, warm-up 5 % of the run, batches of "
    "near-equal size; not the paper's recipe"
)
CAUTIONS = {  # said with every result of a preset
    "quick": QUICK_DIFFERENCES,
    "tiny": "tiny result: a test of the program; its accuracies mean nothing",
}


# Where each method's class is, as text, so that a wrong call fails before torch is loaded. One more
# line makes a method of yours a parameter: METHODS["mine"] = "my_module:MyMethod".
METHODS = {
    "simclr": "ltcl_helpers.methods:SimCLR",
    "sdclr": "ltcl_helpers.methods:SDCLR",
}
# BCL changes the views, not the loss, so its two published forms are a method with a boost.
SHORTHANDS: dict[str, dict[str, Any]] = {
    "bcl-i": dict(method="simclr", boost="memory", boost_k=1),
    "bcl-d": dict(method="sdclr", boost="memory", boost_k=2),
}
WEIGHT_DECAY = {"simclr": 5e-4, "sdclr": 1e-4}  # as published; bcl-i and bcl-d have their method's


class ConfigError(ValueError):
    """A wrong call or bad input: one line that says what, the value, what is allowed."""


class RunConfig(BaseModel):
    """The parameters of one pre-training run; also papermill's and `--set`'s names.

    Raises:
        ConfigError: naming every unknown parameter and every bad value at once.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    preset: Literal["tiny", "quick", "paper"] = "quick"
    method: str = "simclr"  # one of METHODS, or a shorthand, which is spelled out
    boost: Literal["none", "memory", "constant", "shuffled", "inverted"] = "none"
    boost_k: int | None = Field(None, ge=1, le=100)  # operations a view; 1, or 2 with sdclr
    boost_rule: Literal["code", "paper"] = "code"  # how strength follows the score
    prune_fraction: float = Field(0.9, ge=0, le=1)  # sdclr: share of the convolutions' weights
    prune_random: float = Field(0.0, ge=0, le=1)  # sdclr: the part of it drawn by chance
    head_layers: Literal[2, 3] = 2  # 3 as in the SDCLR repository's dual network
    data: str = Field("shapes", min_length=1)  # shapes[:SEED], cifar10, cifar100, npz:P, folder:P
    root: str | None = None  # where CIFAR lies, or is put; the default is data/
    split: str = Field("long-tail", min_length=1)  # long-tail, balanced, all, or a list file
    split_seed: int | None = Field(None, ge=0, lt=2**31)  # None: the run's seed
    mirrored: bool = False  # the class order of the same seed, reversed
    imbalance: float = Field(100.0, ge=1, le=1e6)  # largest class over smallest class
    largest_class: int | None = Field(None, ge=1)  # None: nine tenths of the smallest class
    seed: int = Field(0, ge=0, lt=2**31)
    epochs: int = Field(ge=0, le=100_000)  # 0: an untrained encoder, the baseline of a probe
    batch_size: int = Field(ge=2, le=65_536)
    equal_batches: bool  # False keeps the published small last batch (SPEC 9, no. 6)
    lr: float = Field(gt=0, le=1000)
    warmup_epochs: float | None = Field(None, ge=0)  # None: 5 % of the run
    weight_decay: float = Field(ge=0, le=1)  # default: the method's published one
    temperature: float = Field(0.2, ge=0.01, le=10)
    width: int = Field(ge=1, le=1024)  # channels of the first stage; it doubles per stage
    stem_stride: Literal[1, 2]  # of the first convolution; 2 works at half the image's size
    blocks: tuple[int, ...] = Field(min_length=1, max_length=4)  # residual blocks per stage
    momentum_beta: float = Field(ge=0, lt=1)
    keep_every: int = Field(ge=1)  # the momentum loss is kept every so many epochs, and at the end
    precision: Literal["auto", "float32", "bf16"] = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    checkpoint_seconds: float = Field(60.0, ge=0)

    def __init__(self, **parameters: Any) -> None:
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise ConfigError(_explain(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, given: dict[str, Any]) -> dict[str, Any]:
        given = {name: _list_to_tuple(value) for name, value in given.items()}
        spelled = SHORTHANDS.get(str(given.get("method")), {})
        for name in spelled.keys() & given.keys() - {"method"}:
            if given[name] != spelled[name]:
                raise ValueError(
                    f"method {given['method']} means {name} {spelled[name]}, not {given[name]!r}; "
                    f"to change it, start from method {spelled['method']}"
                )
        given |= spelled
        method = str(given.get("method", "simclr"))
        filled = {"weight_decay": WEIGHT_DECAY.get(method, 5e-4)}
        if given.get("boost", "none") != "none":
            filled["boost_k"] = 2 if method == "sdclr" else 1
        return {**PRESETS.get(given.get("preset", "quick"), PRESETS["quick"]), **filled, **given}

    @model_validator(mode="after")
    def _agree(self) -> RunConfig:
        if self.method not in METHODS:
            allowed = ", ".join([*METHODS, *SHORTHANDS])
            raise ValueError(f"method is {self.method!r}; allowed are {allowed}")
        if self.prune_random > self.prune_fraction:
            raise ValueError(
                f"prune_random is {self.prune_random:g}, a part of prune_fraction, "
                f"which is {self.prune_fraction:g}; give at most that"
            )
        if self.boost == "none" and (self.boost_k is not None or self.boost_rule != "code"):
            raise ValueError("boost_k and boost_rule need a boost; give boost=memory, for example")
        if self.epochs == 0 and (self.method != "simclr" or self.boost != "none"):
            raise ValueError("epochs=0 is an untrained encoder; give method=simclr and no boost")
        if any(count < 1 for count in self.blocks):
            raise ValueError(f"blocks is {self.blocks}; every stage needs 1 block or more")
        if self.warmup_epochs is not None and 0 < self.epochs < self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, longer than the {self.epochs} epochs; "
                "give fewer, or none for 5 % of the run"
            )
        return self

    @property
    def warmup(self) -> float:
        """Epochs over which the learning rate rises."""
        return 0.05 * self.epochs if self.warmup_epochs is None else self.warmup_epochs

    @property
    def drawn_with(self) -> int:
        """The seed of the split: `split_seed`, or the run's own."""
        return self.seed if self.split_seed is None else self.split_seed

    def digest(self) -> str:
        """Sha256 over all parameters: equal digests are equal runs."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _list_to_tuple(value: Any) -> Any:
    """JSON and papermill know lists only; the frozen configuration holds tuples."""
    return tuple(value) if isinstance(value, list) else value


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value` of a command line, typed by the field it names.

    Raises:
        ConfigError: without an `=`, or with a value that is not of the field's type.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--set {text!r}: write name=value, e.g. --set epochs=10")
    field = RunConfig.model_fields.get(name)
    optional = field is not None and type(None) in get_args(field.annotation)
    if value in ("None", "none") and optional:
        return name, None
    if field is None or field.annotation in (str, str | None):
        return name, value  # an unknown name is refused by RunConfig, with all other errors
    try:
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except json.JSONDecodeError:
        return name, value


def _explain(error: ValidationError, model: type[BaseModel]) -> str:
    """All errors of one validation in one line."""
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(model.model_fields)
            parts.append(f"{name} is not a parameter; the parameters are {known}")
        elif name:
            parts.append(f"{name} is {problem['input']!r}: {problem['msg'].lower()}")
        else:
            parts.append(str(problem.get("ctx", {}).get("error", problem["msg"])))
    return "; ".join(parts)
