"""Write small models with random weights by SAELens itself, and record what it makes of fixed inputs.

    pip install sae-lens==6.54.12 && python tests/features/exchange/record_saelens.py

Each folder under ``saelens/`` gets cfg.json and sae_weights.safetensors as the library writes them, and expected.npz.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from sae_lens import (
    BatchTopKTrainingSAE,
    BatchTopKTrainingSAEConfig,
    GatedSAE,
    GatedSAEConfig,
    JumpReLUSAE,
    JumpReLUSAEConfig,
    MatryoshkaBatchTopKTrainingSAE,
    MatryoshkaBatchTopKTrainingSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from sae_lens.saes.sae import SAE

HERE = Path(__file__).parent / "saelens"
D, M, N = 5, 12, 8
SIZES = {"d_in": D, "d_sae": M, "device": "cpu"}


def randomised(sae: torch.nn.Module, seed: int) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(sae.named_parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.5 if parameter.ndim == 1 else 1.0))
            if name == "threshold":
                parameter.copy_(parameter.abs() * 2)
                parameter[0], parameter[1] = 0.0, -0.5
    return sae


def record(name: str, folder: Path) -> None:
    sae = SAE.load_from_disk(folder)
    x = torch.randn(N, D, generator=torch.Generator().manual_seed(9)) * 2 + 0.5
    with torch.no_grad():
        codes = sae.encode(x)
        np.savez(folder / "expected.npz", inputs=x, codes=codes, reconstruction=sae.decode(codes))
    print(name, f"L0 {(codes > 0).sum(dim=1).float().mean():.1f}")


def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    inference = {
        "standard": StandardSAE(StandardSAEConfig(**SIZES)),
        "standard_unshifted": StandardSAE(StandardSAEConfig(**SIZES, apply_b_dec_to_input=False)),
        "topk": TopKSAE(TopKSAEConfig(**SIZES, k=3)),
        "topk_rescaled": TopKSAE(TopKSAEConfig(**SIZES, k=3, rescale_acts_by_decoder_norm=True)),
        "topk_half": TopKSAE(TopKSAEConfig(**SIZES, k=3, dtype="float16")),
        "jumprelu": JumpReLUSAE(JumpReLUSAEConfig(**SIZES)),
        "jumprelu_unshifted": JumpReLUSAE(JumpReLUSAEConfig(**SIZES, apply_b_dec_to_input=False)),
        "gated": GatedSAE(GatedSAEConfig(**SIZES)),
        "gated_unshifted": GatedSAE(GatedSAEConfig(**SIZES, apply_b_dec_to_input=False)),
    }
    for seed, (name, sae) in enumerate(inference.items()):
        randomised(sae, seed).save_model(HERE / name)
    training = {
        "batchtopk": BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**SIZES, k=2.5)),
        "matryoshka": MatryoshkaBatchTopKTrainingSAE(
            MatryoshkaBatchTopKTrainingSAEConfig(**SIZES, k=3, matryoshka_widths=[3, 6, 12])
        ),
    }
    for seed, (name, sae) in enumerate(training.items()):
        randomised(sae, 20 + seed)
        sae.topk_threshold.fill_(0.9)
        sae.save_inference_model(HERE / name)
        sae.save_model(HERE / f"{name}_training")
    for folder in sorted(HERE.iterdir()):
        if not folder.name.endswith("_training"):
            record(folder.name, folder)
    # A configuration from before SAELens 6, of the same weights.
    old = HERE / "topk_before_6"
    shutil.copytree(HERE / "topk", old)
    keep = {"d_in": D, "d_sae": M, "dtype": "float32", "hook_name": "blocks.0.hook_resid_post", "device": "cpu"}
    text = json.dumps(
        keep | {"architecture": "standard", "activation_fn_str": "topk", "activation_fn_kwargs": {"k": 3}}
    )
    (old / "cfg.json").write_text(text)
    record(old.name, old)


if __name__ == "__main__":
    main()
