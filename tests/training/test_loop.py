"""The training loop: its steps, its seeds, its checkpoints, and how it ends."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import in_processes, through_kills
from torch import Generator, Tensor, nn

from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.errors import InputError
from monosemy.training import checkpoint
from monosemy.training.batches import ResidentImages
from monosemy.training.checkpoint import RunFolder
from monosemy.training.config import OptimizerConfig, TrainingConfig
from monosemy.training.loop import TrainingJob, train

IMAGES = np.random.default_rng(0).random((22, 1, 3, 3), dtype=np.float32)
CONFIG = TrainingConfig(
    epochs=4, batch_size=6, optimizer=OptimizerConfig(name="sgd", lr=0.1, weight_decay=0.0, warmup=0.25)
)


class Network(nn.Module):
    """Dropout, so that the global generator matters; BatchNorm, so that buffers do."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(
                nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 9)
            )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def reconstruct(network: nn.Module, images: Tensor, rows: Tensor, rng: Generator) -> Tensor:
    noisy = images + 0.1 * torch.randn(images.shape, generator=rng)
    return (network(noisy) - images.flatten(1)).square().mean()


def weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def job(network: nn.Module | None = None, **changes) -> TrainingJob:
    fields = {"loss_of": reconstruct, "images": ResidentImages(IMAGES, torch.device("cpu")), "config": CONFIG}
    return TrainingJob(network=network or Network(), name="toy", **(fields | changes))


OPENED: list[RunFolder] = []


def folder(path: Path) -> RunFolder:
    """Open it as the next process would: locks of those before are gone with them."""
    while OPENED:
        OPENED.pop().__exit__()
    OPENED.append(RunFolder(path, CONFIG.model_dump(mode="json"), "data"))
    return OPENED[-1]


