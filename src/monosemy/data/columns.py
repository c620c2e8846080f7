"""From the columns of a table to rows: which columns are the input, also where each dimension has its own."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd

from monosemy.data import sources
from monosemy.data.config import DataConfig
from monosemy.data.dataset import Inputs, Kind, Rows, label_texts, named
from monosemy.data.tables import Table
from monosemy.errors import InputError, names, shown

_KINDS: dict[Kind, sources.Role] = {"embeddings": "embedding", "images": "image", "texts": "text"}
"""Roles of input columns, in the order in which they are looked for."""
_NUMBERED = re.compile(r"(.*?)(\d+)")
_DIMENSION_WORDS = {
    "", "activation", "component", "dim", "dims", "emb", "embed", "embedding", "embeddings", "feat", "feature",
    "features", "hidden", "latent", "pc", "v", "vec", "vector",
}  # fmt: skip
"""Last words of names that are numbered by dimension."""
_MANY = 16
"""Columns of one name and a number that are dimensions whatever their name."""
ROW_NAMES = {"index", "id", "idx", "row", "row_id", "uid"}
"""Names of columns that number the rows; never a dimension unless the user names them."""
_MISSING_NUMBERS = {"", "nan", "na", "n/a", "#n/a", "null", "none", "<na>", "nat", "?"}
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+(,\d*)?|,\d+)([eE][+-]?\d+)?")
_PROBED = 200
"""Values that tell whether a column holds numbers."""
_MEANT = 0.9
"""Fraction of them that must be numbers; the others are then mistakes, which are reported."""
_PROSE = 20
"""Mean length in characters from which a column may hold the texts that the user forgot to name."""


@dataclass(frozen=True)
class InputColumns:
    """The columns of inputs."""

    names: tuple[str, ...]
    kind: Kind
    is_wide: bool = False
    """Whether each column is a dimension."""


def rows_of_table(table: Table, config: DataConfig, labelled: bool) -> Rows:
    """Return the rows of a table by the roles of its columns; a row without a label has the label "".

    Args:
        labelled: whether a column of labels is needed.
    """
    chosen = input_columns(table, config)
    frame, where, messages = table.frame, table.where, table.messages
    labels, vocabulary = _labels(table, config, labelled)
    splits, noisy, groups = table.splits, None, None
    if config.split_column is not None or sources.usual_columns(table.columns, "split"):
        splits = label_texts(frame[column(table, config.split_column, "split")])
    if config.noisy_label_column is not None and config.noisy_labels is None:
        noisy = label_texts(frame[column(table, config.noisy_label_column, "noisy label")], config.missing_labels)
    if config.group_column is not None:
        groups = label_texts(frame[column(table, config.group_column, "group")], ())
    if chosen.kind == "images" and chosen.names[0] not in table.images:
        raise InputError(
            f"{where} has no image bytes in the column {shown(chosen.names[0])}; give Hugging Face's layout "
            f"{{bytes, path}}."
        )
    return Rows(
        kind=chosen.kind,
        inputs=table.images[chosen.names[0]] if chosen.kind == "images" else inputs_of(table, chosen),
        labels=labels,
        splits=splits,
        vocabulary=vocabulary,
        noisy_labels=noisy,
        index=row_keys(table),
        groups=groups,
        messages=tuple(dict.fromkeys(messages)),
        files=table.files,
    )


def column(table: Table, wanted: str | None, role: sources.Role) -> str:
    """Return the column of labels, noisy labels, splits or texts: see :func:`monosemy.data.sources.choose_column`."""
    name = sources.choose_column(table.columns, role, wanted, table.where, messages=table.messages)
    if name in table.images:
        raise InputError(
            f"{table.where} has images in the column {shown(name)}, which should hold {role}s; name another."
        )
    return name


def _labels(table: Table, config: DataConfig, labelled: bool) -> tuple[list[str] | None, tuple[str, ...] | None]:
    """Return the labels of all rows as names of classes, and all classes in the order of their integers."""
    if not labelled and config.label_column is None and not sources.usual_columns(table.columns, "label"):
        return None, None
    name = column(table, config.label_column, "label")
    texts = label_texts(table.frame[name], config.missing_labels, table.messages)
    vocabulary = table.class_names.get(name)
    if vocabulary is not None:
        texts = ["" if text == "-1" else text for text in texts]  # Hugging Face's mark of a label that is kept secret
    present = named([text for text in texts if text], vocabulary)
    if vocabulary is None or not set(present) <= set(vocabulary):
        return texts, None
    remaining = iter(present)
    return [next(remaining) if text else "" for text in texts], vocabulary


def row_keys(table: Table) -> np.typing.NDArray[np.str_] | None:
    """Return the column `index` as text, where it exists: whole numbers without a point, whatever type they have."""
    near = sources.near_columns([str(name) for name in table.frame], ("index",))
    return np.array(label_texts(table.frame[near[0]], ()), dtype=np.str_) if len(near) == 1 else None


def input_columns(table: Table, config: DataConfig) -> InputColumns:
    """Return the columns of inputs and their kind.

    - The named column; its values tell the kind. A pattern, or several names between commas, are dimensions.
    - Else the first with a usual name.
    - Else columns of numbers with a common name and a number (`dim_0`, `dim_1`, ...).
    - Else all columns of numbers but those of labels, splits and row numbers.
    """
    if config.input_column is not None:
        return _named_input(table, config.input_column)
    for exact in (True, False):
        for kind, role in _KINDS.items():
            for name in sources.usual_columns(table.columns, role, exact=exact):
                is_image = name in table.images
                if is_image or kind != "embeddings" or _holds_lists(table.frame[name]):
                    sources.say_near(name, role, table.where, table.messages)
                    return InputColumns((name,), "images" if is_image else kind)
    dimensions = _dimensions(table, config)
    if dimensions:
        return InputColumns(dimensions, "embeddings", is_wide=True)
    known = ", ".join(name for role in _KINDS.values() for name in sources.USUAL_NAMES[role])
    raise InputError(
        f"{table.where} has no input column (looked for {known}); its columns are {names(table.columns)}; name yours "
        f"with --input-column{_header_hint(table)}."
    )


def _header_hint(table: Table) -> str:
    """Return advice where a name of a column is also one of its values: then the first line may be a row."""
    for name in table.frame:
        if pd.api.types.is_string_dtype(table.frame[name]) and (table.frame[name] == name).any():
            return f", or write a header if the first line is a row ({shown(str(name))} also stands below it)"
    return ""


def _named_input(table: Table, wanted: str) -> InputColumns:
    """Return the input that the user named: a column, a pattern of columns, or several between commas."""
    patterns = [part.strip() for part in wanted.split(",")]
    matching = [str(name) for name in table.frame if any(fnmatchcase(str(name), pattern) for pattern in patterns)]
    if wanted not in table.columns and len(matching) > 1:
        return InputColumns(tuple(sorted(matching, key=sources.natural_key)), "embeddings", is_wide=True)
    name = sources.choose_column(table.columns, "input", wanted, table.where, messages=table.messages)
    if name in table.images:
        return InputColumns((name,), "images")
    values = table.frame[name]
    is_text = isinstance(_first(values), str) and not _holds_lists(values)
    return InputColumns((name,), "texts" if is_text else "embeddings")


def _first(values: pd.Series) -> Any:
    """Return the first value that is not missing; None where there is none."""
    present = np.flatnonzero(values.notna())
    return values.iloc[present[0]] if len(present) else None


def _holds_lists(values: pd.Series) -> bool:
    """Return whether the first value is a list, or the text of one: so a CSV holds embeddings."""
    first = _first(values)
    if isinstance(first, str):
        return _list_of_text(first) is not None
    return not pd.api.types.is_scalar(first)


def _list_of_text(text: str) -> list[float] | None:
    """Return the numbers of a text such as `[0.1, 2]`, or `[0.1 2]` as NumPy prints arrays; None where it is none."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        return [float(number) for number in text[1:-1].replace(",", " ").split() if number != "..."]
    except ValueError:
        return None


