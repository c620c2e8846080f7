"""Probes on memory maps: the same classifiers, and rows stay on the disk."""

from pathlib import Path

import numpy as np
import pytest

from monosemy.classifiers.engine import ProbeConfig, largest_eigenvalue, predict, train_probes
from monosemy.classifiers.inputs import DenseInputs, MappedInputs
from monosemy.classifiers.linear_probe import LinearProbe
from monosemy.data.memory_map import forget_pages, memory_map, row_blocks
from monosemy.errors import InputError

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 3, 900)
X = (RNG.normal(size=(900, 12)) + 4 * np.eye(12)[Y] + 5).astype(np.float32)


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    np.save(tmp_path / "x.npy", X)
    found: np.memmap = np.load(tmp_path / "x.npy", mmap_mode="r")
    return found


def test_a_part_of_a_map_is_known_as_one(mapped: np.memmap, tmp_path: Path) -> None:
    for part in (mapped, np.asarray(mapped), mapped[3:7], np.asarray(mapped)[3:7], mapped.T):
        assert memory_map(part) is mapped
    assert memory_map(X) is None
    assert memory_map(np.array(mapped)) is None
    writable = np.load(tmp_path / "x.npy", mmap_mode="c")  # giving its pages back would lose what was written
    writable[0] = 7
    assert memory_map(writable) is None
    forget_pages(writable)
    assert (writable[0] == 7).all()
    forget_pages(mapped)
    np.testing.assert_array_equal(mapped, X)


def test_pages_are_given_back_after_each_block(tmp_path: Path) -> None:
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, (200_000, 64)).flush()  # 51 MB
    rows = np.load(path, mmap_mode="r")

    def resident() -> int:
        return int(Path("/proc/self/status").read_text().split("RssFile:")[1].split()[0]) // 1024

    before, most = resident(), 0
    for block in row_blocks(rows):
        rows[block].sum()
        most = max(most, resident())
    assert most - before < 25, "a block is of 16 MB in float32"
    assert resident() - before < 5


def test_inputs_are_those_of_an_array(mapped: np.memmap) -> None:
    on_disk, in_memory = MappedInputs(np.asarray(mapped)), DenseInputs(X)
    np.testing.assert_allclose(on_disk.center, in_memory.center, rtol=1e-6)
    assert on_disk.scale == pytest.approx(in_memory.scale, rel=1e-6)
    assert largest_eigenvalue(on_disk, 12) == pytest.approx(largest_eigenvalue(in_memory, 12), rel=1e-3)


def test_a_sample_stands_for_the_curvature_of_all(mapped: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.classifiers.inputs._SAMPLED", 300 * 12)
    sampled = MappedInputs(np.asarray(mapped))
    assert sampled.n_sampled == 300
    assert largest_eigenvalue(sampled, 12) == pytest.approx(largest_eigenvalue(DenseInputs(X), 12), rel=0.2)


def test_probes_are_those_of_an_array(mapped: np.memmap) -> None:
    labels = np.stack([Y, np.where(np.arange(900) % 3, Y, -1)], axis=1)
    decays, config = np.array([1e-4, 1e-3]), ProbeConfig(epochs=5)
    wanted = train_probes(X, labels, 3, decays, config, 0)
    found = train_probes(mapped, labels.astype(np.int8), 3, decays, config, 0)
    np.testing.assert_allclose(found.weight, wanted.weight, atol=2e-4)
    np.testing.assert_array_equal(predict(found, mapped), predict(found, X))


def test_the_estimator_takes_maps(mapped: np.memmap, tmp_path: Path) -> None:
    wanted = LinearProbe(epochs=5, min_steps=0).fit(X, Y)
    found = LinearProbe(epochs=5, min_steps=0).fit(mapped, Y)
    np.testing.assert_allclose(found.decision_function(mapped), wanted.decision_function(X), atol=2e-3)
    assert found.n_features_in_ == 12
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LinearProbe().fit(mapped, Y[:-1])
    with pytest.raises(ValueError, match="features"):
        found.predict(mapped[:, :5])
    bad = X.copy()
    bad[700, 3] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(InputError, match=r"rows with NaN or infinity \(first: row 700"):
        LinearProbe().fit(np.load(tmp_path / "bad.npy", mmap_mode="r"), Y)
