"""A pre-training run when it is over: its files written, checked and loaded."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from .. import files, networks
from ..config import RunConfig
from ..data import ImageArrays, splits
from ..data.images import check_same
from ..errors import ConfigError, DamagedFile
from ..paths import DATA, own_path
from ..recipes import load_method
from .done import OPENED, REMADE, read_done, seal, verify, verify_file
from .folder import read_config, refuse_used, sweep

log = logging.getLogger(__name__)
HISTORY = ("epoch", "loss", "lr", "seconds")  # columns of history.parquet
ARRAYS = ("momentum_loss", "labels", "index", "class_counts", "group_counts")  # of memory.npz
PUT_BACK = "put the old data back, or make the run again"
SIZED = re.compile("^(?:folder|pack):.*(@[0-9]+)$")  # data whose name says a size
HEAD = "head"  # the network that a run has while it is in memory, and no folder keeps


@dataclasses.dataclass
class Run:
    """A pre-training run, finished, recorded or just made; everything downstream reads it.

    A network is on the CPU, in eval mode, and loaded when it is asked for: a recorded run has none.
    """

    folder: Path | None  # where its files are
    config: RunConfig
    history: pd.DataFrame  # one row per epoch: epoch, loss, lr, seconds
    momentum_loss: Tensor  # float16 [epochs kept, N]
    epochs_kept: list[int]  # the epochs, from 1, of its rows
    labels: Tensor  # int64 [N], for looking at results only
    index: Tensor  # int64 [N], positions in the train part
    class_counts: Tensor  # int64 [C], images per class
    group_counts: Tensor  # int64 [C], the counts that define many, medium and few
    networks: dict[str, nn.Module] = dataclasses.field(default_factory=dict)  # loaded so far
    done: dict = dataclasses.field(default_factory=dict)  # DONE.json

    @classmethod
    def load(cls, folder: str | Path, data: str | None = None) -> Run:
        """Load a finished or recorded run after checking all its files against DONE.json.

        Damage of what can be made again is said, and no obstacle.

        Args:
            folder: where the run lies.
            data: where its data are now, if not where its configuration says.
        """
        folder = Path(folder)
        done = verify(folder, but=REMADE)
        _say_what_is_remade(folder, done)
        config = read_config(folder)
        history = files.read_parquet(folder / "history.parquet", HISTORY)
        arrays = files.read_npz(folder / "memory.npz", needed=("epochs_kept", *ARRAYS))
        _compare(folder, done, config, arrays["index"])
        if config.root is not None and not own_path(config.root).is_dir():
            said = "%s, where the run's data lay, is not here: %s is looked into"
            log.info(said, config.root, DATA)
            config = config.moved({"root": None})
        if data is not None:
            _check_size_is_named(config.data, data)
            config = config.model_copy(update={"data": data})
        epochs_kept = arrays["epochs_kept"].tolist()
        tensors: dict[str, Any] = {name: torch.from_numpy(arrays[name]) for name in ARRAYS}
        return cls(folder, config, history, epochs_kept=epochs_kept, done=done, **tensors)

    def inputs_of(self, data: ImageArrays) -> splits.Inputs:
        """What the run learned from, taken out of the training part that is at hand.

        Raises:
            ConfigError: where that is not the data that the run was made with.
        """
        index = self.index.numpy()
        check_same(data.classes, index, self.labels.numpy(), self.config.data)
        counts = (self.class_counts.numpy(), self.group_counts.numpy())
        images = splits.taken(data.images, index)
        inputs = splits.Inputs(images, data.labels[index], index, *counts)
        self.refuse_other_data(splits.data_digest(inputs))
        return inputs

    def refuse_other_data(self, digest: str) -> None:
        """Raise a ConfigError unless this is the digest of the data that the run learned from.

        The first recorded runs know of no digest, nor does a released one whose data have several.
        """
        if self.done.get("data_sha256") not in (None, digest):
            raise ConfigError(
                f"{self.config.data} is not what {self.folder} learned from: its images, labels "
                f"or split changed since; {PUT_BACK}"
            )

    @property
    def encoder(self) -> nn.Module:
        """The trained encoder."""
        return self.network("encoder")

    @property
    def pruned(self) -> nn.Module:
        """SDCLR's pruned branch: masked weights, batch norms of its own."""
        return self.network("pruned")

    def network(self, name: str) -> nn.Module:
        """One of the networks that the run kept, by the name of its file.

        Raises:
            ConfigError: when there is none; says whether it was recorded without, or never had one.
        """
        if name not in self.networks:
            path = self.folder and self.folder / f"{name}.safetensors"
            if not path or not path.exists():
                raise ConfigError(self._absent(name))
            self.networks[name] = self._rebuild(name, path).eval()
        return self.networks[name]

    def _rebuild(self, name: str, path: Path) -> nn.Module:
        """The network of a file of weights, put together as the configuration says."""
        content = files.read_bytes(path)
        method = load_method(self.config.method)
        try:
            weights = load_tensors(content)
            network: nn.Module = method.rebuild(name, self.config, weights)
            network.load_state_dict(weights)
        except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise DamagedFile(
                f"{path} does not hold the {name} that config.json describes ({reason}); restore it"
            ) from None
        return network

    def _absent(self, name: str) -> str:
        file = f"{name}.safetensors"
        if file in self.done.get("left_out", []):
            return (
                f"{self.folder} was recorded without {file}; read its tables, probe.parquet, "
                "history.parquet and memory.npz, or make the run again"
            )
        return f"{self.folder or 'this run'} is a {self.config.method} run, which keeps no {name}"


