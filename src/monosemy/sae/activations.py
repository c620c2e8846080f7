"""Activations: the part in which the variants of the sparse autoencoder differ, which decides when a latent is active.

All take the pre-activations a = W_e (x - b) + c, on the scale where x about its mean has a mean squared length of D.
"""

import math
from typing import Any, ClassVar

import torch

from monosemy.core.distributed import SINGLE_PROCESS, Processes, all_gather
from monosemy.errors import InputError
from monosemy.functional.autoencoder import Weights, gated, jump_relu, step_count
from monosemy.functional.codes import SparseCodes, above, batch_top_k, from_dense, to_dense, top_k

_STEERING = 0.02
"""Power of L0 / k by which a steered weight changes each step: slow beside Adam, fast beside a training."""
_LEAST_WEIGHT = 1e-6
_THRESHOLD_RATE = 10
"""Factor by which the logarithms of thresholds learn faster than the other weights: they have to cover decades, and
with Adam every weight moves by about the learning rate a step."""
_RECENT = 0.05
"""Weight of a new batch in BatchTopK's running threshold."""


class Activation(torch.nn.Module):
    """A map from pre-activations to codes, in training and after it, with the penalty that makes the codes sparse."""

    name: ClassVar[str]
    aux_reaches_dead: ClassVar[bool]
    """Whether dead latents have positive pre-activations, so that AuxK has something to work with."""
    new_length: ClassVar[float]
    """Encoder length of a resampled latent, as a fraction of the living ones' mean."""

    def __init__(self, n_latents: int, k: int) -> None:
        super().__init__()
        if not 1 <= k <= n_latents:
            raise InputError(f"k={k} is outside [1, n_latents={n_latents}]; choose k <= n_latents.")
        self.k = k

    processes: Processes = SINGLE_PROCESS
    """Processes that hold a part of the batch each, in training; set by the trainer."""

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor beside ``n_latents``, which are part of the model's file."""
        return {"k": self.k}

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        """Return the codes of (N, M) pre-activations after training; a sample's code does not depend on the others."""
        raise NotImplementedError

    def training_code(self, pre: torch.Tensor, weights: Weights) -> torch.Tensor:
        """Return the dense (B, M) code for the loss, differentiable."""
        raise NotImplementedError

    def penalty(self, pre: torch.Tensor, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        """Return the penalty that is added to the squared error of the batch (B, D)."""
        return pre.new_zeros(())

    def after_step(self, codes: SparseCodes) -> None:
        """Update the state from the codes of a training step."""

    def reset(self, latents: torch.Tensor) -> None:
        """Reset the activation's weights of these latents to their start."""


class Selecting(Activation):
    """An activation that selects some of the largest entries, so that the gradient has a closed, sparse form."""

    aux_reaches_dead = True
    new_length = 1.0  # a shorter one would be among the largest of no sample, and dead again

    def select(self, pre: torch.Tensor) -> SparseCodes:
        """Return codes in training."""
        raise NotImplementedError

    def training_code(self, pre: torch.Tensor, weights: Weights) -> torch.Tensor:
        return to_dense(self.select(pre))


class TopK(Selecting):
    """The k largest of each sample; see :func:`monosemy.functional.top_k`."""

    name = "topk"

    def select(self, pre: torch.Tensor) -> SparseCodes:
        return top_k(pre, self.k)

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        return self.select(pre)


class BatchTopK(Selecting):
    """The B k largest of the batch in training; afterwards all above a threshold that is learned alongside.

    The threshold is the running mean of each batch's smallest selected activation.

    Source: Bussmann et al. (arXiv 2412.06410), section 3.
    """

    name = "batchtopk"
    threshold: torch.Tensor
    n_seen: torch.Tensor

    def __init__(self, n_latents: int, k: int) -> None:
        super().__init__(n_latents, k)
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("n_seen", torch.zeros((), dtype=torch.int64))

    def select(self, pre: torch.Tensor) -> SparseCodes:
        if self.processes.world_size == 1:
            return batch_top_k(pre, self.k)
        # The part of a batch that several processes hold: entries that equal the smallest selected one are selected
        # too, and entries of 0 are not stored. Only the largest local entries can be among the largest of all.
        n_selected = self.processes.world_size * len(pre) * self.k
        flat = pre.reshape(-1)
        largest = all_gather(flat.topk(min(n_selected, len(flat)), sorted=False).values)
        return above(pre, largest.topk(n_selected, sorted=False).values.min(), inclusive=True)

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        return above(pre, self.threshold)

    def after_step(self, codes: SparseCodes) -> None:
        active = codes.values[codes.values > 0]
        smallest = self.processes.min(active.min() if len(active) else self.threshold.new_full((), math.inf))
        if smallest < math.inf:
            self.n_seen += 1
            # The plain mean first, so that the start at 0 has no effect.
            self.threshold += (smallest - self.threshold) * max(_RECENT, 1 / int(self.n_seen))


class Penalised(Activation):
    """An activation that is sparse by a penalty, whose weight is fixed or steered to k active latents on average."""

    aux_reaches_dead = False
    new_length: ClassVar[float] = 0.2  # small, so that what is learned is not disturbed
    start_weight: ClassVar[float] = 0.2
    weight: torch.Tensor

    def __init__(self, n_latents: int, k: int, sparsity_weight: float | None = None) -> None:
        super().__init__(n_latents, k)
        if sparsity_weight is not None and not 0 <= sparsity_weight < math.inf:
            raise InputError(f"sparsity_weight={sparsity_weight!r} is not a finite number >= 0; give one, or None.")
        self.sparsity_weight = sparsity_weight
        self.register_buffer("weight", torch.tensor(self.start_weight if sparsity_weight is None else sparsity_weight))

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"sparsity_weight": self.sparsity_weight}

    def after_step(self, codes: SparseCodes) -> None:
        if self.sparsity_weight is None:
            l0 = self.processes.sum((codes.values > 0).sum()) / (self.processes.world_size * codes.n_samples)
            self.weight *= (l0.clamp(min=0.1 * self.k) / self.k) ** _STEERING
            self.weight.clamp_(_LEAST_WEIGHT, 1.0)  # at 1 a latent would have to explain a whole sample


