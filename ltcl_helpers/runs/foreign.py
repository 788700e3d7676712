"""Weights that other code made: opened safely, renamed to ours, kept as a run to probe."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .. import files, networks
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from . import run as runs
from .folder import lock, refuse_used

log = logging.getLogger(__name__)

# What surrounds an encoder's keys in each layout, outermost first; each is taken off once.
WRAPPERS = {
    "bcl": ("module.", "backbone."),
    "sdclr": ("module.", "backbone."),
    "moco": ("module.", "encoder_q."),
    "torchvision": ("module.",),
    "lightly": ("module.", "backbone.", "encoder."),
}
CHILDREN = {  # of a torchvision ResNet as a sequence without its last layer, as lightly has it
    "0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4",
}  # fmt: skip
METHODS = {"bcl": "simclr", "sdclr": "simclr", "moco": "moco-v2", "lightly": "simclr"}
# The machine of a run that was made nobody knows where.
ELSEWHERE = dict.fromkeys(("device", "precision", "torch"), "not known") | {"threads": 0}
# What is not an encoder's: heads, queues, constants of the input, the slow twin and its head.
NOT_ENCODER = re.compile(
    r"^(fc|projector|projection_head\w*|prediction_head\w*|head|normalize|queue\w*|encoder_k|"
    r"key_encoder|backbone_momentum|classifier)\b"
)


class Imported(NamedTuple):
    """An encoder's weights in our names, and what is known of where they were."""

    weights: dict[str, Tensor]
    method: str  # the recipe that the file's keys tell of
    epoch: int | None  # that the file says it was written after


def read_weights(path: str | Path, layout: str) -> Imported:
    """The encoder in a checkpoint of a layout, whatever head it has; no code in it is run.

    Args:
        path: a .pt, .pth or .tar file of torch.save, or .safetensors.
        layout: a name of WRAPPERS.

    Raises:
        ConfigError: for a file that is not readable, not safe, or of another layout.
    """
    path = Path(path)
    if layout not in WRAPPERS:
        raise ConfigError(f"--from is {layout!r}; allowed are {', '.join(WRAPPERS)}")
    state, epoch = _open(path)
    if layout == "moco" and not any("encoder_q." in key for key in state):
        raise ConfigError(
            f"{path} has no encoder_q, so it is no checkpoint of MoCo; {_keys(state)}"
        )
    weights: dict[str, Tensor] = {}
    is_dual = any(".bn_list." in key for key in state)
    for key, value in state.items():
        name = _strip(key, WRAPPERS[layout])
        _check_constants(path, key, name, value)
        if layout == "lightly":
            first, dot, rest = name.partition(".")
            name = CHILDREN.get(first, first) + dot + rest
        if NOT_ENCODER.match(name) or ".bn_list.1." in name:
            continue
        name = name.replace(".bn_list.0.", ".").replace(".bn_list.", ".")
        name = name.replace("downsample.conv.", "downsample.0.")
        weights[name.replace("downsample.bn.", "downsample.1.")] = value
    stem, block = weights.get("conv1.weight"), weights.get("layer1.0.conv1.weight")
    if stem is None or block is None or stem.ndim != 4:
        raise ConfigError(f"{path} holds no ResNet in the layout {layout!r}; {_keys(state)}")
    method = METHODS.get(layout, "simclr")
    if is_dual:
        method = "sdclr"  # a pruned branch's batch norms were left out
    if layout == "moco" and any(key.endswith("encoder_q.fc.weight") for key in state):
        method = "moco-v1"  # its head is one linear layer
    return Imported(weights, method, epoch)


def _check_constants(path: Path, key: str, name: str, value: Tensor) -> None:
    """Refuse an encoder whose input was made to have another mean or spread than ours has."""
    ours = {"normalize.mean": networks.MEAN, "normalize.std": networks.STD}.get(name)
    if ours is None:
        return
    theirs = [round(each, 4) for each in value.flatten().tolist()]
    if len(theirs) != 3 or any(abs(a - b) > 2e-3 for a, b in zip(ours, theirs, strict=True)):
        raise ConfigError(
            f"{path}: {key} is {theirs}; networks here have {list(ours)}, so what this encoder "
            "learnt from would be other images than those it is probed on. Train it with these"
        )


