"""What is wrong with a run, said before its folder is made: a ConfigError names it."""

from __future__ import annotations

from .. import networks
from ..config import RunConfig
from ..data import splits
from ..data.stored import Stored
from ..errors import ConfigError
from ..recipes import AIM_OF, load_method
from .device import pick_device
from .schedule import batches


def check(config: RunConfig, ranks: int = 1) -> None:
    """Whether a run of these parameters can be made here, on so many ranks; no data are read.

    Raises:
        ConfigError: naming what does not fit.
    """
    if config.weights:
        raise ConfigError("weights is set by `ltcl import-weights`; leave it out of a run")
    _check_ranks(config, ranks)
    networks.check(config)
    pick_device(config.device)


def check_data(config: RunConfig, inputs: splits.Inputs, ranks: int = 1) -> None:
    """Whether a run can be made of these images, on so many ranks.

    Raises:
        ConfigError: naming what does not fit.
    """
    networks.check_takes(config, *inputs.images.shape[2:])
    _check_aim(config, inputs, ranks)
    _check_batches(config, len(inputs.labels), ranks)


def _check_ranks(config: RunConfig, ranks: int) -> None:
    if ranks < 1:
        raise ConfigError(f"ranks is {ranks}; allowed is 1 or more")
    if ranks == 1:
        return
    if config.epochs == 0:
        raise ConfigError("an untrained encoder (epochs=0) needs one rank; leave --ranks out")
    if config.batch_size < 2 * ranks:
        raise ConfigError(
            f"batch_size is {config.batch_size} for {ranks} ranks; give each 2 images or more"
        )
    if config.boost in AIM_OF:
        raise ConfigError(f"boost {config.boost} needs one rank; leave --ranks and --gpus out")
    load_method(config.method).check_ranks(config, ranks)


def _check_aim(config: RunConfig, inputs: splits.Inputs, ranks: int) -> None:
    """A boost's aim, if it has one, looks at all images after each epoch."""
    if config.boost in AIM_OF and (isinstance(inputs.images, Stored) or ranks > 1):
        raise ConfigError(
            f"boost {config.boost} looks at all images after every epoch, which needs them in "
            "memory and one rank; for a pack or several ranks take boost=memory"
        )


def _check_batches(config: RunConfig, samples: int, ranks: int) -> None:
    """The smallest batch of an epoch has an image for every rank."""
    if ranks == 1:
        return
    smallest = min(len(batch) for batch in batches(samples, config, 1))
    if smallest < ranks:
        raise ConfigError(
            f"the last batch of {samples} images has {smallest}, for {ranks} ranks; "
            "set equal_batches=true, another batch_size, or fewer ranks"
        )