def _dimensions(table: Table, config: DataConfig) -> tuple[str, ...]:
    """Return the columns of numbers that are the dimensions of an embedding; none where that is not clear."""
    roles: tuple[tuple[sources.Role, str | None], ...] = (
        ("label", config.label_column),
        ("noisy label", config.noisy_label_column),
        ("split", config.split_column),
        ("group", config.group_column),
    )
    taken = {name for role, wanted in roles for name in _columns_of_role(table, role, wanted)}
    others = [str(name) for name in table.frame if name not in taken]
    numbers = [name for name in others if sources.plain(name) not in ROW_NAMES and _is_numeric(table, name)]
    groups = _numbered(numbers)
    if len(groups) > 1:
        patterns = [f"{prefix}*" for prefix in groups]
        raise InputError(
            f"{table.where} has several groups of numbered columns ({names(patterns)}); choose one with "
            f"--input-column {shown(patterns[0])}."
        )
    chosen = next(iter(groups.values()), numbers)
    prose = [name for name in others if not groups and name not in numbers and _is_prose(table.frame[name])]
    if len(chosen) < 2 or prose:
        return ()
    left_out = [name for name in others if name not in chosen]
    table.messages.append(
        f"The input of {table.where} is its {len(chosen)} columns of numbers {names(chosen)}"
        + (f"; it is not {names(left_out)}." if left_out else ".")
    )
    return tuple(chosen)


