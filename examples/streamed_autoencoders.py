"""Two sparse autoencoders on one reading of a file that need not fit into memory, stopped and taken up again."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from monosemy import SparseAutoencoder, train_on_stream
from monosemy.data import open_stream, shuffled
from monosemy.sae import load_autoencoder, to_saelens

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder)
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((64, 32))
    rows = np.lib.format.open_memmap(path / "rows.npy", "w+", np.float32, (40_000, 32))
    for start in range(0, len(rows), 8_000):  # sparse mixtures of 64 directions
        active = rng.random((8_000, 64)) < 0.05
        rows[start : start + 8_000] = (active * rng.random((8_000, 64))) @ directions
    rows.flush()

    def train(minutes: float) -> tuple[bool, list[SparseAutoencoder]]:
        saes = [SparseAutoencoder(128, k, n_epochs=2, random_state=0) for k in (4, 8)]
        stream = shuffled(open_stream(str(path / "rows.npy")), seed=0)
        return train_on_stream(saes, stream, folder=path / "run", minutes=minutes), saes

    stopped, _ = train(minutes=0.005)
    finished, saes = train(minutes=10)  # goes on from the checkpoint, to the same weights as without a stop
    print(f"finished at once: {stopped}; after the second call: {finished}")
    for sae in saes:
        print(f"k = {sae.k}: explained variance {sae.score(np.asarray(rows[:4_000])):.3f}")

    to_saelens(saes[0].autoencoder_, path / "for-saelens")
    again = load_autoencoder(path / "for-saelens")
    ours, theirs = (model.encode(torch.from_numpy(np.asarray(rows[:100]))) for model in (saes[0].autoencoder_, again))
    print(f"written for SAELens and read back, same active latents: {bool((ours.indices == theirs.indices).all())}")
