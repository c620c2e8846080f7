"""Contrastive heads on frozen embeddings: non-negative features (NCL), their control, and contrastive sparse codes."""

import math
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F

from monosemy.core import console
from monosemy.core.files import read_model_file, write_model_file
from monosemy.encoders.config import HeadAugmentation, HeadConfig
from monosemy.errors import InputError, MonosemyWarning, reason
from monosemy.functional.codes import to_dense, top_k
from monosemy.functional.losses import nt_xent, relu, supervised_contrastive
from monosemy.functional.monoscore import unit_rows

FORMAT = "monosemy.contrastive-head.v1"
_SIMILARITIES = 2**24
"""Similarities that are in memory at once."""
_CONSTANT = 1e-6
"""Standard deviation, relative to the mean of the columns, below which a column counts as constant."""
_QUERIES = 1024
"""Rows whose neighbours set the strength of the views."""
_NTH = 5
"""Views move as far from their row as this nearest neighbour of it."""
CHUNK = 4096
"""Rows at a time where no gradient is needed."""


class Head(torch.nn.Module):
    """Embeddings z (N, D) to features (N, M): h = BatchNorm(W x) with x the standardised z, then h, s+(h), or
    TopK(s+(h)).

    Args:
        n_inputs, n_features: D and M.
        non_negative: apply s+, the elementwise max(h, 0).
        k: active features of a sample; None leaves all. Needs ``non_negative``.

    Source: NCL (arXiv 2403.12459), equation 6; contrastive sparse codes (arXiv 2503.01776).
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, n_inputs: int, n_features: int, non_negative: bool = True, k: int | None = None) -> None:
        super().__init__()
        if k is not None and not non_negative:
            raise InputError(f"k={k} selects among non-negative features; set non_negative=True, or k=None.")
        self.non_negative, self.k = non_negative, k
        self.register_buffer("mean", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(n_inputs))
        self.weight = torch.nn.Parameter(torch.zeros(n_features, n_inputs))
        self.norm = torch.nn.BatchNorm1d(n_features)

    @property
    def n_features(self) -> int:
        return self.weight.shape[0]

    def standardised(self, z: torch.Tensor) -> torch.Tensor:
        """Return x (N, D): columns of mean 0 and variance 1; constant ones are 0."""
        if z.ndim != 2 or z.shape[1] != len(self.mean):
            raise InputError(
                f"Inputs of shape {tuple(z.shape)} do not fit the head; give (N, {len(self.mean)}) numbers."
            )
        return (z - self.mean) * self.scale

    def features(self, x: torch.Tensor, k: int | None = None) -> torch.Tensor:
        """Return the features (N, M) of standardised rows, with the k largest of each where k is given."""
        h = self.norm(x @ self.weight.T)
        if not self.non_negative:
            return h
        return relu(h) if k is None or k >= self.n_features else to_dense(top_k(h, k))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the features (N, M) of embeddings."""
        return self.features(self.standardised(z), self.k)

    def save(self, path: Path) -> None:
        """Write a safetensors file that :meth:`load` reads."""
        write_model_file(path, FORMAT, {"non_negative": self.non_negative, "k": self.k}, self.state_dict())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file that :meth:`save` wrote, in evaluation mode."""
        metadata, tensors = read_model_file(path, FORMAT)
        try:
            n_features, n_inputs = tensors["weight"].shape
            if 0 in (n_features, n_inputs):
                raise InputError(f"its weight has the shape {n_features} x {n_inputs}")  # of any length, and no bytes
            k = metadata["k"]
            if k is not None and not (isinstance(k, int) and 1 <= k <= n_features):
                raise InputError(f"its k={k} is outside 1 to {n_features}")
            head = cls(n_inputs, n_features, bool(metadata["non_negative"]), k)
            head.load_state_dict(tensors)
        except Exception as error:  # an untrusted file may be wrong in nearly every way
            raise InputError(
                f"{path} does not describe a contrastive head ({reason(error)}); give one that monosemy wrote."
            ) from error
        return head.eval()


@torch.no_grad()
def initialise(head: Head, z: torch.Tensor, rng: torch.Generator) -> None:
    """Set the standardisation from rows (N, D), the weights to random directions, and BatchNorm to the rows' moments.

    A head that is not trained any further thus has random features, each of mean 0 and variance 1 before s+.
    """
    std, mean = torch.std_mean(z.double(), dim=0, correction=0)
    constant = std <= _CONSTANT * std.mean()
    if constant.all():
        warnings.warn(
            "All embeddings are equal; a contrastive head cannot tell them apart.", MonosemyWarning, stacklevel=2
        )
    head.mean.copy_(mean)
    head.scale.copy_(torch.where(constant, 0, 1 / std.where(~constant, torch.ones(()).double())))
    head.weight.copy_(torch.randn(head.weight.shape, generator=rng) / math.sqrt(head.weight.shape[1]))
    assert head.norm.running_mean is not None
    assert head.norm.running_var is not None
    products = torch.cat([head.standardised(rows) @ head.weight.T for rows in z.split(CHUNK)])
    variance, centre = torch.var_mean(products, dim=0)
    head.norm.running_mean.copy_(centre)
    head.norm.running_var.copy_(variance)


def drop_columns(x: torch.Tensor, probability: float, rng: torch.Generator) -> torch.Tensor:
    """Return x (N, D) with each number set to 0 by a probability p and divided by 1 - p otherwise (dropout).

    The cosine of a view with its row is sqrt(1 - p) on average, for columns of equal variance.

    Source: Gao et al., SimCSE (arXiv 2104.08821), section 3, there within the encoder.
    """
    kept = torch.rand(x.shape, generator=rng) >= probability
    return x * kept.to(x.dtype).div_(1 - probability)


def add_noise(x: torch.Tensor, deviation: float, rng: torch.Generator) -> torch.Tensor:
    """Return x (N, D) plus Gaussian noise of standard deviation s.

    The cosine of a view with its row is 1 / sqrt(1 + s^2) on average, for columns of variance 1.
    """
    return x + deviation * torch.randn(x.shape, generator=rng)


def strength_of(cosine: float, augmentation: HeadAugmentation) -> float:
    """Return the strength with which views have a cosine with their row: p = 1 - cos^2, or s = sqrt(1 / cos^2 - 1).

    Args:
        cosine: in (0, 1].
        augmentation: "noise" for the deviation of Gaussian noise; else the probability of dropout.
    """
    return math.sqrt(1 / cosine**2 - 1) if augmentation == "noise" else 1 - cosine**2


def nearest_rows(x: torch.Tensor, n_neighbours: int, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Return the positions (R, n) of the nearest other rows of some rows of x (N, D) by cosine, the nearest first.

    Args:
        rows: (R,), positions in x; None for all.
    """
    unit = unit_rows(x)
    n, found = min(n_neighbours, len(x) - 1), []
    for part in (torch.arange(len(x)) if rows is None else rows).split(max(1, _SIMILARITIES // len(x))):
        similarity = unit[part] @ unit.T
        similarity[torch.arange(len(part)), part] = -math.inf
        found.append(similarity.topk(n).indices)
    return torch.cat(found)


def neighbour_cosine(x: torch.Tensor, rng: torch.Generator) -> float:
    """Return the median cosine of rows with their fifth nearest neighbour, between 0.5 and 0.95.

    Args:
        x: (N, D), standardised; up to 1,024 of the rows are asked.
    """
    queries = torch.randperm(len(x), generator=rng)[:_QUERIES]
    fifth = nearest_rows(x, _NTH, queries)[:, -1]
    return min(max(float(F.cosine_similarity(x[queries], x[fifth]).median()), 0.5), 0.95)


def annealed_k(step: int, n_steps: int, n_features: int, k: int) -> int:
    """Return the number of active features at a step: geometric from all features to k over n_steps, then k."""
    return max(k, round(n_features * (k / n_features) ** min(1.0, step / max(1, n_steps))))


def with_strength(config: HeadConfig, x: torch.Tensor, rng: torch.Generator) -> HeadConfig:
    """Return the settings with a strength; where they have none, views become as far from their row as the fifth
    nearest neighbour of it, which needs no labels.

    Args:
        x: (N, D), standardised.
    """
    if config.strength is not None:
        return config
    return config.model_copy(update={"strength": strength_of(neighbour_cosine(x, rng), config.augmentation)})


class Views:
    """Pairs of views of standardised rows (N, D), drawn by a generator; the settings have a strength."""

    def __init__(self, x: torch.Tensor, config: HeadConfig, rng: torch.Generator) -> None:
        assert config.strength is not None
        self.x, self.augmentation, self.rng = x, config.augmentation, rng
        self.strength = config.strength
        self.neighbours = nearest_rows(x, config.n_neighbours) if config.augmentation == "neighbours" else None

    def pairs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two views of each of some rows, (B, D) each; with neighbours the second is one of a neighbour."""
        others = rows
        if self.neighbours is not None:
            drawn = torch.randint(self.neighbours.shape[1], rows.shape, generator=self.rng)
            others = self.neighbours[rows, drawn]
        view = add_noise if self.augmentation == "noise" else drop_columns
        return view(self.x[rows], self.strength, self.rng), view(self.x[others], self.strength, self.rng)


class Trainer:
    """Adam on the contrastive loss of a head, step by step.

    Args:
        head: initialised; trained in place.
        rng: of the batches.
    """

    def __init__(self, head: Head, config: HeadConfig, rng: torch.Generator) -> None:
        self.head, self.config, self.rng = head, config, rng
        self.optimizer = torch.optim.Adam(head.parameters(), lr=config.lr, fused=True)
        self.done = 0
        self.end, self.fall = math.inf, 1
        """Last step, and number of steps over which the learning rate falls to 0 before it."""

    def k(self) -> int | None:
        """Return the number of active features at this step; None for all."""
        if self.head.k is None:
            return None
        return annealed_k(self.done, self.config.min_steps, self.head.n_features, self.head.k)

    def loss(self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return NT-Xent, or with labels the supervised contrastive loss, of two views (B, D) each."""
        z = self.head.features(torch.cat([first, second]), self.k()).split(len(first))
        if labels is None:
            return nt_xent(z[0], z[1], self.config.temperature)
        return supervised_contrastive(z[0], z[1], labels, self.config.temperature)

    def steps(self, views: Views, labels: torch.Tensor | None) -> Iterator[float]:
        """Train for one pass after another over the rows; yield the loss of each step."""
        size = min(self.config.batch_size, len(views.x))
        while True:
            order = torch.randperm(len(views.x), generator=self.rng)
            for rows in order[: len(order) // size * size].view(-1, size):
                yield self._step(*views.pairs(rows), None if labels is None else labels[rows])

    def epoch(self, views: Views, labels: torch.Tensor | None) -> float:
        """Train for one pass over the rows; return the mean loss. An incomplete batch is left out."""
        n_batches = max(1, len(views.x) // self.config.batch_size)
        return sum(islice(self.steps(views, labels), n_batches)) / n_batches

    def _step(self, first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor | None) -> float:
        self.head.train()
        loss = self.loss(first, second, labels)
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(f"The head's loss became {value} at step {self.done + 1}; lower lr ({self.config.lr:g}).")
        factor = min(1.0, (self.done + 1) / _WARMUP, (self.end - self.done) / self.fall)
        self.optimizer.param_groups[0]["lr"] = self.config.lr * factor
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.head.eval()
        self.done += 1
        return value


_WARMUP = 20
"""Steps over which the learning rate rises."""
_HELD_OUT = 2048
"""Most rows that are held out, of a tenth of all."""
_PAIRED = 8
"""Held-out rows are paired with this nearest neighbour."""
_GROWTH = 1.25
"""Factor on the steps between two looks at the held-out rows."""
_LEAST_GAIN = 0.04
"""Fall of the held-out loss between two looks, in nats, up to which training ends: a ratio would depend on the least
loss that there can be, which is far above 0 with labels."""


class Course(NamedTuple):
    """The course of a training."""

    losses: list[float]
    """Contrastive loss of the held-out rows at each look, and at the end."""
    n_steps: int
    strength: float
    """Strength of the views."""
    converged: bool
    """Whether the held-out loss stopped falling before the steps ran out."""


def train(
    head: Head,
    z: torch.Tensor,
    config: HeadConfig,
    rng: torch.Generator,
    *,
    labels: torch.Tensor | None = None,
    on_step: console.OnLoss | None = None,
) -> Course:
    """Train an initialised head in place on rows (N, D) until held-out rows gain no more.

    A tenth of the rows, at most 2,048, is held out. Their contrastive loss takes a row and a near neighbour of it for a
    pair: the loss on views of one row would fall for as long as rows can be told apart, also when what near rows have
    in common is lost. With labels it is the supervised loss on views. It is measured after the least number of steps,
    and then each time after a quarter more. Once it fell by no more than 0.04 nats, the learning rate falls to zero
    over half as many steps as were taken.

    Args:
        labels: (N,), trusted ones, for the supervised loss.
        on_step: called with (steps done, most steps, held-out loss) at each look.
    """
    order = torch.randperm(len(z), generator=rng)
    n_held = min(len(z) // 10, _HELD_OUT)
    trained, held = (order[n_held:], order[:n_held]) if n_held >= 2 else (order, order)
    x = head.standardised(z)
    config = with_strength(config, x, rng)
    views, trainer = Views(x[trained], config, rng), Trainer(head, config, rng)
    steps = trainer.steps(views, None if labels is None else labels[trained])
    held_out = HeldOut(x, held, config, rng, labels)
    longest, losses, converged = config.max_steps - config.max_steps // 3, [math.inf], False
    while trainer.done < longest and not converged:
        end = max(config.min_steps, math.ceil(trainer.done * _GROWTH), 1)
        for _ in islice(steps, min(end, longest) - trainer.done):
            pass
        losses.append(held_out.loss(trainer))
        converged = losses[-2] - losses[-1] <= _LEAST_GAIN
        if on_step is not None:
            on_step(trainer.done, config.max_steps, losses[-1])
    trainer.fall = min(math.ceil(trainer.done / 2), config.max_steps - trainer.done)
    trainer.end = trainer.done + trainer.fall
    for _ in islice(steps, trainer.fall):
        pass
    return Course([*losses[1:], held_out.loss(trainer)], trainer.done, views.strength, converged)


class HeldOut:
    """Pairs of held-out rows, in blocks of a batch: a row and a near neighbour, or with labels two views."""

    def __init__(
        self, x: torch.Tensor, held: torch.Tensor, config: HeadConfig, rng: torch.Generator, labels: torch.Tensor | None
    ) -> None:
        size = min(config.batch_size, len(held))
        blocks = held[: len(held) // size * size].view(-1, size)
        if labels is None:
            near = nearest_rows(x, _PAIRED, blocks.flatten())[:, -1].view_as(blocks)
            self.pairs = [(x[rows], x[others]) for rows, others in zip(blocks, near, strict=True)]
        else:
            views = Views(x, config.model_copy(update={"augmentation": "dropout"}), rng)
            self.pairs = [views.pairs(rows) for rows in blocks]
        self.labels = [None if labels is None else labels[rows] for rows in blocks]

    @torch.no_grad()
    def loss(self, trainer: Trainer) -> float:
        """Return the mean contrastive loss of the blocks, with the number of active features of the moment."""
        found = [float(trainer.loss(*pair, labels)) for pair, labels in zip(self.pairs, self.labels, strict=True)]
        return sum(found) / len(found)


@torch.no_grad()
def check_collapse(head: Head, z: torch.Tensor) -> int:
    """Return the number of features that are not constant on rows (N, D), and warn where the head has collapsed.

    A head has collapsed where fewer than half of the features that the rows can activate are in use, or where more
    than a hundredth of the rows have no features at all.
    """
    features = torch.cat([head(rows) for rows in z[: 4 * CHUNK].split(CHUNK)])
    n_active = int((features.amax(dim=0) > features.amin(dim=0)).sum())
    possible = min(head.n_features, len(features) * (head.k or head.n_features))
    silent = float((features == 0).all(dim=1).double().mean())
    if n_active < possible / 2 or silent > 0.01:
        warnings.warn(
            f"The contrastive head has collapsed: {n_active:,} of {head.n_features:,} features are in use, and "
            f"{silent:.0%} of the rows have none; lower lr, raise batch_size, or give more rows.",
            MonosemyWarning,
            stacklevel=3,
        )
    return n_active
