"""The one way in: what a source is, the usual names of its columns, lines of text, and missing values."""

import mimetypes
import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Literal

import numpy as np

from monosemy.core.files import readable
from monosemy.data.config import DIGIT_PAIRS
from monosemy.data.text_files import text_file
from monosemy.errors import InputError, names, shown

_TABLE_FAMILIES = (
    (".parquet",),
    (".csv", ".csv.gz"),
    (".tsv", ".tab", ".tsv.gz"),
    (".jsonl", ".ndjson", ".jsonl.gz"),
    (".json", ".json.gz"),
    (".xlsx",),
)
"""Endings of tables; of a folder, the tables of one family are read, the first that occurs."""
TABLE_SUFFIXES = tuple(suffix for family in _TABLE_FAMILIES for suffix in family)
ARRAY_SUFFIXES = (".safetensors", ".npy", ".npz", ".pt")
_REMEDIES = {
    ".xls": "save it as .xlsx or .csv", ".xlsb": "save it as .xlsx or .csv", ".ods": "save it as .xlsx or .csv",
    ".feather": "save it as .parquet", ".arrow": "save it as .parquet", ".h5": "save its arrays as .npz",
    ".hdf5": "save its arrays as .npz", ".mat": "save its arrays as .npz", ".zip": "unpack it",
    ".pkl": "save it as .parquet or .npz: a pickle can run code when it is read and is never opened",
    ".pickle": "save it as .parquet or .npz: a pickle can run code when it is read and is never opened",
    ".data": "rename it to .csv", ".dat": "rename it to .csv", ".pth": "rename it to .pt",
}  # fmt: skip
"""What to do with files of other endings that hold data."""
_NO_DATA = re.compile(
    r"(?i).*\.(md|rst|html|pdf|py|ipynb|log|sh|yaml|yml|cff)|licen[cs]e.*|readme.*|_.*|.*infos?\.json"
)
"""Names of files that stand beside data and are no data."""

SourceKind = Literal["digit pairs", "table", "array", "text", "images", "cifar", "dataset", "hub"]
_DESCRIPTIONS: dict[SourceKind, str] = {
    "digit pairs": "the digit-pairs data set",
    "table": "a table",
    "array": "an array file",
    "text": "a text file",
    "images": "a folder of images",
    "cifar": "a folder of CIFAR's files",
    "dataset": "a saved Hugging Face data set",
    "hub": "the name of a Hugging Face data set",
}
_SUFFIXES: dict[SourceKind, tuple[str, ...]] = {"table": TABLE_SUFFIXES, "array": ARRAY_SUFFIXES, "text": (".txt",)}
_CIFAR_FILES = ("data_batch_1", "data_batch_1.bin", "train", "train.bin")
"""First file of each of CIFAR's four distributions."""

