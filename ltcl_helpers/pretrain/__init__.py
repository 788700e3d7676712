"""The training loop: what a run trains with, its steps and epochs, how it stops and goes on."""

from .aims import AIMS, aim_values, clean_loss
from .cuda_graphs import GraphedSteps
from .device import describe_machine, pick_device, pick_precision, use_full_float32
from .loop import pretrain, resume
from .randomness import generator, seed_for
from .ranks import make_on_gpus
from .schedule import batches, lr_factor, updates
from .training import Training, make_method, make_optimizer

__all__ = [
    "AIMS",
    "GraphedSteps",
    "Training",
    "aim_values",
    "batches",
    "clean_loss",
    "describe_machine",
    "generator",
    "lr_factor",
    "make_method",
    "make_on_gpus",
    "make_optimizer",
    "pick_device",
    "pick_precision",
    "pretrain",
    "resume",
    "seed_for",
    "updates",
    "use_full_float32",
]
