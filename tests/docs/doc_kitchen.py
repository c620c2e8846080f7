"""The files and the names that the docs' examples start from, small and made on the spot."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

for room in ("lm", "cli"):
    sys.path.insert(0, str(Path(__file__).parents[1] / room))

N, D, CLASSES = 1280, 24, 20
CLASS = np.arange(N) % CLASSES
_TOPICS = ("my card was declined", "what is my balance", "book a flight", "set an alarm")
FOLD = ("train",) * 800 + ("validation",) * 160 + ("test",) * 320


def embeddings(seed: int = 0) -> np.ndarray:
    """Rows of the classes around directions of their own."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((N, D)) + 3 * np.eye(D)[CLASS] + 0.5).astype(np.float32)


def _sae(seed: int = 0) -> Any:
    from monosemy.sae.estimators import SparseAutoencoder

    return SparseAutoencoder(24, 3, n_epochs=2, batch_size=64, random_state=seed).fit(embeddings())


def _npz(path: Path) -> None:
    x = embeddings()
    split = {"X_train": x[:800], "y_train": CLASS[:800], "X_test": x[800:], "y_test": CLASS[800:]}
    np.savez(path, embeddings=x, labels=CLASS) if path.name != "split.npz" else np.savez(path, **split)


def _labels(path: Path) -> None:
    pd.DataFrame({"label": [f"intent {c}" for c in CLASS]}).to_csv(path, index=False)


def _codes(path: Path) -> None:
    from scipy.sparse import csr_matrix, save_npz

    codes = _sae(int(path.stem[-1]) if path.stem[-1].isdigit() else 0).transform(embeddings())
    if path.suffix == ".npz":
        save_npz(path, csr_matrix(codes))
    else:
        np.save(path, codes)


def _model(path: Path) -> None:
    _sae(int(path.stem[-1]) if path.stem[-1].isdigit() else 0).autoencoder_.save(path)


def _trained(folder: Path) -> None:
    folder.mkdir(parents=True)
    for seed in (0, 1):
        _model(folder / f"topk-4096-k32-seed{seed}.safetensors")


def _saelens(folder: Path) -> None:
    from monosemy.sae.saelens import to_saelens

    to_saelens(_sae().autoencoder_, folder)


def _texts(path: Path) -> None:
    frame = pd.DataFrame(
        {"text": [f"{_TOPICS[c % 4]} {i}" for i, c in enumerate(CLASS)], "label": CLASS % 4, "split": FOLD}
    )
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)


def _sentiment(path: Path) -> None:
    rows = {"sentence": [f"a {'fine' if c % 2 else 'poor'} film {i}" for i, c in enumerate(CLASS)], "label": CLASS % 2}
    pd.DataFrame(rows | {"split": FOLD}).iloc[::16].to_json(path, orient="records", lines=True)


def _photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (40, 60, 200)), ("green", (50, 190, 60)), ("red", (210, 50, 40))):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            pixels = np.clip(np.array(colour) + rng.normal(0, 25, (8, 8, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")


def _lines(path: Path) -> None:
    path.write_text("".join(f"once upon a time there were {i} foxes\n" for i in range(20)), encoding="utf-8")


def _pairs(path: Path) -> None:
    rows = [{"prompt": f"say {i}", "chosen": f" gladly {i}", "rejected": f" never {i}"} for i in range(40)]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)


def _causal(folder: Path) -> None:
    from tiny_models import save_causal, tiny_tokenizer, with_biases

    if folder.name == "gpt2":
        with_biases(save_causal(folder, "gpt2", tiny_tokenizer(), context=64))
    else:
        save_causal(folder, "llama", tiny_tokenizer(), context=64)


def _stories(folder: Path) -> None:
    from made_preferences import save_tiny

    save_tiny("llama", folder)


def _encoder(folder: Path) -> None:
    from tiny_models import save_classifier

    save_classifier(folder, ["negative", "positive"])


FILES: dict[str, Callable[[Path], None]] = {
    "embeddings.npz": _npz,
    "split.npz": _npz,
    "embeddings.npy": lambda path: np.save(path, embeddings()),
    "decoded.npy": lambda path: np.save(path, embeddings() + 0.1 * embeddings(1)),
    "labels.csv": _labels,
    "codes.npz": _codes,
    "codes.npy": _codes,
    "codes0.npz": _codes,
    "codes1.npz": _codes,
    "model.safetensors": _model,
    "seed0.safetensors": _model,
    "seed1.safetensors": _model,
    "seed2.safetensors": _model,
    "saelens-folder": _saelens,
    "queries.csv": _texts,
    "reviews.jsonl": _texts,
    "clinc150.parquet": _texts,
    "sst2.jsonl": _sentiment,
    "photos": _photos,
    "prompts.txt": _lines,
    "stories.txt": _lines,
    "pairs.jsonl": _pairs,
    "my-model": _causal,
    "gpt2": _causal,
    "my/model": _causal,
    "runs/dpo": _causal,
    "runs/decpo": _causal,
    "runs/sae": _trained,
    "stories260k": _stories,
    "my-encoder": _encoder,
}
"""By the name that a block calls it."""


def prepare(text: str, folder: Path) -> None:
    """Make, in the folder, every file that the text names, except what it makes itself."""
    for name, make in FILES.items():
        if name in text and f"--out {name}" not in text:
            make(folder / name)


def namespace(page: str, text: str) -> dict[str, Any]:
    """What the Python blocks of a page take as given, in words or in the block before."""
    import torch

    torch.manual_seed(0)
    x = embeddings()
    names: dict[str, Any] = {"__name__": page}
    if "X_train" in text:
        names |= {"X_train": x[:800], "y_train": CLASS[:800], "X_test": x[800:], "y_test": CLASS[800:]}
    if page == "measure":
        codes = _sae().transform(x)
        names |= {"this_shard": [(codes[:100], x[:100])], "that_shard": [(codes[100:], x[100:])], "codes": codes}
        names |= {"embeddings": x, "labels": CLASS, "class_names": tuple(map(str, range(CLASSES)))}
    if page == "own-texts":
        names["embed"] = lambda texts: np.array(
            [[len(text), len(set(text)), text.count("a")] for text in texts], "float32"
        )
    if page == "sae_models":
        names |= {"sae": _sae(), "embeddings": x}
        names |= _language_model() if "steering(" in text else {}
    if page == "streams":
        layer = torch.nn.Sequential()
        layer.add_module("layer4", torch.nn.Linear(D, D))
        names |= {"model": layer, "batches": [torch.from_numpy(x)]}
    if page == "layers":
        names |= {"prompts": [f"once upon a time {i}" for i in range(12)], "embed": lambda texts: np.eye(len(texts))}
    if page in ("decpo", "monolora"):
        names |= _language_model()
    return names


def _language_model() -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from tiny_models import save_causal, tiny_tokenizer
    from transformers import AutoModelForCausalLM

    tokenizer = tiny_tokenizer()
    model = AutoModelForCausalLM.from_pretrained(save_causal(Path("base"), "llama", tokenizer, context=64))
    tokens = torch.randint(4, 200, (6, 10))
    rows = [{"prompt": f"say {i}", "chosen": f" gladly {i}", "rejected": f" never {i}"} for i in range(8)]
    return {
        "model": model,
        "tokenizer": tokenizer,
        "pairs": Dataset.from_list(rows),
        "batches": [{"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}],
        "labels": [0, 1, 0, 1, 0, 1],
    }
