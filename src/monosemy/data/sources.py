"""From what the user names to a :class:`LabelledData`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt, Lt
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monosemy.data import digits
from monosemy.data.labelled import (
    Inputs,
    Kind,
    LabelledData,
    Split,
    check_finite,
    encode_labels,
    stratified_split,
    take,
)
from monosemy.data.tables import (
    ARRAY_SUFFIXES,
    CANDIDATES,
    LABEL_CANDIDATES,
    TABLE_SUFFIXES,
    column,
    column_kind,
    decode_images,
    inputs_of,
    read_arrays,
    read_labels,
    read_table,
    table_kind,
)
from monosemy.errors import InputError, reason
from monosemy.seeding import numpy_rng

_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}


class DataConfig(BaseModel):
    """Where the data comes from and how it is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = digits.NAME
    """`digit-pairs`, a file, a folder of class folders, or the id of a Hugging Face data set."""
    input_column: str | None = None
    """Column of texts, images or embeddings; found by its usual names where not given."""
    label_column: str | None = None
    split_column: str | None = None
    given_label_column: str | None = None
    """A second label column with real noisy labels; the scenario `given-labels` trains on it."""
    labels: Path | None = None
    """File with the labels of a plain .npy of embeddings."""
    shifts: dict[str, str] = {}
    """Shifted test sets: name to file or folder, read like the source."""
    test_fraction: Annotated[float, Gt(0), Lt(1)] = 0.25
    """Share split off as test, class by class, where the source has no split."""
    validation_fraction: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of train split off for choosing hyper-parameters, where the source has no validation split."""
    image_size: Annotated[int, Ge(8)] | None = None
    """Side that images are resized to; their own size, or 32 where they differ."""


class _Rows(BaseModel):
    """Rows as read, before labels become numbers and splits are made."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: Kind
    inputs: Any
    labels: list[str]
    splits: list[str] | None
    given: list[str] | None = None


def load_data(config: DataConfig, seed: int = 0) -> LabelledData:
    """Read the source, split it where it is not split yet, and encode its labels.

    Raises:
        InputError: what was named does not exist, cannot be read, or cannot be used for a study.
    """
    if config.source == digits.NAME:
        data = digits.digit_pairs(validation_fraction=config.validation_fraction, seed=seed)
    else:
        data = _split(_read(config.source, config), config, seed, Path(config.source).name or config.source)
    if not config.shifts:
        return data
    shifts = {name: _shift(name, source, config, data) for name, source in config.shifts.items()}
    return LabelledData(**{**data.__dict__, "shifts": shifts})


def load_embeddings(config: DataConfig) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[str, ...]]:
    """All rows of a source of embeddings (N, D), whatever their split, their labels, and the names of the classes.

    Raises:
        InputError: as for :func:`load_data`, and where the source holds texts or images.
    """
    kind: Kind = "images"
    if config.source != digits.NAME:
        rows = _read(config.source, config)
        kind = rows.kind
    if kind != "embeddings":
        raise InputError(
            f"{config.source} holds {kind}, not embeddings or codes; embed them first, or run "
            f"`monosemy study --data {config.source}`, which embeds and measures them."
        )
    if rows.inputs.size == 0:
        raise InputError(
            f"{config.source} has embeddings of shape {rows.inputs.shape}; give at least one row and one dimension."
        )
    check_finite(rows.inputs, config.source)
    class_names = tuple(sorted(set(rows.labels), key=_natural))
    return rows.inputs, encode_labels(rows.labels, class_names), class_names


def _read(source: str, config: DataConfig) -> _Rows:
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, config)
    if source.lower().endswith(ARRAY_SUFFIXES):
        return _read_array_file(path, config)
    if source.lower().endswith(TABLE_SUFFIXES):
        return _from_table(read_table(path), config, path)
    if path.exists():
        raise InputError(
            f"{path} has none of the known endings {', '.join((*TABLE_SUFFIXES, *ARRAY_SUFFIXES))}; convert it to one."
        )
    return _read_hub(source, config)


