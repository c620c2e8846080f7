"""The sparse autoencoder as a torch module, and its training."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.codes import SparseCodes
from monosemy.functional.topk_autoencoder import Weights, decode, encode, loss_and_gradient
from monosemy.modelfile import read_model_file, write_model_file

FORMAT = "monosemy.topk-autoencoder.v1"
OnEpoch = Callable[[int, int, float], None]


class TopKAutoencoder(nn.Module):
    """code = TopK(ReLU(W_e (x - b) + c)) with x = z / scale; reconstruction z' = scale (W_d code + b).

    The scale is part of the model, so that inputs are treated alike in training, probing and reuse. Decoder rows have
    length 1.
    """

    encoder: Tensor
    encoder_bias: Tensor
    decoder: Tensor
    decoder_bias: Tensor
    scale: Tensor

    def __init__(self, n_inputs: int, n_latents: int, k: int) -> None:
        super().__init__()
        if not 1 <= k <= n_latents:
            raise InputError(f"k={k} is outside [1, n_latents={n_latents}]; choose k below the number of latents.")
        self.k = k
        self.encoder = nn.Parameter(torch.zeros(n_latents, n_inputs), requires_grad=False)
        self.encoder_bias = nn.Parameter(torch.zeros(n_latents), requires_grad=False)
        self.decoder = nn.Parameter(torch.zeros(n_latents, n_inputs), requires_grad=False)
        self.decoder_bias = nn.Parameter(torch.zeros(n_inputs), requires_grad=False)
        self.register_buffer("scale", torch.ones(()))

    @property
    def weights(self) -> Weights:
        return Weights(self.encoder, self.encoder_bias, self.decoder, self.decoder_bias)

    def encode(self, z: Tensor) -> SparseCodes:
        """Codes of inputs (N, D) on their original scale."""
        return encode(self.weights, z / self.scale, self.k)

    def decode(self, codes: SparseCodes) -> Tensor:
        """Reconstructions (N, D) on the original scale."""
        return decode(self.weights, codes) * self.scale

    def save(self, path: Path) -> None:
        """Write a safetensors file that :meth:`load` reads."""
        write_model_file(path, FORMAT, {"k": self.k}, self.state_dict())

    @classmethod
    def load(cls, path: Path) -> "TopKAutoencoder":
        """Read a file that :meth:`save` wrote."""
        about, tensors = read_model_file(path, FORMAT)
        model = cls(tensors["encoder"].shape[1], tensors["encoder"].shape[0], about["k"])
        model.load_state_dict(tensors)
        return model


def initialise(model: TopKAutoencoder, z: Tensor, rng: torch.Generator) -> None:
    """Scale to unit variance a dimension, bias at the mean, decoder rows random of length 1, encoder tied to them."""
    mean = z.mean(dim=0)
    variance = (z - mean).pow(2).sum(dim=1).mean() / z.shape[1]
    model.scale.copy_(variance.sqrt() if variance > 0 else torch.ones(()))
    model.decoder.copy_(nn.functional.normalize(torch.randn(model.decoder.shape, generator=rng), dim=1))
    model.encoder.copy_(model.decoder)
    model.encoder_bias.zero_()
    model.decoder_bias.copy_(mean / model.scale)


def train(
    model: TopKAutoencoder,
    z: Tensor,
    *,
    n_epochs: int,
    batch_size: int,
    lr: float,
    aux_weight: float,
    dead_after: int,
    rng: torch.Generator,
    on_epoch: OnEpoch | None = None,
) -> list[float]:
    """Train in place with Adam and return the mean loss of each epoch.

    The learning rate warms up over the first twentieth of the steps and falls linearly to 0 over the last third.
    The gradient's component along each decoder row is removed before the step and the rows are set to length 1 after.

    Args:
        z: (N, D) on the original scale.
        dead_after: a latent is dead when it has not fired for this many samples.
    """
    x = z / model.scale
    batch_size = min(batch_size, len(x))
    n_batches = len(x) // batch_size
    steps = n_epochs * n_batches
    parameters = list(model.weights)
    optimizer = torch.optim.Adam(parameters, lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _trapezoid(step, steps))
    silent_for = torch.zeros(len(model.encoder), dtype=torch.int64)
    aux_latents = max(1, min(z.shape[1] // 2, len(model.encoder)))
    losses = []
    for epoch in range(n_epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=rng)[: n_batches * batch_size].view(n_batches, batch_size):
            dead = silent_for > dead_after
            loss, gradient, codes = loss_and_gradient(model.weights, x[rows], model.k, dead, aux_latents, aux_weight)
            if not math.isfinite(loss):
                raise InputError(f"The autoencoder's loss became {loss} in epoch {epoch + 1}; lower lr ({lr:g}).")
            along = (gradient.decoder * model.decoder).sum(dim=1, keepdim=True)
            gradient.decoder.addcmul_(model.decoder, along, value=-1)
            for parameter, slope in zip(parameters, gradient, strict=True):
                parameter.grad = slope
            optimizer.step()
            schedule.step()
            model.decoder.div_(model.decoder.norm(dim=1, keepdim=True))
            silent_for += batch_size
            silent_for[codes.indices[codes.values > 0]] = 0
            total += loss
        losses.append(total / n_batches)
        if on_epoch is not None:
            on_epoch(epoch + 1, n_epochs, losses[-1])
    return losses


def _trapezoid(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / max(1, steps // 20), 3 * (steps - step) / steps)
