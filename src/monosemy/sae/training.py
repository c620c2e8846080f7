"""Training of the autoencoder: loss and gradient of a batch, densely or in closed form, and Adam step by step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, get_args

import torch

from monosemy.core import console, distributed
from monosemy.errors import InputError
from monosemy.functional import autoencoder, monoscore, products
from monosemy.functional.codes import SparseCodes, from_dense, to_dense, top_k
from monosemy.sae import activations, module
from monosemy.sae.config import Dead


class Step(NamedTuple):
    """Loss, gradients and codes of a batch."""

    loss: float
    gradients: Sequence[torch.Tensor | None]
    """In the order of the model's parameters; None where the loss does not depend on one."""
    codes: SparseCodes


def is_sparse(model: module.Autoencoder) -> bool:
    """Return whether the closed form is used: the code is sparse by selection, and sparse enough for the device."""
    activation, device = model.activation, model.encoder.device
    return isinstance(activation, activations.Selecting) and products.sparse_pays(model.n_latents, activation.k, device)


def loss_step(model: module.Autoencoder, x: torch.Tensor, dead: torch.Tensor, terms: autoencoder.Terms) -> Step:
    """Return loss and gradient of a scaled batch x (B, D) with dead latents (M,), in closed form or by autograd."""
    return sparse_step(model, x, dead, terms) if is_sparse(model) else dense_step(model, x, dead, terms)


def sparse_step(model: module.Autoencoder, x: torch.Tensor, dead: torch.Tensor, terms: autoencoder.Terms) -> Step:
    """Return loss and gradient in closed form; for activations that select."""
    assert isinstance(model.activation, activations.Selecting)
    pre = autoencoder.pre_activations(model.weights, x)
    codes = model.activation.select(pre)
    loss, gradient = autoencoder.loss_and_gradient(model.weights, x, pre, codes, dead, terms)
    return Step(loss, gradient, codes)


def dense_step(model: module.Autoencoder, x: torch.Tensor, dead: torch.Tensor, terms: autoencoder.Terms) -> Step:
    """Return loss and gradient by autograd on dense matrices; for every activation."""
    parameters = list(model.parameters())
    model.requires_grad_(True)
    try:
        with torch.enable_grad():
            loss, code = dense_loss(model, x, dead, terms)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        model.requires_grad_(False)
    return Step(loss.item(), gradients, from_dense(code.detach()))


def dense_loss(
    model: module.Autoencoder, x: torch.Tensor, dead: torch.Tensor, terms: autoencoder.Terms
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss as :func:`monosemy.functional.autoencoder.loss_and_gradient` defines it, with the activation's
    penalty.

    loss = (sum_p |r_p - x|^2 + penalty) / |x|^2 + AuxK + MonoScore's term.

    Returns: the loss and the (B, M) code.
    """
    weights = model.weights
    pre = autoencoder.pre_activations(weights, x)
    code = model.activation.training_code(pre, weights)
    # Block by block, so that nothing is added up twice.
    energy = terms.total(x.pow(2).sum()).clamp(min=1e-30)
    recon = weights.decoder_bias
    loss = model.activation.penalty(pre, x, weights)
    start = 0
    for end in terms.widths:
        recon = recon + code[:, start:end] @ weights.decoder[start:end]
        loss = loss + (recon - x).pow(2).sum()
        start = end
    loss = loss / energy
    if terms.mono_weight > 0:
        loss = loss + terms.mono_weight * monoscore.mono_loss(monoscore.batch_mono_score(code, x))
    n_dead = int(dead.sum())
    if terms.aux_weight > 0 and n_dead > 0:
        among_dead = to_dense(top_k(pre[:, dead], min(terms.aux_latents, n_dead)))
        error = x - recon
        local = error.detach().pow(2).sum()
        fraction = local / terms.total(local).clamp(min=1e-30)
        loss = loss + terms.aux_weight * fraction * autoencoder.aux_k(error, among_dead @ weights.decoder[dead])
    return loss, code


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of the training, which :class:`monosemy.sae.estimators.SparseAutoencoder` describes."""

    batch_size: int = 256
    lr: float = 3e-3
    dead: Dead | None = None
    dead_after: int = 10_000
    aux_weight: float = 1 / 32
    mono_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("batch_size", self.batch_size), ("lr", self.lr), ("dead_after", self.dead_after)):
            if not 0 < value < math.inf:
                raise InputError(f"{name}={value!r} is not positive; choose a value above 0.")
        for name, value in (("aux_weight", self.aux_weight), ("mono_weight", self.mono_weight)):
            if not 0 <= value < math.inf:
                raise InputError(f"{name}={value!r} is not a finite number >= 0; choose one.")
        if self.dead is not None and self.dead not in get_args(Dead):
            raise InputError(f"dead={self.dead!r} is unknown; choose {', '.join(map(repr, get_args(Dead)))} or None.")


