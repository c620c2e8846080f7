"""Sparse autoencoders in files, folders and on the Hugging Face hub: weights, a readable configuration, a model
card.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monosemy import __version__
from monosemy.core.files import read_metadata, write_text
from monosemy.errors import InputError, needs_extra, reason
from monosemy.sae import dictionary_learning, interop, module, saelens

MODEL_FILE, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_TITLES = {"topk": "TopK", "batchtopk": "BatchTopK", "relu": "ReLU with an L1 penalty", "jumprelu": "JumpReLU"}
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(?<!\.safetensors)(?<!\.pt)")
_READ = ("*.safetensors", "*.json", "ae.pt")
"""Files of a model; no others are downloaded."""


def load_autoencoder(path: str | Path) -> module.Autoencoder:
    """Load a model of monosemy, SAELens or dictionary_learning, recognised by the names of its files.

    Args:
        path: a file that :meth:`Autoencoder.save` wrote, or a folder with one; or a folder of SAELens (cfg.json,
            sae_weights.safetensors) or dictionary_learning (config.json, ae.pt or ae.safetensors), or its weights.

    Raises:
        InputError: the file does not exist, has none of these formats, or the folder contains several models.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; give a model, or a folder with one.")
    folder = path if path.is_dir() else path.parent
    named = None if path.is_dir() else path.name

    def has(*names: str) -> bool:
        return all((folder / name).is_file() for name in names)

    if named in (None, saelens.WEIGHTS, saelens.CONFIG) and has(saelens.CONFIG, saelens.WEIGHTS):
        return saelens.from_saelens(folder)
    for weights in dictionary_learning.WEIGHTS:
        if named in (None, weights) and has(dictionary_learning.CONFIG, weights):
            return dictionary_learning.from_dictionary_learning(folder)
    if named is None:
        models = own_models(path)
        if len(models) > 1:
            names = ", ".join(model.name for model in models)
            raise InputError(f"{path} contains {len(models)} sparse autoencoders ({names}); name one.")
        if models:
            return module.Autoencoder.load(models[0])
        raise InputError(
            f"{path} does not contain a sparse autoencoder; give a folder with a .safetensors file of monosemy, with "
            f"{saelens.CONFIG} and {saelens.WEIGHTS} (SAELens), or with {dictionary_learning.CONFIG} and "
            f"{' or '.join(dictionary_learning.WEIGHTS)} (dictionary_learning)."
        )
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is not a sparse autoencoder that can be read; give a .safetensors file of monosemy, or a folder "
            f"of SAELens or dictionary_learning."
        )
    return module.Autoencoder.load(path)


def own_models(folder: Path) -> list[Path]:
    """Return the sparse autoencoders of monosemy in a folder by name, without checkpoints and files of other
    formats."""
    models = []
    for path in sorted(folder.glob("*.safetensors")):
        with suppress(InputError):
            read_metadata(path, module.FORMAT)
            models.append(path)
    return models


def save_pretrained(
    model: module.Autoencoder, folder: str | Path, *, metrics: Mapping[str, float] | None = None
) -> None:
    """Write model.safetensors, config.json and a model card, README.md, into a folder, which is made if missing.

    Args:
        metrics: measured numbers by name, for the card: of :func:`monosemy.sae.evaluate`, or others.
    """
    folder = Path(folder)
    model.save(folder / MODEL_FILE)
    interop.write_json(folder / CONFIG, _configuration(model))
    write_text(folder / CARD, model_card(model, metrics or {}))


