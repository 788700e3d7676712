"""Published names and presets: what each stands for, as a table.

A method is named by a recipe, or by a user's own `module:Class`; what a run with it is called is
said in `config`.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from .errors import ConfigError

KIT = "ltcl_helpers."
_allowed: set[str] = set()  # methods of users' own that this process may import
Sizes = dict[str, dict[str, Any]]  # fields by preset


class Recipe(NamedTuple):
    """The defaults of a run that names it, and what tables call it.

    A recipe with a boost is a shorthand, spelled out to its `method`: BCL changes the views, not
    the loss, so its two published forms are a method with a boost.
    """

    label: str  # in tables and figures
    method: str  # the recipe's own name, unless it is a shorthand
    boost: str
    boost_k: int  # operations of a boosted view
    weight_decay: float
    loads: str  # where its class is, as text: a wrong call fails before torch is loaded
    has_options: bool = False  # the class declares some, and must be loaded to check them
    more: dict[str, Any] = {}  # further fields, and options of the class
    sizes: Sizes = {}  # by preset, what of it this method has otherwise


SIMCLR = "ltcl_helpers.methods.simclr:SimCLR"
SDCLR = "ltcl_helpers.methods.sdclr:SDCLR"
MOCO = "ltcl_helpers.methods.moco:MoCo"
BALANCED = "ltcl_helpers.methods.balanced:BalancedCL"
CROSS_ENTROPY = "ltcl_helpers.methods.cross_entropy:CrossEntropy"
# Recorded configurations name classes by where these lay then. The names are part of their digests,
# so they stay, and resolve here.
MOVED = {"ltcl_helpers.dictionaries": "ltcl_helpers.methods.moco"}

QUEUED = dict(equal_batches=False, drop_last=True)  # a queue needs batches of one size
QUEUED_SIZES: Sizes = {"paper": dict(lr=0.06, warmup_epochs=0.0), "quick": dict(warmup_epochs=3.0)}
IMAGENET = "paper-imagenet"  # ResNet-50 on ImageNet-LT and its like
IMAGENET_MOCO = dict(  # 200 epochs; 65,536 keys; 8 GPUs had 32 images each
    epochs=200, lr=0.03, warmup_epochs=0.0, weight_decay=1e-4, crop_from=0.2,
    key_momentum=0.999, queue_batches=256, group_size=32,
)  # fmt: skip
MOCO_V1_SIZES = QUEUED_SIZES | {
    IMAGENET: IMAGENET_MOCO | dict(
        temperature=0.07, lr_drops=(0.6, 0.8), blur=0.0, jitter=1.0, hue=0.4,
    ),
}  # fmt: skip
MOCO_V2_SIZES = QUEUED_SIZES | {IMAGENET: IMAGENET_MOCO}
SIMCLR_SIZES: Sizes = {IMAGENET: dict(weight_decay=1e-4)}
SDCLR_SIZES: Sizes = {IMAGENET: dict(temperature=0.3, prune_fraction=0.3)}
IMAGENET_LABELS = dict(  # what classifiers of ImageNet-LT are trained with
    epochs=90, lr=0.1, warmup_epochs=0.0, blur=0.0, classified_view="randaugment",
)  # fmt: skip
RESNET_32 = dict(  # on CIFAR; the learning rate falls at epochs 160 and 180 of 200
    epochs=200, batch_size=256, lr=0.15, lr_drops=(0.8, 0.9), warmup_epochs=5.0, width=16,
    blocks=(5, 5, 5),
)  # fmt: skip
BALANCED_SIZES: Sizes = {
    "paper": RESNET_32,
    "quick": dict(lr=0.075, warmup_epochs=4.0),
    IMAGENET: IMAGENET_LABELS | dict(
        temperature=0.07, classify_weight=1.0, contrast_weight=0.35, hidden=2048, outputs=1024,
    ),
}  # fmt: skip
CLASSIFY_SIZES: Sizes = {
    "paper": RESNET_32, "quick": dict(lr=0.15, warmup_epochs=4.0), IMAGENET: IMAGENET_LABELS,
}  # fmt: skip
RECIPES = {
    "simclr": Recipe("SimCLR", "simclr", "none", 1, 5e-4, SIMCLR, sizes=SIMCLR_SIZES),
    "sdclr": Recipe("SDCLR", "sdclr", "none", 2, 1e-4, SDCLR, sizes=SDCLR_SIZES),
    "bcl-i": Recipe("BCL-I", "simclr", "memory", 1, 5e-4, SIMCLR, sizes=SIMCLR_SIZES),
    "bcl-d": Recipe("BCL-D", "sdclr", "memory", 2, 1e-4, SDCLR, sizes=SDCLR_SIZES),
    "moco-v1": Recipe("MoCo v1", "moco-v1", "none", 1, 5e-4, MOCO, True,
                      QUEUED | dict(temperature=0.1, mlp=False), MOCO_V1_SIZES),
    "moco-v2": Recipe("MoCo v2", "moco-v2", "none", 1, 5e-4, MOCO, True, QUEUED, MOCO_V2_SIZES),
    "balanced-cl": Recipe("Balanced CL (with labels)", "balanced-cl", "none", 1, 5e-4, BALANCED,
                          True, dict(temperature=0.1), BALANCED_SIZES),
    "cross-entropy": Recipe("cross-entropy (with labels)", "cross-entropy", "none", 1, 5e-4,
                            CROSS_ENTROPY, True, dict(compensation=0.0), CLASSIFY_SIZES),
}  # fmt: skip
OWN_NETWORKS = ("resnet", "bottleneck")  # the others are a library's, by its name
SUPERVISED = ("balanced-cl", "cross-entropy")  # learn from labels
SELF_SUPERVISED = ("simclr", "sdclr", "moco-v1", "moco-v2")
# Fields that only some of our methods read; a class of somebody's own may read any.
READ_BY = {
    "prune_fraction": ("sdclr",),
    "prune_random": ("sdclr",),
    "head_layers": ("simclr", "sdclr"),
    "classified_view": SUPERVISED,
    **dict.fromkeys(("temperature", "jitter", "hue", "blur"), (*SELF_SUPERVISED, "balanced-cl")),
}
AIMS = ("clean-loss", "pruning-drop", "neighbour-distance")  # need no labels; `pretrain.aims`
AIM_OF = {boost: aim for aim in AIMS for boost in (aim, f"{aim}-shuffled")}
# The boost that each aimed boost must be shown with: the same scores, handed to the wrong samples.
CONTROLS = {
    "memory": "shuffled",
    "oracle": "oracle-shuffled",
    "oracle-values": "shuffled",
    **{aim: f"{aim}-shuffled" for aim in AIMS},
}
ORACLES = ("oracle", "oracle-shuffled", "oracle-values")  # read labels: for analysis only

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
    "paper-imagenet": dict(
        network="bottleneck", epochs=500, batch_size=256, lr=0.5, warmup_epochs=10,
        momentum_beta=0.97, width=64, stem_stride=2, blocks=(3, 4, 6, 3), equal_batches=False,
        keep_every=10, crop_from=0.08, blur=0.5, groups="counts",
    ),
}  # fmt: skip


def weight_decay_of(recipe: Recipe, preset: str) -> Any:
    """The weight decay that a recipe has at this preset."""
    return recipe.sizes.get(preset, {}).get("weight_decay", recipe.weight_decay)


class MethodOptions(BaseModel):
    """The options of a method's own, declared beside its class; this base has none.

    Inside the class: `class Options(MethodOptions)`, each field with a default.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def recipe_of(method: str) -> Recipe:
    """The recipe of a name; of a user's `module:Class` one with SimCLR's numbers.

    Raises:
        ConfigError: for a name that is neither.
    """
    if method in RECIPES:
        return RECIPES[method]
    module, colon, name = method.partition(":")
    if not (colon and all(part.isidentifier() for part in [*module.split("."), name])):
        allowed = ", ".join(RECIPES)
        raise ConfigError(f"method is {method!r}; allowed are {allowed} and your own module:Class")
    return RECIPES["simclr"]._replace(label=name, method=method, loads=method, has_options=True)