@pytest.mark.parametrize("name", ["sgd", "lars", "adamw"])
def test_going_on_gives_the_undisturbed_weights_bit_for_bit(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_SAVE_EVERY", 0.0)
    config = CONFIG.model_copy(update={"optimizer": OptimizerConfig(name=name, lr=0.05)})
    whole = job(config=config)
    assert train(whole)

    class Killed(Exception):
        pass

    def kill_at(limit: int):
        def on_step(done: int, total: int, loss: float) -> None:
            if done == limit:
                raise Killed

        return on_step

    for limit in (3, 4, 8):  # within an epoch, at once again, after an epoch's end
        with pytest.raises(Killed):
            train(job(config=config, folder=folder(tmp_path), on_step=kill_at(limit)))
        torch.rand(7)
    last = job(config=config, folder=folder(tmp_path))
    assert train(last)
    assert same(weights(last.network), weights(whole.network))
    log = RunFolder.read_log(tmp_path)
    assert [row["epoch"] for row in log] == [1, 2, 3, 4]
    again = job(config=config, folder=folder(tmp_path), on_step=lambda *_: pytest.fail("nothing is left to do"))
    assert train(again)
    assert same(weights(again.network), weights(whole.network))


def test_the_seed_decides_and_global_state_stays() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = job()
    train(first)
    assert torch.equal(torch.rand(3), wanted)
    second = job()
    train(second)
    assert same(weights(first.network), weights(second.network))
    other = job(config=CONFIG.model_copy(update={"seed": 1}))
    train(other)
    assert not same(weights(first.network), weights(other.network))


def test_steps_epochs_and_losses_are_told() -> None:
    told: list[tuple[int, int]] = []
    epochs: list[int] = []

    def on_epoch() -> dict[str, float]:
        epochs.append(len(told))
        return {}

    train(job(on_step=lambda done, total, loss: told.append((done, total)), on_epoch=on_epoch))
    assert told == [(i + 1, 12) for i in range(12)], "four epochs of 22 // 6 steps"
    assert epochs == [3, 6, 9, 12]
    told.clear()
    train(job(config=CONFIG.model_copy(update={"steps": 5}), on_step=lambda *step: told.append(step[:2])))
    assert told[-1] == (5, 5)


def test_on_epoch_sees_the_network_in_evaluation_mode_and_is_logged(tmp_path: Path) -> None:
    training = job(folder=folder(tmp_path), on_epoch=lambda: {"mode": float(training.network.training)})
    train(training)
    rows = RunFolder.read_log(tmp_path)
    assert [row["mode"] for row in rows] == [0.0] * 4
    assert all(row["images_per_second"] > 0 and math.isfinite(row["loss"]) for row in rows)
    assert [row["step"] for row in rows] == [3, 6, 9, 12]


def test_time_over_stops_at_a_checkpoint_and_goes_on(tmp_path: Path) -> None:
    whole = job()
    train(whole)
    calls = 1
    while not train(last := job(folder=folder(tmp_path), minutes=0.0)):
        calls += 1
    assert calls == 12, "one step a call"
    assert same(weights(last.network), weights(whole.network))


@pytest.mark.parametrize("bad_step", [2, 9])
def test_a_bad_loss_names_its_step_and_keeps_the_checkpoint(
    tmp_path: Path, bad_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_SAVE_EVERY", 0.0)
    calls = 0

    def loss_of(*batch) -> Tensor:
        nonlocal calls
        calls += 1
        return reconstruct(*batch) * (math.nan if calls == bad_step else 1.0)

    with pytest.raises(InputError) as caught:
        train(job(folder=folder(tmp_path), loss_of=loss_of))
    message = str(caught.value)
    assert f"toy loss became nan at step {bad_step}; the checkpoint of step {bad_step - 1} is kept in" in message
    assert "lower lr (0.1)" in message
    good = job(folder=folder(tmp_path))
    train(good)
    whole = job()
    train(whole)
    assert same(weights(good.network), weights(whole.network))


def test_a_bad_weight_is_never_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_SAVE_EVERY", 0.0)
    network = Network()

    def on_step(done: int, total: int, loss: float) -> None:
        if done == 5:
            with torch.no_grad():
                network.layers[1].bias[0] = math.inf

    with pytest.raises(InputError, match=r"weight layers\.1\.bias became infinite or NaN at step 5; the checkpoint of"):
        train(job(network, folder=folder(tmp_path), on_step=on_step))
    train(job(folder=folder(tmp_path)))


def test_learning_rate_follows_the_schedule(tmp_path: Path) -> None:
    train(job(folder=folder(tmp_path)))
    lrs = [row["lr"] for row in RunFolder.read_log(tmp_path)]
    # 12 steps, 3 of them warm-up; the rate of steps 3, 6, 9 and 12.
    wanted = [0.1, *(0.05 * (1 + math.cos(math.pi * k / 9)) for k in (2, 5, 8))]
    assert lrs == pytest.approx(wanted)


@pytest.mark.parametrize(("batch_size", "n"), [(6, 1), (2, 1)])
def test_a_batch_of_one_is_refused(batch_size: int, n: int) -> None:
    config = CONFIG.model_copy(update={"batch_size": batch_size})
    with pytest.raises(InputError, match="A batch of 1 images cannot be divided among 1 process with two or more each"):
        train(job(config=config, images=ResidentImages(IMAGES[:n], torch.device("cpu"))))


class Plain(nn.Module):
    """Draws nothing, so that the number of processes makes no difference."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 9))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def plain_loss(network: nn.Module, images: Tensor, rows: Tensor, rng: Generator) -> Tensor:
    return (network(images) - images.flatten(1)).square().mean()


def trained_weights() -> dict[str, Tensor]:
    """Return the weights after a whole training, by one process or by all of a group."""
    network = Plain()
    assert train(job(network, loss_of=plain_loss, processes=group()))
    return weights(network)


def group() -> Processes:
    if not torch.distributed.is_initialized():
        return SINGLE_PROCESS
    return Processes(torch.distributed.get_rank(), torch.distributed.get_world_size(), torch.device("cpu"))


def refusal() -> str:
    with pytest.raises(InputError) as caught:
        train(job(Network(), loss_of=plain_loss, processes=group()))
    return str(caught.value)


def test_batch_norm_over_several_processes_on_cpu_is_refused() -> None:
    sentence = (
        "2 processes cannot train a network with BatchNorm on CPU, because its moments cannot be synchronised there; "
        "use one process, or one GPU a process."
    )
    assert in_processes(refusal) == [sentence, sentence]


def test_a_training_by_two_processes_ends_with_the_weights_of_one() -> None:
    alone = trained_weights()
    assert not torch.allclose(alone["layers.1.weight"], Plain().layers[1].weight)
    for together in in_processes(trained_weights):
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_gradients_are_clipped() -> None:
    clipped = CONFIG.model_copy(
        update={
            "steps": 1,
            "optimizer": OptimizerConfig(name="sgd", lr=1, weight_decay=0, warmup=0, momentum=0, grad_clip=1e-3),
        }
    )
    network = Network()
    before = weights(network)
    train(job(network, config=clipped))
    moved = sum(float((p - before[name]).square().sum()) for name, p in network.named_parameters())
    assert math.sqrt(moved) == pytest.approx(1e-3, rel=1e-3)


def test_other_settings_or_data_are_refused(tmp_path: Path) -> None:
    train(job(folder=folder(tmp_path)))
    changed = CONFIG.model_copy(update={"optimizer": OptimizerConfig(name="sgd", lr=0.2, weight_decay=0, warmup=0.25)})
    with pytest.raises(InputError, match=r"holds a run with optimizer\.lr = 0\.1, not 0\.2"):
        RunFolder(tmp_path, changed.model_dump(mode="json"), "data")
    with pytest.raises(InputError, match="holds a run with other data"):
        RunFolder(tmp_path, CONFIG.model_dump(mode="json"), "more data")


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and holds no training run"):
        folder(tmp_path)
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match="cannot be read, so its run is unknown"):
        folder(tmp_path)


@pytest.mark.parametrize("text", ["{", "3", '{"loss": 1}', '{"step": "x"}', "[" * 5000 + "]" * 5000, "\x80"])
def test_a_log_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "log.jsonl").write_bytes(text.encode("latin1"))
    with pytest.raises(InputError, match=r"log\.jsonl cannot be read as the log of a training"):
        RunFolder.read_log(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "other network"])
def test_a_wrong_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    train(job(folder=folder(tmp_path)))
    path = tmp_path / "checkpoint.safetensors"
    network: nn.Module = Network()
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        network = nn.Sequential(nn.Flatten(), nn.Linear(9, 9))
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is"):
        train(job(network, folder=folder(tmp_path)))


SCRIPT = """
import sys
from pathlib import Path
from monosemy.training import checkpoint
checkpoint._SAVE_EVERY = 0.0
from test_loop import *
config = CONFIG.model_copy(update={"epochs": 2000})
print("ready", flush=True)
training = job(config=config, folder=RunFolder(Path(sys.argv[1]), config.model_dump(mode="json"), "data"))
train(training)
torch.save(training.network.state_dict(), sys.argv[2])
"""


@pytest.mark.slow
def test_kill_minus_nine_again_and_again(tmp_path: Path) -> None:
    through_kills(SCRIPT, (tmp_path / "run", tmp_path / "killed.pt"), (0.3, 1.5), 8, [Path(__file__).parent])
    config = CONFIG.model_copy(update={"epochs": 2000})
    whole = job(config=config)
    train(whole)
    assert same(torch.load(tmp_path / "killed.pt", weights_only=True), weights(whole.network))
    assert json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])["epoch"] == 2000
