"""Several autoencoders on one stream: each as if alone, on from any kill, and nothing lost when the rows are bad."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from processes import in_processes, through_kills

from monosemy.core.distributed import Processes
from monosemy.data.row_stream import RowStream
from monosemy.data.streams import Buffered, open_stream, shuffled
from monosemy.errors import InputError
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.module import Autoencoder
from monosemy.sae.streaming import names_of, train_on_stream, trained_files

N, D, BATCH = 400, 6, 32


def rows(n: int = N) -> np.ndarray:
    rng = np.random.default_rng(0)
    codes = rng.random((n, 10)) * (rng.random((n, 10)) < 0.2)
    return (codes @ rng.normal(size=(10, D)) + 2).astype(np.float32)


def sae(n_latents: int = 24, k: int = 2, seed: int = 0, **changes: Any) -> SparseAutoencoder:
    settings = {"n_epochs": 3, "batch_size": BATCH, "lr": 1e-2, "dead_after": 100, "random_state": seed} | changes
    return SparseAutoencoder(n_latents, k, **settings)


def several() -> list[SparseAutoencoder]:
    return [
        sae(),
        sae(40, 2, activation="batchtopk"),
        sae(24, 3, seed=5, activation="relu"),
        sae(activation="matryoshka", lr=1e-3),
        sae(activation="jumprelu"),
        sae(activation="gated"),
    ]


def stream(n: int = N) -> RowStream:
    return Buffered(open_stream(list(np.array_split(rows(n), 9))), 0, 50)


def weights(estimator: SparseAutoencoder) -> dict[str, torch.Tensor]:
    return estimator.autoencoder_.state_dict()


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_each_becomes_what_it_becomes_alone() -> None:
    together, alone = several(), several()
    assert train_on_stream(together, stream())
    for own, other in zip(alone, together, strict=True):
        train_on_stream([own], stream())
        assert_same(weights(own), weights(other))
        assert own.losses_ == other.losses_


def test_a_single_batch_a_pass_is_what_fit_does() -> None:
    # With one batch of all rows a pass, nothing depends on their order but the sums.
    a, b = sae(batch_size=N, n_epochs=20), sae(batch_size=N, n_epochs=20)
    train_on_stream([a], open_stream(rows()))
    b.fit(rows())
    np.testing.assert_allclose(a.losses_, b.losses_, rtol=1e-4)


@pytest.mark.parametrize("steps", [None, 17])
def test_it_stops_and_goes_on_bit_for_bit(steps: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.training.checkpoint._SAVE_EVERY", 0.0)
    whole = several()
    assert train_on_stream(whole, stream(), steps=steps, folder=tmp_path / "whole")
    calls = 0
    while not (
        finished := train_on_stream(parts := several(), stream(), steps=steps, folder=tmp_path / "cut", minutes=0)
    ):
        calls += 1
    assert finished
    assert calls == (16 if steps else 36)  # 12 batches in each of 3 passes; nobody knows that the last is the last
    for own, other in zip(parts, whole, strict=True):
        assert_same(weights(own), weights(other))
    for name, path in trained_files(tmp_path / "cut", parts).items():
        assert_same(Autoencoder.load(path).state_dict(), weights(parts[names_of(parts).index(name)]))
    if steps is None:
        return  # a row of the log is of a hundred steps
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "cut")]
    for row, again in zip(*[[json.loads(line) for line in log] for log in logs], strict=True):
        row.pop("rows_per_second"), again.pop("rows_per_second")
        assert row == again


def test_a_stream_of_unknown_length(tmp_path: Path) -> None:
    endless = stream()
    assert endless.length is None
    one = sae()
    assert train_on_stream([one], endless, folder=tmp_path)
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 3 * (N // BATCH)
    assert 0.5 < last["topk-24-k2-seed0/explained_variance"] < 1
    assert last["topk-24-k2-seed0/l0"] == pytest.approx(2, abs=0.2)


def shared(folder: str) -> list[float]:
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    saes = [sae(), sae(activation="batchtopk")]
    given = shuffled(open_stream(rows()), 0)
    train_on_stream(saes, given, folder=Path(folder), processes=Processes(rank, world, torch.device("cpu")))
    return [float(one.autoencoder_.encoder.double().sum()) for one in saes]


def test_two_processes_share_the_batches(tmp_path: Path) -> None:
    first, second = in_processes(shared, str(tmp_path))
    assert first == second
    alone = [sae(), sae(activation="batchtopk")]
    train_on_stream(alone, shuffled(open_stream(rows()), 0))
    assert first == pytest.approx([float(one.autoencoder_.encoder.double().sum()) for one in alone], rel=1e-3, abs=1e-3)
    for name, path in trained_files(tmp_path, alone).items():
        together, own = Autoencoder.load(path), alone[names_of(alone).index(name)].autoencoder_
        torch.testing.assert_close(together.decoder, own.decoder, rtol=0, atol=2e-3)


def bad_from(row: int, folder: Path) -> Path:
    values = rows(1000)
    values[row, 2] = np.nan
    np.save(folder / "rows.npy", values)
    return folder / "rows.npy"


def test_a_bad_row_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.sae.streaming.SAMPLE", 64)  # a bad row among the first is known at once
    monkeypatch.setattr("monosemy.data.file_streams._HEAD", 1024)  # the file is large
    path = bad_from(700, tmp_path)
    message = r"rows.npy has rows with NaN or infinity \(first: row 700.* The checkpoint of step 21 is kept in .*run"
    with pytest.raises(InputError, match=message):
        train_on_stream([sae(n_epochs=1)], open_stream(path), folder=tmp_path / "run")
    values = np.load(path, mmap_mode="r+")
    values[700, 2] = 0
    values.flush()
    mended, whole = sae(n_epochs=1), sae(n_epochs=1)
    train_on_stream([mended], open_stream(path), folder=tmp_path / "run")
    train_on_stream([whole], open_stream(path))
    assert_same(weights(mended), weights(whole))


def test_a_stream_that_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.sae.streaming.SAMPLE", 64)
    monkeypatch.setattr("monosemy.data.row_stream.CHUNK", 64)
    with pytest.raises(InputError, match=r"ended before one batch of 32 rows; give more rows or lower batch_size\.$"):
        train_on_stream([sae()], open_stream(list(rows(31))))
    with pytest.raises(InputError, match="ended after 1 rows; a dictionary starts from at least 2"):
        train_on_stream([sae()], open_stream(list(rows(1))))
    with pytest.raises(InputError, match="the array has 1 row; a dictionary starts from at least 2"):
        train_on_stream([sae()], open_stream(rows(1)))
    with pytest.raises(InputError, match=r"ended after 400 of 900 promised rows; .* The checkpoint of step 12 is kept"):
        train_on_stream([sae()], open_stream(np.array_split(rows(), 9), length=900), folder=tmp_path / "promised")
    with pytest.raises(InputError, match=r"can be read once only; .* The checkpoint of step 12 is kept"):
        train_on_stream([sae()], open_stream(iter(np.array_split(rows(), 9))), steps=13, folder=tmp_path / "once")
    short = sae(batch_size=1000, n_epochs=2)  # of a known length: one batch of all rows
    train_on_stream([short], open_stream(rows(9)))
    assert len(short.losses_) == 2


def test_without_passes_or_steps_small_data_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.sae.streaming.LEAST_STEPS", 30)
    done: list[tuple[int, int | None]] = []

    def trained(rows_again: RowStream) -> list[tuple[int, int | None]]:
        done.clear()
        train_on_stream([sae(n_epochs=None)], rows_again, on_step=lambda step, total, loss: done.append((step, total)))
        return done

    assert trained(open_stream(rows()))[-1] == (36, 36), "three passes of 12 whole batches are the first with 30 steps"
    parts = np.array_split(rows(), 9)
    assert trained(open_stream(lambda: iter(parts)))[-1] == (36, None), "of unknown length"
    assert trained(open_stream(iter(parts)))[-1] == (12, None), "an iterator can be read once only"
    assert trained(open_stream(rows(32 * 40)))[-1] == (40, 40), "one whole pass at least"


def test_a_diverging_one_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"topk-24-k2-seed1: The autoencoder's loss became .* None is kept"):
        train_on_stream([sae(), sae(seed=1, lr=1e30)], stream(), folder=tmp_path)


@pytest.mark.parametrize(
    ("saes", "message"),
    [
        ([], "saes is empty"),
        ([sae(), sae(batch_size=16)], "batch_size=32 and 16, but read the same batches"),
        ([sae(), sae(n_epochs=2)], "n_epochs=3 and 2"),
        ([sae(batch_size=0)], "batch_size=0 is not a positive whole number"),
        ([sae(seed=None)], "random_state=None cannot be repeated"),
        ([sae(24, 30)], "k=30 is outside"),
    ],
)
def test_what_cannot_be_trained_together(saes: list[SparseAutoencoder], message: str) -> None:
    with pytest.raises(InputError, match=message):
        train_on_stream(saes, stream())


def test_a_folder_holds_one_training(tmp_path: Path) -> None:
    train_on_stream([sae()], stream(), folder=tmp_path)
    with pytest.raises(InputError, match="holds a run with saes"):
        train_on_stream([sae(k=3)], stream(), folder=tmp_path)
    with pytest.raises(InputError, match="holds a run with other data"):
        train_on_stream([sae()], shuffled(stream(), 3), folder=tmp_path)
    with pytest.raises(InputError, match="steps = None, not 5"):
        train_on_stream([sae()], stream(), steps=5, folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"checkpoint\.safetensors is not a readable"):
        train_on_stream([sae()], stream(), folder=tmp_path)


def test_names_are_distinct() -> None:
    assert names_of([sae(), sae(), sae(lr=1.0)]) == (
        "topk-24-k2-seed0", "topk-24-k2-seed0-2", "topk-24-k2-seed0-3",
    )  # fmt: skip


SCRIPT = """
import sys
from pathlib import Path
from monosemy.training import run_folder
run_folder._SAVE_EVERY = 0.0
from test_streamed import *
saes = [one.set_params(n_epochs=30) for one in several()[:3]]
print("ready", flush=True)
train_on_stream(saes, stream(), folder=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_kill_minus_nine_again_and_again(tmp_path: Path) -> None:
    through_kills(SCRIPT, (tmp_path / "run",), (0.5, 1.5), 4, [Path(__file__).parent])
    whole = [one.set_params(n_epochs=30) for one in several()[:3]]
    train_on_stream(whole, stream())
    for one, path in zip(whole, trained_files(tmp_path / "run", whole).values(), strict=True):
        assert_same(Autoencoder.load(path).state_dict(), weights(one))
