"""Arrays of any training loop, checked before they are cast: losses, labels, names, images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import ConfigError

# What a type may lose, of the farthest sample's distance from the mean: float32 is the last resort.
MOST_LOST = {np.float16: 1 / 256, np.float32: 1 / 16}
MOST_CLASSES = 65_536  # the page keeps a label in 16 bits


def as_array(given: Any, name: str) -> np.ndarray:
    """Any list, tensor or array as NumPy; gradients are left behind, bfloat16 becomes float32.

    Raises:
        ConfigError: for rows of different lengths.
    """
    if isinstance(given, torch.Tensor):
        tensor = given.detach().cpu()
        return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if isinstance(given, list | tuple) and any(isinstance(row, torch.Tensor) for row in given):
        given = [as_array(row, name) for row in given]
    try:
        return np.asarray(given)
    except ValueError:
        lengths = sorted({len(row) if hasattr(row, "__len__") else 0 for row in given})
        few = ", ".join(map(str, lengths[:3]))
        raise ConfigError(
            f"{name} has rows of different lengths ({few}); allowed is one value per sample in "
            "every row, NaN for a sample that was not seen"
        ) from None


def check_losses(given: Any) -> np.ndarray:
    """Losses [epochs, N] in the smallest of float16 and float32 that keeps their differences.

    NaN is a sample that was not seen by that epoch.

    Raises:
        ConfigError: for another shape or kind, nothing but NaN, and what float32 cannot hold.
    """
    loss = as_array(given, "momentum_loss")
    if loss.ndim != 2 or not loss.size or loss.dtype.kind not in "fiu":
        raise ConfigError(
            f"momentum_loss is {loss.dtype} {list(loss.shape)}; allowed are numbers [epochs, N]"
        )
    if np.isnan(loss).all():
        raise ConfigError("momentum_loss is NaN everywhere; NaN means that a sample was not seen")
    largest = np.nanmax(np.abs(loss.astype(np.float64)))
    if largest > np.finfo(np.float32).max:
        row, sample = np.argwhere(np.abs(loss) == largest)[0]
        raise ConfigError(
            f"momentum_loss is {loss[row, sample]:g} in row {row} at sample {sample}; allowed are "
            "finite values up to 3.4e38"
        )
    for kind, lost in MOST_LOST.items():
        if _keeps_differences(loss, kind, lost):
            return loss.astype(kind)
    raise ConfigError(
        f"momentum_loss has differences between samples that float32 cannot hold beside values up "
        f"to {largest:g}; subtract a constant from all"
    )


def _keeps_differences(loss: np.ndarray, kind: Any, lost: float) -> bool:
    """Whether rounding to this kind moves no loss by more than this share of the farthest's way."""
    with np.errstate(over="ignore"):
        kept: np.ndarray = loss.astype(kind)
    for exact, cast in zip(loss, kept, strict=True):
        exact = exact[~np.isnan(exact)].astype(np.float64)
        cast = cast[~np.isnan(cast)].astype(np.float64)
        if not len(exact):
            continue
        error = np.abs(cast - exact)
        farthest = np.abs(exact - exact.mean()).max()
        constant = np.ptp(exact) == 0
        allowed = lost * (abs(exact[0]) if constant else farthest)
        if not (error <= allowed).all():  # infinite where the kind is too small
            return False
    return True


def check_not_transposed(shape: tuple[int, ...], counts: Mapping[str, int]) -> None:
    """Ask about losses [N, epochs], where another array tells.

    Args:
        shape: of the losses, [epochs, N] as it should be.
        counts: what else was given, and for how many samples.
    """
    epochs, samples = shape
    for name, count in counts.items():
        if count == epochs != samples:
            raise ConfigError(
                f"momentum_loss is {[epochs, samples]} and {name} are for {count} samples: is it "
                "[N, epochs]? Give momentum_loss.T, which is [epochs, N]"
            )


def check_epochs(given: Any, rows: int) -> list[int]:
    """The epochs of the rows: whole numbers from 0 that rise, as many as there are rows."""
    epochs = as_array(given, "epochs")
    if epochs.shape != (rows,) or epochs.dtype.kind not in "iu":
        raise ConfigError(
            f"epochs are {epochs.dtype} {list(epochs.shape)} for {rows} rows of momentum_loss; "
            "allowed is one whole number per row"
        )
    if epochs[0] < 0 or (np.diff(epochs.astype(np.int64)) <= 0).any():
        raise ConfigError(f"epochs are {epochs.tolist()[:5]}...; they must rise, from 0 or more")
    found: list[int] = epochs.tolist()
    return found


