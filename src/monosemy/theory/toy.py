"""The toy model of superposition: n sparse features squeezed into m dimensions, many models trained at once.

Elhage et al., "Toy Models of Superposition" (arXiv 2209.10652): x_hat = ReLU(W^T W x + b), trained to reconstruct x.
K models of one shape are one batch of matrix products on tensors (K, m, n); a single model would spend its time on
starting many tiny operations.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from monosemy.core import console, environment
from monosemy.errors import InputError
from monosemy.seeding import torch_rng
from monosemy.theory import plan, two_features

_CHUNK = 16
"""Number of steps whose samples are drawn together."""
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class ToyModels(NamedTuple):
    """K trained models."""

    weight: Tensor
    """(K, m, n); the code of x is h = W x."""
    bias: Tensor
    """(K, n)."""


class Superposition(NamedTuple):
    """Superposition of features in K models; w_i is column i of W, the direction of feature i."""

    norm: np.typing.NDArray[np.float64]
    """(K, n), |w_i|: 0 for a feature that the model does not represent."""
    interference: np.typing.NDArray[np.float64]
    """(K, n), sum_{j != i} (w_i / |w_i| . w_j)^2: how strongly other features write onto the direction of feature i;
    0 for an orthogonal one, NaN where |w_i| < 1e-3."""
    dimensionality: np.typing.NDArray[np.float64]
    """(K, n), |w_i|^2 / sum_j (w_i / |w_i| . w_j)^2: 1 for a feature with a dimension of its own, 1/2 for a pair that
    shares one; 0 where |w_i| < 1e-3."""
    features_per_dimension: np.typing.NDArray[np.float64]
    """(K,), |W|_F^2 / m: above 1 for superposition."""


def check_shape(features: int, dimensions: int) -> None:
    """Raise unless 1 <= m <= n."""
    if dimensions < 1:
        raise InputError(f"dimensions is {dimensions}; give m of at least 1.")
    if dimensions > features:
        raise InputError(
            f"dimensions is {dimensions}, more than the {features} features; give m of at most {features}."
        )


def check_importance(importance: np.typing.NDArray[np.floating], features: int) -> np.typing.NDArray[np.float32]:
    """Return the importances as (n,) float32; raise unless they are n finite numbers >= 0, not all 0."""
    values = np.asarray(importance, dtype=np.float64)
    if values.shape != (features,):
        raise InputError(f"importance has shape {values.shape}; give one weight for each of the {features} features.")
    bad = values[~(np.isfinite(values) & (values >= 0))]
    if bad.size or not values.any():
        worst = bad[0] if bad.size else 0.0
        raise InputError(f"importance holds {worst:g}; give finite weights of at least 0, not all of them 0.")
    return values.astype(np.float32)


def draw_features(sparsity: Tensor, samples: int, features: int, rng: torch.Generator) -> Tensor:
    """Draw features (K, samples, n), 0 with probability S_k, else U[0, 1]; the K settings share the uniform draws.

    x = max(0, (u - S) / (1 - S)): one draw decides both, so that settings are compared on the same draws.
    """
    u = torch.rand(1, samples, features, generator=rng)
    s = sparsity.float().view(-1, 1, 1)
    return ((u - s) / (1 - s)).clamp_(min=0)


def train_toy_models(
    sparsity: np.typing.NDArray[np.floating],
    seeds: np.typing.NDArray[np.integer],
    features: int,
    dimensions: int,
    importance: np.typing.NDArray[np.floating] | None = None,
    config: plan.ToyConfig | None = None,
    on_step: console.OnCount | None = None,
) -> ToyModels:
    """Train K models of one shape at once: minimise mean_x sum_i I_i (x_hat_i - x_i)^2 / n by Adam on fresh samples.

    With h = W x, z = W^T h + b and d = dLoss/dz = 2 I (ReLU(z) - x) [z > 0] / (B n), the gradient is
    dLoss/dW = sum_x h d^T + (W d) x^T and dLoss/db = sum_x d.

    Gradient and Adam are written out because these tensors are small: for 20 models of 40 features in 20 dimensions
    on one CPU thread, a step by ``torch.optim.Adam`` with this gradient takes 1.4 times as long (1.2 times fused), and
    with autograd 3.4 times (3.0 times fused). Their weights agree to 2e-7 after 300 steps.

    Args:
        sparsity: (K,), S of each model, in [0, 1).
        seeds: (K,), of initial weights and samples. Models with one seed share their samples' draws, so that their
            settings are compared pairwise; a model does not depend on which others are trained beside it.
        features, dimensions: n and m, 1 <= m <= n.
        importance: (n,), I; default all 1.
        on_step: called with (steps done, total) every 16 steps.

    Source: Elhage et al. (arXiv 2209.10652), section 2; Adam: Kingma and Ba (arXiv 1412.6980), algorithm 1.
    """
    config = config or plan.ToyConfig()
    check_shape(features, dimensions)
    s = torch.from_numpy(two_features.check_sparsity(sparsity).astype(np.float32))
    seeds = np.asarray(seeds)
    if s.ndim != 1 or seeds.shape != tuple(s.shape):
        raise InputError(f"sparsity has shape {tuple(s.shape)} and seeds {seeds.shape}; give one of each for a model.")
    weighted = torch.from_numpy(check_importance(np.ones(features) if importance is None else importance, features))
    error_scale = weighted * (2 / (config.batch_size * features))
    with environment.one_thread(), torch.no_grad():
        weight = _initial_weights(seeds, features, dimensions)
        bias = torch.zeros(len(s), 1, features)
        optimiser = [(p, torch.zeros_like(p), torch.zeros_like(p)) for p in (weight, bias)]
        for step, x in enumerate(_batches(s, seeds, features, config), start=1):
            gradients = _gradient(weight, bias, x, error_scale)
            lr = config.lr * 0.5 * (1 + math.cos(math.pi * (step - 1) / config.steps))
            for (parameter, first, second), gradient in zip(optimiser, gradients, strict=True):
                _adam(parameter, first, second, gradient, lr, step)
            if on_step is not None and (step % _CHUNK == 0 or step == config.steps):
                on_step(step, config.steps)
    return ToyModels(weight, bias.squeeze(1))


def _initial_weights(seeds: np.typing.NDArray[np.integer], features: int, dimensions: int) -> Tensor:
    scale = 0.5 / math.sqrt(dimensions)
    return torch.stack(
        [scale * torch.randn(dimensions, features, generator=torch_rng("toy-weights", int(s))) for s in seeds]
    )


def _batches(
    sparsity: Tensor, seeds: np.typing.NDArray[np.integer], features: int, config: plan.ToyConfig
) -> Iterator[Tensor]:
    """Yield batches (K, B, n), one a step."""
    distinct, member = np.unique(seeds, return_inverse=True)
    rngs = [torch_rng("toy-samples", int(seed)) for seed in distinct]
    s = sparsity.view(-1, 1, 1)
    stretch = 1 / (1 - s)
    shared = len(distinct) < len(seeds)
    for start in range(0, config.steps, _CHUNK):
        size = (min(_CHUNK, config.steps - start), config.batch_size, features)
        u = torch.stack([torch.rand(size, generator=rng) for rng in rngs], dim=1)
        for draws in u:
            of_model = draws[torch.from_numpy(member)] if shared else draws
            yield torch.mul(of_model - s, stretch).clamp_(min=0)


def _gradient(weight: Tensor, bias: Tensor, x: Tensor, error_scale: Tensor) -> tuple[Tensor, Tensor]:
    h = torch.bmm(x, weight.mT)
    z = torch.baddbmm(bias, h, weight)
    positive = z > 0
    d = z.sub_(x).mul_(error_scale).mul_(positive)  # where z > 0, ReLU(z) is z
    back = torch.bmm(d, weight.mT)
    return torch.bmm(h.mT, d).baddbmm_(back.mT, x), d.sum(dim=1, keepdim=True)


def _adam(parameter: Tensor, first: Tensor, second: Tensor, gradient: Tensor, lr: float, step: int) -> None:
    first.lerp_(gradient, 1 - _BETA_1)
    second.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
    root = second.div(1 - _BETA_2**step).sqrt_().add_(_EPSILON)
    parameter.addcdiv_(first, root, value=-lr / (1 - _BETA_1**step))


def reconstruct(models: ToyModels, x: Tensor) -> Tensor:
    """Return ReLU(W^T W x + b); x and result (K, B, n)."""
    return torch.baddbmm(models.bias.unsqueeze(1), torch.bmm(x, models.weight.mT), models.weight).clamp_(min=0)


def measure_superposition(weight: Tensor) -> Superposition:
    """Return norms, interference and dimensionality of features; ``weight`` is (K, m, n).

    Source: Elhage et al. (arXiv 2209.10652), section 3 (features per dimension) and 4 (dimensionality).
    """
    w = weight.double()
    gram = torch.bmm(w.mT, w)
    squared_norm = gram.diagonal(dim1=1, dim2=2)
    represented = squared_norm >= 1e-6
    along = gram.square().sum(dim=2) / squared_norm.clamp(min=1e-30)  # sum_j (w_i / |w_i| . w_j)^2
    nan = torch.full_like(along, float("nan"))
    interference = torch.where(represented, (along - squared_norm).clamp(min=0), nan)
    dimensionality = torch.where(represented, squared_norm / along.clamp(min=1e-30), torch.zeros_like(along))
    return Superposition(
        squared_norm.sqrt().numpy(),
        interference.numpy(),
        dimensionality.numpy(),
        (squared_norm.sum(dim=1) / weight.shape[1]).numpy(),
    )


def variance_explained(models: ToyModels, x: Tensor) -> np.typing.NDArray[np.float64]:
    """Return (K,), 1 - sum |x - x_hat|^2 / sum |x - mean x|^2 on samples x of shape (K, B, n)."""
    error = (reconstruct(models, x) - x).double().square().sum(dim=(1, 2))
    total = (x - x.mean(dim=1, keepdim=True)).double().square().sum(dim=(1, 2))
    return (1 - error / total).numpy()
