"""A pre-training run when it is over: its files written, checked and loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from . import encoders, splits, store
from .config import ConfigError, RunConfig, load_method

if TYPE_CHECKING:
    from .pretrain import Training


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
        done = store.verify(folder)
        config = RunConfig(**store.read_json(folder / "config.json"))
        arrays = {n: torch.from_numpy(a) for n, a in store.read_npz(folder / "memory.npz").items()}
        arrays["epochs_kept"] = arrays["epochs_kept"].tolist()
        history = store.read_parquet(folder / "history.parquet")
        return cls(folder, config, history=history, done=done, **arrays)

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
    store.refuse_used(folder)
    folder.mkdir(parents=True, exist_ok=True)
    store.write_json(folder / "config.json", config.model_dump(mode="json"))
    return folder


def finish(training: Training, rows: list[list], machines: list[dict], folder: Path | None) -> Run:
    """Build the Run and, with a folder, write its files, DONE.json last."""
    config, inputs, memory = training.config, training.inputs, training.memory
    history = pd.DataFrame(rows, columns=["epoch", "loss", "lr", "seconds"])
    kept = {name: network.cpu().eval() for name, network in training.method.trained().items()}
    arrays = {
        "momentum_loss": memory.history.half().numpy(),
        "labels": inputs.labels,
        "index": inputs.index,
        "class_counts": inputs.class_counts,
        "group_counts": inputs.group_counts,
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    networks = kept | {"head": training.method.head.cpu().eval()}
    run = Run(folder, config, history, epochs_kept=memory.epochs, networks=networks, **tensors)
    if folder is None:
        return run
    store.write_parquet(folder / "history.parquet", history)
    store.write_npz(folder / "memory.npz", epochs_kept=memory.epochs, **arrays)
    for name, network in kept.items():
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        store.write_bytes(folder / f"{name}.safetensors", save_tensors(weights, _about(config)))
    facts = {"config_sha256": config.digest(), "split_sha256": splits.split_digest(inputs.index)}
    store.seal(folder, **facts, machines=machines)
    run.done = store.read_json(folder / "DONE.json")
    for path in store.checkpoints(folder):
        path.unlink()  # a finished run needs none, and they are large
    return run


def _about(config: RunConfig) -> dict[str, str]:
    """How to use the weights, for those who find the file alone."""
    about = {
        "input": "(x - mean) / std with x in [0, 1]",
        "mean": encoders.MEAN,
        "std": encoders.STD,
        "network": f"torchvision ResNet keys, blocks {config.blocks}, width {config.width}; "
        f"conv1 3x3 stride {config.stem_stride} without bias, maxpool and fc identity",
    }
    # One key: safetensors writes several in random order, and equal runs are equal files here.
    return {"encoder": json.dumps(about)}
