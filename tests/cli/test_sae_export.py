"""`monosemy sae export` as a stranger meets it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp
import torch
from safetensors.numpy import load_file

from monosemy.functional.codes import to_dense
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.hub import load_autoencoder
from monosemy.sae.module import Autoencoder

N, D, M = 90, 6, 16


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    z = (np.random.default_rng(0).standard_normal((N, D)) + 1).astype(np.float32)
    np.save("z.npy", z)
    made = SparseAutoencoder(M, 3, activation="batchtopk", n_epochs=3, batch_size=32, random_state=0)
    made.fit(z).autoencoder_.save(Path("sae.safetensors"))
    return tmp_path


def wanted() -> np.ndarray:
    return to_dense(Autoencoder.load(Path("sae.safetensors")).encode(torch.from_numpy(np.load("z.npy")))).numpy()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".parquet"])
def test_codes_in_every_format(
    suffix: str, here: Path, monosemy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("monosemy.sae.evaluation._BLOCK", 20 * M)
    assert monosemy("sae", "export", "sae.safetensors", "z.npy", "--out", f"new/codes{suffix}") == 0
    path = Path(f"new/codes{suffix}")
    if suffix == ".npz":
        found = sp.load_npz(path).toarray()
    elif suffix == ".safetensors":
        arrays = load_file(path)
        found = sp.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=arrays["shape"]).toarray()
    else:
        found = np.zeros((N, M), np.float32)
        for row, entry in enumerate(pq.read_table(path).to_pylist()):
            found[row, entry["indices"]] = entry["values"]
    np.testing.assert_allclose(found, wanted(), atol=1e-6)
    active = (wanted() > 0).sum(axis=1).mean()
    said = capsys.readouterr().out
    assert f"90 codes of 16 latents, {active:.1f} active per row: new/codes{suffix}" in said


def test_codes_of_one_row(here: Path, monosemy) -> None:
    np.save("one.npy", np.load("z.npy")[:1])
    assert monosemy("sae", "export", "sae.safetensors", "one.npy", "--out", "codes.npz") == 0
    np.testing.assert_allclose(sp.load_npz("codes.npz").toarray(), wanted()[:1], atol=1e-6)


@pytest.mark.parametrize("layout", ["saelens", "dictionary_learning", "monosemy"])
def test_the_model_in_another_layout(layout: str, here: Path, monosemy, capsys: pytest.CaptureFixture[str]) -> None:
    assert monosemy("sae", "export", "sae.safetensors", "--to", layout, "--out", "model") == 0
    assert "The model: model" in capsys.readouterr().out
    z = torch.from_numpy(np.load("z.npy"))
    ours, theirs = Autoencoder.load(Path("sae.safetensors")), load_autoencoder("model")
    torch.testing.assert_close(theirs(z), ours(z), rtol=1e-5, atol=1e-5)
    assert monosemy("sae", "export", "model", "z.npy", "--out", "codes.npz") == 0
    np.testing.assert_allclose(sp.load_npz("codes.npz").toarray(), wanted(), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("sae.safetensors", "--out", "codes.npz"), "neither of DATA (for its codes) and --to (for the model)"),
        (("sae.safetensors", "z.npy", "--to", "saelens", "--out", "codes.npz"), "both of DATA"),
        (("sae.safetensors", "--to", "keras", "--out", "x"), "to='keras' is unknown; choose one of saelens"),
        (("sae.safetensors", "--to", "saelens", "--out", "file"), "--out is 'file', which is not a folder"),
        (("sae.safetensors", "z.npy", "--out", "codes.csv"), "has none of the endings .npz, .safetensors, .parquet"),
        (("sae.safetensors", "z.npy", "--out", "file/codes.npz"), "cannot be written"),
        (("sae.safetensors", "narrow.npy", "--out", "codes.npz"), "narrow.npy has rows of 5 numbers"),
        (("sae.safetensors", "nan.npy", "--out", "codes.npz"), "nan.npy has rows with NaN or infinity (first: row 80"),
        (("cut.safetensors", "z.npy", "--out", "codes.npz"), "cut.safetensors is not a readable safetensors file"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    words: tuple[str, ...], named: str, here: Path, monosemy, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("monosemy.sae.evaluation._BLOCK", 20 * M)
    z = np.load("z.npy")
    np.save("narrow.npy", z[:, 1:])
    z[80] = np.nan
    np.save("nan.npy", z)
    Path("cut.safetensors").write_bytes(Path("sae.safetensors").read_bytes()[:-40])
    Path("file").write_text("precious")
    before = sorted(path.name for path in here.iterdir())
    assert monosemy("sae", "export", *words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.strip()
    assert error.startswith("Error: ")
    assert named in error
    assert "\n" not in error
    assert sorted(path.name for path in here.iterdir()) == before
    assert Path("file").read_text() == "precious"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_memory_does_not_grow_with_the_rows(here: Path) -> None:
    """200 MB of rows are encoded in about the memory that 2 MB of them take."""
    rows = np.random.default_rng(0).standard_normal((2000, 256)).astype(np.float32)
    SparseAutoencoder(512, 4, n_epochs=1, random_state=0).fit(rows).autoencoder_.save(Path("wide.safetensors"))
    np.save("small.npy", rows)
    np.save("large.npy", np.tile(rows, (100, 1)))
    # The peak of this program alone; getrusage would count the process that it was forked from.
    code = (
        "import atexit, pathlib, sys; from monosemy import cli; "
        "atexit.register(lambda: print(pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])); "
        "sys.argv = ['monosemy', 'sae', 'export', 'wide.safetensors', sys.argv[1], '--out', 'codes.npz']; cli.main()"
    )
    peaks = []
    for name in ("small.npy", "large.npy"):
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]))
    assert sp.load_npz("codes.npz").shape == (200_000, 512)
    assert peaks[1] - peaks[0] < 100 * 1024
