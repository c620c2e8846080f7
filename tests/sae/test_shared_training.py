"""One autoencoder trained by two processes, each on half of every batch: as by one on the whole."""

import pytest
import torch
from processes import in_processes

from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.errors import InputError
from monosemy.functional.codes import batch_top_k, to_dense
from monosemy.sae.activations import ACTIVATIONS
from monosemy.sae.module import Autoencoder, initialise
from monosemy.sae.training import Trainer, TrainingConfig

D, M, K, BATCH, STEPS = 6, 24, 3, 32, 40


def data() -> torch.Tensor:
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(10, D, generator=rng), dim=1)
    codes = torch.rand(BATCH * STEPS, 10, generator=rng) * (torch.rand(BATCH * STEPS, 10, generator=rng) < 0.2)
    return 5 * (codes @ directions) + 10


def trained(
    processes: Processes, kind: str, k: int, widths: tuple[int, ...], dead: str | None
) -> tuple[list[float], dict[str, torch.Tensor], int]:
    """The loss of each step, the state after them, and how many latents were dead in one of them."""
    z = data().double()
    model = Autoencoder(D, M, ACTIVATIONS[kind](M, k), widths).double()
    rng = torch.Generator().manual_seed(0)
    initialise(model, z, rng)
    model.encoder_bias[:5] = -100  # dead from the start
    config = TrainingConfig(batch_size=BATCH, dead_after=40, dead=dead, aux_weight=0.5)
    trainer = Trainer(model, config, rng, steps=STEPS, processes=processes)
    losses, n_dead = [], 0
    for batch in model.scaled(z).split(BATCH):
        n_dead += int((trainer.silent_for > config.dead_after).sum())
        losses.append(trainer.step(batch.chunk(processes.world_size)[processes.rank]))
    return losses, trainer.state_dict(), n_dead


CASES: list[tuple[str, int, tuple[int, ...], str | None]] = [
    ("topk", 2, (M,), None),
    ("topk", 6, (M,), None),
    ("batchtopk", 2, (M,), None),
    ("batchtopk", 2, (4, 10, M), None),
    ("batchtopk", 6, (M,), "resample"),
    ("relu", K, (M,), None),
    ("jumprelu", K, (M,), None),
    ("gated", K, (M,), None),
]


def trained_together() -> list[tuple[list[float], dict[str, torch.Tensor], int]]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return [trained(Processes(rank, world, torch.device("cpu")), *case) for case in CASES]


@pytest.mark.slow
def test_two_processes_train_as_one() -> None:
    for together in in_processes(trained_together):
        for case, (losses, state, n_dead) in zip(CASES, together, strict=True):
            whole_losses, whole, whole_dead = trained(SINGLE_PROCESS, *case)
            assert n_dead == whole_dead
            assert n_dead > 0 or (state["model.encoder_bias"][:5] > -1).all()  # or they were resampled at once
            assert losses == pytest.approx(whole_losses, rel=1e-9)
            assert state.keys() == whole.keys()
            for name, value in whole.items():
                torch.testing.assert_close(
                    state[name], value, rtol=1e-6, atol=1e-9, msg=lambda text, n=(case, name): f"{n}: {text}"
                )


def selected(pre: torch.Tensor, k: int) -> torch.Tensor:
    activation = ACTIVATIONS["batchtopk"](pre.shape[1], k)
    activation.processes = Processes(torch.distributed.get_rank(), 2, pre.device)
    return to_dense(activation.select(pre.chunk(2)[activation.processes.rank]))


def test_the_largest_entries_of_the_whole_batch() -> None:
    pre = torch.randn(8, 12, generator=torch.Generator().manual_seed(1))
    pre[:4] -= 1.5  # one process holds nearly all that is large
    whole = to_dense(batch_top_k(pre, 3))
    shares = in_processes(selected, pre, 3)
    assert (whole[4:] > 0).sum() > 3 * (whole[:4] > 0).sum() > 0
    torch.testing.assert_close(torch.cat(shares), whole, rtol=0, atol=0)


def test_what_needs_the_whole_batch_in_one_process() -> None:
    model = Autoencoder(D, M, ACTIVATIONS["topk"](M, K))
    with pytest.raises(
        InputError, match=r"mono_weight=0\.5 compares all samples of a batch, of which 2 processes hold"
    ):
        Trainer(
            model, TrainingConfig(mono_weight=0.5), torch.Generator(), processes=Processes(0, 2, SINGLE_PROCESS.device)
        )
