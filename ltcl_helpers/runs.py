"""A pre-training run when it is over: its files written, checked and loaded."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from . import encoders, splits, store
from .config import ConfigError, RunConfig
from .memory import MomentumLoss
from .methods import SimCLR


@dataclasses.dataclass
class Run:
    """A pre-training run, finished or loaded; networks on the CPU, in eval mode."""

    folder: Path | None  # where its files are
    config: RunConfig
    encoder: nn.Module
    history: pd.DataFrame  # one row per epoch: epoch, loss, lr, seconds
    momentum_loss: Tensor  # float16 [epochs kept, N]
    epochs_kept: list[int]  # the epochs, from 1, of its rows
    labels: Tensor  # int64 [N], for looking at results only
    index: Tensor  # int64 [N], positions in the train part
    class_counts: Tensor  # int64 [C], images per class
    group_counts: Tensor  # int64 [C], the counts that define many, medium and few
    head: nn.Module | None = None  # when the run was made in this process
    pruned: nn.Module | None = None  # SDCLR's pruned branch: masked weights, its own batch norms

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Load a finished run after checking all its files against DONE.json."""
        folder = Path(folder)
        left_out = store.verify(folder).get("left_out", [])
        if absent := [name for name in left_out if not (folder / name).exists()]:
            raise ConfigError(
                f"{folder} was recorded without {', '.join(absent)}; read its tables, "
                "probe.parquet, history.parquet and memory.npz, or make the run again"
            )
        config = RunConfig(**store.read_json(folder / "config.json"))
        networks = {}
        for path in sorted(folder.glob("*.safetensors")):
            encoder, _ = encoders.build(config)
            encoder.load_state_dict(load_tensors(path.read_bytes()))
            networks[path.stem] = encoder.eval()
        arrays = {n: torch.from_numpy(a) for n, a in store.read_npz(folder / "memory.npz").items()}
        arrays["epochs_kept"] = arrays["epochs_kept"].tolist()
        history = store.read_parquet(folder / "history.parquet")
        return cls(folder, config, history=history, **networks, **arrays)


def finish(
    config: RunConfig, inputs: splits.Inputs, method: SimCLR, memory: MomentumLoss,
    rows: list[list], folder: Path | None, machines: list[dict],
) -> Run:  # fmt: skip
    """Build the Run and, with a folder, write its files, DONE.json last."""
    history = pd.DataFrame(rows, columns=["epoch", "loss", "lr", "seconds"])
    networks = {name: network.cpu().eval() for name, network in method.trained().items()}
    arrays = {
        "momentum_loss": memory.history.half().numpy(),
        "labels": inputs.labels, "index": inputs.index,
        "class_counts": inputs.class_counts, "group_counts": inputs.group_counts,
    }  # fmt: skip
    tensors = {name: torch.from_numpy(a) for name, a in arrays.items()}
    head = method.head.cpu().eval()
    run = Run(folder, config, **networks, history=history, epochs_kept=memory.epochs, head=head,
              **tensors)  # fmt: skip
    if folder is None:
        return run
    store.write_parquet(folder / "history.parquet", history)
    store.write_npz(folder / "memory.npz", epochs_kept=memory.epochs, **arrays)
    about = {
        "input": "(x - mean) / std with x in [0, 1]", "mean": encoders.MEAN, "std": encoders.STD,
        "network": f"torchvision ResNet keys, blocks {config.blocks}, width {config.width}; "
        f"conv1 3x3 stride {config.stem_stride} without bias, maxpool and fc identity",
    }  # fmt: skip
    # One key: safetensors writes several in random order, and equal runs are equal files here.
    about = {"encoder": json.dumps(about)}
    for name, network in networks.items():
        weights = {key: tensor.contiguous() for key, tensor in network.state_dict().items()}
        store.write_bytes(folder / f"{name}.safetensors", save_tensors(weights, about))
    facts = {"config_sha256": config.digest(), "split_sha256": splits.split_digest(inputs.index)}
    store.seal(folder, **facts, machines=machines)
    for path in store.checkpoints(folder):
        path.unlink()  # a finished run needs none, and they are large
    return run