class ReLU(Penalised):
    """ReLU(a) with the penalty weight sqrt(D) |code|_1; decoder rows of length 1 keep it from being evaded.

    With x of mean squared length 1 instead of D the penalty would be weight |code|_1, as the literature has it.

    Source: Bricken et al., "Towards monosemanticity" (2023).
    """

    name = "relu"

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        return above(pre, 0.0)

    def training_code(self, pre: torch.Tensor, weights: Weights) -> torch.Tensor:
        return torch.relu(pre)

    def penalty(self, pre: torch.Tensor, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        return self.weight * math.sqrt(x.shape[1]) * torch.relu(pre).sum()


class JumpReLU(Penalised):
    """a where it exceeds a threshold learned for each latent, with the penalty weight D |code|_0.

    An active latent must explain more than ``weight`` of the variance of a sample. Thresholds are learned as their
    logarithms, here in units of 1 / 10.

    Source: Rajamanoharan et al. (arXiv 2407.14435).
    """

    name = "jumprelu"
    aux_reaches_dead = True
    new_length = 1.0  # a shorter one would stay below its threshold
    start_weight = 3e-3

    def __init__(self, n_latents: int, k: int, sparsity_weight: float | None = None, bandwidth: float = 0.1) -> None:
        super().__init__(n_latents, k, sparsity_weight)
        if not 0 < bandwidth < math.inf:
            raise InputError(f"bandwidth={bandwidth!r} is not positive; choose a value above 0, such as 0.1.")
        self.bandwidth = bandwidth
        self.log_threshold = torch.nn.Parameter(torch.zeros(n_latents))

    @property
    def threshold(self) -> torch.Tensor:
        """(M,); all start at 1, the standard deviation of a pre-activation by a random direction."""
        return (_THRESHOLD_RATE * self.log_threshold).exp()

    def set_threshold(self, threshold: torch.Tensor) -> None:
        """Set thresholds (M,), all positive."""
        with torch.no_grad():
            self.log_threshold.copy_(threshold.double().log() / _THRESHOLD_RATE)

    def settings(self) -> dict[str, Any]:
        return super().settings() | {"bandwidth": self.bandwidth}

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        return above(pre, self.threshold)

    def training_code(self, pre: torch.Tensor, weights: Weights) -> torch.Tensor:
        return jump_relu(pre, self.threshold, self.bandwidth)

    def penalty(self, pre: torch.Tensor, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        # Pre-activations are data here: only the thresholds learn from the count.
        return self.weight * x.shape[1] * step_count(pre, self.threshold, self.bandwidth)

    def reset(self, latents: torch.Tensor) -> None:
        self.log_threshold[latents] = 0


class Gated(Penalised):
    """One path decides whether a latent is active, the other how strongly; the L1 penalty shrinks only the first.

    Penalty: weight sqrt(D) |ReLU(a)|_1 + |W_d ReLU(a) + b - x|^2, the latter with the decoder as a constant: it teaches
    the gate, which gets no gradient through the code.

    Source: Rajamanoharan et al. (arXiv 2404.16014), section 3.
    """

    name = "gated"

    def __init__(self, n_latents: int, k: int, sparsity_weight: float | None = None) -> None:
        super().__init__(n_latents, k, sparsity_weight)
        self.log_scale = torch.nn.Parameter(torch.zeros(n_latents))
        self.magnitude_bias = torch.nn.Parameter(torch.zeros(n_latents))

    def codes(self, pre: torch.Tensor, weights: Weights) -> SparseCodes:
        return from_dense(self.training_code(pre, weights))

    def training_code(self, pre: torch.Tensor, weights: Weights) -> torch.Tensor:
        return gated(pre, weights.encoder_bias, self.log_scale, self.magnitude_bias)

    def penalty(self, pre: torch.Tensor, x: torch.Tensor, weights: Weights) -> torch.Tensor:
        gate = torch.relu(pre)
        error = gate @ weights.decoder.detach() + weights.decoder_bias.detach() - x
        return self.weight * math.sqrt(x.shape[1]) * gate.sum() + error.pow(2).sum()

    def reset(self, latents: torch.Tensor) -> None:
        self.log_scale[latents] = 0
        self.magnitude_bias[latents] = 0


ACTIVATIONS: dict[str, type[Activation]] = {kind.name: kind for kind in (TopK, BatchTopK, ReLU, JumpReLU, Gated)}
