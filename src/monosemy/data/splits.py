"""From rows to train, validation and test, with numbers for labels."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monosemy.core.console import Progress
from monosemy.data.dataset import DataConfig, Inputs, Kind, LabelledData, Split, encode_labels, stratified_split, take
from monosemy.data.images import EncodedImages, decode_parts
from monosemy.data.labels import given_labels
from monosemy.data.rows import Rows, named, ordered_classes, rows_by_split
from monosemy.errors import InputError
from monosemy.seeding import numpy_rng


@dataclass
class Assigned:
    """Which rows belong to which split, and the numbers of their labels."""

    parts: dict[str, NDArray[np.int64]]
    """Row numbers of train, validation and test, rising."""
    labels: NDArray[np.int64]
    """Of all rows; -1 for a label that is no class."""
    given: NDArray[np.int64] | None
    """Real noisy labels of all rows; -1 outside train and validation."""
    class_names: tuple[str, ...]
    notices: list[str] = field(default_factory=list)


def assign(rows: Rows, config: DataConfig, seed: int, name: str) -> Assigned:
    """Split what is not split yet, class by class, and encode the labels; the classes are those of train."""
    rng = numpy_rng("splits", seed)
    notices: list[str] = []
    texts = rows.needed_labels()
    parts = own_parts(rows, name, notices)
    development = np.sort(np.concatenate([parts["train"], parts.get("validation", parts["train"][:0])]))
    given = rows.given
    if config.noisy_labels is not None:
        given = given_labels(config.noisy_labels, config.noisy_label_column, rows, development)
    if "test" not in parts:
        # The classes in the order of the alphabet: so the draws do not depend on what else is known of them.
        _, codes = np.unique([texts[i] for i in parts["train"]], return_inverse=True)
        rest, test = stratified_split(codes, config.test_fraction, rng)
        source = "No test split" if rows.splits is not None else "No split column"
        unit = "train rows became it" if rows.splits is not None else "rows became the test set"
        notices.append(f"{source}: {len(test)} of {len(codes)} {unit}, class by class.")
        parts |= {"train": parts["train"][rest], "test": parts["train"][test]}
    class_names = ordered_classes((texts[i] for i in parts["train"]), rows.vocabulary)
    if len(class_names) < 2:
        raise InputError(f"{name} has the one class {class_names[0]!r} in train; a classifier needs at least two.")
    labels = encode_labels(texts, class_names)
    if "validation" not in parts:
        kept, split_off = stratified_split(labels[parts["train"]], config.validation_fraction, rng)
        parts |= {"train": parts["train"][kept], "validation": parts["train"][split_off]}
    for part, members in parts.items():
        known = labels[members] >= 0
        if not known.all():
            notices.append(f"Left out: {int((~known).sum())} {part} rows whose label does not occur in train.")
            parts[part] = members[known]
    noisy = None if given is None else _encode_given(given, parts, rows, class_names, name)
    return Assigned(parts, labels, noisy, class_names, notices)


def own_parts(rows: Rows, name: str, notices: list[str]) -> dict[str, NDArray[np.int64]]:
    """The splits that the source has; all rows are train where it has none."""
    if rows.splits is None:
        return {"train": np.arange(len(rows.inputs))}
    parts, ignored = rows_by_split(rows.splits)
    if ignored:
        counts = ", ".join(f"{split} ({count})" for split, count in ignored.items())
        notices.append(f"Left out: rows of the splits {counts}.")
    if "train" not in parts:
        raise InputError(
            f"{name} has no train rows (its splits are {', '.join(dict.fromkeys(rows.splits))}); name the split train."
        )
    return parts


def _encode_given(
    given: list[str],
    parts: dict[str, NDArray[np.int64]],
    rows: Rows,
    class_names: tuple[str, ...],
    name: str,
) -> NDArray[np.int64]:
    result = np.full(len(given), -1, dtype=np.int64)
    noisy_rows = np.concatenate([parts["train"], parts["validation"]])
    texts = named([given[i] for i in noisy_rows], rows.vocabulary)
    result[noisy_rows] = encode_labels(texts, class_names)
    wrong = result[noisy_rows] < 0
    if wrong.any():
        raise InputError(
            f"{name} has the given label {texts[int(wrong.argmax())]!r}, which is no class of its labels; correct it."
        )
    return result


def labelled_data(
    name: str, rows: Rows, assigned: Assigned, config: DataConfig, on_progress: Progress | None
) -> LabelledData:
    """The data set of rows that have their splits; images are decoded now."""
    inputs, parts, notices = inputs_by_part(rows.inputs, assigned.parts, config, on_progress)
    splits = {part: Split(inputs[part], assigned.labels[members]) for part, members in parts.items()}
    given = None
    if assigned.given is not None:
        given = (assigned.given[parts["train"]], assigned.given[parts["validation"]])
    return LabelledData(
        name=name,
        kind=rows.kind,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=assigned.class_names,
        noisy_labels=given,
        notices=(*assigned.notices, *notices),
    )


def inputs_by_part(
    inputs: Inputs | EncodedImages,
    parts: dict[str, NDArray[np.int64]],
    config: DataConfig,
    on_progress: Progress | None,
    size: tuple[int, int] | None = None,
) -> tuple[dict[str, Inputs], dict[str, NDArray[np.int64]], list[str]]:
    """The inputs of each part, the rows they come from, and notices; encoded images are decoded.

    The rows are those of ``parts`` but for images that cannot be read and are skipped.

    Args:
        size: height and width of decoded images, where not the configured ones.
    """
    if isinstance(inputs, tuple | np.ndarray):
        return {part: take(inputs, members) for part, members in parts.items()}, parts, []
    if size is None and config.image_size is not None:
        size = (config.image_size, config.image_size)
    decoded = decode_parts(inputs, parts, size, config.on_bad_image, on_progress)
    return (
        {part: pictures.images for part, pictures in decoded.parts.items()},
        {part: pictures.kept for part, pictures in decoded.parts.items()},
        decoded.notices,
    )


def check_shift_kind(name: str, kind: Kind, wanted: Kind) -> None:
    """Raise where a shifted set holds other inputs than the data."""
    if kind != wanted:
        raise InputError(f"The shifted set {name!r} holds {kind}, but the data holds {wanted}; give the same.")


def shifted_split(name: str, split: Split, like: Split, where: str) -> Split:
    """The rows of a shifted set whose label is a class of the data.

    Args:
        split: of the shifted set; its labels are -1 where they are no class.
        like: the data's test split.
        where: the data's name, for messages.
    """
    known = np.flatnonzero(split.labels >= 0)
    if len(known) == 0:
        raise InputError(f"The shifted set {name!r} shares no class with {where}; give one with the same labels.")
    shapes = [getattr(x, "shape", (0,))[1:] for x in (split.inputs, like.inputs)]
    if shapes[0] != shapes[1]:
        raise InputError(f"The shifted set {name!r} has inputs of shape {shapes[0]}, not {shapes[1]}; make them equal.")
    return split if len(known) == len(split) else split.take(known)
