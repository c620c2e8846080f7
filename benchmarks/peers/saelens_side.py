"""TopK training by SAELens' own trainer; run in an environment with sae-lens."""

from autoencoder_side import Batches, read_job, read_splits, report
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer

job = read_job()
splits = read_splits(job)
sae = TopKTrainingSAE(
    TopKTrainingSAEConfig(
        d_in=splits["train"].shape[1],
        d_sae=job["n_latents"],
        k=job["k"],
        device="cpu",
        apply_b_dec_to_input=True,
        use_sparse_activations=job["sparse"],
    )
)
trainer = SAETrainer(
    cfg=SAETrainerConfig(
        total_training_samples=job["steps"] * job["batch"],
        train_batch_size_samples=job["batch"],
        lr=job["lr"],
        lr_end=0.0,
        lr_warm_up_steps=job["steps"] // 20,
        lr_decay_steps=job["steps"] // 3,
        dead_feature_window=max(1, job["dead_after"] // job["batch"]),
    ),
    sae=sae,
    data_provider=iter(()),
)
batches = Batches(splits["train"], job)
for batch in batches:
    trainer.step(batch)
    trainer.n_training_steps += 1


def codes(rows):
    found = sae.encode(rows)
    return found.to_dense() if found.is_sparse else found


report(splits, batches.seconds, codes, sae.decode)
