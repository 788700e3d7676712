"""A pre-training run when it is over: its files written, checked and loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from .. import files, networks
from ..config import RunConfig
from ..data import splits
from ..errors import ConfigError
from ..recipes import load_method
from .folder import checkpoints, read_config, refuse_used, seal, verify

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
    def load(cls, folder: str | Path) -> Run:
        """Load a finished or recorded run after checking all its files against DONE.json."""
        folder = Path(folder)
        done = verify(folder)
        config = read_config(folder)
        history = files.read_parquet(folder / "history.parquet")
        arrays = files.read_npz(folder / "memory.npz")
        epochs_kept = arrays.pop("epochs_kept").tolist()
        tensors: dict[str, Any] = {name: torch.from_numpy(a) for name, a in arrays.items()}
        return cls(folder, config, history, epochs_kept=epochs_kept, done=done, **tensors)

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
            weights = load_tensors(path.read_bytes())
            network = load_method(self.config.method).rebuild(name, self.config, weights)
            network.load_state_dict(weights)
            self.networks[name] = network.eval()
        return self.networks[name]

    def _absent(self, name: str) -> str:
        file = f"{name}.safetensors"
        if file in self.done.get("left_out", []):
            return (
                f"{self.folder} was recorded without {file}; read its tables, probe.parquet, "
                "history.parquet and memory.npz, or make the run again"
            )
        return f"{self.folder or 'this run'} is a {self.config.method} run, which keeps no {name}"


def begin(folder: Path, config: RunConfig) -> Path:
    """Make the folder of a new run, with its config.json.

    A folder that holds nothing, as a kill right after its creation leaves it, is taken over.
    """
    refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files.write_json(folder / "config.json", config.model_dump(mode="json"))
    return folder


def save(run: Run, folder: Path, machines: list[dict[str, Any]]) -> None:
    """Write the files of a run that is over into a folder, DONE.json last; it is the run's now.

    Args:
        run: as it left the training.
        folder: begun by `begin`, so it holds the config.json.
        machines: that the run was made on, one after the other.
    """
    run.folder = folder
    files.write_parquet(folder / "history.parquet", run.history)
    arrays = {
        name: getattr(run, name).numpy()
        for name in ("momentum_loss", "labels", "index", "class_counts", "group_counts")
    }
    files.write_npz(folder / "memory.npz", epochs_kept=np.array(run.epochs_kept), **arrays)
    about = _about(run.config)
    for name, network in run.networks.items():
        if name == HEAD:
            continue
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        files.write_bytes(folder / f"{name}.safetensors", save_tensors(weights, about))
    split = splits.split_digest(arrays["index"])
    seal(folder, config_sha256=run.config.digest(), split_sha256=split, machines=machines)
    run.done = files.read_json(folder / "DONE.json")
    for path in checkpoints(folder):
        path.unlink()  # a finished run needs none, and they are large


def _about(config: RunConfig) -> dict[str, str]:
    """How to use the weights, for those who find the file alone."""
    about = {
        "input": "(x - mean) / std with x in [0, 1]",
        "mean": networks.MEAN,
        "std": networks.STD,
        "network": f"torchvision ResNet keys, blocks {config.blocks}, width {config.width}; "
        f"conv1 3x3 stride {config.stem_stride} without bias, maxpool and fc identity",
    }
    # One key: safetensors writes several in random order, and equal runs are equal files here.
    return {"encoder": json.dumps(about)}