Role = Literal["input", "embedding", "image", "text", "prompt", "label", "noisy label", "split", "group"]
USUAL_NAMES: dict[Role, tuple[str, ...]] = {
    "input": (),
    "embedding": ("embeddings", "embedding", "activations", "X", "features"),
    "image": ("image", "img"),
    "text": ("text", "sentence"),
    "prompt": ("prompt", "text", "sentence", "question", "instruction"),
    "label": ("label", "labels", "fine_label", "intent", "class", "target", "y"),
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
    messages: tuple[str, ...] = ()
    """Messages to the user: files of a folder that are not read."""

    def unsupported(self, expected: str) -> InputError:
        """Return the error for a source that the caller does not read."""
        holds = f" that holds {contents(Path(self.name))}" if self.is_folder else ""
        return InputError(f"{self.name} is {_DESCRIPTIONS[self.kind]}{holds}; give {expected}.")


def classify(source: str | Path) -> Source:
    """Classify a source: this is the only place that looks at patterns, endings and the content of folders.

    - `digit-pairs` is the data set that the package contains;
    - a folder is a saved Hugging Face data set, else parquet files, else CIFAR, else images, else array files, else
      other tables; the files lie in it, in its folder `data`, or in folders of splits; hidden files do not count;
    - a pattern (`*`, `?`, `[...]`) is its matching files, which have to be of one kind;
    - an existing file, or a name with a known ending, is a file;
    - everything else is the name of a data set on the Hugging Face hub.

    Several files are in natural order: part-2 before part-10.

    Raises:
        InputError: the file does not exist, no file matches, or the ending is unknown.
    """
    name, path = str(source), Path(source)
    if name == DIGIT_PAIRS:
        return Source(name, "digit pairs")
    if path.is_dir():
        return _classify_folder(name, path)
    if has_magic(name) and not path.exists():
        return _classify_pattern(name)
    kind = _kind_of_file(path)
    if not path.exists():
        if kind is None and path.suffix.lower() not in _REMEDIES:
            return Source(name, "hub")
        raise InputError(f"The file {path} does not exist; give the path of a file.")
    if kind is None:
        known = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
        remedy = _REMEDIES.get(path.suffix.lower(), "convert it to one")
        raise InputError(f"{path} has none of the known endings {known}; {remedy}.")
    return Source(name, kind, (path,))


def natural_key(value: str | Path) -> tuple[tuple[str, int, str], ...]:
    """Return a key by which names sort with their numbers by value: `part-2` before `part-10`."""
    text = str(value)
    # A number by its digits: Python refuses to convert thousands of them.
    pieces = [(plain, len(digits.lstrip("0")), digits.lstrip("0")) for plain, digits in _PIECES.findall(text)]
    return (*pieces, ("", 0, text))


_PIECES = re.compile(r"([^0-9]*)([0-9]+|$)")


def _kind_of_file(path: Path) -> SourceKind | None:
    name = path.name.lower()
    return next((kind for kind, suffixes in _SUFFIXES.items() if name.endswith(suffixes)), None)


def _classify_pattern(name: str) -> Source:
    paths = tuple(sorted(filter(Path.is_file, map(Path, glob(name, recursive=True))), key=natural_key))
    if not paths:
        raise InputError(f"No file matches {name}; correct the pattern.")
    kinds = [_kind_of_file(match) for match in paths]
    for match, kind in zip(paths, kinds, strict=True):
        if kind is None or kind != kinds[0]:
            raise InputError(f"{name} matches {paths[0]} and {match}, which cannot be read together; narrow it.")
    assert kinds[0] is not None
    return Source(name, kinds[0], paths)


def _classify_folder(name: str, folder: Path) -> Source:
    if (folder / "dataset_dict.json").is_file() or (
        (folder / "dataset_info.json").is_file() and (folder / "state.json").is_file()
    ):
        return Source(name, "dataset", (folder,), is_folder=True)
    if parquet := _files_of(folder, _TABLE_FAMILIES[0]):
        return _of_files(name, "table", parquet, folder)
    if any((folder / file).is_file() for file in _CIFAR_FILES):
        return Source(name, "cifar", (folder,), is_folder=True)
    if _holds_images(folder):
        return Source(name, "images", (folder,), is_folder=True)
    families: list[tuple[SourceKind, tuple[str, ...]]] = [("array", (suffix,)) for suffix in ARRAY_SUFFIXES]
    families += [("table", family) for family in _TABLE_FAMILIES[1:]]
    for kind, family in families:
        if files := _files_of(folder, family):
            return _of_files(name, kind, files, folder)
    return Source(name, "images", (folder,), is_folder=True)


def _files_of(folder: Path, suffixes: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the files with one of the endings that lie in a folder, else in `data`, else in folders of splits."""
    of_splits = [path for path in sorted(folder.glob("*/")) if path.name.lower() in SPLIT_ROLES]
    for places in ([folder], [folder / "data"], of_splits):
        found = [
            path
            for place in places
            # Files whose name begins with a dot are half-written ones of this package, or another program's.
            for path in place.glob("[!.]*")
            if path.name.lower().endswith(suffixes) and not _NO_DATA.fullmatch(path.name) and path.is_file()
        ]
        if found:
            return tuple(sorted(found, key=natural_key))
    return ()


def _of_files(name: str, kind: SourceKind, files: tuple[Path, ...], folder: Path) -> Source:
    """Return the source of a folder's files of one kind, with a message on the others beside them."""
    others = {path for file in files for path in file.parent.glob("[!.]*") if path.is_file()} - set(files)
    data = sorted((path for path in others if not _NO_DATA.fullmatch(path.name)), key=natural_key)
    messages: tuple[str, ...] = ()
    if data:
        messages = (
            f"Of the folder {name}, {len(files)} files {files[0].suffix} were read, but not "
            f"{names(path.name for path in data)}.",
        )
    return Source(name, kind, files, is_folder=True, messages=messages)


def _holds_images(folder: Path) -> bool:
    """Return whether there is an image in a folder or below it; hidden folders do not count, links are followed."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen:  # a link to a folder that it is in
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = [name for name in folders if not name.startswith(".")]
        kinds = (mimetypes.guess_type(file)[0] for file in files if not file.startswith("."))
        if any(kind is not None and kind.startswith("image/") for kind in kinds):
            return True
    return False


_MOST_ENDINGS = 5
"""Endings that a message counts."""


def contents(folder: Path) -> str:
    """Return what lies in a folder, for a message: numbers of files by their endings, and names of folders."""
    visible = [path for path in sorted(folder.iterdir(), key=natural_key) if not path.name.startswith(".")]
    folders = [path.name for path in visible if path.is_dir()]
    endings = Counter("".join(path.suffixes[-2:]).lower() or path.name for path in visible if not path.is_dir())
    parts = [
        f"{count} files {ending}" if count > 1 else f"one file {ending}" for ending, count in endings.most_common(5)
    ]
    if len(endings) > len(parts):
        parts.append(f"{sum(endings.values()) - sum(n for _, n in endings.most_common(5))} other files")
    if folders:
        parts.append(f"the folder{'s' * (len(folders) > 1)} {names(folders)}")
    return ", ".join(parts) or "nothing"


def plain(name: str) -> str:
    """Return a name without the space around it and in small letters, as columns are compared."""
    return name.strip().casefold()


def near_columns(columns: Collection[str], wanted: Sequence[str]) -> list[str]:
    """Return those of the wanted columns that exist; else columns that differ in case and surrounding space only."""
    exact = [name for name in wanted if name in columns]
    return exact or [name for plain_name in map(plain, wanted) for name in columns if plain(name) == plain_name]


def usual_columns(columns: Collection[str], role: Role, *, exact: bool | None = None) -> list[str]:
    """Return the columns with a usual name of a role, the first name first.

    Args:
        exact: with exactly such a name, or only with another case or space; None for the second where the first fails.
    """
    exactly = [name for name in USUAL_NAMES[role] if name in columns]
    if exact or (exact is None and exactly):
        return exactly
    return near_columns([name for name in columns if name not in exactly], USUAL_NAMES[role])


def say_near(name: str, role: Role, where: str, messages: list[str]) -> None:
    """Add a message where a column was taken for a role although its name is not exactly a usual one."""
    if name not in USUAL_NAMES[role]:
        messages.append(f"The column {shown(name)} of {where} was taken for the {role}.")


def choose_column(
    columns: Collection[str],
    role: Role,
    wanted: str | None,
    where: str,
    *,
    noun: str = "column",
    or_only: bool = False,
    messages: list[str] | None = None,
) -> str:
    """Return the column that plays a role: the one that the user named, else the first with a usual name.

    Names also match with other case and space around them, where none matches exactly.

    Args:
        noun: what messages call a column: "array" or "tensor" in other files.
        or_only: accept a single column whatever its name.
        messages: list that gets a message where the name does not match exactly.

    Raises:
        InputError: there is none.
    """
    there = names(columns) or "none"
    nouns = "columns of texts" if noun == "column of texts" else f"{noun}s"
    if wanted is not None:
        near = near_columns(columns, (wanted,))
        if len(near) != 1:
            raise InputError(f"{where} has no {noun} {shown(wanted)} for the {role}; its {nouns} are {there}.")
        if near[0] != wanted and messages is not None:
            messages.append(f"The {noun} {shown(near[0])} of {where} was read for {shown(wanted)}.")
        return near[0]
    if usual := usual_columns(columns, role):
        if messages is not None:
            say_near(usual[0], role, where, messages)
        return usual[0]
    if or_only and len(columns) == 1:
        return next(iter(columns))
    raise InputError(
        f"{where} has no {noun} for the {role} (looked for {', '.join(USUAL_NAMES[role])}); its {nouns} are {there}; "
        f"name yours with {_option(role)}."
    )


def _option(role: Role) -> str:
    return (
        f"--{role.replace(' ', '-')}-column" if role in ("label", "noisy label", "split", "group") else "--input-column"
    )


def read_lines(path: Path, what: str) -> tuple[str, ...]:
    """Return the lines of a text file that are not blank, without the space around them.

    Args:
        what: what messages call the file, such as "list of classes".

    Raises:
        InputError: the file cannot be read, or has no such line.
    """
    with readable(path, f"a {what}", "give a text file in UTF-8"), text_file(path).open_text() as opened:
        lines = opened.read().splitlines()
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
