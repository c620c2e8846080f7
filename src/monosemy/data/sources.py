"""The one way in: what a source is, the usual names of its columns, lines of text, and missing values."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

import numpy as np

from monosemy.core.files import readable
from monosemy.data.config import DIGIT_PAIRS
from monosemy.errors import InputError

TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".jsonl.gz", ".csv.gz")
ARRAY_SUFFIXES = (".safetensors", ".npy", ".npz")

SourceKind = Literal["digit pairs", "table", "array", "text", "images", "cifar", "dataset", "hub"]
_DESCRIPTIONS: dict[SourceKind, str] = {
    "digit pairs": "the digit-pairs data set",
    "table": "a table",
    "array": "an array file",
    "text": "a text file",
    "images": "a folder without files of rows",
    "cifar": "a folder of CIFAR's files",
    "dataset": "a saved Hugging Face data set",
    "hub": "the name of a Hugging Face data set",
}
_SUFFIXES: dict[SourceKind, tuple[str, ...]] = {"table": TABLE_SUFFIXES, "array": ARRAY_SUFFIXES, "text": (".txt",)}
_CIFAR_FILES = ("data_batch_1", "data_batch_1.bin", "train", "train.bin")
"""First file of each of CIFAR's four distributions."""

Role = Literal["embedding", "image", "text", "prompt", "label", "noisy label", "split", "group"]
USUAL_NAMES: dict[Role, tuple[str, ...]] = {
    "embedding": ("embeddings", "embedding", "activations", "X", "features"),
    "image": ("image", "img"),
    "text": ("text", "sentence"),
    "prompt": ("prompt", "text", "sentence", "question", "instruction"),
    "label": ("label", "labels", "fine_label", "intent", "class", "y"),
    "noisy label": ("noisy_label", "given_label"),
    "split": ("split",),
    "group": (),
}
"""Names of columns, arrays and tensors that are recognised, by role; the first that is present is used."""
SPLIT_ROLES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A source that the user named, classified by :func:`classify`."""

    name: str
    """The name as the user wrote it."""
    kind: SourceKind
    paths: tuple[Path, ...] = ()
    """Files of a table, an array or a text, sorted by name; otherwise the folder. Empty for what is no path."""
    is_folder: bool = False

    def unsupported(self, expected: str) -> InputError:
        """Return the error for a source that the caller does not read."""
        return InputError(f"{self.name} is {_DESCRIPTIONS[self.kind]}; give {expected}.")


def classify(source: str | Path) -> Source:
    """Classify a source: this is the only place that looks at patterns, endings and the content of folders.

    - `digit-pairs` is the data set that the package contains;
    - a folder is a saved Hugging Face data set, else the parquet files in it or in its folder `data`, else CIFAR, else
      its .safetensors, .npy or .npz files, else a folder of images; hidden files do not count;
    - a pattern (`*`, `?`, `[...]`) is its matching files, which have to be of one kind;
    - an existing file, or a name with a known ending, is a file;
    - everything else is the name of a data set on the Hugging Face hub.

    Raises:
        InputError: the file does not exist, no file matches, or the ending is unknown.
    """
    name, path = str(source), Path(source)
    if name == DIGIT_PAIRS:
        return Source(name, "digit pairs")
    if path.is_dir():
        return _classify_folder(name, path)
    if has_magic(name) and not path.exists():
        paths = tuple(Path(match) for match in sorted(glob(name, recursive=True)))
        if not paths:
            raise InputError(f"No file matches {name}; correct the pattern.")
        kinds = [_kind_of_file(match) for match in paths]
        for match, kind in zip(paths, kinds, strict=True):
            if kind is None or kind != kinds[0]:
                raise InputError(f"{name} matches {paths[0]} and {match}, which cannot be read together; narrow it.")
        assert kinds[0] is not None
        return Source(name, kinds[0], paths)
    kind = _kind_of_file(path)
    if not path.exists():
        if kind is None:
            return Source(name, "hub")
        raise InputError(f"The file {path} does not exist; give the path of a file.")
    if kind is None:
        known = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
        raise InputError(f"{path} has none of the known endings {known}; convert it to one.")
    return Source(name, kind, (path,))


def _kind_of_file(path: Path) -> SourceKind | None:
    name = path.name.lower()
    return next((kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None)


def _classify_folder(name: str, folder: Path) -> Source:
    def visible(suffix: str) -> tuple[Path, ...]:
        # Files whose name begins with a dot are half-written ones of this package, or another program's.
        found = sorted(folder.glob(f"[!.]*{suffix}")) or sorted(folder.glob(f"data/[!.]*{suffix}"))
        return tuple(found)

    if (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file():
        return Source(name, "dataset", (folder,), is_folder=True)
    if parquet := visible(".parquet"):
        return Source(name, "table", parquet, is_folder=True)
    if any((folder / file).is_file() for file in _CIFAR_FILES):
        return Source(name, "cifar", (folder,), is_folder=True)
    for suffix in ARRAY_SUFFIXES:
        if arrays := visible(suffix):
            return Source(name, "array", arrays, is_folder=True)
    return Source(name, "images", (folder,), is_folder=True)


def choose_column(
    names: Collection[str], role: Role, wanted: str | None, where: str, *, noun: str = "column", or_only: bool = False
) -> str:
    """Return the column that plays a role: the one that the user named, else the first with a usual name.

    Args:
        noun: what messages call a column: "array" or "tensor" in other files.
        or_only: accept a single column whatever its name.

    Raises:
        InputError: there is none.
    """
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{where} has no {noun} {wanted!r} for the {role}; its {noun}s are {', '.join(names) or 'none'}."
            )
        return wanted
    for name in USUAL_NAMES[role]:
        if name in names:
            return name
    if or_only and len(names) == 1:
        return next(iter(names))
    raise InputError(
        f"{where} has no {noun} for the {role} (looked for {', '.join(USUAL_NAMES[role])}); its {noun}s are "
        f"{', '.join(names) or 'none'}; name yours with {_option(role)}."
    )


def _option(role: Role) -> str:
    return f"--{role.replace(' ', '-')}-column" if role in ("label", "noisy label", "split") else "--input-column"


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """Return the lines of a UTF-8 text file that are not blank, without the space around them.

    Args:
        what: what messages call the file, such as "list of classes".

    Raises:
        InputError: the file cannot be read, or has no such line.
    """
    with readable(path, f"a {what}", "give a text file in UTF-8"):
        lines = path.read_text(encoding="utf-8").splitlines()
    texts = tuple(line.strip() for line in lines if line.strip())
    if not texts:
        raise InputError(f"The {what} {path} is empty; write at least one line.")
    return texts


def check_missing(
    missing: np.typing.NDArray[np.bool_],
    fault: str,
    where: str,
    numbers: Sequence[int] | np.typing.NDArray[np.int64] | None = None,
) -> None:
    """Raise where rows that are streamed or given as arrays lack a value.

    :func:`monosemy.data.quality.usable_rows` is the policy for all that is read as rows.

    Args:
        missing: (N,), true for a row that lacks a value.
        fault: what is wrong with these rows, such as "without a label".
        where: what messages call the source.
        numbers: numbers of the rows where they are a part of a stream, whose total is unknown; else 0 to N - 1.

    Raises:
        InputError: a row lacks a value.
    """
    rows = np.flatnonzero(missing)
    if not len(rows):
        return
    first = ", ".join(str(row if numbers is None else numbers[int(row)]) for row in rows[:3])
    count = f"{len(rows):,} of {len(missing):,} rows" if numbers is None else "rows"
    raise InputError(f"{where} has {count} {fault} (first: row {first}); drop or repair these rows.")