def _from_table(frame: pd.DataFrame, config: DataConfig, where: object) -> _Rows:
    if config.input_column is not None:
        input_name = column(frame, config.input_column, (), "input", where)
        kind = column_kind(frame[input_name])
    else:
        kind = table_kind(frame, where)
        input_name = column(frame, None, CANDIDATES[kind], "input", where)
    label_name = column(frame, config.label_column, LABEL_CANDIDATES, "label", where)
    split_name = config.split_column or ("split" if "split" in frame.columns else None)
    unlabelled = int((frame[label_name].isna() | (frame[label_name].astype(str) == "")).sum())
    if unlabelled:
        raise InputError(f"{where} has {unlabelled} rows without a label; drop these rows.")
    given = None
    if config.given_label_column is not None:
        given = _texts(frame[column(frame, config.given_label_column, (), "given label", where)])
    return _Rows(
        kind=kind,
        inputs=inputs_of(frame[input_name], kind, where, config.image_size),
        labels=_texts(frame[label_name]),
        splits=None if split_name is None else _texts(frame[column(frame, split_name, (), "split", where)]),
        given=given,
    )


def _texts(values: Any) -> list[str]:
    """Labels as text; 3.0 is the label 3, as some writers make whole numbers floats."""
    texts = []
    for value in values:
        if isinstance(value, list | tuple | dict | set | np.ndarray):
            raise InputError(f"The label {str(value)[:40]!r} is no single value; give one label for each row.")
        if isinstance(value, float | np.floating):
            if not np.isfinite(value):
                raise InputError(f"The label {value} is no class; drop rows without a label.")
            value = int(value) if value == int(value) else value
        texts.append(str(value))
    return texts


def _read_array_file(path: Path, config: DataConfig) -> _Rows:
    arrays = read_arrays(path)
    if config.labels is not None:
        arrays["labels"] = read_labels(config.labels)
    parts = [name for name in ("train", "validation", "val", "test") if f"X_{name}" in arrays]
    if parts:
        missing = [f"y_{name}" for name in parts if f"y_{name}" not in arrays]
        if missing:
            raise InputError(f"{path} has no array {missing[0]!r}; store one label for each embedding.")
        matrices = [_matrix(arrays[f"X_{name}"], path) for name in parts]
        if len({matrix.shape[1] for matrix in matrices}) > 1:
            widths = ", ".join(f"X_{name} {m.shape[1]}" for name, m in zip(parts, matrices, strict=True))
            raise InputError(f"{path} holds embeddings of different widths ({widths}); encode all alike.")
        inputs = np.concatenate(matrices)
        labels = [label for name in parts for label in _texts(arrays[f"y_{name}"])]
        splits: list[str] | None = [name for name in parts for _ in range(len(arrays[f"X_{name}"]))]
    else:
        names = [name for name in ("embeddings", "embedding", "X", "features") if name in arrays]
        label_names = [name for name in ("labels", "label", "y") if name in arrays]
        if not names:
            raise InputError(f"{path} has no array 'embeddings' (it has {', '.join(arrays)}); rename yours.")
        if not label_names:
            raise InputError(
                f"{path} has no array 'labels'; store it beside the embeddings or name a file by --labels."
            )
        inputs = _matrix(arrays[names[0]], path)
        labels = _texts(arrays[label_names[0]])
        splits = _texts(arrays["split"]) if "split" in arrays else None
    if len(labels) != len(inputs):
        raise InputError(f"{path} has {len(inputs)} embeddings but {len(labels)} labels; give one label for each.")
    return _Rows(kind="embeddings", inputs=inputs, labels=labels, splits=splits)


def _matrix(values: np.ndarray, path: Path) -> np.ndarray:
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.number) or values.shape[1] == 0:
        raise InputError(
            f"{path} holds embeddings of shape {values.shape} and type {values.dtype}; give numbers (N, D)."
        )
    return values.astype(np.float32)


def _read_folder(path: Path, config: DataConfig) -> _Rows:
    """`class/image` or `split/class/image`."""
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _IMAGE_SUFFIXES and p.is_file())
    if not files:
        raise InputError(f"The folder {path} holds no images; give a folder of class folders.")
    parts = [file.relative_to(path).parts for file in files]
    if any(len(p) < 2 for p in parts):
        raise InputError(f"The folder {path} has images outside class folders; put each into a folder of its class.")
    has_splits = all(len(p) >= 3 and p[0].lower() in _SPLIT_NAMES for p in parts)
    inputs = decode_images(
        [file.read_bytes() for file in files], config.image_size, f"the folder {path}", ["/".join(p) for p in parts]
    )
    return _Rows(
        kind="images",
        inputs=inputs,
        labels=[p[1] if has_splits else p[0] for p in parts],
        splits=[p[0].lower() for p in parts] if has_splits else None,
    )