@dataclass(frozen=True)
class Schedule:
    """The learning rate over the steps of a training: a linear rise, a constant, and a linear fall to zero.

    factor(t) = min(1, (t + 1) / rise, (end - t) / fall) before step t, counted from 0.
    """

    rise: int = 1
    end: int | None = None
    """Number of steps; None while it is not known, without a fall."""
    fall: float = 1.0

    @classmethod
    def of_length(cls, steps: int | None) -> "Schedule":
        """Return a rise over the first twentieth and a fall over the last third; a constant for None."""
        return cls() if steps is None else cls(max(1, steps // 20), steps, steps / 3)

    def falls(self, done: int) -> bool:
        """Return whether the fall has begun."""
        return self.end is not None and done >= self.end - self.fall

    def factor(self, done: int) -> float:
        """Return the learning rate of the next step, relative to the peak."""
        rising = min(1.0, (done + 1) / self.rise)
        return rising if self.end is None else min(rising, (self.end - done) / self.fall)


class Trainer:
    """Adam with the decoder's rows kept at length 1, step by step; the object contains all state of a training.

    The gradient's component along each decoder row is removed before the step and the rows are set to length 1 after.

    Args:
        model: initialised; trained in place.
        steps: of the whole training, if known, see :meth:`Schedule.of_length`. None for a stream without a known end.
        rng: of the resampling.
        processes: those that train this autoencoder together, each on an equal share of every batch. All hold the same
            model, and it becomes what one process with the whole batches would make of it, to rounding.
    """

    def __init__(
        self,
        model: module.Autoencoder,
        config: TrainingConfig,
        rng: torch.Generator,
        *,
        steps: int | None = None,
        processes: distributed.Processes = distributed.SINGLE_PROCESS,
    ) -> None:
        self.model, self.config, self.rng, self.processes = model, config, rng, processes
        self.schedule = Schedule.of_length(steps)
        if processes.world_size > 1 and config.mono_weight > 0:
            raise InputError(
                f"mono_weight={config.mono_weight:g} compares all samples of a batch, of which {processes.world_size} "
                f"processes hold a share each; set it to 0, or train in one process."
            )
        model.activation.processes = processes
        reaches = model.activation.aux_reaches_dead
        self.dead: Dead = config.dead or ("aux" if reaches else "resample")
        if self.dead == "aux" and not reaches:
            raise InputError(
                f"dead='aux' has no effect with the activation {model.activation.name!r}, whose dead latents have no "
                f"positive activation to learn from; choose 'resample' or 'none'."
            )
        self.parameters = list(model.parameters())
        # The loss is relative to the mean square of x: an offset of the data makes its gradients as small as Adam's
        # usual epsilon (1e-8), which would then shorten the steps.
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.lr, eps=1e-16, fused=True)
        self.silent_for = torch.zeros(model.n_latents, dtype=torch.int64, device=model.encoder.device)
        self.done = 0
        self._since_resampling = 0
        self._terms = autoencoder.Terms(
            model.widths,
            aux_latents=max(1, min(model.n_inputs // 2, model.n_latents)),
            aux_weight=config.aux_weight if self.dead == "aux" else 0.0,
            aux_sparse_from=products.sparse_from(model.encoder.device),
            mono_weight=config.mono_weight,
            total=processes.sum,
        )

    def step(self, x: torch.Tensor) -> float:
        """Take a step on a batch (B, D), or the local part of it, scaled; return the loss of the whole batch.

        A loss that is not finite leaves the model unchanged.
        """
        model = self.model
        local = loss_step(model, x, self.silent_for > self.config.dead_after, self._terms)
        loss, gradients, codes = local if self.processes.world_size == 1 else self._whole_batch(local)
        if not math.isfinite(loss):
            raise InputError(
                f"The autoencoder's loss became {loss} at step {self.done + 1}; lower lr ({self.config.lr:g})."
            )
        for parameter, grad in zip(self.parameters, gradients, strict=True):
            parameter.grad = grad
        grad = model.decoder.grad
        if grad is not None:
            along = (grad * model.decoder).sum(dim=1, keepdim=True)
            grad.addcmul_(model.decoder, along, value=-1)
        self.optimizer.param_groups[0]["lr"] = self.config.lr * self.schedule.factor(self.done)
        self.optimizer.step()
        self.optimizer.zero_grad()
        model.decoder.div_(model.decoder.norm(dim=1, keepdim=True))
        model.activation.after_step(codes)
        self.done += 1
        self.silent_for += len(x) * self.processes.world_size
        self.silent_for[self._fired(codes)] = 0
        if self.dead == "resample":
            self._resample_when_due(x)
        return loss

    def epoch(self, x: torch.Tensor) -> float:
        """Train for one pass over (N, D), scaled, in random order; return the mean loss. An incomplete batch is left
        out."""
        losses = [self.step(x[rows]) for rows in self._batches(len(x))]
        return sum(losses) / len(losses)

    def steps(self, x: torch.Tensor) -> Iterator[float]:
        """Train for one pass after another over (N, D), as :meth:`epoch` does; yield the loss of each step."""
        while True:
            for rows in self._batches(len(x)):
                yield self.step(x[rows])

    def _batches(self, n_rows: int) -> torch.Tensor:
        """Return the rows of each whole batch of a pass, in random order."""
        size = min(self.config.batch_size, n_rows)
        return torch.randperm(n_rows, generator=self.rng)[: n_rows // size * size].view(-1, size)

    def _whole_batch(self, local: Step) -> Step:
        """Return loss and gradients summed over the processes, at once."""
        known = [grad for grad in local.gradients if grad is not None]
        flat = torch.cat([known[0].new_tensor([local.loss]), *(grad.reshape(-1) for grad in known)])
        loss, *sums = self.processes.sum(flat).split([1, *(grad.numel() for grad in known)])
        whole = iter([total.view_as(grad) for total, grad in zip(sums, known, strict=True)])
        return Step(loss.item(), [None if grad is None else next(whole) for grad in local.gradients], local.codes)

    def _fired(self, codes: SparseCodes) -> torch.Tensor:
        """Return the latents that are active anywhere in the batch, as indices or a mask."""
        local = codes.indices[codes.values > 0]
        if self.processes.world_size == 1:
            return local
        return self.processes.sum(torch.zeros_like(self.silent_for).index_fill_(0, local, 1)) > 0

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that the next step depends on, as tensors."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, parameter in enumerate(self.parameters):
            for name, value in self.optimizer.state[parameter].items():
                state[f"optimizer.{number}.{name}"] = value
        counts = torch.tensor([self.done, self._since_resampling])
        return state | {"silent_for": self.silent_for, "counts": counts, "rng": self.rng.get_state()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore a state of :meth:`state_dict`.

        Raises:
            RuntimeError, KeyError: the state is another model's.
        """
        self.model.load_state_dict(below("model.", state))
        for number, parameter in enumerate(self.parameters):
            moments = below(f"optimizer.{number}.", state).items()
            if moments:
                self.optimizer.state[parameter] = {name: t.clone().to(parameter.device) for name, t in moments}
        self.silent_for.copy_(state["silent_for"])
        self.done, self._since_resampling = state["counts"].tolist()
        self.rng.set_state(state["rng"].cpu())

    def _resample_when_due(self, x: torch.Tensor) -> None:
        """Resample once every latent has had its chance to fire; not while the learning rate falls: no time is left."""
        self._since_resampling += len(x) * self.processes.world_size
        if self._since_resampling >= self.config.dead_after and not self.schedule.falls(self.done):
            self._since_resampling = 0
            self._resample(distributed.all_gather(x) if self.processes.world_size > 1 else x)

    def _resample(self, x: torch.Tensor) -> None:
        """Give dead latents the directions of samples that are badly reconstructed, drawn by their squared loss.

        Source: Bricken et al., "Towards monosemanticity" (2023), appendix on neuron resampling.
        """
        model = self.model
        dead = (self.silent_for >= self.config.dead_after).nonzero().squeeze(1)
        centered = x - model.decoder_bias
        error = (model(x * model.scale) / model.scale - x).pow(2).sum(dim=1)
        chances = torch.where(centered.norm(dim=1) > 0, error.pow(2), 0).cpu()
        n_new = min(len(dead), int((chances > 0).sum()))
        if n_new == 0:
            return
        dead = dead[:n_new]
        drawn = torch.multinomial(chances, n_new, generator=self.rng).to(x.device)
        rows = torch.nn.functional.normalize(centered[drawn], dim=1)
        living = torch.ones(model.n_latents, dtype=torch.bool, device=x.device).index_fill(0, dead, False)
        length = model.encoder[living].norm(dim=1).mean() if living.any() else model.encoder.new_ones(())
        model.decoder[dead] = rows
        model.encoder[dead] = rows * (model.activation.new_length * length)
        model.encoder_bias[dead] = 0
        model.activation.reset(dead)
        self.silent_for[dead] = 0
        for parameter in self.parameters:
            if parameter is not model.decoder_bias:
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.optimizer.state[parameter][moment][dead] = 0


def below(prefix: str, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def train(
    model: module.Autoencoder,
    z: torch.Tensor,
    config: TrainingConfig,
    rng: torch.Generator,
    *,
    n_epochs: int,
    on_epoch: console.OnLoss | None = None,
) -> list[float]:
    """Train an initialised model in place on z (N, D) of the original scale; return the mean loss of each epoch."""
    if n_epochs < 1:
        raise InputError(f"n_epochs={n_epochs!r} is not positive; choose a value above 0.")
    x = model.scaled(z)
    n_batches = len(x) // min(config.batch_size, len(x))
    trainer = Trainer(model, config, rng, steps=n_epochs * n_batches)
    losses = []
    for epoch in range(n_epochs):
        losses.append(trainer.epoch(x))
        if on_epoch is not None:
            on_epoch(epoch + 1, n_epochs, losses[-1])
    return losses


_FIRST_CHECK = 200
"""Steps before the first look at the held-out rows; each later look comes after half as many steps again."""
_LEAST_GAIN, _LEAST_EXPLAINED_MORE = 0.03, 0.005
"""Fall of the held-out error between two looks below which training ends: relative to it, and in variance explained."""
_LEAST_CHANGE = 0.1
"""Relative change of the number of active latents between two looks above which training goes on: a penalty that is
steered to k takes its time."""
_HELD_OUT = 4096
"""Most rows that are held out, of a tenth of all."""


class Convergence(NamedTuple):
    """The course of a training that ended by its held-out rows."""

    losses: list[float]
    """Mean loss between two looks at the held-out rows, and of the fall of the learning rate."""
    n_steps: int
    converged: bool
    """Whether the error on held-out rows stopped falling before the steps ran out."""


def train_to_convergence(
    model: module.Autoencoder,
    z: torch.Tensor,
    config: TrainingConfig,
    rng: torch.Generator,
    *,
    max_steps: int,
    on_epoch: console.OnLoss | None = None,
) -> Convergence:
    """Train an initialised model in place on z (N, D) of the original scale until held-out rows gain no more.

    A tenth of the rows, at most 4,096, is held out. After 200 steps, and then each time after half as many steps as
    before, their reconstruction error is compared with the one before. Once it fell by less than 3 %, or by less than
    half a percent of the variance, or rose, the learning rate falls to zero over half as many steps as were taken.
    """
    if max_steps < 1:
        raise InputError(f"max_steps={max_steps!r} is not positive; choose a value above 0.")
    order = torch.randperm(len(z), generator=rng)
    n_held = min(len(z) // 10, _HELD_OUT)
    held = z[order[:n_held]] if n_held else z
    x = model.scaled(z[order[n_held:]])
    trainer = Trainer(model, config, rng)
    longest = max(1, 2 * max_steps // 3)
    trainer.schedule = Schedule(rise=min(_FIRST_CHECK, longest) // 10 + 1)
    steps, losses = trainer.steps(x), list[float]()
    n_batches = len(x) // min(config.batch_size, len(x))

    def run_to(end: int) -> None:
        values = list(islice(steps, end - trainer.done))
        losses.append(sum(values) / len(values))
        if on_epoch is not None:
            on_epoch(-(-trainer.done // n_batches), -(-max_steps // n_batches), losses[-1])

    error, active, converged = math.nan, math.nan, False  # comparisons with the first look's predecessor are false
    while trainer.done < longest and not converged:
        run_to(min(longest, max(_FIRST_CHECK, trainer.done * 3 // 2)))
        before, active_before = error, active
        error, active = _held_out(model, held)
        settled = abs(active - active_before) <= _LEAST_CHANGE * active_before
        converged = settled and before - error <= max(_LEAST_GAIN * before, _LEAST_EXPLAINED_MORE)
    fall = max(1, trainer.done // 2)
    trainer.schedule = replace(trainer.schedule, end=trainer.done + fall, fall=fall)
    run_to(trainer.done + fall)
    return Convergence(losses, trainer.done, converged)


def _held_out(model: module.Autoencoder, z: torch.Tensor) -> tuple[float, float]:
    """Return the unexplained share of the variance of rows, and their active latents on average."""
    codes = model.encode(z)
    return 1 - autoencoder.explained_variance(model.decode(codes), z), float((codes.values > 0).sum()) / len(z)