def _columns_of_role(table: Table, role: sources.Role, wanted: str | None) -> Sequence[str]:
    return sources.near_columns(table.columns, (wanted,)) if wanted else sources.usual_columns(table.columns, role)


def _numbered(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return the columns that share a name and have a number, in its order, by the name."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in columns:
        match = _NUMBERED.fullmatch(name)
        if match:
            groups.setdefault(match.group(1), []).append((int(match.group(2)), name))

    def are_dimensions(prefix: str, members: Sequence[object]) -> bool:
        word = re.split(r"[\W_]+", prefix.lower().strip(" _-."))[-1]
        return len(members) >= _MANY or (len(members) > 1 and word in _DIMENSION_WORDS)

    return {
        prefix: [name for _, name in sorted(members)]
        for prefix, members in groups.items()
        if are_dimensions(prefix, members)
    }


def _is_numeric(table: Table, name: str) -> bool:
    """Return whether a column is meant to hold numbers, by its type or its first values."""
    values = table.frame[name]
    if pd.api.types.is_numeric_dtype(values):
        return not pd.api.types.is_complex_dtype(values)
    if not (pd.api.types.is_object_dtype(values) or pd.api.types.is_string_dtype(values)):
        return False
    probed = values.iloc[:_PROBED]
    if not all(map(pd.api.types.is_scalar, probed)):
        return False
    texts = [text for text in map(_plain_number, probed) if text]
    return bool(texts) and sum(_parsed(text, table) is not None for text in texts) >= _MEANT * len(texts)


def _is_prose(values: pd.Series) -> bool:
    """Return whether a column of strings holds different, longer texts."""
    texts = [value for value in values.iloc[:_PROBED] if isinstance(value, str) and value.strip()]
    return len(set(texts)) > len(texts) / 2 and sum(map(len, texts)) > _PROSE * len(texts)


def _plain_number(value: Any) -> str:
    """Return a value as text, "" where it is missing."""
    text = "" if value is None or value is pd.NA else str(value).strip()
    return "" if text.lower() in _MISSING_NUMBERS else text


def _parsed(text: str, table: Table) -> float | None:
    """Return the number of a text; None where it is none. Decimals may follow a comma that separates no fields."""
    try:
        return float(text.replace(",", ".") if table.has_free_commas and _DECIMAL_COMMA.fullmatch(text) else text)
    except ValueError:
        return None


def inputs_of(table: Table, chosen: InputColumns) -> Inputs:
    """Return inputs from their columns: texts as a tuple, embeddings (N, D); missing ones are "" and NaN."""
    if chosen.is_wide:
        matrix = np.empty((len(table.frame), len(chosen.names)), dtype=np.float32)
        for i, name in enumerate(chosen.names):
            matrix[:, i] = _numbers_of(table, name)
        return matrix
    values = table.frame[chosen.names[0]]
    return _texts_of(table, values) if chosen.kind == "texts" else _lists_of(table, values)


def _texts_of(table: Table, values: pd.Series) -> tuple[str, ...]:
    odd = next((value for value in values if not pd.api.types.is_scalar(value)), None)
    if odd is not None:
        raise InputError(
            f"{table.where} has values of type {type(odd).__name__} in the column {shown(values.name)}, which should "
            f"hold texts; give one for each row."
        )
    return tuple("" if pd.isna(value) else str(value) for value in values)


def _numbers_of(table: Table, name: str) -> np.typing.NDArray[np.float32]:
    """Return a column of numbers, (N,); missing ones are NaN.

    Raises:
        InputError: a value is not a number.
    """
    values = table.frame[name]
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_complex_dtype(values):
        return values.to_numpy(np.float32, na_value=np.nan)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    rest = np.flatnonzero(np.isnan(numbers))
    if len(rest) and table.has_free_commas:
        texts = values.iloc[rest].astype(str).str.strip()
        decimal = texts.str.fullmatch(_DECIMAL_COMMA.pattern).to_numpy(bool)
        numbers[rest[decimal]] = pd.to_numeric(texts[decimal].str.replace(",", "."))
        rest = rest[~decimal]
        if decimal.any():
            table.messages.append(f"The numbers of {table.where} have a comma before their decimals.")
    for row in rest.tolist():
        if text := _plain_number(values.iloc[row]):
            number = _parsed(text, table)
            if number is None:
                raise InputError(
                    f"{table.where} has {shown(values.iloc[row])} in the column {shown(name)}, {table.describe(row)}, "
                    f"which should hold numbers; repair it, or name other columns with --input-column."
                )
            numbers[row] = number
    with np.errstate(over="ignore"):  # the check of the rows reports infinity
        return numbers.astype(np.float32)


def _lists_of(table: Table, values: pd.Series) -> np.typing.NDArray[np.float32]:
    """Return a column of lists as one array (N, D); a missing list is a row of NaN."""
    where, name = table.where, values.name
    if any(isinstance(value, str) for value in values):
        values = _parsed_lists(table, values)
    present = values.notna().to_numpy()
    try:
        stacked = np.stack([np.asarray(value, dtype=np.float32) for value in values[present]])
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where} has embeddings of unequal length or type; give equal lists of numbers.") from error
    if stacked.ndim != 2:
        raise InputError(
            f"{where} has {stacked.ndim - 1}-dimensional values in the column {shown(name)}; give one list of numbers "
            f"for each row."
        )
    if present.all():
        return stacked
    result = np.full((len(values), stacked.shape[1]), np.nan, dtype=np.float32)
    result[present] = stacked
    return result


def _parsed_lists(table: Table, values: pd.Series) -> pd.Series:
    """Return lists for texts of lists, None for blank texts."""
    parsed: list[Any] = []
    for row, value in enumerate(values):
        numbers = _list_of_text(value) if isinstance(value, str) else value
        blank = isinstance(value, str) and not _plain_number(value)
        if (numbers is None and not blank) or (isinstance(value, str) and "..." in value):
            raise InputError(
                f"{table.where} has {shown(str(value)[:20])} in the column {shown(values.name)}, "
                f"{table.describe(row)}, "
                f"which should be a whole list of numbers; save embeddings as parquet or .npz."
            )
        parsed.append(numbers)
    return pd.Series(parsed, dtype=object, name=values.name)
