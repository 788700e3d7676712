"""Every knob of a run, checked before data or a GPU is touched; and what a run is called.

A run is `RunConfig(preset=..., **changes)`: the preset and the method's recipe fill what is not
named. `paper` holds the published values, `quick` the same recipe at the size of a laptop, `tiny` a
test's. Name, label and caution follow from the configuration, so nobody reads them off a folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Collection, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .cautions import joint_caution
from .errors import ConfigError
from .recipes import (
    CONTROLS,
    ORACLES,
    OWN_NETWORKS,
    PRESETS,
    READ_BY,
    RECIPES,
    Recipe,
    allow,
    load_method,
    may_import,
    recipe_of,
    spell_out,
    weight_decay_of,
)

MOST_BLOCKS = 64  # of a stage; ResNet-152 has 36
# Set while a run's folder is read: what it names is then no wish of whoever reads it.
_opening: ContextVar[bool] = ContextVar("opening", default=False)


class RunConfig(BaseModel):
    """The parameters of one pre-training run; also papermill's and `--set`'s names.

    An option of the method's own is named as a field is, and kept in `options`.

    Raises:
        ConfigError: naming every unknown parameter and every bad value at once.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    # What is trained
    preset: Literal["tiny", "quick", "paper", "paper-imagenet"] = "quick"
    method: str = "simclr"  # a name of RECIPES (a shorthand is spelled out), or module:Class
    options: dict[str, Any] = {}  # of the method's own: by name, with its defaults
    # How the views follow each sample's memory
    boost: Literal[
        "none", "memory", "constant", "shuffled", "inverted", "oracle", "oracle-shuffled",
        "oracle-values", "clean-loss", "clean-loss-shuffled", "pruning-drop",
        "pruning-drop-shuffled", "neighbour-distance", "neighbour-distance-shuffled",
    ] = "none"  # fmt: skip
    boost_scale: float = Field(1.0, ge=0, le=2)  # a factor on all scores, which stay at most 1
    boost_noise: float = Field(0.0, ge=0, le=1)  # share of the samples whose scores are shuffled
    boost_k: int | None = Field(None, ge=1, le=100)  # operations a view; None: the recipe's
    boost_rule: Literal["code", "paper"] = "code"  # how strength follows the score
    momentum_beta: float = Field(ge=0, lt=1)  # weight of the past in the momentum loss
    keep_every: int = Field(ge=1)  # the momentum loss is kept every so many epochs, and at the end
    # SDCLR's pruned branch
    prune_fraction: float = Field(0.9, ge=0, le=1)  # share of the convolutions' weights
    prune_random: float = Field(0.0, ge=0, le=1)  # the part of it drawn by chance
    # The images
    data: str = Field("shapes", min_length=1)  # by name; npz:P, folder:P, pack:P are your own
    root: str | None = None  # where CIFAR lies, or is put; the default is data/
    split: str = Field("long-tail", min_length=1)  # long-tail, balanced, all, or a list file
    split_seed: int | None = Field(None, ge=0, lt=2**31)  # None: the run's seed
    mirrored: bool = False  # the class order of the same seed, reversed
    imbalance: float = Field(100.0, ge=1, le=1e6)  # largest class over smallest class
    largest_class: int | None = Field(None, ge=1)  # None: nine tenths of the smallest class
    groups: Literal["thirds", "counts"] = "thirds"  # who is many, medium and few
    # What views are made of
    crop_from: float = Field(0.1, gt=0, le=1)  # the smallest crop, as a share of the image
    jitter: float = Field(0.8, ge=0, le=1)  # share of the views whose colours change
    hue: float = Field(0.1, ge=0, le=0.5)  # how far hues are turned, of a whole turn
    blur: float = Field(0.0, ge=0, le=1)  # share of the views that are blurred
    classified_view: Literal["autoaugment", "randaugment"] = "autoaugment"  # what classifiers see
    # The network
    network: str = "resnet"  # resnet, bottleneck (ImageNet's), torchvision:NAME, timm:NAME
    width: int = Field(ge=1, le=1024)  # channels of the first stage; it doubles per stage
    stem_stride: Literal[1, 2]  # of the first convolution; 2 works at half the image's size
    blocks: tuple[int, ...] = Field(min_length=1, max_length=4)  # residual blocks per stage
    head_layers: Literal[2, 3] = 2  # 3 as in the SDCLR repository's dual network
    weights: str | None = None  # of other code: its layout and the file's sha256; not trained here
    # The training
    seed: int = Field(0, ge=0, lt=2**31)
    epochs: int = Field(ge=0, le=100_000)  # 0: an untrained encoder, the baseline of a probe
    batch_size: int = Field(ge=2, le=65_536)
    equal_batches: bool  # False keeps the small last batch, as published
    drop_last: bool = False  # leave the samples of a last, smaller batch out of the epoch
    optimizer: Literal["sgd"] = "sgd"  # recorded runs name it
    lr: float = Field(gt=0, le=1000)
    lr_drops: tuple[float, ...] = ()  # shares of the run after which lr is a tenth; none: a cosine
    warmup_epochs: float | None = Field(None, ge=0)  # None: 5 % of the run
    weight_decay: float = Field(ge=0, le=1)  # default: the recipe's
    temperature: float = Field(0.2, ge=0.01, le=10)
    # The machine
    precision: Literal["auto", "float32", "bf16"] = "auto"
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    checkpoint_seconds: float | None = Field(None, ge=0)  # None: 60, on a GPU 240

    def __init__(self, **parameters: Any) -> None:
        if not _opening.get():
            allow(str(parameters.get("method")))  # whoever writes this down means it
        try:
            super().__init__(**parameters)
        except ValidationError as error:
            raise ConfigError(_explain(error, parameter_names(parameters))) from None

    @classmethod
    def stored(cls, content: dict[str, Any]) -> RunConfig:
        """What a run's folder says of it; imports no class that it names."""
        token = _opening.set(True)
        try:
            return cls(**content)
        finally:
            _opening.reset(token)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Spell a shorthand out; fill in the preset, then the recipe, then what is given."""
        given = {name: _list_to_tuple(value) for name, value in given.items()}
        recipe = recipe_of(str(given.get("method", "simclr")))
        if recipe.boost != "none":
            given |= spell_out(recipe, given)
        sizes = recipe.sizes.get(str(given.get("preset", "quick")), {})
        filled = recipe.more | {"weight_decay": recipe.weight_decay} | sizes
        if given.get("boost", "none") != "none" and given.get("boost_k") is None:
            given["boost_k"] = recipe.boost_k
        preset = PRESETS.get(str(given.get("preset", "quick")), PRESETS["quick"])
        options = given.get("options")
        for name in options if isinstance(options, dict) else ():
            filled.pop(name, None)  # a stored run's own, not the recipe's
        usual = {**preset, **filled}
        if not _opening.get():
            cls._refuse_unread(recipe.method, given, usual)
        return cls._sort_options(recipe, {**usual, **given})

    @classmethod
    def _refuse_unread(cls, method: str, given: dict[str, Any], usual: dict[str, Any]) -> None:
        """Refuse what the method does not read: it would be told as a fact of the result."""
        if method not in RECIPES:
            return
        for name, readers in READ_BY.items():
            default = usual.get(name, cls.model_fields[name].get_default())
            if given.get(name, default) != default and method not in readers:
                raise ValueError(
                    f"{name} is {given[name]!r}, which method {method} does not read; "
                    f"{', '.join(readers)} do{'es' if len(readers) == 1 else ''}"
                )
        cls._refuse_unread_crop(method, given, usual)

    @classmethod
    def _refuse_unread_crop(cls, method: str, given: dict[str, Any], usual: dict[str, Any]) -> None:
        """The published view of a classifier crops in a way of its own; decoded images first."""
        default = usual.get("crop_from", cls.model_fields["crop_from"].get_default())
        view = given.get("classified_view", usual.get("classified_view", "autoaugment"))
        may_decode = str(given.get("data", "")).startswith(("folder:", "pack:"))
        is_given = given.get("crop_from", default) != default
        if is_given and method == "cross-entropy" and view == "autoaugment" and not may_decode:
            raise ValueError(
                f"crop_from is {given['crop_from']!r}, which the view autoaugment of method "
                f"{method} does not read; give classified_view=randaugment, or leave it out"
            )

    @classmethod
    def _sort_options(cls, recipe: Recipe, given: dict[str, Any]) -> dict[str, Any]:
        """Put the method's options, checked and with their defaults, where they are kept."""
        if not recipe.has_options or not may_import(recipe.method):
            return given
        own = load_method(recipe.method).Options
        named = {name: given.pop(name) for name in own.model_fields.keys() & given.keys()}
        kept = given.get("options", {})
        if not isinstance(kept, dict):
            raise ValueError(f"options are {kept!r}; allowed are the method's own, by name")
        try:
            # As JSON, which a run's folder gives back: an array is a tuple or a list, as declared.
            options = own.model_validate_json(json.dumps({**kept, **named}, default=str))
        except ValidationError as error:
            raise ValueError(_explain(error, list(own.model_fields))) from None
        return given | {"options": options.model_dump()}

    @model_validator(mode="after")
    def _agree(self) -> RunConfig:
        if self.prune_random > self.prune_fraction:
            raise ValueError(
                f"prune_random is {self.prune_random:g}, a part of prune_fraction, "
                f"which is {self.prune_fraction:g}; give at most that"
            )
        if self.options and not recipe_of(self.method).has_options:
            raise ValueError(f"options are {self.options}, but method {self.method} has none")
        steering = ("boost_k", "boost_rule", "boost_scale", "boost_noise")
        usual = {name: type(self).model_fields[name].get_default() for name in steering}
        steered = any(getattr(self, name) != value for name, value in usual.items())
        if self.boost == "none" and steered:
            raise ValueError(f"{', '.join(steering)} need a boost; give boost=memory, for example")
        if self.epochs == 0 and (self.method != "simclr" or self.boost != "none"):
            raise ValueError("epochs=0 is an untrained encoder; give method=simclr and no boost")
        self._check_network()
        if self.drop_last and self.equal_batches:
            raise ValueError(
                "drop_last leaves out what fills no batch, but equal_batches cuts all images into "
                "batches of near-equal size; give equal_batches=false, or leave drop_last out"
            )
        if list(self.lr_drops) != sorted(set(self.lr_drops)) or not all(
            0 < share < 1 for share in self.lr_drops
        ):
            raise ValueError(
                f"lr_drops is {self.lr_drops}; allowed are rising shares of the run, each between "
                "0 and 1: epoch 120 of 200 is 0.6"
            )
        if not all(1 <= count <= MOST_BLOCKS for count in self.blocks):
            raise ValueError(f"blocks is {self.blocks}; every stage needs 1 to {MOST_BLOCKS}")
        if self.warmup_epochs is not None and 0 < self.epochs < self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g}, longer than the {self.epochs} epochs; "
                "give fewer, or none for 5 % of the run"
            )
        return self

    def _check_network(self) -> None:
        """Whether the network's name is of an allowed form; the name itself needs its library."""
        library, colon, name = self.network.partition(":")
        known = self.network in OWN_NETWORKS or (library in LIBRARIES and name)
        if not known or (not colon and library in LIBRARIES):
            raise ValueError(
                f"network is {self.network!r}; allowed are {', '.join(OWN_NETWORKS)}, "
                "torchvision:NAME and timm:NAME"
            )
        if colon and importlib.util.find_spec(library) is None:
            raise ValueError(f"network {self.network!r} needs {library}: pip install {library}")

    @property
    def warmup(self) -> float:
        """Epochs over which the learning rate rises."""
        return 0.05 * self.epochs if self.warmup_epochs is None else self.warmup_epochs

    @property
    def drawn_with(self) -> int:
        """The seed of the split: `split_seed`, or the run's own."""
        return self.seed if self.split_seed is None else self.split_seed

    @property
    def name(self) -> str:
        """A short name of method, boost and what differs from the recipe: "simclr-shuffled"."""
        return name_of(self)

    @property
    def label(self) -> str:
        """The same for tables and figures: "SimCLR, boost shuffled (control)"."""
        return label_of(self)

    @property
    def control(self) -> str | None:
        """The name of the control that this run must be shown with, if it is boosted."""
        return control_of(self)

    @property
    def place(self) -> dict[str, Any]:
        """Where the run is made and how often kept: what makes no other result."""
        return {name: getattr(self, name) for name in ANY_PLACE}

    def moved(self, place: Mapping[str, Any]) -> RunConfig:
        """The same run, made elsewhere.

        Raises:
            ConfigError: for a value that `place` cannot have, or that would make another result.
        """
        if set(place) - set(ANY_PLACE):
            raise ConfigError(
                "a run that was begun keeps its own parameters; only where it is made may be set: "
                + ", ".join(ANY_PLACE)
            )
        return RunConfig.stored(self.model_dump() | dict(place))

    @property
    def caution(self) -> str:
        """What must be said with every result of this run; empty for the published recipe."""
        return joint_caution(self)

    def differences(self, wanted: RunConfig, elsewhere: bool = False) -> list[str]:
        """What makes this run's result another one than the wanted run's: "epochs 30, not 10".

        Where a run is made counts for nothing. With `elsewhere`, neither does where its images and
        lists lie: rows that were recorded on another machine are the same rows.
        """
        ours = self.model_dump(exclude=set(ANY_PLACE))
        theirs = wanted.model_dump()  # ours alone say what is compared
        if elsewhere:
            for values in (ours, theirs):
                values["split"] = Path(values["split"]).name
            if ours["data"].startswith(IN_FILES) or theirs["data"].startswith(IN_FILES):
                ours["data"] = theirs["data"]
        return [
            f"{name} {value!r}, not {theirs[name]!r}"
            for name, value in ours.items()
            if value != theirs[name]
        ]

    def digest(self) -> str:
        """Sha256 over all that makes a result: equal digests are equal runs.

        Where a run is made counts for nothing, and a field that came later nothing until it is set.
        """
        content = self.model_dump() | ANY_PLACE
        for name, value in LATER_OPTIONS.items():
            if content["options"].get(name) == value:
                del content["options"][name]
        unset = {n for n in LATER if getattr(self, n) == type(self).model_fields[n].get_default()}
        text = json.dumps({n: v for n, v in content.items() if n not in unset}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


IN_FILES = ("npz:", "folder:", "pack:")  # data whose name is a place
ANY_PLACE = {"device": "auto", "root": None, "checkpoint_seconds": 60.0}  # as in the first digests
LATER = (  # the first recorded runs had none of these
    "options", "drop_last", "optimizer", "lr_drops", "boost_scale", "boost_noise", "groups",
    "crop_from", "jitter", "hue", "blur", "classified_view", "network", "weights",
)  # fmt: skip
LATER_OPTIONS = {"outputs": 128}  # as were these options of a method
LIBRARIES = ("torchvision", "timm")


def _list_to_tuple(value: Any) -> Any:
    """JSON and papermill know lists only; the frozen configuration holds tuples."""
    return tuple(value) if isinstance(value, list) else value


def parse_setting(text: str) -> tuple[str, Any]:
    """`name=value` of a command line, typed by the field it names.

    Raises:
        ConfigError: without an `=`, or with a value that is not of the field's type.
    """
    name, equals, value = text.partition("=")
    if not equals or not name or not value.strip():
        raise ConfigError(f"--set {text!r}: write name=value, e.g. --set epochs=10")
    field = RunConfig.model_fields.get(name)
    optional = field is not None and type(None) in get_args(field.annotation)
    if value in ("None", "none") and optional:
        return name, None
    if field is not None and field.annotation in (str, str | None):
        return name, value
    try:  # a name that is no field may be an option of the method; if not, RunConfig refuses it
        return name, json.loads(value.lower() if value in ("True", "False") else value)
    except json.JSONDecodeError:
        return name, value


def typed(name: str, value: Any) -> Any:
    """A parameter of another program, such as papermill's: text is read as `--set` reads it.

    papermill takes 20240131 for a number, also where a name is meant: it is text there.
    """
    field = RunConfig.model_fields.get(name)
    is_text = field is not None and field.annotation in (str, str | None)
    if is_text and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return parse_setting(f"{name}={value}")[1] if isinstance(value, str) else value


def parse_settings(texts: Sequence[str], named: Collection[str] = ()) -> dict[str, Any]:
    """All settings of a command line.

    Args:
        texts: name=value, each name once.
        named: parameters that options of their own have set.

    Raises:
        ConfigError: where a parameter is given twice: one of the values would be lost.
    """
    found: dict[str, Any] = {}
    for name, value in map(parse_setting, texts):
        if name in named:
            raise ConfigError(f"{name} is given by --{name} and by --set; give it once")
        if name in found:
            raise ConfigError(f"--set gives {name} twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found


def parameter_names(given: dict[str, Any]) -> list[str]:
    """The names that a run with these parameters may set: fields, and options of its method."""
    names = [name for name in RunConfig.model_fields if name != "options"]
    try:
        recipe = recipe_of(str(given.get("method", "simclr")))
        own = load_method(recipe.method).Options.model_fields if recipe.has_options else []
        return [*names, *own]
    except ConfigError:
        return names


def _explain(error: ValidationError, allowed: list[str]) -> str:
    """All errors of one validation in one line."""
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = ", ".join(allowed)
            parts.append(f"{name} is not a parameter; the parameters are {known}")
        elif name:
            parts.append(f"{name} is {problem['input']!r}: {problem['msg'].lower()}")
        else:
            parts.append(str(problem.get("ctx", {}).get("error", problem["msg"])))
    return "; ".join(parts)


def _parts(config: RunConfig) -> tuple[str, str, str]:
    """The recipe that a run follows, its boost where that is not the recipe's, weight decay too."""
    published = {(r.method, r.boost, r.boost_k): name for name, r in RECIPES.items()}
    own = recipe_of(config.method)
    k = own.boost_k if config.boost_k is None else config.boost_k
    name = published.get((config.method, config.boost, k))

    boost = ""
    if not name and config.boost != "none":
        boost = config.boost
        if k != own.boost_k:
            boost += f" k{k}"
    if config.boost_scale != 1:
        boost = f"{boost} x{config.boost_scale:g}".strip()
    if config.boost_noise:
        boost = f"{boost} noise {config.boost_noise:g}".strip()

    decay = ""
    if config.weight_decay != weight_decay_of(own, config.preset):
        digits, power = f"{config.weight_decay:e}".split("e")  # 5.000000 and -04
        decay = f"{digits.rstrip('0').rstrip('.')}e{int(power)}"
    return name or config.method, boost, decay


def _options(config: RunConfig) -> dict[str, Any]:
    """The method's options that are not its recipe's."""
    if not config.options:
        return {}
    if not may_import(config.method):
        return config.options  # which of them are usual is not known
    recipe = recipe_of(config.method)
    own = load_method(config.method).Options()
    usual = own.model_dump() | recipe.more | recipe.sizes.get(config.preset, {})
    return {name: value for name, value in config.options.items() if value != usual[name]}


def name_of(config: RunConfig) -> str:
    """A short name of what is trained and how: "bcl-d", "sdclr-5e-4", "moco-v2-mlp-False"."""
    if config.epochs == 0:
        return "untrained"
    own = [f"{name}-{value}" for name, value in _options(config).items()]
    own += [config.weights.replace(":", "-")] if config.weights else []
    return "-".join(part.replace(" ", "-") for part in [*_parts(config), *own] if part)


def label_of(config: RunConfig) -> str:
    """What tables and figures call it: "BCL-D", "SimCLR, boost shuffled (control)"."""
    if config.epochs == 0:
        return "untrained encoder"
    name, boost, decay = _parts(config)
    label = recipe_of(name).label + (f", boost {boost}" if boost else "")
    if decay:
        simclr = config.weight_decay == weight_decay_of(RECIPES["simclr"], config.preset)
        label += ", weight decay " + ("of SimCLR" if simclr else decay)
    label += "".join(f", {name} {value}" for name, value in _options(config).items())
    if config.weights:
        label += f", weights of {config.weights.partition(':')[0]}"
    if config.boost in ORACLES:
        label += ", reads labels"
    control = decay or config.boost not in ("none", *CONTROLS)
    return label + (" (control)" if control else "")


def control_of(config: RunConfig) -> str | None:
    """The name of the run that a boosted one must be shown with; None for one that needs none."""
    control = CONTROLS.get(config.boost)
    if control is None:
        return None
    # Noise in scores that are shuffled anyway changes nothing.
    return name_of(config.model_copy(update={"boost": control, "boost_noise": 0.0}))
