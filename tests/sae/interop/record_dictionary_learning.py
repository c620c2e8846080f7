"""Write small models with random weights by dictionary_learning itself, and record what it makes of fixed inputs.

    pip install dictionary-learning==0.1.0 && python tests/features/exchange/record_dictionary_learning.py

Each folder under ``dictionary_learning/`` gets config.json and ae.pt as the library's training writes them, and
expected.npz.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew, GatedAutoEncoder, JumpReluAutoEncoder
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKSAE
from dictionary_learning.trainers.top_k import AutoEncoderTopK

HERE = Path(__file__).parent / "dictionary_learning"
D, M, N = 5, 12, 8


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    models = {
        "relu": (AutoEncoder(D, M), {}),
        "relu_new": (AutoEncoderNew(D, M), {}),
        "topk": (AutoEncoderTopK(D, M, 3), {"k": 3}),
        "batchtopk": (BatchTopKSAE(D, M, 3), {"k": 3}),
        "matryoshka": (MatryoshkaBatchTopKSAE(D, M, 3, [3, 3, 6]), {"k": 3}),
        "jumprelu": (JumpReluAutoEncoder(D, M), {}),
        "gated": (GatedAutoEncoder(D, M), {}),
    }
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(9)) * 2 + 0.5
    for seed, (name, (model, more)) in enumerate(models.items()):
        generator = torch.Generator().manual_seed(40 + seed)
        with torch.no_grad():
            for key, parameter in sorted(model.named_parameters()):
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator) * (1.0 if parameter.ndim > 1 else 0.5)
                )
                if key == "threshold":
                    parameter.copy_(parameter.abs() * 2)
            if "matryoshka" in name or name == "batchtopk":
                model.threshold.fill_(1.5)
            codes = model.encode(x)
            reconstruction = model.decode(codes)
        folder = HERE / name
        folder.mkdir(parents=True)
        trainer = {"dict_class": type(model).__name__, "activation_dim": D, "dict_size": M, "lr": 1e-3} | more
        (folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"d_submodule": D}}, indent=4))
        torch.save({key: value.cpu() for key, value in model.state_dict().items()}, folder / "ae.pt")
        np.savez(folder / "expected.npz", inputs=x, codes=codes, reconstruction=reconstruction)
        print(name, f"L0 {(codes > 0).sum(dim=1).float().mean():.1f}")


if __name__ == "__main__":
    main()
