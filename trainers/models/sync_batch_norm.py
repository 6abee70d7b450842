"""Batch norm over the global batch: every rank normalises by the statistics of all samples.

As torch.nn.SyncBatchNorm, but over MPI, on CPUs too, and exact for uneven and empty shares: each
rank's loss is taken to be the mean over its own samples, as ``GradientAverager.finish(n)`` expects.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.world.world import World

__all__ = ["SyncBatchNorm", "is_synchronised", "synchronise"]


def synchronise(module: nn.Module, world: World) -> nn.Module:
    """Replace all batch norms of a model by synchronised ones with the same parameters.

    Then every rank must run every forward and backward pass, one with no samples too.

    Args:
        module: Changed in place, unless it is a batch norm itself.
        world: The ranks.

    Returns:
        The model.
    """
    if isinstance(module, _BatchNorm) and not isinstance(module, SyncBatchNorm):
        return SyncBatchNorm(module, world)
    for name, child in module.named_children():
        setattr(module, name, synchronise(child, world))
    return module


def is_synchronised(model: nn.Module) -> bool:
    """Whether ranks with an empty share must take part in its passes."""
    return any(isinstance(module, SyncBatchNorm) for module in model.modules())


class SyncBatchNorm(_BatchNorm):
    """A batch norm whose statistics are those of all ranks. Collective while training.

    Args:
        norm: Its parameters and buffers are taken over.
        world: The ranks.
    """

    def __init__(self, norm: _BatchNorm, world: World) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine)
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.track_running_stats = norm.track_running_stats
        self._world = world
        self.train(norm.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; (samples, channels, ...) in and out."""
        if not self.training and self.running_mean is not None:
            return F.batch_norm(
                *(input, self.running_mean, self.running_var, self.weight, self.bias),
                eps=self.eps,
            )
        output, mean, variance, n = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, self.eps, self._world
        )
        if self.training and self.running_mean is not None and int(n):
            self._track(mean, variance * (n / (n - 1).clamp(min=1)))
        result: Tensor = output
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), share)
        self.running_var.lerp_(variance.to(self.running_var), share)


class _Normalise(torch.autograd.Function):
    """Ioffe & Szegedy (ICML 2015), with sums over ranks: one forward, one backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, world: World
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the output, and mean, variance and number of values of all ranks."""
        values = x.detach().float()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        n_local = x.numel() // x.shape[1] if len(x) else 0
        sums = torch.zeros(2 + 2 * x.shape[1], dtype=torch.float64)
        if n_local:
            variance, mean = torch.var_mean(values, axes, correction=0)
            mean, variance = mean.double().cpu(), variance.double().cpu()
            moments = torch.cat([mean, variance + mean * mean]) * n_local
            sums = torch.cat([torch.tensor([len(x), n_local]).double(), moments])
        world.sum_tensor(sums)
        n_samples, n = sums[:2].tolist()
        mean, square = (sums[2:] / max(1.0, n)).to(x.device).chunk(2)
        variance = (square - mean * mean).clamp(min=0)
        scale = torch.rsqrt(variance + eps).float()
        shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
        hat = (values - mean.float().view(shape)) * scale.view(shape)
        gain = scale if weight is None else scale * weight.float()
        ctx.save_for_backward(hat, gain)
        ctx.world, ctx.axes, ctx.shape, ctx.n = world, axes, shape, n
        ctx.share, ctx.has = len(x) / max(1.0, n_samples), (weight is not None, bias is not None)
        output = hat if weight is None else hat * weight.float().view(shape)
        output = output if bias is None else output + bias.float().view(shape)
        count = torch.tensor(n, dtype=torch.float64, device=x.device)
        ctx.mark_non_differentiable(mean, variance, count)
        return output.to(x.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Differentiate: this rank's gradients are of its own loss, so the sums are weighed."""
        hat, gain = ctx.saved_tensors
        grad = grads[0].float()
        of_bias, of_weight = grad.sum(ctx.axes), (grad * hat).sum(ctx.axes)
        sums = torch.cat([of_bias, of_weight]).double().cpu() * ctx.share
        ctx.world.sum_tensor(sums)
        if not ctx.share:
            return torch.zeros_like(grads[0]), of_weight, of_bias, None, None
        means = (sums / (ctx.n * ctx.share)).float().to(grad.device)
        mean, slope = (part.view(ctx.shape) for part in means.chunk(2))
        of_x = gain.view(ctx.shape) * (grad - mean - hat * slope)
        weights = (of_weight if ctx.has[0] else None, of_bias if ctx.has[1] else None)
        return of_x.to(grads[0].dtype), *weights, None, None