def _read_hub(source: str, config: DataConfig) -> _Rows:
    try:
        from datasets import Image as HubImage
        from datasets import load_dataset
    except ImportError as error:
        raise InputError(
            f"{source} is no file or folder here, and to fetch it as a Hugging Face data set needs the extra 'hub'; "
            f"check the path or install monosemy[hub]."
        ) from error
    try:
        dataset = load_dataset(source)
    except Exception as error:  # the hub's client raises many types; each means that the data is not to be had
        raise InputError(
            f"{source} is no file or folder here and no Hugging Face data set that loads ({reason(error)}); "
            f"check the name."
        ) from error
    frames = []
    for name, part in dataset.items():
        for feature, kind in part.features.items():
            if isinstance(kind, HubImage):
                part = part.cast_column(feature, HubImage(decode=False))
        frame = part.to_pandas()
        assert isinstance(frame, pd.DataFrame)
        frames.append(frame.assign(split=str(name)))
    return _from_table(pd.concat(frames, ignore_index=True), config, source)


def _split(rows: _Rows, config: DataConfig, seed: int, name: str) -> LabelledData:
    rng = numpy_rng("splits", seed)
    notices: list[str] = []
    if rows.splits is None:
        _, codes = np.unique(rows.labels, return_inverse=True)
        rest, test = stratified_split(codes, config.test_fraction, rng)
        notices.append(f"No split column: {len(test)} of {len(codes)} rows became the test set, class by class.")
        indices = {"train": rest, "test": test}
    else:
        indices, ignored = _named_splits(rows.splits)
        if ignored:
            notices.append(f"Left out: rows of the splits {', '.join(f'{s} ({n})' for s, n in ignored.items())}.")
        if "train" not in indices:
            raise InputError(
                f"{name} has no train rows (its splits are {', '.join(sorted(set(rows.splits)))}); name one so."
            )
        if "test" not in indices:
            _, codes = np.unique([rows.labels[i] for i in indices["train"]], return_inverse=True)
            rest, test = stratified_split(codes, config.test_fraction, rng)
            notices.append(f"No test split: {len(test)} of {len(codes)} train rows became it, class by class.")
            indices |= {"train": indices["train"][rest], "test": indices["train"][test]}
    class_names = tuple(sorted({rows.labels[i] for i in indices["train"]}, key=_natural))
    if len(class_names) < 2:
        raise InputError(f"{name} has the one class {class_names[0]!r} in train; a classifier needs at least two.")
    labels = encode_labels(rows.labels, class_names)
    if "validation" not in indices:
        kept, split_off = stratified_split(labels[indices["train"]], config.validation_fraction, rng)
        indices["validation"] = indices["train"][split_off]
        indices["train"] = indices["train"][kept]
    unknown = {s: int((labels[i] < 0).sum()) for s, i in indices.items() if (labels[i] < 0).any()}
    for split_name, count in unknown.items():
        notices.append(f"Left out: {count} {split_name} rows whose label does not occur in train.")
        indices[split_name] = indices[split_name][labels[indices[split_name]] >= 0]
    splits = {s: Split(take(rows.inputs, i), labels[i]) for s, i in indices.items()}
    given = None
    if rows.given is not None:
        noisy = encode_labels(rows.given, class_names)
        if (noisy < 0).any():
            wrong = rows.given[int((noisy < 0).argmax())]
            raise InputError(f"{name} has the given label {wrong!r}, which is no class of its labels; correct it.")
        given = (noisy[indices["train"]], noisy[indices["validation"]])
    return LabelledData(
        name=name,
        kind=rows.kind,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=class_names,
        given_labels=given,
        notices=tuple(notices),
    )


