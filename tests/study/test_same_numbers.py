"""One plan, one set of numbers: on every executor, and on any number of threads."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_runs import end_of, started

from monosemy.study.probing.study import Study

IMAGES = {"name": "contrastive", "contrastive": {"steps": 20, "projector": {"n_features": 32}}}
EXECUTORS = {
    "joblib": {"name": "joblib", "workers": 2},
    "joblib, one worker": {"name": "joblib", "workers": 1},
    "submitit": {"name": "submitit", "cluster": "local", "workers": 2},
    "ray": {"name": "ray", "workers": 2},
}


@pytest.fixture(scope="module")
def images(digit_arrays):
    x_train, y_train, x_test, y_test = digit_arrays
    train, test = (x.reshape(-1, 1, 8, 8) / np.float32(16) for x in (x_train, x_test))
    return train[:400], y_train[:400], test[:200], y_test[:200]


@pytest.fixture(scope="module")
def study() -> Study:
    """Encoders that are trained, test conditions that are embedded, features, probes: every kind of job."""
    return Study(
        ["dense", "sae", "ncl"], label_noise=[0.4], input_noise={"levels": [0.3], "kind": "gaussian"}, n_seeds=2,
        encoder=IMAGES, sae={"n_latents": 64, "k": 4, "n_epochs": 2},
    )  # fmt: skip


@pytest.fixture(scope="module")
def in_process(study, images, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONOSEMY_CACHE", str(tmp_path_factory.mktemp("own")))
        return study.run(*images, executor="in-process").results


@pytest.mark.slow
@pytest.mark.parametrize("name", EXECUTORS)
def test_every_executor_gives_the_same_bits(study, images, in_process, name: str, tmp_path: Path) -> None:
    package = {"submitit": "submitit", "ray": "ray"}.get(name)
    if package is not None:
        pytest.importorskip(package, reason=f"{package} of the extra 'scale' is not installed")
    found = study.run(*images, out=tmp_path / "run", executor=EXECUTORS[name])
    pd.testing.assert_frame_equal(found.results, in_process, check_exact=True)
    assert f'"name": "{EXECUTORS[name]["name"]}"' in (tmp_path / "run" / "log.jsonl").read_text()
    assert "executor" not in (tmp_path / "run" / "plan.yaml").read_text()


@pytest.mark.slow
def test_a_study_gives_the_same_bits_whatever_the_threads(digit_file: Path, tmp_path: Path) -> None:
    for threads in ("1", "2"):
        env = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        assert end_of(started(digit_file, tmp_path / threads, env=env)) == (0, "")
    one, two = (pd.read_parquet(tmp_path / threads / "results.parquet") for threads in ("1", "2"))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


TRAININGS = {
    "sae": """
import sys, numpy as np, torch
from monosemy.features import SparseAutoencoder
torch.set_num_threads(int(sys.argv[1]))
rows = np.random.default_rng(0).standard_normal((6000, 256)).astype(np.float32)
sae = SparseAutoencoder(512, 16, n_epochs=3, random_state=0).fit(rows)
np.save(sys.argv[2], sae.transform(rows[:200]))
""",
    "encoder": """
import sys, numpy as np, torch
from monosemy.encoders.backbones import BackboneConfig
from monosemy.encoders.contrastive import PretrainConfig, pretrain
from monosemy.encoders.image import embed
torch.set_num_threads(int(sys.argv[1]))
images = np.random.default_rng(0).random((512, 1, 16, 16)).astype(np.float32)
# One step: contrastive training magnifies a rounding with each further one.
config = PretrainConfig(method="ncl", steps=1, batch_size=128, backbone=BackboneConfig(name="conv", width=16))
np.save(sys.argv[2], embed(pretrain(images, config), images[:50]))
""",
    "probes": """
import sys, numpy as np, torch
from monosemy.classifiers.linear_probe import LinearProbe
torch.set_num_threads(int(sys.argv[1]))
rng = np.random.default_rng(0)
x, y = rng.standard_normal((4000, 256)).astype(np.float32), rng.integers(0, 10, 4000)
np.save(sys.argv[2], LinearProbe(1e-4, epochs=5).fit(x, y).decision_function(x[:200]))
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("what", TRAININGS)
def test_threads_change_roundings_and_equal_numbers_of_them_nothing(what: str, tmp_path: Path) -> None:
    def run(threads: int, name: str) -> np.ndarray:
        path = tmp_path / f"{name}.npy"
        subprocess.run([sys.executable, "-c", TRAININGS[what], str(threads), str(path)], check=True)
        return np.load(path)

    one, two, again = run(1, "one"), run(2, "two"), run(2, "again")
    np.testing.assert_array_equal(two, again)
    np.testing.assert_array_equal(one, run(1, "once more"))
    scale = np.abs(one).max()
    assert np.abs(one - two).max() <= 2e-3 * scale
