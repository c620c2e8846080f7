"""A sparse autoencoder from whatever file or folder it is in."""

from pathlib import Path

from monosemy.errors import InputError
from monosemy.features.autoencoder import Autoencoder
from monosemy.features.exchange import dictionary_learning, saelens

MODEL_FILE = "model.safetensors"
"""A model of ours in a folder."""


def load_autoencoder(path: str | Path) -> Autoencoder:
    """A model of monosemy, SAELens or dictionary_learning; which one is recognised by the names of its files.

    Args:
        path: a file that :meth:`Autoencoder.save` wrote; or a folder, or the weights in it: of ``save_pretrained``
            (model.safetensors), SAELens (cfg.json, sae_weights.safetensors) or dictionary_learning (config.json, ae.pt
            or ae.safetensors).

    Raises:
        InputError: there is no such file, or none of these formats.
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
        if _has(folder, MODEL_FILE):
            return Autoencoder.load(folder / MODEL_FILE)
        raise InputError(
            f"{path} holds no sparse autoencoder; give a folder with {MODEL_FILE}, with {saelens.CONFIG} and "
            f"{saelens.WEIGHTS} (SAELens), or with {dictionary_learning.CONFIG} and "
            f"{' or '.join(dictionary_learning.WEIGHTS)} (dictionary_learning)."
        )
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} is no sparse autoencoder that can be read; give a .safetensors file of monosemy, or a folder of "
            f"SAELens or dictionary_learning."
        )
    return Autoencoder.load(path)


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_file() for name in names)
