"""A sparse autoencoder from whatever file or folder it is in."""

from pathlib import Path

from monosemy.errors import InputError
from monosemy.features.autoencoder import Autoencoder
from monosemy.features.autoencoder.module import FORMAT
from monosemy.features.exchange import dictionary_learning, saelens
from monosemy.modelfile import read_about


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
        read_about(path, FORMAT)
    except InputError:
        return False
    return True


def _has(folder: Path, *names: str) -> bool:
    return all((folder / name).is_file() for name in names)
