"""TopK training by dictionary_learning's own trainer; run in an environment with dictionary-learning."""

from autoencoder_side import Batches, read_job, read_splits, report
from dictionary_learning.trainers.top_k import TopKTrainer

job = read_job()
splits = read_splits(job)
trainer = TopKTrainer(
    steps=job["steps"],
    activation_dim=splits["train"].shape[1],
    dict_size=job["n_latents"],
    k=job["k"],
    layer=0,
    lm_name="none",
    lr=job["lr"],
    warmup_steps=job["steps"] // 20,
    decay_start=2 * job["steps"] // 3,
    seed=job["seed"],
    device="cpu",
)
trainer.dead_feature_threshold = job["dead_after"]
batches = Batches(splits["train"], job)
for step, batch in enumerate(batches):
    trainer.update(step, batch)
report(splits, batches.seconds, trainer.ae.encode, trainer.ae.decode)
