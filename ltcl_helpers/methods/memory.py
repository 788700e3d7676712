"""What the network finds hard to remember: each sample's loss, averaged over its history."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

ROUNDING = 4  # units in the last place by which a mean of equal losses may miss them


def memorization_score(momentum_loss: Tensor) -> Tensor:
    """Map momentum losses [N] to scores [N] in [0, 1] (Zhou et al. 2022, eq. 4).

    The sample that lies farthest from the mean loss gets exactly 0 or 1, and the mean itself is
    mapped to 0.5. A sample that was never seen, whose loss is NaN, gets 0.5, too. When all losses
    are equal, up to the rounding of their mean, the published rule divides by zero; here every
    score is 0.5 then, with a warning.
    """
    seen = ~momentum_loss.isnan()  # [N]
    if not seen.any():
        return torch.full_like(momentum_loss, 0.5)

    # How far each loss lies from the mean, as a share of the largest distance.
    mean = momentum_loss[seen].mean()
    offset = momentum_loss - mean  # [N]
    farthest = offset[seen].abs().max()
    largest = momentum_loss[seen].abs().max()
    last_place = torch.finfo(momentum_loss.dtype).eps * largest
    if not farthest > ROUNDING * last_place:
        warnings.warn("all momentum losses are equal; every score is 0.5", stacklevel=2)
        return torch.full_like(momentum_loss, 0.5)
    relative = offset / farthest  # [N], in [-1, 1]

    # From [-1, 1] to [0, 1].
    score = (relative + 1) / 2  # [N]
    return torch.where(seen, score, 0.5)


class MomentumLoss:
    """Exponential moving average of each sample's loss, and its history.

    Args:
        samples: N, the size of the training set.
        beta: the weight of the past, in [0, 1). The first value of a sample is its first loss.
        device: where the momentum losses and the scores are kept.
        dtype: the type of the momentum loss. None is torch's default, float32.

    Attributes:
        value: [N], the momentum loss. It is NaN for a sample that was not seen yet.
        history: float16 [epochs kept, N], as kept by `end_epoch`.
        epochs: the epochs (from 1) of the rows of `history`.
        scores: [N], the memorization scores of the last closed epoch, zeros before the first.
    """

    def __init__(
        self,
        samples: int,
        beta: float = 0.97,  # as published; a run of few epochs needs a shorter past
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"beta is {beta}; allowed is 0 <= beta < 1")
        self.beta = beta
        self.value = torch.full((samples,), float("nan"), device=device, dtype=dtype)
        self.scores = torch.zeros_like(self.value)
        self.epochs: list[int] = []
        self.epoch = 0  # epochs closed so far, kept or not
        self._kept: list[Tensor] = []  # the rows of `history`

    def update(self, index: Tensor, loss: Tensor) -> None:
        """Take in the losses [B] of the samples `index` [B], each of them once an epoch."""
        loss = loss.detach().to(self.value.dtype)  # [B]
        past = self.value[index]  # [B]
        average = self.beta * past + (1 - self.beta) * loss  # [B]
        # A sample that was not seen yet begins with its first loss, as published.
        self.value[index] = torch.where(past.isnan(), loss, average)

    def end_epoch(self, keep: bool = True) -> Tensor:
        """Close the epoch and return the scores [N] that steer the next.

        Args:
            keep: whether the epoch's momentum losses become a row of `history`.
        """
        self.epoch += 1
        if keep:
            row = self.value.half().cpu()  # [N], float16: it is for looking, not for going on
            self._kept.append(row)
            self.epochs.append(self.epoch)
        self.scores = memorization_score(self.value)
        return self.scores

    @property
    def history(self) -> Tensor:
        """Momentum losses, float16 [epochs kept, N], on the CPU."""
        if not self._kept:
            return torch.empty(0, len(self.value), dtype=torch.float16)
        return torch.stack(self._kept)

    def state_dict(self) -> dict:
        """All that a checkpoint needs."""
        return {
            "value": self.value,
            "scores": self.scores,
            "history": self.history,
            "epochs": self.epochs,
            "epoch": self.epoch,
        }

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` gave."""
        self.value.copy_(state["value"])
        self.scores.copy_(state["scores"])
        self.epochs = list(state["epochs"])
        self.epoch = state["epoch"]
        self._kept = list(state["history"])
