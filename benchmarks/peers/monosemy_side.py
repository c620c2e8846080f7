"""TopK training by monosemy; run where monosemy is installed."""

import torch
from autoencoder_side import Batches, read_job, read_splits, report

from monosemy.functional.codes import from_dense, to_dense
from monosemy.sae import Autoencoder
from monosemy.sae.activations import TopK
from monosemy.sae.module import initialise
from monosemy.sae.training import Trainer, TrainingConfig

job = read_job()
splits = read_splits(job)
train = splits["train"]
rng = torch.Generator().manual_seed(job["seed"])
model = Autoencoder(train.shape[1], job["n_latents"], TopK(job["n_latents"], job["k"]))
initialise(model, train, rng)
config = TrainingConfig(batch_size=job["batch"], lr=job["lr"], dead_after=job["dead_after"])
trainer = Trainer(model, config, rng, steps=job["steps"])
batches = Batches(train, job)
for batch in batches:
    trainer.step(model.scaled(batch))
report(splits, batches.seconds, lambda rows: to_dense(model.encode(rows)), lambda code: model.decode(from_dense(code)))