def _open(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """The state dict in a file, and the epoch that it names."""
    content = files.read_bytes(path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load

            return load(content), None
        found: Any = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # of many kinds; a library's text is not passed on
        raise ConfigError(
            f"{path} is not a checkpoint that opens without running code "
            f"({type(error).__name__}); save its state_dict again with torch.save"
        ) from None
    epoch = found.get("epoch") if isinstance(found, dict) else None
    for name in ("state_dict", "model", "P_state"):
        if isinstance(found, dict) and isinstance(found.get(name), dict):
            found = found[name]
    if not isinstance(found, dict):
        raise ConfigError(f"{path} holds a {type(found).__name__}, not a state dict")
    state = {
        key: value
        for key, value in found.items()
        if isinstance(key, str) and isinstance(value, Tensor)
    }
    return state, epoch if isinstance(epoch, int) else None


def _strip(key: str, wrappers: tuple[str, ...]) -> str:
    for wrapper in wrappers:
        key = key.removeprefix(wrapper)
    return key


def _keys(state: dict[str, Tensor]) -> str:
    shown = ", ".join(list(state)[:3])
    return f"its first keys are {shown or 'none'}"


def shape_of(weights: dict[str, Tensor]) -> dict[str, Any]:
    """The fields of a configuration that build the network of these weights."""
    blocks = []
    for stage in range(1, 5):
        numbers = [re.match(rf"layer{stage}\.(\d+)\.", name) for name in weights]
        found = {int(number.group(1)) for number in numbers if number}
        if found:
            blocks.append(len(found))
    is_bottleneck = "layer1.0.conv3.weight" in weights
    large_stem = weights["conv1.weight"].shape[-1] == 7
    if is_bottleneck != large_stem:
        raise ConfigError(
            f"the network has a stem of {weights['conv1.weight'].shape[-1]} pixels and "
            f"{'bottleneck' if is_bottleneck else 'basic'} blocks; the kit has basic blocks behind "
            "3x3 (CIFAR) and bottlenecks behind 7x7 (ImageNet)"
        )
    network = "bottleneck" if is_bottleneck else "resnet"
    stride = 2 if is_bottleneck else 1
    width = len(weights["conv1.weight"])
    return {"network": network, "blocks": blocks, "width": width, "stem_stride": stride}


def import_weights(path: Path, layout: str, out: Path, settings: dict[str, Any]) -> Path:
    """Make a finished run of a checkpoint: `ltcl probe` takes it as one of the kit's own.

    Args:
        path: the checkpoint.
        layout: as for `read_weights`.
        out: the run's folder, new.
        settings: further fields of the configuration: data, split, method.

    Raises:
        ConfigError: as `read_weights`; for data that is not there; for a used folder.
    """
    refuse_used(out)
    found = read_weights(path, layout)
    shape = shape_of(found.weights)
    large = shape["network"] == "bottleneck"
    known: dict[str, Any] = {"method": found.method}
    known["preset"] = "paper-imagenet" if large else "paper"
    if found.epoch:
        warmup = RunConfig(**known).warmup
        known["epochs"] = found.epoch
        if found.epoch < warmup:
            known["warmup_epochs"] = None  # longer than all of its training it was not
    elif "epochs" not in settings:
        log.warning(
            "%s does not say after which epoch it was written; its rows will say the recipe's "
            "epochs, unless --set epochs=N does",
            path,
        )
    digest = files.sha256(files.read_bytes(path))
    config = RunConfig(**known | shape | settings, weights=f"{layout}:{digest[:16]}")
    encoder = networks.build(config)
    _load(encoder, found.weights, path)
    inputs = splits.select(config)
    made = runs.Run(
        folder=None,
        config=config,
        history=pd.DataFrame(columns=["epoch", "loss", "lr", "seconds"], dtype=float),
        momentum_loss=torch.zeros(0, len(inputs.index), dtype=torch.float16),
        epochs_kept=[],
        labels=torch.from_numpy(inputs.labels),
        index=torch.from_numpy(np.asarray(inputs.index)),
        class_counts=torch.from_numpy(inputs.class_counts),
        group_counts=torch.from_numpy(inputs.group_counts),
        networks={"encoder": encoder.eval()},
    )
    out.mkdir(parents=True, exist_ok=True)
    with lock(out):
        runs.begin(out, config)
        origin = {"file": path.name, "sha256": digest, "layout": layout, "epoch": found.epoch}
        runs.save(made, out, [ELSEWHERE], splits.data_digest(inputs), imported=origin)
    return out


def _load(encoder: torch.nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    """Fill the network; every key must have its place."""
    own = encoder.state_dict()
    counts = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(set(own) - counts - set(weights))
    more = sorted(set(weights) - set(own))
    if missing or more:
        first = f"{missing[0]} is missing" if missing else f"{more[0]} is none of its keys"
        raise ConfigError(f"{path}: {first}, for the network that the others say it is")
    for name, value in weights.items():
        if own[name].shape != value.shape:
            raise ConfigError(
                f"{path}: {name} is {list(value.shape)}, where {list(own[name].shape)} fits"
            )
        if not value.isfinite().all():
            raise ConfigError(f"{path}: {name} is not finite; take an earlier checkpoint")
    encoder.load_state_dict(weights, strict=False)