def push_to_hub(
    model: module.Autoencoder,
    repo_id: str,
    *,
    metrics: Mapping[str, float] | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "A sparse autoencoder of monosemy",
) -> str:
    """Write the model to a repository of the hub, which is made if missing; returns its address.

    Args:
        repo_id: ``name`` or ``owner/name``.
        metrics: see :func:`save_pretrained`.
        private: of a new repository; None for the owner's default.
        token: None for the one that ``hf auth login`` keeps.

    Raises:
        InputError: the hub refuses.
        MissingExtraError: the extra `hub` is not installed.
    """
    hub = _hub()
    with TemporaryDirectory() as folder:
        save_pretrained(model, folder, metrics=metrics)
        try:
            api = hub.HfApi(token=token)
            name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
            return str(api.upload_folder(repo_id=name, folder_path=folder, commit_message=message))
        except Exception as error:  # the hub's client raises many types; each means that nothing was written
            raise InputError(
                f"repo_id={repo_id!r} cannot be written to ({reason(error)}); check the name and the token."
            ) from error


def from_pretrained(
    source: str | Path, *, subfolder: str | None = None, revision: str | None = None, token: str | None = None
) -> module.Autoencoder:
    """Load the model of a folder, or of a repository of the hub; downloads are cached.

    Layouts of SAELens and dictionary_learning are read as well, see :func:`load_autoencoder`.

    Args:
        source: a folder or file here, else a repository ``owner/name``.
        subfolder: of the folder or repository, where it holds several models.
        revision: branch, tag or commit; None for the newest.
        token: None for the one that ``hf auth login`` keeps.

    Raises:
        InputError: neither exists, or it does not contain a model.
    """
    if Path(source).exists():
        return load_autoencoder(Path(source) / (subfolder or ""))
    if not _REPOSITORY.fullmatch(str(source)):
        return load_autoencoder(source)  # which raises that it does not exist
    hub = _hub()
    patterns = [pattern if subfolder is None else f"{subfolder}/{pattern}" for pattern in _READ]
    try:
        folder = hub.snapshot_download(str(source), revision=revision, token=token, allow_patterns=patterns)
    except Exception as error:  # as above
        raise InputError(
            f"{source} is neither a local path nor a repository of the hub that can be read ({reason(error)}); check "
            f"the name."
        ) from error
    return load_autoencoder(Path(folder) / (subfolder or ""))


def model_card(model: module.Autoencoder, metrics: Mapping[str, float]) -> str:
    """Return the model card as the hub's Markdown: model, loading, settings, metrics."""
    prefixes = "" if len(model.widths) == 1 else f" Its prefixes {list(model.widths)} reconstruct by themselves."
    title = _TITLES.get(model.activation.name, model.activation.name)
    measured = _table("Measured", {name: f"{value:.4g}" for name, value in metrics.items()}) if metrics else ""
    card = f"""\
---
library_name: monosemy
tags:
- sparse-autoencoder
- interpretability
---

# Sparse autoencoder

A {title} sparse autoencoder: {model.n_latents} latents of inputs with {model.n_inputs} numbers.{prefixes}

    code = activation(W_e (x - b) + c),   x = input / scale
    reconstruction = scale (W_d code + b)

Give inputs as they come out of the encoder that the model was trained on; the scale is part of the model.

```python
from monosemy.sae import from_pretrained

model = from_pretrained("this repository")
codes = model.encode(embeddings)  # (N, {model.n_inputs}) float32; codes.values, codes.indices
```

"""
    return f"{card}{_table('Settings', model.activation.settings())}{measured}Written by monosemy {__version__}.\n"


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(f"| {name} | {value} |\n" for name, value in values.items())
    return f"## {title}\n\n| | |\n|---|---|\n{rows}\n"


def _configuration(model: module.Autoencoder) -> dict[str, Any]:
    """Return the configuration for people and other programs; models are loaded from their weights' file alone."""
    return {
        "model_type": "sparse-autoencoder",
        "activation": model.activation.name,
        "settings": model.activation.settings(),
        "widths": list(model.widths),
        "n_inputs": model.n_inputs,
        "n_latents": model.n_latents,
        "monosemy_version": __version__,
    }


def _hub() -> Any:
    with needs_extra("hub", "The Hugging Face Hub"):
        import huggingface_hub
    return huggingface_hub
