"""What ranks exchange: processes that train one network together, as a single one would.

Every rank knows which images the whole batch holds and has the views of its own rows. The features
of all rows are gathered behind the encoder, so that heads and losses see the whole batch, on every
rank; each rank backpropagates its own rows, and the gradients are summed. With one rank all of it
is the identity.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .batchnorm import SplitBatchNorm2d, refuse_more_than_a_norm, replace_modules
from .resnet import Encoder


class Ranks:
    """The ranks of a run, and this one's place among them.

    Args:
        count: how many there are; more than 1 need torch.distributed's default group.
        number: of this one, from 0.

    Attributes:
        total: images of the batch that is being computed.
    """

    def __init__(self, count: int = 1, number: int = 0) -> None:
        self.count = count
        self.number = number
        self.total = 0
        self._hooks: list[RemovableHandle] = []

    @property
    def is_first(self) -> bool:
        """Whether this rank writes and decides."""
        return self.number == 0

    def rows(self, total: int) -> slice:
        """This rank's rows of a batch of `total` images: near-equal parts, in order."""
        starts = self._starts(total)
        return slice(starts[self.number], starts[self.number + 1])

    def _starts(self, total: int) -> list[int]:
        small, more = divmod(total, self.count)
        return [rank * small + min(rank, more) for rank in range(self.count + 1)]

    def own(self, whole: Tensor) -> Tensor:
        """This rank's rows of a tensor [B, ...] about the whole batch, which is the present one."""
        self.total = len(whole)
        if self.count == 1:
            return whole
        return whole[self.rows(len(whole))]

    def gather(self, part: Tensor) -> Tensor:
        """All ranks' rows [B, ...] of this one's [b, ...]; gradients find their way back."""
        if self.count == 1:
            return part
        starts = self._starts(self.total)
        gathered: Tensor = _Gather.apply(part, starts, self.number)
        return gathered

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all ranks, in place."""
        if self.count == 1:
            return
        gradients = [each.grad for each in parameters if each.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        sizes = [gradient.numel() for gradient in gradients]
        for gradient, total in zip(gradients, flat.split(sizes), strict=True):
            gradient.copy_(total.view_as(gradient))

    def join(self, method: nn.Module) -> None:
        """Let a method's encoders work on all ranks: batch norms, and features of all rows."""
        if self.count == 1:
            return
        for encoder in _encoders(method):
            replace_modules(encoder, nn.BatchNorm2d, self._shared_norm)
            self._hooks.append(encoder.register_forward_hook(self._gather_views))

    def leave(self) -> None:
        """Undo `join` as far as calls are concerned: the encoders stand alone again."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def _gather_views(self, encoder: nn.Module, _: Any, features: Tensor) -> Tensor:
        """Features [V * b, dim] of this rank's rows, view after view, to [V * B, dim] of all."""
        if not encoder.training:
            return features
        rows = self.rows(self.total)
        by_view = features.unflatten(0, (-1, rows.stop - rows.start))  # [V, b, dim]
        # In the losses' precision: bf16 would round the sum of the ranks' gradients.
        part = by_view.transpose(0, 1).to(torch.promote_types(features.dtype, torch.float32))
        gathered = self.gather(part.contiguous())  # [B, V, dim]
        return gathered.transpose(0, 1).flatten(0, 1)

    def _shared_norm(self, norm: nn.Module) -> nn.Module:
        """A batch norm over all ranks; one in groups keeps its groups, each on one rank."""
        assert isinstance(norm, nn.BatchNorm2d)
        if isinstance(norm, SplitBatchNorm2d):
            norm.groups = norm.groups // self.count
            return norm
        refuse_more_than_a_norm(norm)
        on_gpu = norm.weight.is_cuda
        kind: Any = nn.SyncBatchNorm if on_gpu else RankBatchNorm2d  # torch's refuses a CPU
        shared: nn.Module = kind(norm.num_features, norm.eps, norm.momentum)
        shared.weight = norm.weight  # the same parameters and buffers: an optimizer knows them
        shared.bias = norm.bias
        for name, buffer in norm.named_buffers():
            shared.register_buffer(name, buffer)
        return shared.train(norm.training)

    @torch.no_grad()
    def average_statistics(self, method: nn.Module) -> None:
        """Average the running statistics of batch norms in groups, which each rank has of its own.

        They are linear in what is taken in, so that once an epoch is as good as at every step.
        """
        if self.count == 1:
            return
        for module in method.modules():
            if isinstance(module, SplitBatchNorm2d):
                for statistic in (module.running_mean, module.running_var):
                    dist.all_reduce(statistic)
                    statistic.div_(self.count)

    def agree(self, decision: bool) -> bool:
        """What the first rank decides."""
        if self.count == 1:
            return decision
        held: list[Any] = [decision]
        dist.broadcast_object_list(held, src=0)
        return bool(held[0])


ONE = Ranks()


def _encoders(method: nn.Module) -> list[nn.Module]:
    return [module for module in method.modules() if isinstance(module, Encoder)]


class _Gather(torch.autograd.Function):
    """All ranks' rows; in its backward each rank gets the sum of what all want of its rows."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, starts: list[int], number: int) -> Tensor:
        ctx.rows = slice(starts[number], starts[number + 1])
        sizes = [end - start for start, end in zip(starts, starts[1:], strict=False)]
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([each[:size] for each, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient[ctx.rows], None, None


class _Sum(torch.autograd.Function):
    """The sum over all ranks; so is the gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


class RankBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all ranks, on a CPU; in eval mode it is its parent."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """[b, C, H, W] to the same shape, normalised by the mean and variance of all ranks' x."""
        if not self.training:
            return super().forward(x)
        dims = (0, 2, 3)
        precise = x.to(self.weight.dtype)
        size = precise.new_tensor([x.numel() / x.shape[1]])
        sums = _Sum.apply(torch.cat([precise.sum(dims), size]))  # [C + 1]
        count = sums[-1].detach()
        mean = sums[:-1] / count  # [C]
        centred = precise - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum(dims)) / count  # [C]
        scale = self.weight * (variance + self.eps).rsqrt()
        self._take_in(mean.detach(), variance.detach() * count / (count - 1))
        y: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)

    def _take_in(self, mean: Tensor, variance: Tensor) -> None:
        share = self.momentum or 0.0
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)
        self.num_batches_tracked += 1