def check_labels(given: Any, samples: int, names: Any) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int64 [N], and a name for each class.

    Args:
        given: [N] whole numbers from 0.
        samples: N.
        names: one text per class; or a mapping, number to name or name to number; or None.
    """
    labels = as_array(given, "labels")
    if labels.shape != (samples,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise ConfigError(
            f"labels are {labels.dtype} {list(labels.shape)} for {samples} samples; "
            "allowed is one whole number from 0 per sample"
        )
    last = int(labels.max())
    if last >= MOST_CLASSES:
        raise ConfigError(f"labels go up to {last}; allowed are {MOST_CLASSES:,} classes")
    if names is None:
        names = [f"class {number}" for number in range(last + 1)]
    if isinstance(names, Mapping):
        names = _by_number(names, last)
    if last >= len(names):
        raise ConfigError(f"labels go up to {last}, but there are {len(names)} class_names")
    return labels.astype(np.int64), tuple(str(name) for name in names)


def _by_number(names: Mapping[Any, Any], last: int) -> list[str]:
    """Names in the order of their numbers, of {0: "ant"} as of {"ant": 0}."""
    if all(isinstance(number, int | np.integer) for number in names.values()):
        names = {number: name for name, number in names.items()}
    missing = [number for number in range(last + 1) if number not in names]
    if missing:
        raise ConfigError(f"class_names have no name for class {missing[0]}; give one per class")
    highest = max(number for number in names if isinstance(number, int | np.integer))
    return [str(names.get(number, f"class {number}")) for number in range(highest + 1)]


def check_images(given: Any, samples: int) -> np.ndarray:
    """Images as uint8 [N, 3, H, W].

    Args:
        given: [N, 3, H, W] or [N, H, W, 3]; whole numbers from 0 to 255, or floats in [0, 1].
        samples: N.

    Raises:
        ConfigError: for another shape, and for values in another range, which are never guessed.
    """
    images = as_array(given, "images")
    if images.ndim == 4 and images.shape[1] != 3:
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[:2] != (samples, 3):
        raise ConfigError(
            f"images are {list(images.shape)} for {samples} samples; "
            "allowed is [N, 3, H, W] or [N, H, W, 3]"
        )
    if images.dtype == np.uint8:
        return images
    allowed = "allowed are whole numbers from 0 to 255, or floats from 0 to 1"
    if images.dtype.kind not in "fiu":
        raise ConfigError(f"images are {images.dtype}; {allowed}")
    low, high = images.min(), images.max()
    is_float = images.dtype.kind == "f"
    rounding = 1e-3 if is_float else 0  # what resizing may add
    limit = 1 if is_float else 255
    in_range = -rounding <= low and high <= limit + rounding  # False for NaN, too
    if not in_range:
        raise ConfigError(f"images are {images.dtype} from {low} to {high}; {allowed}")
    if is_float:
        images = (images * 255).round().clip(0, 255)
    return images.astype(np.uint8)


def check_memorization(given: Any, samples: int) -> np.ndarray:
    """Memorization as float32 [N]: one finite number a sample."""
    values = as_array(given, "memorization")
    numbers = values.dtype.kind in "fiu"
    if values.shape != (samples,) or not numbers or not np.isfinite(values).all():
        raise ConfigError(
            f"memorization is {values.dtype} {list(values.shape)} for {samples} samples; allowed "
            "is one finite number per sample"
        )
    return values.astype(np.float32)


def check_features(given: Any, samples: int) -> np.ndarray:
    """Features as float32 [N, D], D at least 2."""
    features = as_array(given, "features")
    numbers = features.dtype.kind in "fiu"
    if features.ndim != 2 or len(features) != samples or features.shape[1] < 2 or not numbers:
        raise ConfigError(
            f"features are {features.dtype} {list(features.shape)} for {samples} samples; allowed "
            "are numbers [N, D], D 2 or more"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        features = features.astype(np.float32)
    if not np.isfinite(features).all():
        raise ConfigError("features have a NaN or an infinite value; allowed are finite numbers")
    return features
