"""What learns: losses of one value a sample, the memory of them, pruning, and a file a method."""

from . import losses, memory, pruning
from .balanced import BalancedCL
from .cross_entropy import CrossEntropy
from .moco import MoCo
from .sdclr import SDCLR
from .simclr import Batch, SimCLR

__all__ = [
    "SDCLR",
    "BalancedCL",
    "Batch",
    "CrossEntropy",
    "MoCo",
    "SimCLR",
    "losses",
    "memory",
    "pruning",
]