def _named_splits(names: list[str]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    indices: dict[str, np.ndarray] = {}
    ignored: dict[str, int] = {}
    array = np.array(names)
    for name in dict.fromkeys(names):
        rows = np.flatnonzero(array == name)
        role = _SPLIT_NAMES.get(name.lower())
        if role is None:
            ignored[name] = len(rows)
        else:
            indices[role] = np.concatenate([indices.get(role, rows[:0]), rows])
    return indices, ignored


def _natural(label: str) -> tuple[int, float, str]:
    """Whole numbers in the order of their values, before other labels in the order of the alphabet."""
    return (0, int(label), label) if label.isdecimal() else (1, 0, label)


def _shift(name: str, source: str, config: DataConfig, data: LabelledData) -> Split:
    # Noisy labels are the source's own, and so is its file of labels, unless the shifted set is a plain .npy too.
    own = {"given_label_column": None} | ({} if source.lower().endswith(".npy") else {"labels": None})
    rows = _read(source, config.model_copy(update=own))
    named = {} if rows.splits is None else _named_splits(rows.splits)[0]
    chosen = named.get("test", np.arange(len(rows.labels)))
    return _shifted(name, rows.kind, take(rows.inputs, chosen), [rows.labels[i] for i in chosen], data)


def _shifted(name: str, kind: Kind, inputs: Inputs, labels: list[str], data: LabelledData) -> Split:
    """The rows of a shifted set whose label the data has."""
    if kind != data.kind:
        raise InputError(f"The shifted set {name!r} holds {kind}, but the data holds {data.kind}; give the same.")
    encoded = encode_labels(labels, data.class_names)
    known = np.flatnonzero(encoded >= 0)
    if len(known) == 0:
        raise InputError(f"The shifted set {name!r} shares no class with {data.name}; give one with the same labels.")
    shapes = [getattr(x, "shape", (0,))[1:] for x in (inputs, data.test.inputs)]
    if shapes[0] != shapes[1]:
        raise InputError(f"The shifted set {name!r} has inputs of shape {shapes[0]}, not {shapes[1]}; make them equal.")
    return Split(take(inputs, known), encoded[known])


def from_arrays(
    X_train: Inputs,
    y_train: object,
    X_test: Inputs,
    y_test: object,
    *,
    X_validation: Inputs | None = None,
    y_validation: object = None,
    name: str = "arrays",
    validation_fraction: float = 0.2,
    shifts: Mapping[str, tuple[Inputs, object]] | None = None,
    seed: int = 0,
) -> LabelledData:
    """A :class:`LabelledData` from arrays (or lists of texts) that the user already has."""
    parts = [(X_train, y_train, "train"), (X_test, y_test, "test")]
    if X_validation is not None:
        parts.append((X_validation, y_validation, "validation"))
    inputs = [_as_inputs(x) for x, _, _ in parts]
    labels = [_texts(np.asarray(y).ravel()) for _, y, _ in parts]
    for (_, _, part), x, y in zip(parts, inputs, labels, strict=True):
        _check_lengths(f"{part} part", x, y)
        if _form(x) != _form(inputs[0]):
            raise InputError(f"The {part} part holds {_form(x)}, not {_form(inputs[0])} like train; make them equal.")
    joined: Any = (
        sum((tuple(x) for x in inputs), ())
        if isinstance(inputs[0], tuple)
        else np.concatenate([np.asarray(x) for x in inputs])
    )
    names = [part for (_, _, part), y in zip(parts, labels, strict=True) for _ in y]
    rows = _Rows(kind=_kind(joined), inputs=joined, labels=[label for y in labels for label in y], splits=names)
    data = _split(rows, DataConfig(validation_fraction=validation_fraction), seed, name)
    extra: dict[str, Split] = {}
    for shift, (shift_x, shift_y) in (shifts or {}).items():
        shift_inputs, shift_labels = _as_inputs(shift_x), _texts(np.asarray(shift_y).ravel())
        _check_lengths(f"shifted set {shift!r}", shift_inputs, shift_labels)
        extra[shift] = _shifted(shift, _kind(shift_inputs), shift_inputs, shift_labels, data)
    return LabelledData(**{**data.__dict__, "shifts": extra})


def _check_lengths(what: str, inputs: Inputs, labels: list[str]) -> None:
    if len(inputs) != len(labels):
        raise InputError(f"The {what} has {len(inputs)} inputs but {len(labels)} labels; give one label for each.")


def _kind(inputs: Inputs) -> Kind:
    if isinstance(inputs, tuple):
        return "texts"
    return "embeddings" if inputs.ndim == 2 else "images"


def _form(inputs: Inputs) -> str:
    return "texts" if isinstance(inputs, tuple) else f"{_kind(inputs)} of shape {inputs.shape[1:]}"


def _as_inputs(values: Any) -> Inputs:
    if isinstance(values, list | tuple) and values and isinstance(values[0], str):
        return tuple(values)
    array = np.asarray(values)
    if array.ndim not in (2, 4) or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"Inputs of shape {array.shape} and type {array.dtype} are neither texts, nor embeddings (N, D), nor "
            f"images (N, C, H, W); reshape them."
        )
    return array.astype(np.float32)
