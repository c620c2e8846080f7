"""Which reader a source needs."""

from glob import glob, has_magic
from pathlib import Path

from monosemy.data.arrays import ARRAY_SUFFIXES, rows_of_array_file
from monosemy.data.cifar import is_cifar, rows_of_cifar
from monosemy.data.config import DataConfig
from monosemy.data.folders import rows_of_folder
from monosemy.data.hub import table_of_hub
from monosemy.data.rows import Rows
from monosemy.data.tables import TABLE_SUFFIXES, Table, read_table, read_tables, rows_of_table
from monosemy.errors import InputError


def read_rows(source: str, config: DataConfig, labelled: bool = True) -> Rows:
    """All rows of a source, whatever it is.

    Args:
        labelled: whether every row needs a label.
    """
    path = Path(source)
    if source.lower().endswith(ARRAY_SUFFIXES) and not (path.is_dir() or _is_pattern(source)):
        rows = rows_of_array_file(path, config, labelled)
    elif (table := table_of(source)) is not None:
        rows = rows_of_table(table, config, labelled)
    elif path.is_dir():
        if not is_cifar(path):
            return rows_of_folder(path, config.classes, labelled)
        rows = rows_of_cifar(path, config.label_column)
    else:
        raise InputError(
            f"{path} has none of the known endings {', '.join((*TABLE_SUFFIXES, *ARRAY_SUFFIXES))}; convert it to one."
        )
    if config.classes is not None:
        raise InputError(f"--classes {config.classes} needs a folder of class folders, not {source}; leave it out.")
    return rows


def table_of(source: str) -> Table | None:
    """The table that a source is: a file, a pattern of files, a folder of parquet files or a data set of the hub.

    None where it is there, but something else.
    """
    path = Path(source)
    if path.is_dir():
        parquet = _parquet_files(path)
        return read_tables(parquet, f"The folder {path}") if parquet else None
    if _is_pattern(source):
        return read_tables(_matching(source), source)
    if source.lower().endswith(TABLE_SUFFIXES):
        return read_table(path)
    return None if path.exists() else table_of_hub(source)


def _is_pattern(source: str) -> bool:
    return has_magic(source) and not Path(source).exists()


def _parquet_files(folder: Path) -> list[Path]:
    """The parquet files of a folder in Hugging Face's layout: beside each other, or in a folder `data`."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def _matching(pattern: str) -> list[Path]:
    paths = [Path(name) for name in sorted(glob(pattern, recursive=True))]
    if not paths:
        raise InputError(f"No file matches {pattern}; correct the pattern.")
    other = next((path for path in paths if not path.name.lower().endswith(TABLE_SUFFIXES)), None)
    if other is not None:
        raise InputError(f"{pattern} matches {other}, which is no table ({', '.join(TABLE_SUFFIXES)}); narrow it.")
    return paths
