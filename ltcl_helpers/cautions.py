"""What in a run, or in several, is not the published recipe: computed, in words."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from .recipes import OWN_NETWORKS

if TYPE_CHECKING:
    from .config import RunConfig

MOST_NAMED = 3  # labels in a caution; of more it says how many


def in_words(config: RunConfig) -> dict[str, str]:
    """How each part of a recipe is called, by name, in the words of a caution."""
    steps = {"code": "the code's rule of strength", "paper": "the paper's rule of strength"}
    batches = ("small last batch", "batches of near-equal size")
    dropped = ("no image left out of an epoch", "what fills no batch left out of an epoch")
    falls = " and ".join(f"{share:g}" for share in config.lr_drops)
    where = f"at {falls} of the run" if falls else "by a cosine"
    network = {
        "blocks": f"ResNet-{2 * sum(config.blocks) + 2}",
        "width": f"width {config.width}",
        "stem_stride": f"stride {config.stem_stride} in the first convolution",
    }
    if config.network == "bottleneck":
        network["blocks"] = f"ResNet-{3 * sum(config.blocks) + 2}"
    elif config.network not in OWN_NETWORKS:
        network = {"network": config.network}
    return network | {
        "head_layers": f"a head of {config.head_layers} layers",
        "epochs": f"{config.epochs} epochs",
        "batch_size": f"batch {config.batch_size}",
        "equal_batches": batches[config.equal_batches],
        "drop_last": dropped[config.drop_last],
        "lr": f"learning rate {config.lr:g}",
        "lr_drops": f"a rate that falls {where}",
        "warmup": f"warm-up of {config.warmup:g} epochs",
        "weight_decay": f"weight decay {config.weight_decay:g}",
        "temperature": f"temperature {config.temperature:g}",
        "momentum_beta": f"momentum beta {config.momentum_beta:g}",
        "boost_k": f"{config.boost_k} operations a boosted view",
        "boost_rule": steps[config.boost_rule],
        "boost_scale": f"scores times {config.boost_scale:g}",
        "boost_noise": f"scores of {config.boost_noise:g} of the samples shuffled",
        "prune_fraction": f"pruned share {config.prune_fraction:g}",
        "prune_random": f"of it by chance {config.prune_random:g}",
        "crop_from": f"crops from {config.crop_from:g} of an image",
        "jitter": f"colours of {config.jitter:g} of the views changed",
        "hue": f"hues turned by up to {config.hue:g}",
        "blur": f"{config.blur:g} of the views blurred",
        "classified_view": f"classified views of {config.classified_view}",
    }


def joint_caution(*configs: RunConfig) -> str:
    """What in these runs is not the published recipe, computed; empty where nothing is.

    What holds for some of them only is said with their labels. An untrained encoder says nothing
    beside trained ones.
    """
    trained = [config for config in configs if config.epochs] or configs
    found: dict[str, dict[str, set[str]]] = {}  # part, words about it, labels they hold for
    for config in trained:
        for part, words in unpublished(config).items():
            found.setdefault(part, {}).setdefault(words, set()).add(config.label)
    if not found:
        return ""
    order = list(dict.fromkeys(config.label for config in trained))
    parts = [_of_a_part(about, order) for about in found.values()]
    sizes = " and ".join(sorted({config.preset for config in trained}))
    test = "; a test of the program, whose accuracies mean nothing" if sizes == "tiny" else ""
    return f"{sizes} result: {', '.join(parts)}; not the published recipe{test}"


def unpublished(config: RunConfig) -> dict[str, str]:
    """What of a run is not as in the published recipe of its method, in words, by part."""
    preset = "paper-imagenet" if config.preset == "paper-imagenet" else "paper"
    known = dict(preset=preset, method=config.method, boost=config.boost)
    paper = type(config).stored(known)
    found = {
        part: words
        for part, words in in_words(config).items()
        if getattr(config, part) != getattr(paper, part)
    }
    own = {
        name: f"{name} {value}"
        for name, value in config.options.items()
        if value != paper.options.get(name)
    }
    return found | own


def _of_a_part(about: dict[str, set[str]], order: list[str]) -> str:
    """All that is said of one part: "30 epochs or 45 epochs (MoCo v2)"."""
    said = []
    for words, labels in about.items():
        some = [label for label in order if label in labels]
        said.append(words + _whose(words, some, order))
    return " or ".join(said)


def _whose(words: str, some: Collection[str], labels: Collection[str]) -> str:
    """For which of the runs something holds, where it is not all and no label says it itself."""
    if len(some) == len(labels) or all(words in label for label in some):
        return ""
    if len(some) <= MOST_NAMED:
        return f" ({' and '.join(some)})"
    return f" ({len(some)} of {len(labels)})"
