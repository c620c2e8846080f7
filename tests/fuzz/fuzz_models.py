"""Readers of plans, models and folders of runs, with the sound files that hostile variants are made from."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fuzz_data import Target, stream

EXCHANGE = Path(__file__).parents[1] / "sae" / "interop"


def plan(model: Callable[[], Any]) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from monosemy.core.config import read_yaml, validated

        return validated(model(), read_yaml(folder / "plan.yaml", "plan"), str(folder / "plan.yaml"))

    return read


def _study_plan(folder: Path) -> None:
    values = {
        "kind": "probing", "data": {"source": "x.csv", "shifts": {"other": "y.csv"}, "image_size": 32},
        "encoder": {"name": "minilm"},
        "features": ["dense", "sae"],
        "scenarios": ["label-noise", "few-labels", "shift"],
        "label_noise": {"levels": [0.1, 0.3]}, "few_labels": {"fractions": [0.5]},
        "n_seeds": 2, "sae": {}, "probe": {"epochs": 3, "weight_decays": [0.0, 0.1]}, "seed": 0,
    }  # fmt: skip
    (folder / "plan.yaml").write_text(json.dumps(values))


def _study_model() -> Any:
    from monosemy.study.probing import ProbingPlan

    return ProbingPlan


def _finetune_plan(folder: Path) -> None:
    values = {
        "data": {"source": "x"},
        "encoders": ["e.safetensors"],
        "variants": ["ce", "nce"],
        "training": {"epochs": 2},
        "n_seeds": 1,
    }
    (folder / "plan.yaml").write_text(json.dumps(values))


def _finetune_model() -> Any:
    from monosemy.study.finetuning import FinetunePlan

    return FinetunePlan


def _pretrain_plan(folder: Path) -> None:
    values = {
        "method": "ncl",
        "batch_size": 32,
        "backbone": {"name": "conv", "width": 8},
        "optimizer": {"name": "sgd"},
        "seed": 1,
    }
    (folder / "plan.yaml").write_text(json.dumps(values))


def _read_pretrain(folder: Path) -> Any:
    from monosemy.cli.pretrain import with_preset
    from monosemy.core.config import read_yaml, validated
    from monosemy.encoders.config import PretrainPlan

    settings = read_yaml(folder / "plan.yaml", "plan")
    validated(PretrainPlan, settings, "The command")
    return with_preset(settings, "cifar")


def _noise_matrix(folder: Path) -> None:
    np.save(folder / "noise.npy", np.eye(4))
    np.savetxt(folder / "noise.csv", np.eye(4), delimiter=",")


def _read_noise_matrix(folder: Path) -> Any:
    from monosemy.errors import InputError
    from monosemy.study.conditions import _read_matrix

    found = []
    for name in ("noise.npy", "noise.csv"):
        try:
            found.append(_read_matrix(folder / name, 4))
        except InputError as error:
            refusal = error
    if len(found) < 2:
        raise refusal
    return found


def _encoder(folder: Path) -> None:
    from monosemy.encoders.config import BackboneConfig, EncoderSpec, ProjectorConfig
    from monosemy.encoders.image import ImageEncoder, save_encoder

    spec = EncoderSpec(
        image_shape=(1, 8, 8),
        backbone=BackboneConfig(name="mixer", width=4, depth=1),
        projector=ProjectorConfig(hidden=4, n_features=4),
    )
    save_encoder(ImageEncoder(spec), folder / "encoder.safetensors", {"pretrain": {"seed": 0}})


def _read_encoder(folder: Path) -> Any:
    from monosemy.encoders.image import load_encoder

    return load_encoder(folder / "encoder.safetensors")


def _head(folder: Path) -> None:
    from monosemy.encoders.heads import Head

    Head(3, 4, True, 2).save(folder / "head.safetensors")


def _read_head(folder: Path) -> Any:
    from monosemy.encoders.contrastive_heads import ContrastiveHead

    return ContrastiveHead.load(folder / "head.safetensors").transform(np.zeros((2, 3), np.float32))


def _sae(activation: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from monosemy.sae.activations import ACTIVATIONS
        from monosemy.sae.module import Autoencoder

        torch.manual_seed(0)
        kind = ACTIVATIONS[activation]
        model = Autoencoder(3, 4, kind(4, 2), (2, 4) if activation == "batchtopk" else None)
        model.save(folder / "model.safetensors")

    return make


def _read_sae(folder: Path) -> Any:
    from monosemy.sae.hub import load_autoencoder

    return load_autoencoder(folder).encode(torch.zeros(2, 3))


def _copied(*parts: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for path in EXCHANGE.joinpath(*parts).iterdir():
            if path.name != "expected.npz":
                shutil.copy(path, folder)

    return make


def _read_foreign(folder: Path) -> Any:
    from monosemy.sae.hub import load_autoencoder

    model = load_autoencoder(folder)
    return model.encode(torch.zeros(2, model.n_inputs))


def _shards(folder: Path) -> None:
    from monosemy.encoders.activation_cache import cache_activations

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    cache_activations(model, "0", [torch.zeros(8, 3), torch.ones(8, 3)], folder, shard_rows=8)


def _resume_shards(folder: Path) -> Any:
    """Goes on with the folder, as after a kill."""
    from monosemy.encoders.activation_cache import cache_activations

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    return cache_activations(model, "0", [torch.zeros(8, 3), torch.ones(8, 3)], folder, shard_rows=8)


def _run_folder(folder: Path) -> None:
    from monosemy.training.checkpoint import RunFolder

    module = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    run = RunFolder(folder, {"a": 1, "b": {"c": [1, 2]}}, "key")
    run.save(1, module, optimizer)
    run.log({"step": 1, "loss": 0.5})


def _read_run_folder(folder: Path) -> Any:
    from monosemy.training.checkpoint import RunFolder

    module = torch.nn.Linear(2, 2)
    run = RunFolder(folder, {"a": 1, "b": {"c": [1, 2]}}, "key")
    run.restore(module, torch.optim.AdamW(module.parameters()))
    return run.read_log(folder)


def _study(folder: Path) -> None:
    _study_plan(folder)
    rows = [
        {"dataset": "x", "encoder": "e", "variant": name, "features": name, "classifier": "",
         "scenario": scenario, "level": level,
         "seed": seed, "metric": "accuracy", "value": 0.5 + 0.01 * seed}
        for name in ("dense", "sae") for scenario,
        level in (("clean", 0.0), ("label-noise", 0.3)) for seed in range(3)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(folder / "results.parquet", index=False)
    (folder / "environment.json").write_text(json.dumps({"packages": {"monosemy": "0.1"}}))


def _read_study(folder: Path) -> Any:
    from monosemy.study.registry import read_study, version_of

    return read_study(folder), version_of(folder)


def _prompts(folder: Path) -> None:
    (folder / "p.txt").write_text("one\ntwo,three\n")


def _read_prompts(folder: Path) -> Any:
    from monosemy.data.load import read_texts

    return read_texts(str(folder / "p.txt"), role="prompt")


MODEL_TARGETS: dict[str, Target] = {
    "study plan": Target(_study_plan, plan(_study_model)),
    "finetune plan": Target(_finetune_plan, plan(_finetune_model)),
    "pretrain configuration": Target(_pretrain_plan, _read_pretrain),
    "noise matrix": Target(_noise_matrix, _read_noise_matrix),
    "image encoder": Target(_encoder, _read_encoder),
    "contrastive head": Target(_head, _read_head),
    "autoencoder topk": Target(_sae("topk"), _read_sae),
    "autoencoder batchtopk": Target(_sae("batchtopk"), _read_sae),
    "autoencoder jumprelu": Target(_sae("jumprelu"), _read_sae),
    "autoencoder gated": Target(_sae("gated"), _read_sae),
    "saelens topk": Target(_copied("saelens", "topk"), _read_foreign),
    "saelens matryoshka": Target(_copied("saelens", "matryoshka_training"), _read_foreign),
    "saelens gated": Target(_copied("saelens", "gated"), _read_foreign),
    "dictionary_learning topk": Target(_copied("dictionary_learning", "topk"), _read_foreign),
    "dictionary_learning matryoshka": Target(_copied("dictionary_learning", "matryoshka"), _read_foreign),
    "activation shards": Target(_shards, stream("")),
    "activation shards, resumed": Target(_shards, _resume_shards),
    "training checkpoint": Target(_run_folder, _read_run_folder),
    "finished study": Target(_study, _read_study, (".parquet", ".json")),
    "prompts": Target(_prompts, _read_prompts),
}
