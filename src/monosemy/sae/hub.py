"""A sparse autoencoder from whatever file or folder it is in.

Models as folders and on the Hugging Face hub: weights, a configuration that people read, and a model card.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from monosemy import __version__
from monosemy.core.files import read_metadata, write_text
from monosemy.errors import InputError, needs_extra, reason
from monosemy.sae import dictionary_learning, saelens
from monosemy.sae.module import FORMAT, Autoencoder


def load_autoencoder(path: str | Path) -> Autoencoder:
    """A model of monosemy, SAELens or dictionary_learning; which one is recognised by the names of its files.

    Args:
        path: a file that :meth:`Autoencoder.save` wrote, or a folder with one; or a folder of SAELens (cfg.json,
            sae_weights.safetensors) or dictionary_learning (config.json, ae.pt or ae.safetensors), or its weights.

    Raises:
        InputError: there is no such file, none of these formats, or several models in the folder.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path}; give a model, or a folder with one.")
    folder = path if path.is_dir() else path.parent
    named = None if path.is_dir() else path.name
    if named in (None, saelens.WEIGHTS, saelens.CONFIG) and _has(folder, saelens.CONFIG, saelens.WEIGHTS):
        return saelens.from_saelens(folder)
    for weights in dictionary_learning.WEIGHTS:
        if named in (None, weights) and _has(folder, dictionary_learning.CONFIG, weights):
            return dictionary_learning.from_dictionary_learning(folder)
    if named is None:
        own = own_models(path)
        if len(own) > 1:
            raise InputError(
                f"{path} holds {len(own)} sparse autoencoders ({', '.join(p.name for p in own)}); name one."
            )
        if own:
            return Autoencoder.load(own[0])
        raise InputError(
            f"{path} holds no sparse autoencoder; give a folder with a .safetensors file of monosemy, with "
            f"{saelens.CONFIG} and {saelens.WEIGHTS} (SAELens), or with {dictionary_learning.CONFIG} and "
            f"{' or '.join(dictionary_learning.WEIGHTS)} (dictionary_learning)."
        )
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is no sparse autoencoder that can be read; give a .safetensors file of monosemy, or a folder of "
            f"SAELens or dictionary_learning."
        )
    return Autoencoder.load(path)


def own_models(folder: Path) -> list[Path]:
    """The files of our sparse autoencoders in a folder, by name; checkpoints and other people's files are none."""
    return [path for path in sorted(folder.glob("*.safetensors")) if _is_own(path)]


def _is_own(path: Path) -> bool:
    try:
        read_metadata(path, FORMAT)
    except InputError:
        return False
    return True


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_file() for name in names)


MODEL_FILE, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
_TITLES = {
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "relu": "ReLU with an L1 penalty",
    "jumprelu": "JumpReLU",
    "gated": "gated",
}
_REPOSITORY = re.compile(r"\w[\w.-]*/\w[\w.-]*(?<!\.safetensors)(?<!\.pt)")
_READ = ("*.safetensors", "*.json", "ae.pt")
"""What a model may consist of; nothing else is fetched."""


def save_pretrained(model: Autoencoder, folder: str | Path, *, metrics: Mapping[str, float] | None = None) -> None:
    """Write model.safetensors, config.json and a model card, README.md, into a folder, which is made if missing.

    Args:
        metrics: measured numbers by name, for the card: of :func:`monosemy.sae.evaluation.evaluate`, or others.
    """
    folder = Path(folder)
    model.save(folder / MODEL_FILE)
    write_text(folder / CONFIG, json.dumps(_configuration(model), indent=2) + "\n")
    write_text(folder / CARD, model_card(model, metrics or {}))


def push_to_hub(
    model: Autoencoder,
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
) -> Autoencoder:
    """The model of a folder, or of a repository of the hub; what was fetched before is not fetched again.

    Layouts of SAELens and dictionary_learning serve too, see :func:`load_autoencoder`.

    Args:
        source: a folder or file here, else a repository ``owner/name``.
        subfolder: of the folder or repository, where it holds several models.
        revision: branch, tag or commit; None for the newest.
        token: None for the one that ``hf auth login`` keeps.

    Raises:
        InputError: there is neither, or it holds no model.
    """
    if Path(source).exists():
        return load_autoencoder(Path(source) if subfolder is None else Path(source) / subfolder)
    if not _REPOSITORY.fullmatch(str(source)):
        return load_autoencoder(source)  # which says that there is none
    hub = _hub()
    patterns = [pattern if subfolder is None else f"{subfolder}/{pattern}" for pattern in _READ]
    try:
        folder = hub.snapshot_download(str(source), revision=revision, token=token, allow_patterns=patterns)
    except Exception as error:  # as above
        raise InputError(
            f"{source} is no file or folder here and no repository of the hub that can be fetched ({reason(error)}); "
            f"check the name."
        ) from error
    return load_autoencoder(Path(folder) if subfolder is None else Path(folder) / subfolder)


def model_card(model: Autoencoder, metrics: Mapping[str, float]) -> str:
    """What the model is, how it is loaded, and what was measured, as the hub's Markdown."""
    prefixes = "" if len(model.widths) == 1 else f" Its prefixes {list(model.widths)} reconstruct by themselves."
    lines = [
        "---",
        "library_name: monosemy",
        "tags:",
        "- sparse-autoencoder",
        "- interpretability",
        "---",
        "",
        "# Sparse autoencoder",
        "",
        f"A {_TITLES.get(model.activation.name, model.activation.name)} sparse autoencoder: {model.n_latents} latents "
        f"of inputs with {model.n_inputs} numbers.{prefixes}",
        "",
        "    code = activation(W_e (x - b) + c),   x = input / scale",
        "    reconstruction = scale (W_d code + b)",
        "",
        "Give inputs as they come out of the encoder that the model was trained on; the scale is part of the model.",
        "",
        "```python",
        "from monosemy.features import from_pretrained",
        "",
        'model = from_pretrained("this repository")',
        "codes = model.encode(embeddings)  # (N, " + str(model.n_inputs) + ") float32; codes.values, codes.indices",
        "```",
        "",
        "## Settings",
        "",
        *_table(_configuration(model)["settings"]),
    ]
    if metrics:
        lines += ["", "## Measured", "", *_table({name: f"{value:.4g}" for name, value in metrics.items()})]
    return "\n".join([*lines, "", f"Written by monosemy {__version__}.", ""])


def _table(values: Mapping[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in values.items())]


def _configuration(model: Autoencoder) -> dict[str, Any]:
    """For people and other programs; the model itself is read from its weights' file alone."""
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
