"""Batch normalisation over the rows of all processes, on CPU too."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class _SyncNormalise(torch.autograd.Function):
    """y = (x - mean) / sqrt(var + eps) * weight + bias, with mean and var over the rows of all processes.

    With g = dL/dy, v = (x - mean) / sqrt(var + eps) and <.> the mean over all processes' values of a channel:
    dL/dx = weight / sqrt(var + eps) * (g - <g> - v <g v>), dL/dweight = sum(g v), dL/dbias = sum(g) of the own rows.

    Source: Ioffe and Szegedy (arXiv 1502.03167), section 3.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor, n: float, eps: float
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.n, ctx.eps = n, eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        g = grad_outputs[0].to(mean.dtype)
        inverse = (var + ctx.eps).rsqrt()
        v = (x - _per_channel(mean, x)) * _per_channel(inverse, x)
        own = torch.stack([_channel_sum(g), _channel_sum(g * v)])
        sums = own.clone()
        dist.all_reduce(sums)
        mean_g, mean_gv = sums / ctx.n
        scale = inverse if weight is None else inverse * weight
        slope = (g - _per_channel(mean_g, x) - v * _per_channel(mean_gv, x)) * _per_channel(scale, x)
        d_bias, d_weight = (None, None) if weight is None else own.to(weight.dtype)
        return slope.to(x.dtype), d_weight, d_bias, None, None, None, None


class CpuSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """``nn.SyncBatchNorm`` for tensors on CPU, where torch refuses it; without processes it is ``nn.BatchNorm``.

    Its moments are those of all processes' rows, also where these differ in number. Like torch's, it leaves each
    process the weight's and bias' gradients of its own rows, for the caller to reduce with all others.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions (rows, channels, ...), got {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        self._check_input_dim(input)
        mean, var, n = _global_moments(input.detach())
        self._update_running(mean, var, n)
        result: Tensor = _SyncNormalise.apply(input, self.weight, self.bias, mean, var, n, self.eps)
        return result

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor, n: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((var * (n / (n - 1))).to(self.running_var.dtype), share)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every BatchNorm1d and BatchNorm2d by one over all processes; weights, statistics and names stay.

    On CUDA this is ``nn.SyncBatchNorm``, on CPU :class:`CpuSyncBatchNorm`. Call it when the module is on its device
    and before the optimiser takes its parameters.

    Returns: the module, changed in place, or its replacement where it is a batch normalisation itself.
    """
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return _synchronised(module)
    for name, child in module.named_children():
        setattr(module, name, synchronise_batch_norm(child))
    return module


def _synchronised(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module:
    held = [*norm.parameters(), *norm.buffers()]
    if held and held[0].is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    twin = CpuSyncBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    twin._parameters, twin._buffers = norm._parameters, norm._buffers
    twin.train(norm.training)
    return twin


def _global_moments(x: Tensor) -> tuple[Tensor, Tensor, float]:
    """Mean, biased variance and number of values of each channel over all processes.

    From each process' own moments: mean = sum n_r m_r / n, var = sum n_r (v_r + (m_r - mean)^2) / n, which loses no
    digits where the mean is large, as a difference of squares would.
    """
    x = x.to(_accurate(x.dtype))
    own_var, own_mean = torch.var_mean(x, _all_but_channels(x), correction=0)
    own = torch.cat([own_mean, own_var, own_mean.new_tensor([x.numel() / x.shape[1]])])
    pieces = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(pieces, own)
    everyone = torch.stack(pieces)
    means, variances = everyone[:, : x.shape[1]], everyone[:, x.shape[1] : -1]
    share = everyone[:, -1:] / everyone[:, -1].sum()
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0), float(everyone[:, -1].sum())


def _accurate(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype.itemsize < 4 else dtype


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _channel_sum(x: Tensor) -> Tensor:
    return x.sum(_all_but_channels(x))


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.dim() - 2))