def allow(method: str) -> None:
    """Let this process import a class of somebody's own; "*" stands for whatever a run names."""
    _allowed.add(method)


def is_of_the_kit(method: str) -> bool:
    """Whether a method is one of ours, not a class of somebody's own."""
    return recipe_of(method).loads.startswith(KIT)


def may_import(method: str) -> bool:
    """Whether a method is the kit's, or a user's whom somebody named in this very process.

    To read a run's folder is no reason to run the code that it names: it may be a stranger's.
    """
    return is_of_the_kit(method) or not {method, "*"}.isdisjoint(_allowed)


def load_method(method: str) -> Any:
    """The class of a method; a user's module may lie in the present folder."""
    if not may_import(method):
        raise ConfigError(
            f"the run's method is {method}, a class of somebody's own, which is not imported "
            "unasked; if you trust it, give --allow-own-method (in Python: recipes.allow)"
        )
    module, _, name = recipe_of(method).loads.partition(":")
    module = MOVED.get(module, module)
    if module == "__main__":
        raise ConfigError(
            f"method {method!r} is in no file, so nothing could load it again; save the class in a "
            f"file beside the notebook, my_own.py, and give my_own:{name}"
        )
    file = Path(f"{module}.py")
    is_users = not module.startswith(KIT)
    try:
        if is_users and importlib.util.find_spec(module) is None and file.is_file():
            _load_file(module, file)
        loaded = pkgutil.resolve_name(f"{module}:{name}")
    except (ImportError, AttributeError) as error:
        needed = f"{file} must lie in this folder or be installed"
        if "." in module:
            needed = f"{module} must be installed"
        raise ConfigError(
            f"method {method!r} cannot be loaded ({error}); {needed}, and hold that class"
        ) from None
    if not hasattr(loaded, "start_epoch") or not issubclass(loaded.Options, MethodOptions):
        raise ConfigError(f"method {method!r} is no method; subclass SimCLR, as docs/ shows")
    return loaded


def _load_file(module: str, file: Path) -> None:
    """Import a file of the present folder, which is on nobody's path."""
    spec = importlib.util.spec_from_file_location(module, file)
    assert spec is not None and spec.loader is not None  # a .py file has both
    sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[module])


def spell_out(recipe: Recipe, given: dict[str, Any]) -> dict[str, Any]:
    """The fields that a shorthand fixes; ValueError where one is given otherwise."""
    fixed = {"method": recipe.method, "boost": recipe.boost, "boost_k": recipe.boost_k}
    for name, value in fixed.items():
        if name != "method" and given.get(name) not in (None, value):
            raise ValueError(
                f"method {given['method']} means {name} {value}, not {given[name]!r}; "
                f"to change it, start from method {recipe.method}"
            )
    return fixed
