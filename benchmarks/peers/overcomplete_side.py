"""TopK training by overcomplete's own loop; run in an environment with overcomplete."""

import torch
from autoencoder_side import Batches, read_job, read_splits, report
from overcomplete.sae import TopKSAE, train_sae

job = read_job()
splits = read_splits(job)
sae = TopKSAE(splits["train"].shape[1], nb_concepts=job["n_latents"], top_k=job["k"], device="cpu")
optimizer = torch.optim.Adam(sae.parameters(), lr=job["lr"])
warm_up, decay = max(1, job["steps"] // 20), max(1, job["steps"] // 3)
scheduler = torch.optim.lr_scheduler.LambdaLR(
    optimizer, lambda step: min(1.0, (step + 1) / warm_up, max(0, job["steps"] - step) / decay)
)


def criterion(x, x_hat, pre_codes, codes, dictionary):
    """The loss of the library's own example: squared error, and a pull on latents that are silent in the batch."""
    silent = ((codes > 0).sum(dim=0) == 0).float().detach()
    return (x - x_hat).square().mean() - 1e-3 * (pre_codes * silent).mean()


batches = Batches(splits["train"], job)
train_sae(sae, batches, criterion, optimizer, scheduler, nb_epochs=1, monitoring=0, device="cpu")
sae.eval()
report(splits, batches.seconds, lambda rows: sae.encode(rows)[1], sae.decode)