def _check_size_is_named(before: str, now: str) -> None:
    """Complain where the run's images had a size of their own and the new place names none."""
    size = SIZED.search(before)
    if size and now.startswith(("folder:", "pack:")) and not SIZED.search(now):
        raise ConfigError(
            f"data is {now!r}, without a size; the run's images were {before!r}: "
            f"give {now}{size[1]}"
        )


def _say_what_is_remade(folder: Path, done: dict[str, Any]) -> None:
    for name in set(REMADE) & set(done["files"]):
        try:
            verify_file(folder, done, name)
        except DamagedFile as error:
            log.warning("%s", error)


def _compare(folder: Path, done: dict[str, Any], config: RunConfig, index: np.ndarray) -> None:
    """Compare what DONE.json says of the run with the run."""
    if absent := set(OPENED) - set(done["files"]):
        raise DamagedFile(f"{folder / 'DONE.json'} does not name {min(absent)}; restore it")
    found = {"config_sha256": config.digest(), "split_sha256": splits.split_digest(index)}
    for name, digest in found.items():
        if done.get(name, digest) != digest:
            raise DamagedFile(
                f"{folder / 'DONE.json'} has another {name} than the files beside it; restore them"
            )


def begin(folder: Path, config: RunConfig) -> None:
    """Write the config.json of a new run; the caller holds its folder.

    A folder that holds nothing, as a kill right after its creation leaves it, is taken over.
    """
    refuse_used(folder)
    sweep(folder)
    files.write_json(folder / "config.json", config.model_dump())


def save(
    run: Run, folder: Path, machines: list[dict[str, Any]], data: str | None, **facts: Any
) -> None:
    """Write the files of a run that is over into a folder, DONE.json last; it is the run's now.

    Args:
        run: as it left the training.
        folder: begun by `begin`, so it holds the config.json.
        machines: that the run was made on, one after the other.
        data: the digest of what it learned from; None where nobody is to compare it.
        facts: what else DONE.json is to say.
    """
    run.folder = folder
    files.write_parquet(folder / "history.parquet", run.history)
    arrays = {name: getattr(run, name).numpy() for name in ARRAYS}
    files.write_npz(folder / "memory.npz", epochs_kept=np.array(run.epochs_kept), **arrays)
    about = _about(run.config)
    written = list(OPENED)
    for name, network in run.networks.items():
        if name == HEAD:
            continue
        written.append(f"{name}.safetensors")
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        files.write_bytes(folder / f"{name}.safetensors", save_tensors(weights, about))
    split = splits.split_digest(arrays["index"])
    digests = {"config_sha256": run.config.digest(), "split_sha256": split, "data_sha256": data}
    seal(folder, *written, **digests, machines=machines, **facts)
    run.done = read_done(folder)
    sweep(folder)


def _about(config: RunConfig) -> dict[str, str]:
    """How to use the weights, for those who find the file alone."""
    about = {
        "input": "(x - mean) / std with x in [0, 1]",
        "mean": networks.MEAN,
        "std": networks.STD,
        "network": networks.layout(config),
    }
    # One key: safetensors writes several in random order, and equal runs are equal files here.
    return {"encoder": json.dumps(about)}
